//! Lanes: taken, woken, given back, never by two at once.
