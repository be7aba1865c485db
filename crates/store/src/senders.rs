//! What is remembered of a number, whether or not it has a session.
