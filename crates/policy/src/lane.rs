//! Who speaks next on a lane, and when.
