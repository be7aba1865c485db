//! The next step that brings a session from what it is to what is wanted.
