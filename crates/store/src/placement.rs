//! Placing a session on a worker with room: one statement, whatever the size of the fleet.
