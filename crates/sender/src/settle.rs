//! Finding out what became of a message that may have been heard.
//!
//! Nothing but a find is proof of anything: what the worker does not know of is UNKNOWN. A worker
//! that does not answer says nothing at all, so it is asked again until it is back; meanwhile
//! its lane says nothing, because every further message would end the same way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use models::phone::PhoneNumber;
use models::template::Template;
use policy::lane::Moment;
use store::ledger::{Cause, Concluded, Outcome};
use store::{StoreError, lanes, roster};
use time::OffsetDateTime;
use waha::messages::Lookup;
use waha::{CallClass, CallError};

use crate::flight::{Line, cause};

/// How long a session that is not ready is waited for: a restart takes seconds, a person hours.
const SESSION_MAX: Duration = Duration::from_secs(60);
/// The pause between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Who was to hear what, and since when that may have been.
pub(crate) type Said<'a> = (&'a PhoneNumber, &'a str, OffsetDateTime);

/// Counts one look-up that waits for its worker, for as long as it is held.
struct Away<'a>(&'a Line);

impl<'a> Away<'a> {
    /// True with the first one: it tells people why the lane waits.
    fn enter(line: &'a Line) -> (Self, bool) {
        (Self(line), line.away.fetch_add(1, Ordering::AcqRel) == 0)
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.away.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Line {
    /// Whether the worker is known not to answer.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire) > 0
    }

    /// Settles a message that somebody before us claimed and never concluded. `ours` says that it
    /// was claimed in this tenure: then it was never sent, because all that we send we conclude.
    /// `None`: we leave the lane before that is known.
    pub async fn settle(
        &self,
        speaker: &roster::Speaker,
        in_flight: &roster::InFlight,
        ours: bool,
    ) -> Option<(Option<Concluded>, Outcome)> {
        let outcome = if ours {
            let detail = "the claim's answer was lost; nothing was sent".to_owned();
            let cause = cause("claim_lost", detail);
            Outcome::Again {
                cause,
                retry_in: Duration::ZERO,
                number_rests: false,
            }
        } else {
            self.look_up_claimed(speaker, in_flight).await?
        };
        let written = self
            .write(speaker.phone.clone(), in_flight.key, outcome.clone())
            .await;
        Some((written, outcome))
    }

    async fn look_up_claimed(
        &self,
        speaker: &roster::Speaker,
        in_flight: &roster::InFlight,
    ) -> Option<Outcome> {
        let detail = "the process that was sending it ended before it wrote down the answer";
        let unknown = cause("owner_died", detail.to_owned());
        if in_flight.worker != self.tenure.worker {
            return Some(Outcome::Unknown(unknown));
        }
        let Some(said) = self.said(in_flight).await? else {
            return Some(Outcome::Unknown(unknown));
        };
        let text = Template::parse(&said.template, true).ok();
        let text = text.and_then(|template| template.render(&said.own, &said.shared).ok());
        let Some(text) = text else {
            return Some(Outcome::Unknown(unknown));
        };
        let began = self.context.clock.now() - in_flight.claimed_ago;
        self.look_up(&speaker.waha_name, (&said.recipient, &text, began), unknown)
            .await
    }

    /// Reads what a message said, however long the database takes to come back.
    async fn said(&self, in_flight: &roster::InFlight) -> Option<Option<roster::Said>> {
        loop {
            let read = async {
                let client = self.context.store.client().await?;
                roster::said(&client, in_flight.key).await
            };
            match read.await {
                Ok(said) => return Some(said),
                Err(error) if !error.is_unavailable() => return Some(None),
                Err(_) => self.pause().await?,
            }
        }
    }

    /// Asks the worker whether it said a text to somebody since a moment.
    pub(crate) async fn look_up(
        &self,
        session: &str,
        (to, text, began): Said<'_>,
        unknown: Cause,
    ) -> Option<Outcome> {
        // WAHA's times are whole seconds.
        let since = began - time::Duration::seconds(1);
        let asked_at = self.context.moments.now();
        let mut away = None;
        loop {
            match self.waha.find_sent(session, to, text, since).await {
                Ok(Lookup::Found { message_id }) => {
                    return Some(Outcome::Sent {
                        message_id: Some(message_id),
                    });
                }
                Ok(Lookup::NotFound | Lookup::Unsupported) => break,
                Err(error) if self.is_over(&error, asked_at) => break,
                Err(error) if is_away(&error) => {
                    let (_, leads) = away.get_or_insert_with(|| Away::enter(self));
                    if *leads {
                        self.tell(&error).await;
                    }
                }
                Err(_) => away = None,
            }
            self.pause().await?;
        }
        Some(Outcome::Unknown(unknown))
    }

    /// Whether a look-up that failed like this has been tried for long enough.
    fn is_over(&self, error: &CallError, asked_at: Moment) -> bool {
        let tried = self.context.moments.now().saturating_sub(asked_at);
        match error.class() {
            CallClass::Down | CallClass::Misconfigured | CallClass::Faulty => {
                tried > self.context.settings.settle_max
            }
            CallClass::Session | CallClass::Status => tried > SESSION_MAX,
            CallClass::Refused => true,
        }
    }

    /// Notes where people look for reasons that the lane waits for its worker.
    async fn tell(&self, error: &CallError) {
        let reason = format!("the worker does not answer: {error}").replace('\0', "");
        let note = async {
            let client = self.context.store.client().await?;
            lanes::rest(
                &client,
                self.context.replica,
                self.tenure,
                2 * ASK_EVERY,
                &reason,
            )
            .await
        };
        if let Err::<(), StoreError>(error) = note.await {
            tracing::debug!("a note was not written: {error}");
        }
    }

    /// Waits before the next question; `None` when we are to leave the lane.
    async fn pause(&self) -> Option<()> {
        tokio::select! {
            () = self.leaving.requested() => None,
            () = self.context.clock.sleep(ASK_EVERY) => Some(()),
        }
    }
}

fn is_away(error: &CallError) -> bool {
    matches!(
        error.class(),
        CallClass::Down | CallClass::Misconfigured | CallClass::Faulty
    )
}
