//! What an answer from WAHA costs, and whom.
