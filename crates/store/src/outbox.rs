//! Campaign jobs on their way to the broker.
