//! Worker checks: claimed by due time, so that replicas share them.
