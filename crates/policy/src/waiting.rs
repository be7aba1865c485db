//! Why something waits, in words for people.
