//! What happens around every request: its trace id, its key, one log line, its figures.
//!
//! A line carries the route's pattern and never the path: paths and queries hold phone numbers.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, HttpResponse};
use metrics::{counter, histogram};
use models::ids::TraceId;
use uuid::Uuid;

use crate::auth;
use crate::problem::{Kind, Problem};
use crate::reports;
use crate::state::Gateway;

/// The header in which an answer says its trace id.
pub const TRACE_HEADER: HeaderName = HeaderName::from_static("x-trace-id");

/// The trace id of the request, as an extractor.
#[derive(Debug, Clone, Copy)]
pub struct Trace(pub TraceId);

impl FromRequest for Trace {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let trace = req.extensions().get::<Self>().copied();
        ready(Ok(trace.unwrap_or(Self(TraceId::new(Uuid::nil())))))
    }
}

/// The middleware.
///
/// # Errors
/// Those of the framework; every failure of ours has become an answer.
pub async fn around<B: MessageBody + 'static>(
    req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(gateway) = req.app_data::<Data<Gateway>>().cloned() else {
        return Ok(next.call(req).await?.map_into_boxed_body());
    };
    let started = gateway.clock.instant();
    let trace = trace_of(&req).unwrap_or_else(|| TraceId::new(gateway.chance.uuid_v4()));
    let report = reports::is_plain(&req);
    // Routing needs the request for itself: no clone of it may live across the call.
    let mut answer = match auth::look(req.headers(), &gateway.settings.admin_api_key) {
        Ok(_) if report => reports::answer(req, &gateway).await,
        Ok(shown) => {
            req.extensions_mut().insert(Trace(trace));
            req.extensions_mut().insert(shown);
            next.call(req).await?.map_into_boxed_body()
        }
        Err(problem) => req.into_response(HttpResponse::from_error(problem)),
    };
    if answer.status() == StatusCode::METHOD_NOT_ALLOWED && answer.response().error().is_none() {
        answer = method_not_allowed(answer);
    }
    if let Ok(value) = HeaderValue::from_str(&trace.to_string()) {
        answer.headers_mut().insert(TRACE_HEADER, value);
    }
    let elapsed = gateway.clock.instant().duration_since(started);
    if report && answer.status() == StatusCode::OK {
        gateway.reports.count(elapsed);
    } else {
        let route = report.then(|| reports::ROUTE.to_owned());
        record(&answer, route, trace, elapsed);
    }
    Ok(answer)
}

/// The trace id that a caller brought along (W3C trace context), if it did.
fn trace_of(req: &ServiceRequest) -> Option<TraceId> {
    let text = req.headers().get("traceparent")?.to_str().ok()?;
    parse_traceparent(text)
}

fn parse_traceparent(text: &str) -> Option<TraceId> {
    let mut parts = text.split('-');
    let (_version, trace) = (parts.next()?, parts.next()?);
    let uuid = Uuid::try_parse(trace).ok().filter(|uuid| !uuid.is_nil())?;
    (trace.len() == 32).then(|| TraceId::new(uuid))
}

/// The framework says which methods there are; we say it in our words.
fn method_not_allowed(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let allow = answer.headers().get(ALLOW).cloned();
    let methods = allow
        .as_ref()
        .and_then(|allow| allow.to_str().ok())
        .unwrap_or("others");
    let detail = format!("this path takes {methods}");
    let mut response = HttpResponse::from_error(Problem::new(Kind::MethodNotAllowed, detail));
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, allow);
    }
    ServiceResponse::new(answer.request().clone(), response)
}

/// One line and one count for each request but reports that were taken, which are only counted; a
/// failure of ours with all that is known of it.
fn record(
    answer: &ServiceResponse<BoxBody>,
    route: Option<String>,
    trace: TraceId,
    elapsed: Duration,
) {
    let method = answer.request().method().as_str().to_owned();
    let route = route
        .or_else(|| answer.request().match_pattern())
        .unwrap_or_else(|| "unknown".to_owned());
    let status = answer.status().as_u16();
    let problem = answer
        .response()
        .error()
        .and_then(|error| error.as_error::<Problem>());
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    match problem {
        Some(problem) if problem.is_failure() => tracing::error!(
            %method, route, status, elapsed_ms = millis, trace.id = %trace,
            kind = problem.kind.id(), "{method} {route} failed: {}", problem.chain()
        ),
        _ if route == "/livez" || route == "/readyz" || route == "/metrics" => {}
        problem => tracing::info!(
            %method, route, status, elapsed_ms = millis, trace.id = %trace,
            kind = problem.map_or("none", |problem| problem.kind.id()),
            "{method} {route} answered {status}"
        ),
    }
    let labels = [
        ("route", route),
        ("method", method),
        ("status", status.to_string()),
    ];
    counter!("gateway_requests_total", &labels).increment(1);
    histogram!("gateway_request_seconds", "route" => labels[0].1.clone()).record(elapsed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_context_is_taken_over_when_it_is_one() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let trace = parse_traceparent(&format!("00-{id}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(trace.uuid().simple().to_string(), id);
        for wrong in [
            "",
            "00",
            "00-xyz-1-01",
            "00-00000000000000000000000000000000-1-01",
        ] {
            assert_eq!(parse_traceparent(wrong), None, "{wrong}");
        }
    }
}
