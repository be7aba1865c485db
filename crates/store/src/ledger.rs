//! The grouped claims and conclusions of messages.
