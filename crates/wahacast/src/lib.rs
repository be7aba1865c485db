//! wahacast
