//! Finding a session and waiting for its status (contract section 7.1).

use std::time::Duration;

use base64::Engine as _;
use tokio::time::Instant;

use crate::answer::Failure;
use crate::sim::Cx;
use crate::status::Status;

/// Milliseconds between two looks.
const POLL_MILLIS: u64 = 500;
/// A session gets this long to run.
const RUN_MILLIS: u64 = 5_000;
/// And this long more to reach the status, from 2025 on.
const STATUS_MILLIS: u64 = 10_000;

/// Refuses any name but `default` where there can be no other.
pub(crate) fn only_default(cx: &Cx, name: &str) -> Result<(), Failure> {
    let profile = cx.profile();
    if profile.many_sessions() || name == "default" {
        return Ok(());
    }
    let tried = if profile.ancient() {
        String::new()
    } else {
        let coded = base64::engine::general_purpose::STANDARD.encode(name);
        format!("You tried to access '{name}' session (base64: {coded}). ")
    };
    Err(Failure::nest(
        422,
        format!(
            "WAHA Core support only 'default' session. {tried}If you want to run more then one \
             WhatsApp account - please get WAHA PLUS version. \
             Check this out: https://waha.devlike.pro/"
        ),
    ))
}

/// The 404 of a session that is not running.
pub(crate) fn not_running(name: &str) -> Failure {
    let text = format!(
        "We didn't find a session with name '{name}'.\n\
         Please start it first by using POST /api/sessions/{name}/start request"
    );
    Failure::nest(404, text)
}

fn status_of(cx: &Cx, name: &str) -> Option<Status> {
    cx.lock().sessions.get(name).map(|session| session.status)
}

/// Returns at once when the session is in the status, else waits as WAHA does before it refuses.
pub(crate) async fn for_status(cx: &Cx, name: &str, wanted: Status) -> Result<(), Failure> {
    only_default(cx, name)?;
    let status = for_running(cx, name).await?;
    if status == wanted {
        return Ok(());
    }
    let wait = if cx.profile().ancient() {
        RUN_MILLIS
    } else {
        STATUS_MILLIS
    };
    let reached = poll(cx, wait, || {
        status_of(cx, name).filter(|status| *status == wanted)
    })
    .await;
    if reached.is_some() {
        return Ok(());
    }
    let status = status_of(cx, name).unwrap_or(Status::Stopped);
    Err(Failure::NotInStatus {
        session: name.to_owned(),
        status,
        expected: wanted,
    })
}

/// Waits for the session to run at all and tells its status.
pub(crate) async fn for_running(cx: &Cx, name: &str) -> Result<Status, Failure> {
    only_default(cx, name)?;
    let running = || status_of(cx, name).filter(|status| *status != Status::Stopped);
    if cx.profile().ancient() {
        return running().ok_or_else(|| not_running(name));
    }
    if let Some(status) = poll(cx, RUN_MILLIS, running).await {
        return Ok(status);
    }
    Err(match status_of(cx, name) {
        None => Failure::NoSuchSession(name.to_owned()),
        Some(status) => Failure::NotInStatus {
            session: name.to_owned(),
            status,
            expected: Status::Working,
        },
    })
}

async fn poll(cx: &Cx, wait_millis: u64, look: impl Fn() -> Option<Status>) -> Option<Status> {
    let until = Instant::now() + cx.wait(wait_millis);
    let pause = cx.wait(POLL_MILLIS).max(Duration::from_millis(1));
    loop {
        if let Some(status) = look() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
    }
}
