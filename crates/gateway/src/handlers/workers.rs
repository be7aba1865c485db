//! Workers: registered, looked at, changed, removed.

use actix_web::HttpRequest;
use actix_web::web::Data;
use models::ids::WorkerId;
use secrecy::SecretString;
use store::workers::{
    self as ledger, Deletion, Identity, Limit, NewWorker, Worker, WorkerChange, Write,
};
use url::Url;
use waha::CallError;
use waha::server::ServerInfo;

use crate::auth::Admin;
use crate::extract::params::{FromParams, Page, Params};
use crate::extract::{Json, Query, WorkerPath};
use crate::problem::{Kind, Problem, ProblemView};
use crate::reply::{self, Answer};
use crate::state::Gateway;
use crate::views::requests::{WorkerPatch, WorkerRequest};
use crate::views::workers::{CleanupView, WorkerView};

mod request;

use request::NAME_CHARS_MAX;
pub use request::{Patch, Registration};

/// Said with a weak key, because its cause is not seen from the failure.
const WEAK_NOTE: &str = "WAHA takes this key for none, makes up its own at each start and refuses \
     this one; give the server a real WAHA_API_KEY";

/// Whether to ask the worker who it is.
#[derive(Debug)]
pub struct Check(bool);

impl FromParams for Check {
    fn from_params(params: &mut Params) -> Option<Self> {
        Some(Self(params.flag("check").unwrap_or(true)))
    }
}

/// Asks a worker who it is.
async fn identify(
    gateway: &Gateway,
    url: &str,
    key: SecretString,
    weak: bool,
) -> Result<Identity, Problem> {
    let Some(waha) = gateway.waha_at(url, key) else {
        return Err(Problem::fault("/url", "is not a URL"));
    };
    waha.version().await.map(identity).map_err(|error| {
        let note = if weak {
            format!(" ({WEAK_NOTE})")
        } else {
            String::new()
        };
        let pointer = match error {
            CallError::Unauthorized => "/api_key",
            _ => "/url",
        };
        let detail = format!("{error}{note}; ?check=false registers it unseen");
        Problem::worker_refused(pointer, detail)
    })
}

fn identity(info: ServerInfo) -> Identity {
    Identity {
        version: info.version.to_string(),
        engine: info.engine.name().to_owned(),
        tier: info.tier.name().to_owned(),
        capabilities: info.capabilities(),
    }
}

fn limit(own: Option<i32>, setting: i32) -> Limit {
    Limit {
        value: own.unwrap_or(setting),
        inherited: own.is_none(),
    }
}

/// Register a worker
///
/// It is asked who it is first; `check=false` registers it unseen.
#[utoipa::path(post, path = "/api/admin/workers", tag = "Workers", operation_id = "register_worker",
    request_body = WorkerRequest,
    params(
        ("check" = Option<bool>, Query, description = "Ask the worker first; true unless given")),
    responses(
        (status = 201, description = "It was registered", body = WorkerView),
        (status = 409, description = "Another worker has this URL", body = ProblemView,
            content_type = "application/problem+json")),
    security(("admin_key" = [])))]
pub async fn register(
    _: Admin,
    wanted: Json<Registration>,
    check: Query<Check>,
    gateway: Data<Gateway>,
) -> Answer {
    let Json(wanted) = wanted;
    let (url, key) = (&wanted.url, &wanted.api_key);
    // Before it is asked: one that is down is there all the same.
    if ledger::is_registered(&gateway.store.client().await?, url).await? {
        return Err(url_taken());
    }
    let identity = match check.0.0 {
        true => Some(identify(&gateway, url, key.clone(), wanted.weak_key).await?),
        false => None,
    };
    let weak = wanted.weak_key;
    let worker = new_worker(&gateway, wanted, identity);
    let written = ledger::register(&mut gateway.store.client().await?, worker).await?;
    let view = written_view(written, weak)?;
    Ok(reply::created(
        true,
        &format!("/api/admin/workers/{}", view.id),
        view,
    ))
}

fn new_worker(gateway: &Gateway, wanted: Registration, identity: Option<Identity>) -> NewWorker {
    let host = |url: &str| {
        let url = Url::parse(url).ok()?;
        let path = url.path().trim_end_matches('/').to_owned();
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        Some(
            format!("{}{port}{path}", url.host_str()?)
                .chars()
                .take(NAME_CHARS_MAX)
                .collect(),
        )
    };
    NewWorker {
        id: WorkerId::new(gateway.chance.uuid_v7()),
        name: wanted
            .name
            .or_else(|| host(&wanted.url))
            .unwrap_or_else(|| "worker".to_owned()),
        url: wanted.url,
        api_key: wanted.api_key,
        capacity: limit(wanted.capacity, gateway.capacity.sessions_per_worker),
        max_live: limit(wanted.max_live, gateway.capacity.live_sessions),
        identity,
    }
}

fn url_taken() -> Problem {
    let detail = "a worker with this URL is registered already";
    Problem::new(Kind::WorkerUrlTaken, detail)
}

fn written_view(written: Write, weak_key: bool) -> Result<WorkerView, Problem> {
    match written {
        Write::Missing => Err(Problem::new(Kind::WorkerUnknown, "there is no such worker")),
        Write::UrlTaken => Err(url_taken()),
        Write::Done(worker) => Ok(WorkerView {
            note: weak_key.then(|| WEAK_NOTE.to_owned()),
            ..WorkerView::from(*worker)
        }),
    }
}

/// All workers with their load and health, newest first
#[utoipa::path(get, path = "/api/admin/workers", tag = "Workers", operation_id = "list_workers",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "From a Link header")),
    responses((status = 200, description = "One page of workers", body = Vec<WorkerView>)),
    security(("admin_key" = [])))]
