//! Sessions still to be deleted on servers that were removed by force.
