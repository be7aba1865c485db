//! waha-sim
