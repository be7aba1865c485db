//! Workers as their operators see them.
