//! Answers that went well.

use actix_web::http::header::{CACHE_CONTROL, ContentType, LINK, LOCATION};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use url::form_urlencoded;

use crate::problem::Problem;

/// What every handler gives.
pub type Answer = Result<HttpResponse, Problem>;

/// 200, with this.
pub fn ok(view: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(view)
}

/// 200, with an answer that is always the same: a JSON text.
pub fn ok_text(json: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(json)
}

/// 201 where something was made, 200 where it had been there.
pub fn created(new: bool, location: &str, view: impl Serialize) -> HttpResponse {
    let mut answer = if new {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    answer.insert_header((LOCATION, location)).json(view)
}

/// 202, with this.
pub fn accepted(location: &str, view: impl Serialize) -> HttpResponse {
    HttpResponse::Accepted()
        .insert_header((LOCATION, location))
        .json(view)
}

/// 204.
pub fn nothing() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

/// 200, with a picture that nobody may keep.
pub fn png(picture: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("image/png")
        .body(picture)
}

/// 200, with one page of a list and where the next one is.
pub fn page(req: &HttpRequest, view: impl Serialize, next: Option<&str>) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    if let Some(cursor) = next {
        answer.insert_header((LINK, next_link(req.path(), req.query_string(), cursor)));
    }
    answer.json(view)
}

fn next_link(path: &str, query: &str, cursor: &str) -> String {
    let mut next = form_urlencoded::Serializer::new(String::new());
    let others = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "cursor");
    next.extend_pairs(others).append_pair("cursor", cursor);
    format!("<{path}?{}>; rel=\"next\"", next.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_the_filters() {
        assert_eq!(
            next_link("/api/campaigns", "limit=2&cursor=old&status=SENT", "new"),
            "</api/campaigns?limit=2&status=SENT&cursor=new>; rel=\"next\""
        );
        assert_eq!(next_link("/a", "", "x"), "</a?cursor=x>; rel=\"next\"");
    }
}
