//! The heartbeats by which replicas know of each other.
