//! The OpenAPI document: everything a client can be generated from.
//!
//! Handlers document their own successes and conflicts. What every call has in common, its
//! refusals, is added here by rule, so that no handler can forget one.

use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{Content, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::auth::KEY_HEADER;
use crate::handlers::{campaigns, delays, messages, monitoring, sessions, webhook, workers};
use crate::problem::{Fault, Kind, PROBLEM_JSON, ProblemView};
use crate::views::campaigns::CampaignState;
use crate::views::schema::PhoneText;

/// The document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "wahacast",
        description = "Delivers WhatsApp campaigns through a fleet of WAHA servers.\n\n\
            User calls need no key; operator calls need it in `X-Admin-API-Key` (the Authorize \
            box). Refusals are `application/problem+json` (RFC 9457): `type` is one of a closed \
            list, `errors` names every fault at once. Lists have `limit` (100 unless given, at \
            most 1,000), `cursor`, and the next page in a `Link` header. Every answer has an \
            `X-Trace-Id`; a `traceparent` is taken over.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "Messaging", description = "Campaigns: submitted, looked at, cancelled"),
        (name = "Sessions", description = "The numbers that campaigns are sent from"),
        (name = "Delays", description = "What keeps a number from being banned (operators)"),
        (name = "Workers", description = "The WAHA servers (operators)"),
        (name = "Monitoring", description = "How things stand (operators)"),
        (name = "Webhooks", description = "For WAHA servers")
    ),
    paths(
        campaigns::send, campaigns::status, campaigns::list, campaigns::failed, campaigns::cancel,
        messages::story, messages::settle_unknown,
        monitoring::own_metrics,
        sessions::create, sessions::list, sessions::get, sessions::delete, sessions::qr,
        sessions::pairing_code, sessions::start, sessions::stop, sessions::logout, sessions::me,
        delays::get_global, delays::set_global, delays::get_own, delays::set_own,
        delays::clear_own,
        workers::register, workers::list, workers::get, workers::update, workers::delete,
        workers::clean_up,
        monitoring::metrics, monitoring::users, monitoring::campaigns,
        monitoring::active_sessions, monitoring::session_numbers,
        webhook::report,
    ),
    components(schemas(ProblemView, Fault, Kind, PhoneText, CampaignState)),
    modifiers(&Refusals)
)]
pub struct ApiDoc;

/// Adds the key and what any call can be refused with.
#[derive(Debug)]
pub struct Refusals;

impl Modify for Refusals {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let key = ApiKeyValue::with_description(KEY_HEADER, "The ADMIN_API_KEY of the gateway");
        if let Some(components) = api.components.as_mut() {
            let scheme = SecurityScheme::ApiKey(ApiKey::Header(key));
            components.add_security_scheme("admin_key", scheme);
        }
        for (path, item) in &mut api.paths.paths {
            let all = [
                &mut item.get,
                &mut item.post,
                &mut item.patch,
                &mut item.delete,
            ];
            for operation in all.into_iter().flatten() {
                for status in refusals(path, operation) {
                    let responses = &mut operation.responses.responses;
                    responses
                        .entry(status.to_owned())
                        .or_insert_with(|| refusal(status));
                }
            }
        }
    }
}

/// The refusals that a call can meet whatever it is about.
fn refusals(path: &str, operation: &Operation) -> Vec<&'static str> {
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let has = |place: &ParameterIn| {
        let mut places = parameters.iter().filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(&parameter.parameter_in),
            RefOr::Ref(_) => None,
        });
        places.any(|found| found == place)
    };
    let mut statuses = vec!["401", "503"];
    if operation.request_body.is_some() {
        statuses.extend(["400", "413", "415", "422"]);
    }
    if has(&ParameterIn::Path) {
        statuses.push("404");
    }
    let has_number = ["{phone_number}", "{recipient}"]
        .iter()
        .any(|name| path.contains(name));
    if has(&ParameterIn::Query) || has_number {
        statuses.push("422");
    }
    statuses
}

fn refusal(status: &str) -> RefOr<Response> {
    let words = match status {
        "400" => "The body is not JSON, or broke off",
        "401" => "The admin key is missing or wrong",
        "404" => "There is no such thing",
        "413" => "The body is too large",
        "415" => "The body's media type is not taken",
        "422" => "Fields are missing or wrong; `errors` names them all",
        _ => "Cannot be served right now",
    };
    let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
    let mut response = ResponseBuilder::new()
        .description(words)
        .content(PROBLEM_JSON, content);
    if status == "503" {
        let seconds = HeaderBuilder::new().description(Some("Seconds to wait"));
        response = response.header("Retry-After", seconds.build());
    }
    RefOr::T(response.build())
}
