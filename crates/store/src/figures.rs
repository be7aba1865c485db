//! Figures over everything, for the monitoring calls.
