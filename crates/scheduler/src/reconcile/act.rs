//! One step of a session, as calls to its worker.

use policy::session_plan::Step;
use store::reconcile::Due;
use waha::sessions::{GENERATION, SessionConfig, SessionInfo, WebhookConfig};
use waha::{CallError, Waha};

use crate::fleet::Fleet;

/// What is listened to. `message.any` tells of our own messages as soon as the worker made them.
const EVENTS: [&str; 3] = ["session.status", "message.ack", "message.any"];

/// Does `step`; gives the session as the worker shows it after, where it says.
pub(super) async fn act(
    fleet: &Fleet,
    waha: &Waha,
    due: &Due,
    step: Step,
) -> Result<Option<SessionInfo>, CallError> {
    let name = &due.waha_name;
    match step {
        Step::Create => create(waha, name, &config(fleet, due)).await,
        Step::Configure => waha.update_session(name, &config(fleet, due)).await,
        Step::Start => waha.start(name).await,
        Step::Restart => waha.restart(name).await,
        Step::Stop => waha.stop(name).await,
        Step::Logout => waha.logout(name).await,
        Step::Delete => waha.delete_session(name).await.map(|()| None),
        Step::TakeLiveSlot | Step::Forget | Step::Wait(_) | Step::Done => Ok(None),
    }
}

/// A session of that name may have been left there: then it is made ours, and started next.
async fn create(
    waha: &Waha,
    name: &str,
    config: &SessionConfig,
) -> Result<Option<SessionInfo>, CallError> {
    match waha.create_session(name, config).await {
        Ok(info) => Ok(Some(info)),
        Err(CallError::AlreadyExists) => waha.update_session(name, config).await,
        Err(error) => Err(error),
    }
}

/// How a session is set up on its worker.
fn config(fleet: &Fleet, due: &Due) -> SessionConfig {
    let key = &fleet.settings.webhook_hmac_key;
    let webhook = WebhookConfig {
        url: fleet.webhook_url(&due.phone, due.generation),
        events: EVENTS.map(str::to_owned).to_vec(),
        hmac_key: due.worker.webhook_hmac.then(|| key.clone()),
        retries: None,
        headers: Vec::new(),
    };
    SessionConfig {
        metadata: [(GENERATION.to_owned(), due.generation.to_string())].into(),
        webhooks: vec![webhook],
    }
}
