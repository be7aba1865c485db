//! Which worker a session goes to.
