//! Who has something to say on a lane.
