//! From bytes to values: whatever is wrong with a request is found here, all of it at once.

pub mod body;
pub mod fields;
mod lines;
pub mod params;
pub mod path;
mod stream;
pub mod submission;
pub mod values;

pub use body::Json;
pub use params::{Page, Query};
pub use path::{CampaignPath, MessagePath, PhonePath, WorkerPath};
pub use submission::Submitted;
