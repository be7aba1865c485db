//! One file a noun, one function a call: who asks, what for, one step, the answer.

pub mod campaigns;
pub mod delays;
pub mod messages;
pub mod monitoring;
pub mod sessions;
pub mod webhook;
pub mod workers;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse};

use crate::problem::{Kind, Problem};
use crate::reply::Answer;

/// Any path that there is not.
pub async fn unknown(req: HttpRequest) -> Answer {
    let path = crate::extract::values::shown(req.path());
    let detail = format!("there is no {path}; GET /docs shows what there is");
    Err(Problem::new(Kind::RouteUnknown, detail))
}

/// The documentation lives under a path with a slash.
pub async fn to_docs() -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, "/docs/"))
        .finish()
}
