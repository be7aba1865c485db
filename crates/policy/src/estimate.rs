//! When a campaign will probably be done.
