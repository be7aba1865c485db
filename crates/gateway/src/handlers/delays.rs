//! Delays: the global ones and each sender's own.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use models::delays::DelayOverrides;
use models::phone::PhoneNumber;
use store::delays as ledger;

use crate::auth::Admin;
use crate::extract::body::FromFields;
use crate::extract::fields::{self, Fields};
use crate::extract::params::{FromParams, Params, Whose};
use crate::extract::{Json, Query};
use crate::problem::Problem;
use crate::reply::{self, Answer};
use crate::state::Gateway;
use crate::views::delays::{DelaysView, UserDelaysView};
use crate::views::requests::{DelaysRequest, UserDelaysRequest};
use crate::views::schema::PhoneText;

/// Global delays to change.
#[derive(Debug)]
pub struct GlobalChange(DelayOverrides);

impl FromFields for GlobalChange {
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self(DelayOverrides {
            message: fields.seconds("MESSAGE_DELAY"),
            sender_switch: fields.seconds("SENDER_SWITCH_DELAY"),
            campaign: fields.seconds("CAMPAIGN_DELAY"),
        }))
    }
}

/// The global delays
#[utoipa::path(get, path = "/api/admin/delays", tag = "Delays", operation_id = "get_delays",
    responses((status = 200, description = "The delays", body = DelaysView)),
    security(("admin_key" = [])))]
pub async fn get_global(_: Admin, gateway: Data<Gateway>) -> Answer {
    let delays = ledger::global(&gateway.store.client().await?).await?;
    Ok(reply::ok(DelaysView::from(delays)))
}

/// Change global delays; running campaigns follow within two seconds
#[utoipa::path(post, path = "/api/admin/delays", tag = "Delays", operation_id = "set_delays",
    request_body = DelaysRequest,
    responses((status = 200, description = "The delays now", body = DelaysView)),
    security(("admin_key" = [])))]
pub async fn set_global(_: Admin, change: Json<GlobalChange>, gateway: Data<Gateway>) -> Answer {
    let db = gateway.store.client().await?;
    let delays = ledger::set_global(&db, change.0.0).await?;
    Ok(reply::ok(DelaysView::from(delays)))
}

/// The delays in force for a sender
#[utoipa::path(get, path = "/api/admin/user-delays", tag = "Delays",
    operation_id = "get_user_delays",
    params(("sender_number" = PhoneText, Query, description = "Whose")),
    responses((status = 200, description = "The delays in force", body = UserDelaysView)),
    security(("admin_key" = [])))]
pub async fn get_own(_: Admin, whose: Query<Whose>, gateway: Data<Gateway>) -> Answer {
    shown(&gateway, &whose.0.0).await
}

async fn shown(gateway: &Gateway, phone: &PhoneNumber) -> Answer {
    let db = gateway.store.client().await?;
    let (own, global) = (
        ledger::of_sender(&db, phone).await?,
        ledger::global(&db).await?,
    );
    Ok(reply::ok(UserDelaysView::new(phone, own, global)))
}

/// Change a sender's own delays
///
/// The values may stand in the query, in a JSON body, or in both; the body goes first.
#[utoipa::path(post, path = "/api/admin/user-delays", tag = "Delays",
    operation_id = "set_user_delays",
    request_body(content = Option<UserDelaysRequest>, content_type = "application/json"),
    params(
        ("sender_number" = Option<PhoneText>, Query, description = "Whose; may stand in the body"),
        ("message_delay" = Option<f64>, Query, minimum = 0, maximum = 86400),
        ("sender_switch_delay" = Option<f64>, Query, minimum = 0, maximum = 86400),
        ("campaign_delay" = Option<f64>, Query, minimum = 0, maximum = 86400)),
    responses((status = 200, description = "The delays in force now", body = UserDelaysView)),
    security(("admin_key" = [])))]
pub async fn set_own(_: Admin, change: OwnChange, gateway: Data<Gateway>) -> Answer {
    let mut db = gateway.store.client().await?;
    ledger::set_of_sender(&mut db, &change.phone, change.delays).await?;
    drop(db);
    shown(&gateway, &change.phone).await
}

/// Go back to the global delays
#[utoipa::path(delete, path = "/api/admin/user-delays", tag = "Delays",
    operation_id = "clear_user_delays",
    params(("sender_number" = PhoneText, Query, description = "Whose")),
    responses((status = 200, description = "The delays in force now", body = UserDelaysView)),
    security(("admin_key" = [])))]
pub async fn clear_own(_: Admin, whose: Query<Whose>, gateway: Data<Gateway>) -> Answer {
    let mut db = gateway.store.client().await?;
    ledger::clear_of_sender(&mut db, &whose.0.0).await?;
    drop(db);
    shown(&gateway, &whose.0.0).await
}

/// A sender's own delays to change, wherever in the request they stand.
#[derive(Debug)]
pub struct OwnChange {
    phone: PhoneNumber,
    delays: DelayOverrides,
}

/// What one half of a request says.
#[derive(Debug, Default)]
struct Half {
    phone: Option<PhoneNumber>,
    delays: DelayOverrides,
}

impl FromFields for Half {
    const MAY_BE_EMPTY: bool = true;

    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            phone: fields.read("sender_number", fields::phone),
            delays: DelayOverrides {
                message: fields.seconds("message_delay"),
                sender_switch: fields.seconds("sender_switch_delay"),
                campaign: fields.seconds("campaign_delay"),
            },
        })
    }
}

impl FromParams for Half {
    fn from_params(params: &mut Params) -> Option<Self> {
        Some(Self {
            phone: params.phone("sender_number"),
            delays: DelayOverrides {
                message: params.seconds("message_delay"),
                sender_switch: params.seconds("sender_switch_delay"),
                campaign: params.seconds("campaign_delay"),
            },
        })
    }
}

impl FromRequest for OwnChange {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let query = Query::<Half>::from_request(req, payload);
        let body = Json::<Half>::from_request(req, payload);
        Box::pin(async move {
            let (query, body) = match (query.await, body.await) {
                (Ok(query), Ok(body)) => (query.0, body.0),
                (Err(mut query), Err(body)) => {
                    query.errors.extend(body.errors);
                    return Err(Problem::invalid(query.errors));
                }
                (Err(problem), _) | (_, Err(problem)) => return Err(problem),
            };
            let phone = body.phone.or(query.phone);
            Ok(Self {
                phone: phone.ok_or_else(|| Problem::fault("?sender_number", "is missing"))?,
                delays: DelayOverrides {
                    message: body.delays.message.or(query.delays.message),
                    sender_switch: body.delays.sender_switch.or(query.delays.sender_switch),
                    campaign: body.delays.campaign.or(query.delays.campaign),
                },
            })
        })
    }
}
