//! The global delays and the senders' own.
