//! Sessions: asked for, linked, started, stopped, removed.

use std::time::Duration;

use actix_web::http::header::ACCEPT;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use models::phone::PhoneNumber;
use models::session::{SessionStatus, SessionWanted};
use store::sessions::{self as ledger, Session, SessionCursor};
use store::{Client, GenericClient};
use store::{placement, reconcile};
use waha::pairing::QrCode;
use waha::{CallError, Waha};

use crate::auth::Admin;
use crate::extract::body::FromFields;
use crate::extract::fields::Fields;
use crate::extract::params::{FromParams, Page, Params};
use crate::extract::{Json, PhonePath, Query, values};
use crate::problem::{Kind, Problem, ProblemView};
use crate::reply::{self, Answer};
use crate::state::Gateway;
use crate::views::requests::SessionRequest;
use crate::views::schema::PhoneText;
use crate::views::sessions::{MeView, PairingCodeView, QrView, SessionView, words};

/// How long to wait for a QR code that is being made.
const QR_WAIT: Duration = Duration::from_secs(5);
/// How often to look while waiting. Each look is one row.
const QR_LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a QR code can be scanned at least; only the first of a session lives longer.
const QR_LIFE: time::Duration = time::Duration::seconds(20);
/// Sessions placed for one request at most: the queue's head first, and then, with luck, ours.
const PLACED_MAX: usize = 8;

/// The number of a session to be made.
#[derive(Debug)]
pub struct Wanted(PhoneNumber);

impl FromFields for Wanted {
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        fields.phone("phone_number").map(Self)
    }
}

async fn view(db: &impl GenericClient, session: Session) -> Result<SessionView, Problem> {
    let queued = session.place.is_none() && session.wanted == SessionWanted::Running;
    let place = match queued {
        true => Some(ledger::queue_place(db, &session.phone).await?),
        false => None,
    };
    Ok(SessionView::new(session, place))
}

async fn found(db: &impl GenericClient, phone: &PhoneNumber) -> Result<Session, Problem> {
    let session = ledger::one(db, phone).await?;
    session.ok_or_else(|| Problem::session_unknown(phone))
}

/// A session as it is now.
async fn shown(db: &impl GenericClient, phone: &PhoneNumber) -> Answer {
    let session = found(db, phone).await?;
    Ok(reply::ok(view(db, session).await?))
}

/// Ask for a session
///
/// It gets a place on a worker at once, or waits QUEUED until one has room.
#[utoipa::path(post, path = "/api/sessions", tag = "Sessions", operation_id = "create_session",
    request_body = SessionRequest,
    responses(
        (status = 201, description = "It was made", body = SessionView),
        (status = 200, description = "It was there already", body = SessionView)))]
pub async fn create(wanted: Json<Wanted>, gateway: Data<Gateway>) -> Answer {
    let Json(Wanted(phone)) = wanted;
    make(&mut gateway.store.client().await?, &phone).await
}

/// Makes a session, unless it is there, and places it if there is room.
async fn make(db: &mut Client, phone: &PhoneNumber) -> Answer {
    let new = ledger::create(db, phone).await?;
    for _ in 0..PLACED_MAX {
        match placement::place_oldest(db).await? {
            Some(placed) if placed.phone != *phone => {}
            _ => break,
        }
    }
    let session = view(db, found(db, phone).await?).await?;
    Ok(reply::created(
        new,
        &format!("/api/sessions/{phone}"),
        session,
    ))
}

/// All sessions, newest first
#[utoipa::path(get, path = "/api/sessions", tag = "Sessions", operation_id = "list_sessions",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "From a Link header")),
    responses((status = 200, description = "One page of sessions", body = Vec<SessionView>)),
    security(("admin_key" = [])))]
pub async fn list(
    _: Admin,
    req: HttpRequest,
    page: Query<Page<SessionCursor>>,
    gateway: Data<Gateway>,
) -> Answer {
    sessions_page(&req, false, page.0, &gateway).await
}

/// One page of sessions, all of them or those that are placed and not stopped.
pub(super) async fn sessions_page(
    req: &HttpRequest,
    active: bool,
    page: Page<SessionCursor>,
    gateway: &Gateway,
) -> Answer {
    let db = gateway.store.client().await?;
    let after = page.after.as_ref();
    let mut rows = ledger::list(&db, active, after, page.limit_and_one()).await?;
    let next = page.cut(&mut rows, |row| (row.created_at, row.phone.clone()));
    let views: Vec<_> = rows
        .into_iter()
        .map(|row| SessionView::new(row, None))
        .collect();
    Ok(reply::page(req, views, next.as_deref()))
}

/// How a session is
#[utoipa::path(get, path = "/api/sessions/{phone_number}", tag = "Sessions",
    operation_id = "get_session",
    params(("phone_number" = PhoneText, Path, description = "The session's number")),
    responses((status = 200, description = "How it is", body = SessionView)))]
pub async fn get(phone: PhonePath, gateway: Data<Gateway>) -> Answer {
    let db = gateway.store.client().await?;
    shown(&db, &phone.0).await
}

