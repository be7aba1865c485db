//! The short way of workers' reports.
//!
//! There are three or four for each message, so what happens around a request counts more here than
//! anywhere: the router would try one pattern after the other, and a line in the log for each would
//! be most of the log. A report that is written as we asked for it goes past the router to the same
//! handler; everything else under its path is routed like any request.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::web::Data;
use metrics::{Counter, Histogram, counter, histogram};

use crate::handlers::webhook::{self, Report};
use crate::state::Gateway;

/// The route, as the router knows it.
pub const ROUTE: &str = "/api/webhook/waha/{phone_number}/{generation}";
/// What its paths begin with.
const PREFIX: &str = "/api/webhook/waha/";

/// What is counted of reports that were taken: found once, not looked up for each.
#[derive(Clone)]
pub struct Figures {
    taken: Counter,
    seconds: Histogram,
}

impl Figures {
    /// Those of this process.
    #[must_use]
    pub fn new() -> Self {
        let labels = [("route", ROUTE), ("method", "POST"), ("status", "200")];
        Self {
            taken: counter!("gateway_requests_total", &labels),
            seconds: histogram!("gateway_request_seconds", "route" => ROUTE),
        }
    }

    /// Counts a report that was taken.
    pub fn count(&self, elapsed: Duration) {
        self.taken.increment(1);
        self.seconds.record(elapsed);
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a request is a report that can go the short way.
pub fn is_plain(req: &ServiceRequest) -> bool {
    req.method() == Method::POST && placement(req.path()).is_some()
}

/// Answers such a report.
pub async fn answer(req: ServiceRequest, gateway: &Data<Gateway>) -> ServiceResponse<BoxBody> {
    let (req, payload) = req.into_parts();
    let placement = placement(req.path()).unwrap_or_default();
    let answer = match Report::of(&req, payload, gateway, placement).await {
        Ok(report) => webhook::report(report, gateway.clone()).await,
        Err(problem) => Err(problem),
    };
    let response = answer.unwrap_or_else(HttpResponse::from_error);
    ServiceResponse::new(req, response)
}

/// Number and generation of a path without anything encoded in it.
fn placement(path: &str) -> Option<(&str, &str)> {
    let (phone, generation) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let plain = !phone.is_empty() && !generation.is_empty() && !generation.contains('/');
    (plain && !path.contains('%')).then_some((phone, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_we_make_them_go_the_short_way() {
        let plain = placement("/api/webhook/waha/42108077/7");
        assert_eq!(plain, Some(("42108077", "7")));
        for other in [
            "/api/webhook/waha/",
            "/api/webhook/waha/42108077",
            "/api/webhook/waha/42108077/",
            "/api/webhook/waha//7",
            "/api/webhook/waha/42108077/7/",
            "/api/webhook/waha/%2B42108077/7",
            "/api/webhooks/42108077/7",
        ] {
            assert_eq!(placement(other), None, "{other}");
        }
    }
}
