//! Campaigns: accepted whole or not at all, shown, cancelled.
