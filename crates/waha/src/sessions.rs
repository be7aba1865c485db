//! Sessions on a worker: make, look at, start, stop, remove.

use std::collections::BTreeMap;
use std::fmt;

use models::outcome::RESTRICTED;
use models::phone::PhoneNumber;
use models::session::SessionStatus;
use reqwest::Method;
use secrecy::SecretString;
use time::OffsetDateTime;
use url::Url;

use crate::client::Waha;
use crate::dto::answers;
use crate::dto::requests::{Config, CreateSession, UpdateSession};
use crate::error::{CallError, call, order};

/// The status that a worker reports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SeenStatus {
    /// Not running; the login may still be there.
    Stopped,
    /// Connecting.
    Starting,
    /// Waits to be linked.
    ScanQrCode,
    /// Waits for a person with a passkey (both of WAHA's words for it).
    PasskeyRequired,
    /// May send. No proof that anything arrives.
    Working,
    /// Gave up, or was logged out.
    Failed,
    /// A word that came after this was written.
    Other(String),
}

impl SeenStatus {
    pub(crate) fn parse(word: &str) -> Self {
        match word {
            "STOPPED" => Self::Stopped,
            "STARTING" => Self::Starting,
            "SCAN_QR_CODE" => Self::ScanQrCode,
            "PASSKEY_REQUIRED" | "PASSKEY_CONFIRMATION_REQUIRED" => Self::PasskeyRequired,
            "WORKING" => Self::Working,
            "FAILED" => Self::Failed,
            other => Self::Other(crate::redact::redact(other)),
        }
    }

    /// The same in our words; none for a word we do not know.
    pub fn known(&self) -> Option<SessionStatus> {
        match self {
            Self::Stopped => Some(SessionStatus::Stopped),
            Self::Starting => Some(SessionStatus::Starting),
            Self::ScanQrCode => Some(SessionStatus::ScanQrCode),
            Self::PasskeyRequired => Some(SessionStatus::PasskeyRequired),
            Self::Working => Some(SessionStatus::Working),
            Self::Failed => Some(SessionStatus::Failed),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for SeenStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.known(), self) {
            (Some(status), _) => f.write_str(status.name()),
            (None, Self::Other(word)) => f.write_str(word),
            (None, _) => Ok(()),
        }
    }
}

/// Who is linked to a session. `Debug` masks the number and hides the name.
#[derive(Clone, PartialEq, Eq)]
pub struct Me {
    /// WhatsApp's id: `<digits>@c.us`.
    pub id: String,
    /// The number in it.
    pub phone: Option<PhoneNumber>,
    /// The name that recipients see.
    pub push_name: Option<String>,
    /// The other id: `<digits>@lid`.
    pub lid: Option<String>,
    /// WhatsApp does not let the number start new chats (2026.7.2 and later). Absent is no proof.
    pub restriction: Option<Restriction>,
}

impl fmt::Debug for Me {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Me")
            .field("phone", &self.phone)
            .field("restriction", &self.restriction)
            .finish_non_exhaustive()
    }
}

/// What WhatsApp holds against a number (WAHA contract, section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestrictionKind {
    /// Error 463: it may not start chats for a while.
    TimeLocked,
    /// Error 475: its quota of new chats is used up.
    QuotaUsedUp,
}

impl RestrictionKind {
    /// The code of the refusals that come of it; one of `models::outcome::RESTRICTED`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TimeLocked => RESTRICTED[0],
            Self::QuotaUsedUp => RESTRICTED[1],
        }
    }

    /// In words for people.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TimeLocked => "WhatsApp does not let the number start new chats (error 463)",
            Self::QuotaUsedUp => "the number's quota of new chats is used up (error 475)",
        }
    }
}

/// No restriction of WhatsApp is stated for longer.
const RESTRICTION_MAX: time::Duration = time::Duration::days(366);

/// A restriction as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restriction {
    /// Which.
    pub kind: RestrictionKind,
    /// When it ends, if WhatsApp said so.
    pub until: Option<OffsetDateTime>,
}

impl Restriction {
    /// The restriction, unless it is over at `now`: workers go on telling of it for a while.
    /// Without an end where that cannot be believed.
    #[must_use]
    pub fn in_force_at(self, now: OffsetDateTime) -> Option<Self> {
        let until = self.until.filter(|until| *until - now <= RESTRICTION_MAX);
        let over = until.is_some_and(|until| until <= now);
        (!over).then_some(Self { until, ..self })
    }
}

/// A session as its worker shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its name on the worker.
    pub name: String,
    /// Its status.
    pub status: SeenStatus,
    /// Who is linked; may outlive the link.
    pub me: Option<Me>,
    /// The instance that runs it, when instances have names.
    pub assigned_worker: Option<String>,
    /// What it was created with; empty after a restart of an old version.
    pub metadata: BTreeMap<String, String>,
    /// Where its own webhooks go; empty after a restart of an old version.
    pub webhook_urls: Vec<String>,
}

/// How a session is set up. Replaces what was there as a whole.
#[derive(Debug, Clone, Default)]
pub struct SessionConfig {
    /// Comes back in each webhook.
    pub metadata: BTreeMap<String, String>,
    /// Who is told what happens.
    pub webhooks: Vec<WebhookConfig>,
}

