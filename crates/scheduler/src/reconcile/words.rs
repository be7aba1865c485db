//! What people are told about a session that is not as wanted.

use models::session::SessionStatus;
use policy::session_plan::{Step, Wait};

/// What it waits for.
pub(super) const fn wait(wait: Wait, status: SessionStatus) -> &'static str {
    match (wait, status) {
        (Wait::Connecting, _) => "is connecting to WhatsApp",
        (Wait::Linking, SessionStatus::PasskeyRequired) => {
            "waits for a person to confirm a passkey on its worker"
        }
        (Wait::Linking, _) => "waits for its QR code to be scanned",
        (Wait::Relinking, _) => "is not linked; ask for its QR code to link it",
        (Wait::Puzzled, _) => "is in a status that this version does not know",
    }
}

/// What was done last.
pub(super) fn after(step: Step, worker: &str) -> String {
    match step {
        Step::Create => format!("was made on worker {worker}"),
        Step::Configure => format!("was set up on worker {worker}"),
        Step::Start | Step::Restart => "is being started".to_owned(),
        Step::Stop => "is being stopped".to_owned(),
        Step::Logout => "was logged out".to_owned(),
        Step::Delete | Step::Forget => "is being removed".to_owned(),
        Step::TakeLiveSlot | Step::Wait(_) | Step::Done => "is being looked at".to_owned(),
    }
}
