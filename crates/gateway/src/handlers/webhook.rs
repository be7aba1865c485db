//! What WAHA servers report.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::web::{Data, Path};
use actix_web::{FromRequest, HttpRequest};
use models::phone::PhoneNumber;
use store::{health, receipts, reconcile};
use waha::webhook::SIGNATURE_HEADER;

use crate::extract::body::read_all;
use crate::extract::values;
use crate::problem::{Kind, Problem};
use crate::reply::{self, Answer};
use crate::state::Gateway;
use crate::views::schema::PhoneText;
use crate::webhook::{Receipt, Step, read, trust};

/// Bytes of an event; those that we subscribe to have a few kilobytes.
const BODY_MAX: usize = 1_024 * 1_024;

/// What a placement reports, as far as its word is taken.
#[derive(Debug)]
pub struct Report {
    phone: PhoneNumber,
    generation: i32,
    step: Step,
}

/// Take a report of a WAHA server
///
/// The path says which placement of which session it is about; a report from a former one changes
/// nothing. Events that we do not know are answered like any other.
#[utoipa::path(post, path = "/api/webhook/waha/{phone_number}/{generation}", tag = "Webhooks",
    operation_id = "waha_webhook",
    params(
        ("phone_number" = PhoneText, Path, description = "The session's number"),
        ("generation" = i32, Path, description = "Which placement of the session"),
        ("X-Webhook-Hmac" = Option<String>, Header,
            description = "HMAC-SHA512 of the body in hex; without it the report is only a hint")),
    request_body(content = Object, content_type = "application/json",
        description = "WAHA's event: at least `event`, `session` and `payload`",
        example = json!({"event": "session.status", "session": "42108077",
            "payload": {"name": "42108077", "status": "WORKING"}})),
    responses((status = 200, description = "Taken", body = Object,
        example = json!({"status": "ok"}))))]
pub async fn report(report: Report, gateway: Data<Gateway>) -> Answer {
    let (phone, generation) = (report.phone, report.generation);
    match report.step {
        Step::Record(status) => {
            let db = gateway.store.client().await?;
            reconcile::record_status(&db, &phone, generation, status, None).await?;
        }
        Step::Look => {
            let db = gateway.store.client().await?;
            reconcile::hint(&db, &phone, generation).await?;
        }
        Step::Receipt(receipt) => take(&gateway, (phone, generation), receipt).await?,
        Step::Ignore => {}
    }
    Ok(reply::ok_text(r#"{"status":"ok"}"#))
}

/// Writes a report on a message down. One that WhatsApp refused may have been refused for the
/// number's sake: then the number rests, or the scheduler looks what its session says.
async fn take(
    gateway: &Gateway,
    (phone, generation): (PhoneNumber, i32),
    receipt: Receipt,
) -> Result<(), Problem> {
    let now = gateway.clock.now();
    let refused = (receipt.ack < 0).then(|| phone.clone());
    let written = receipts::Report {
        sender: phone,
        generation,
        at: receipt.believable_at(now),
        message_id: receipt.message_id,
        ack: receipt.ack,
    };
    gateway.acks.write(written).await?;
    let Some(phone) = refused else {
        return Ok(());
    };
    let mut db = gateway.store.client().await?;
    let restriction = receipt.restriction.and_then(|told| told.in_force_at(now));
    if let Some(restriction) = restriction {
        let restriction = health::Restriction {
            code: restriction.kind.code(),
            reason: restriction.kind.reason().to_owned(),
            until: restriction.until,
            otherwise: gateway.settings.restricted_rest,
            otherwise_max: gateway.settings.restricted_rest_max,
        };
        health::restrict(&mut db, &phone, generation, &restriction).await?;
    }
    Ok(reconcile::hint(&db, &phone, generation).await?)
}

impl FromRequest for Report {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, payload) = (req.clone(), payload.take());
        Box::pin(async move {
            let path = Path::<(String, String)>::from_request(&req, &mut Payload::None);
            let path = path.into_inner().map(Path::into_inner);
            let (phone, generation) =
                path.map_err(|_| Problem::new(Kind::RouteUnknown, "the path cannot be read"))?;
            let gateway = req.app_data::<Data<Gateway>>().cloned();
            let gateway =
                gateway.ok_or_else(|| Problem::new(Kind::Internal, "this server is no gateway"))?;
            Self::of(&req, payload, &gateway, (&phone, &generation)).await
        })
    }
}

impl Report {
    /// Reads the report that came over the path of this number and generation.
    ///
    /// # Errors
    /// It cannot be read, is signed wrongly, or is of another session.
    pub async fn of(
        req: &HttpRequest,
        payload: Payload,
        gateway: &Gateway,
        (phone, generation): (&str, &str),
    ) -> Result<Self, Problem> {
        let phone =
            values::phone(phone).map_err(|detail| Problem::fault("{phone_number}", detail))?;
        let generation = generation
            .parse()
            .map_err(|_| Problem::fault("{generation}", "must be a whole number"))?;
        let body = read_all(req, payload, BODY_MAX).await?;
        let signature = req.headers().get(SIGNATURE_HEADER);
        let signature = signature.map(|value| value.to_str().unwrap_or("not text"));
        let trust = trust(gateway.webhook_key.as_ref(), signature, &body)?;
        Ok(Self {
            step: read(trust, &body, (&phone, generation))?,
            phone,
            generation,
        })
    }
}