/// A receiver of events.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Where to.
    pub url: Url,
    /// Which, by WAHA's names; see [`EVENTS`].
    pub events: Vec<String>,
    /// Signs each delivery, where the worker can.
    pub hmac_key: Option<SecretString>,
    /// How failed deliveries are repeated; WAHA's default is 15 times, every 2 s.
    pub retries: Option<Retries>,
    /// Sent with each delivery.
    pub headers: Vec<(String, SecretString)>,
}

/// The key in a session's metadata that says which placement of a number it is; it comes back in
/// each webhook.
pub const GENERATION: &str = "wahacast.generation";

/// The events that this crate understands.
pub const EVENTS: &[&str] = &["session.status", "message.ack", "message.any", "message"];

/// How failed deliveries are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How the pauses grow.
    pub policy: Policy,
    /// The first pause, in seconds.
    pub delay_seconds: u32,
    /// Deliveries after the first.
    pub attempts: u32,
}

/// How pauses grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Not at all.
    Constant,
    /// By the first pause each time.
    Linear,
    /// Twofold each time.
    Exponential,
}

fn path<'a>(session: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["api", "sessions", session], rest].concat()
}

impl Waha {
    /// All sessions, stopped ones included.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, CallError> {
        let request = self.read(&["api", "sessions"], &[("all", "true")]);
        call(request, answers::sessions).await
    }

    /// One session.
    ///
    /// # Errors
    /// [`CallError::NotFound`] when the worker does not know it; see [`CallError`].
    pub async fn session(&self, session: &str) -> Result<SessionInfo, CallError> {
        call(self.read(&path(session, &[]), &[]), answers::session).await
    }

    /// Makes a session and starts it.
    ///
    /// # Errors
    /// [`CallError::AlreadyExists`] when there is one of that name (an old Core always has
    /// `default`): then [`Waha::update_session`] and [`Waha::start`] lead to the same end.
    pub async fn create_session(
        &self,
        session: &str,
        config: &SessionConfig,
    ) -> Result<SessionInfo, CallError> {
        let body = CreateSession {
            name: session,
            start: true,
            config: Config::of(config),
        };
        let request = self.change(Method::POST, &["api", "sessions"]).json(&body);
        call(request, answers::session).await
    }

    /// Replaces a session's set-up. A running session is stopped and started by this.
    ///
    /// # Errors
    /// [`CallError::NotFound`] when the worker does not know it; see [`CallError`].
    pub async fn update_session(
        &self,
        session: &str,
        config: &SessionConfig,
    ) -> Result<Option<SessionInfo>, CallError> {
        let body = UpdateSession {
            config: Config::of(config),
        };
        let request = self.change(Method::PUT, &path(session, &[])).json(&body);
        call(request, answers::maybe_session).await
    }

    /// Starts a session; one that runs already is left alone. `None` when the worker did not
    /// say how the session is now.
    ///
    /// # Errors
    /// [`CallError::NotFound`] when the worker does not know it; see [`CallError`].
    pub async fn start(&self, session: &str) -> Result<Option<SessionInfo>, CallError> {
        match self.act(session, "start").await {
            Err(CallError::AlreadyStarted) => Ok(None),
            other => other,
        }
    }

    /// Stops a session and keeps its login. An unknown session is no error.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn stop(&self, session: &str) -> Result<Option<SessionInfo>, CallError> {
        self.act(session, "stop").await
    }

    /// Stops and starts a session, keeping its login.
    ///
    /// # Errors
    /// [`CallError::NotFound`] when the worker does not know it; see [`CallError`].
    pub async fn restart(&self, session: &str) -> Result<Option<SessionInfo>, CallError> {
        self.act(session, "restart").await
    }

    /// Wipes a session's login. One that was running waits to be linked again.
    ///
    /// # Errors
    /// [`CallError::NotFound`] when the worker does not know it; see [`CallError`].
    pub async fn logout(&self, session: &str) -> Result<Option<SessionInfo>, CallError> {
        self.act(session, "logout").await
    }

    /// Removes a session with its login. An unknown session is no error.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn delete_session(&self, session: &str) -> Result<(), CallError> {
        match order(self.change(Method::DELETE, &path(session, &[]))).await {
            Err(CallError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Who is linked to a running session, if anybody is.
    ///
    /// # Errors
    /// [`CallError::NotFound`] also when the session is not running; see [`CallError`].
    pub async fn me(&self, session: &str) -> Result<Option<Me>, CallError> {
        let request = self.read(&path(session, &["me"]), &[]);
        call(request, answers::maybe_me).await
    }

    async fn act(&self, session: &str, verb: &str) -> Result<Option<SessionInfo>, CallError> {
        let request = self.change(Method::POST, &path(session, &[verb]));
        call(request, answers::maybe_session).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restriction_that_is_over_says_nothing() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        let day = time::Duration::days(1);
        for (until, told) in [
            (None, Some(None)),
            (Some(now + day), Some(Some(now + day))),
            (Some(now), None),
            (Some(now - day), None),
            (Some(now + 400 * day), Some(None)),
        ] {
            let kind = RestrictionKind::TimeLocked;
            let restriction = Restriction { kind, until }.in_force_at(now);
            let end = restriction.map(|restriction| restriction.until);
            assert_eq!(end, told, "{until:?}");
        }
    }
}