/// Start a session: one that is new, was stopped, or lost its login
#[utoipa::path(post, path = "/api/sessions/{phone_number}/start", tag = "Sessions",
    operation_id = "start_session",
    params(("phone_number" = PhoneText, Path, description = "The session's number")),
    responses(
        (status = 201, description = "It was made", body = SessionView),
        (status = 200, description = "It will be started", body = SessionView)))]
pub async fn start(phone: PhonePath, gateway: Data<Gateway>) -> Answer {
    let mut db = gateway.store.client().await?;
    if ledger::want(&mut db, &phone.0, SessionWanted::Running).await? {
        return shown(&db, &phone.0).await;
    }
    make(&mut db, &phone.0).await
}

/// Stop a session; it keeps its login
#[utoipa::path(post, path = "/api/sessions/{phone_number}/stop", tag = "Sessions",
    operation_id = "stop_session",
    params(("phone_number" = PhoneText, Path, description = "The session's number")),
    responses((status = 200, description = "It will be stopped", body = SessionView)))]
pub async fn stop(phone: PhonePath, gateway: Data<Gateway>) -> Answer {
    let mut db = gateway.store.client().await?;
    ledger::want(&mut db, &phone.0, SessionWanted::Stopped).await?;
    shown(&db, &phone.0).await
}

/// Log a session out of WhatsApp; it has to be linked again
#[utoipa::path(post, path = "/api/sessions/{phone_number}/logout", tag = "Sessions",
    operation_id = "logout_session",
    params(("phone_number" = PhoneText, Path, description = "The session's number")),
    responses((status = 200, description = "It will be logged out", body = SessionView)))]
pub async fn logout(phone: PhonePath, gateway: Data<Gateway>) -> Answer {
    let db = gateway.store.client().await?;
    ledger::logout(&db, &phone.0).await?;
    shown(&db, &phone.0).await
}

/// Remove a session; running campaigns of its number are cancelled
#[utoipa::path(delete, path = "/api/sessions/{phone_number}", tag = "Sessions",
    operation_id = "delete_session",
    params(("phone_number" = PhoneText, Path, description = "The session's number")),
    responses((status = 200, description = "The last state of the session", body = SessionView)),
    security(("admin_key" = [])))]
pub async fn delete(_: Admin, phone: PhonePath, gateway: Data<Gateway>) -> Answer {
    let mut db = gateway.store.client().await?;
    let last = found(&db, &phone.0).await?;
    let mut last = view(&db, last).await?;
    let cancelled = ledger::remove(&mut db, &phone.0).await?;
    let cancelled = cancelled.ok_or_else(|| Problem::session_unknown(&phone.0))?;
    last.message = format!("Is removed; campaigns cancelled with it: {cancelled}");
    Ok(reply::ok(last))
}

/// Which form of a QR code.
#[derive(Debug)]
pub struct Form {
    image: Option<bool>,
}

const FORMS: &[&str] = &["image", "json"];

impl FromParams for Form {
    fn from_params(params: &mut Params) -> Option<Self> {
        let form = params.read("format", |text| values::one_of(text, FORMS, |name| name));
        Some(Self {
            image: form.map(|form| form == "image"),
        })
    }
}

/// The QR code that links a number
///
/// Waits a few seconds for one that is being made. The picture itself with `Accept: image/png` or
/// `format=image`.
#[utoipa::path(get, path = "/api/sessions/{phone_number}/qr", tag = "Sessions",
    operation_id = "session_qr",
    params(
        ("phone_number" = PhoneText, Path, description = "The session's number"),
        ("format" = Option<String>, Query, description = "`image` for the picture, `json`",
            pattern = "^(image|json)$")),
    responses(
        (status = 200, description = "The code, or that the number is linked already", content(
            (QrView = "application/json"), (Vec<u8> = "image/png"))),
        (status = 409, description = "The session is stopped, or queued", body = ProblemView,
            content_type = "application/problem+json")))]
pub async fn qr(
    req: HttpRequest,
    phone: PhonePath,
    form: Query<Form>,
    gateway: Data<Gateway>,
) -> Answer {
    let accepts = req
        .headers()
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let image = form
        .0
        .image
        .unwrap_or(accepts.is_some_and(|accept| accept.contains("image/png")));
    let (session, code) = wait_for_qr(&gateway, &phone.0).await?;
    Ok(match code {
        Some(code) if image => reply::png(code.png),
        code => qr_view(&gateway, &session, code.as_ref()),
    })
}

fn qr_view(gateway: &Gateway, session: &Session, code: Option<&QrCode>) -> HttpResponse {
    let status = match code {
        Some(_) => SessionStatus::ScanQrCode,
        None => session.status,
    };
    let said = Session {
        status,
        ..session.clone()
    };
    reply::ok(QrView {
        status: status.into(),
        message: words(&said, None),
        qr_code: code.map(QrCode::base64),
        expires_at: code.map(|_| gateway.clock.now() + QR_LIFE),
    })
}