pub async fn list(
    _: Admin,
    req: HttpRequest,
    page: Query<Page<WorkerId>>,
    gateway: Data<Gateway>,
) -> Answer {
    let db = gateway.store.client().await?;
    let mut rows = ledger::list(&db, page.0.after, page.0.limit_and_one()).await?;
    let next = page.0.cut(&mut rows, |row| row.id);
    let views: Vec<_> = rows.into_iter().map(WorkerView::from).collect();
    Ok(reply::page(&req, views, next.as_deref()))
}

/// One worker
#[utoipa::path(get, path = "/api/admin/workers/{worker_id}", tag = "Workers",
    operation_id = "get_worker",
    params(("worker_id" = Uuid, Path, description = "The worker's id")),
    responses((status = 200, description = "How it is", body = WorkerView)),
    security(("admin_key" = [])))]
pub async fn get(_: Admin, id: WorkerPath, gateway: Data<Gateway>) -> Answer {
    let worker = found(&gateway, id.0).await?;
    Ok(reply::ok(WorkerView::from(worker)))
}

async fn found(gateway: &Gateway, id: WorkerId) -> Result<Worker, Problem> {
    let worker = ledger::one(&gateway.store.client().await?, id).await?;
    worker.ok_or_else(|| unknown(id))
}

/// Change a worker
///
/// A new URL or key is tried first; `check=false` takes it unseen.
#[utoipa::path(patch, path = "/api/admin/workers/{worker_id}", tag = "Workers",
    operation_id = "update_worker",
    request_body = WorkerPatch,
    params(
        ("worker_id" = Uuid, Path, description = "The worker's id"),
        ("check" = Option<bool>, Query,
            description = "Try a new URL or key first; true unless given")),
    responses(
        (status = 200, description = "The worker now", body = WorkerView),
        (status = 409, description = "Another worker has this URL", body = ProblemView,
            content_type = "application/problem+json")),
    security(("admin_key" = [])))]
pub async fn update(
    _: Admin,
    id: WorkerPath,
    patch: Json<Patch>,
    check: Query<Check>,
    gateway: Data<Gateway>,
) -> Answer {
    let Json(patch) = patch;
    let now = found(&gateway, id.0).await?;
    let weak = patch.weak_key;
    let moved = patch.url.is_some() || patch.api_key.is_some();
    let identity = if moved && check.0.0 {
        let url = patch.url.clone().unwrap_or(now.url);
        let key = patch.api_key.clone().unwrap_or(now.api_key);
        Some(identify(&gateway, &url, key, weak).await?)
    } else {
        None
    };
    let change = change(&gateway, patch, identity);
    let written = ledger::change(&gateway.store.client().await?, id.0, change).await?;
    Ok(reply::ok(written_view(written, weak)?))
}

fn change(gateway: &Gateway, patch: Patch, identity: Option<Identity>) -> WorkerChange {
    let settings = &gateway.capacity;
    WorkerChange {
        url: patch.url,
        name: patch.name,
        api_key: patch.api_key,
        capacity: patch
            .capacity
            .map(|own| limit(own, settings.sessions_per_worker)),
        max_live: patch.max_live.map(|own| limit(own, settings.live_sessions)),
        state: patch.state,
        identity,
    }
}

/// Whether sessions may go with their worker.
#[derive(Debug)]
pub struct Force(bool);

impl FromParams for Force {
    fn from_params(params: &mut Params) -> Option<Self> {
        Some(Self(params.flag("force").unwrap_or(false)))
    }
}

/// Delete a worker
///
/// One that holds sessions only with `force=true`: they are removed with it, and their campaigns
/// are cancelled.
#[utoipa::path(delete, path = "/api/admin/workers/{worker_id}", tag = "Workers",
    operation_id = "delete_worker",
    params(
        ("worker_id" = Uuid, Path, description = "The worker's id"),
        ("force" = Option<bool>, Query, description = "Remove its sessions too")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "It holds sessions", body = ProblemView,
            content_type = "application/problem+json")),
    security(("admin_key" = [])))]
pub async fn delete(
    _: Admin,
    id: WorkerPath,
    force: Query<Force>,
    gateway: Data<Gateway>,
) -> Answer {
    let mut db = gateway.store.client().await?;
    let deletion = match force.0.0 {
        true => ledger::delete_by_force(&mut db, id.0).await?,
        false => ledger::delete(&db, id.0).await?,
    };
    match deletion {
        Deletion::Deleted(_) => Ok(reply::nothing()),
        Deletion::Missing => Err(unknown(id.0)),
        Deletion::Holds(count) => Err(holds_sessions(count)),
    }
}

fn unknown(id: WorkerId) -> Problem {
    Problem::new(Kind::WorkerUnknown, format!("there is no worker {id}"))
}

fn holds_sessions(count: i64) -> Problem {
    let detail = format!("it holds {count} sessions; ?force=true removes them with it");
    Problem::new(Kind::WorkerHoldsSessions, detail)
}

/// Remove all workers and all sessions
#[utoipa::path(delete, path = "/api/admin/workers/cleanup", tag = "Workers",
    operation_id = "clean_up_workers",
    responses((status = 200, description = "What was removed", body = CleanupView)),
    security(("admin_key" = [])))]
pub async fn clean_up(_: Admin, gateway: Data<Gateway>) -> Answer {
    let removed = ledger::clean_up(&mut gateway.store.client().await?).await?;
    Ok(reply::ok(CleanupView::from(removed)))
}
