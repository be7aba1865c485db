//! What goes over the wire, apart from the rows it is made of: a column can change without a
//! client noticing, and a field can be documented without a row knowing.

pub mod campaigns;
pub mod delays;
pub mod messages;
pub mod monitoring;
pub mod requests;
pub mod schema;
pub mod sessions;
pub mod workers;