/// The QR code as soon as there is one; none when the number is linked.
async fn wait_for_qr(
    gateway: &Gateway,
    phone: &PhoneNumber,
) -> Result<(Session, Option<QrCode>), Problem> {
    let deadline = gateway.clock.instant() + QR_WAIT;
    reconcile::ask(&gateway.store.client().await?, phone).await?;
    loop {
        let session = {
            let db = gateway.store.client().await?;
            found(&db, phone).await?
        };
        match session.status {
            SessionStatus::Working => return Ok((session, None)),
            // Nobody is making one.
            SessionStatus::Queued => return Err(not_linkable(&session)),
            SessionStatus::Stopped if session.wanted == SessionWanted::Stopped => {
                return Err(not_linkable(&session));
            }
            SessionStatus::ScanQrCode | SessionStatus::Starting => {
                if let Some(code) = ask_for_qr(gateway, &session, deadline).await? {
                    return Ok((session, Some(code)));
                }
            }
            _ => {}
        }
        if gateway.clock.instant() + QR_LOOK_EVERY >= deadline {
            let detail = format!("the QR code is not there yet: {}", words(&session, None));
            return Err(Problem::not_yet(detail, 2));
        }
        gateway.clock.sleep(QR_LOOK_EVERY).await;
    }
}

fn not_linkable(session: &Session) -> Problem {
    Problem::new(Kind::SessionState, words(session, None))
}

/// Asks the worker; `None` when the session does not show a code yet.
async fn ask_for_qr(
    gateway: &Gateway,
    session: &Session,
    deadline: tokio::time::Instant,
) -> Result<Option<QrCode>, Problem> {
    let Some((waha, name)) = worker_of(gateway, session).filter(|_| session.created) else {
        return Ok(None);
    };
    match tokio::time::timeout_at(deadline, waha.qr(&name)).await {
        Err(_) => Ok(None),
        Ok(Ok(code)) => Ok(Some(code)),
        Ok(Err(CallError::WrongStatus { .. } | CallError::NotFound { .. })) => Ok(None),
        Ok(Err(error)) => Err(Problem::worker_away(&error)),
    }
}

/// The server that a session is on, and its name there.
fn worker_of(gateway: &Gateway, session: &Session) -> Option<(Waha, String)> {
    let place = session.place.as_ref()?;
    let waha = gateway.waha_at(&place.url, place.api_key.clone())?;
    Some((waha, place.waha_name.clone()))
}

/// The same for a session that must be placed.
fn need_worker(gateway: &Gateway, session: &Session) -> Result<(Waha, String), Problem> {
    worker_of(gateway, session)
        .filter(|_| session.created)
        .ok_or_else(|| Problem::new(Kind::SessionState, words(session, None)))
}

/// What a worker's refusal means for whoever asked.
fn refused(session: &Session, error: CallError) -> Problem {
    match error {
        CallError::WrongStatus { .. } | CallError::NotFound { .. } => {
            Problem::new(Kind::SessionState, words(session, None))
        }
        CallError::NotOffered { .. } | CallError::Refused { .. } => {
            Problem::new(Kind::SessionState, error.to_string())
        }
        other => Problem::worker_away(&other),
    }
}

/// A code that links the number by being typed on the phone
#[utoipa::path(post, path = "/api/sessions/{phone_number}/pairing-code", tag = "Sessions",
    operation_id = "session_pairing_code",
    params(("phone_number" = PhoneText, Path, description = "The session's number")),
    responses(
        (status = 200, description = "The code", body = PairingCodeView),
        (status = 409, description = "The session does not wait to be linked", body = ProblemView,
            content_type = "application/problem+json")))]
pub async fn pairing_code(phone: PhonePath, gateway: Data<Gateway>) -> Answer {
    let session = found(&gateway.store.client().await?, &phone.0).await?;
    let (waha, name) = need_worker(&gateway, &session)?;
    let code = waha.pairing_code(&name, &phone.0).await;
    let code = code.map_err(|error| refused(&session, error))?;
    Ok(reply::ok(PairingCodeView { code }))
}

/// Who is linked
#[utoipa::path(get, path = "/api/sessions/{phone_number}/me", tag = "Sessions",
    operation_id = "session_me",
    params(("phone_number" = PhoneText, Path, description = "The session's number")),
    responses(
        (status = 200, description = "Who is linked, if anybody", body = MeView),
        (status = 409, description = "The session is not running", body = ProblemView,
            content_type = "application/problem+json")))]
pub async fn me(phone: PhonePath, gateway: Data<Gateway>) -> Answer {
    let session = found(&gateway.store.client().await?, &phone.0).await?;
    let (waha, name) = need_worker(&gateway, &session)?;
    let me = waha
        .me(&name)
        .await
        .map_err(|error| refused(&session, error))?;
    let (id, push_name, lid) =
        me.map_or((None, None, None), |me| (Some(me.id), me.push_name, me.lid));
    let phone_number = phone.0.to_string();
    Ok(reply::ok(MeView {
        phone_number,
        id,
        push_name,
        lid,
    }))
}
