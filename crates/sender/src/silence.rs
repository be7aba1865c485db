//! The ack watchdog: a number of whose messages WhatsApp reports nothing any more.
//!
//! A worker that takes messages proves nothing about WhatsApp. A number whose acks stopped coming
//! rests; then one message goes as a probe, and only an ack makes the number healthy again.

use std::time::Duration;

use models::phone::PhoneNumber;
use policy::health::{Silence, rest_after, silent};
use store::health;
use store::ledger::Concluded;

use crate::flight::Line;

impl Line {
    /// Puts a number to rest if its acks stopped coming; returns whether it did. An ack that came
    /// meanwhile, or a restriction, keeps it from that; a note that cannot be written is made up
    /// for by the next message.
    pub(crate) async fn rest_if_silent(&self, phone: &PhoneNumber, after: &Concluded) -> bool {
        let settings = &self.context.settings;
        let silence = Silence {
            messages: settings.silence_messages,
            after: settings.silence_after,
            rest: settings.silence_rest,
            rest_max: settings.silence_rest_max,
        };
        let unacked = u32::try_from(after.unacked).unwrap_or_default();
        let unacked_for = after.unacked_for.unwrap_or(Duration::ZERO);
        if !silent(unacked, unacked_for, after.ever_acked, &silence) {
            return false;
        }
        let rests = u32::try_from(after.rests).unwrap_or_default();
        let rest = rest_after(rests, &silence);
        let reason = format!(
            "WhatsApp has reported nothing of the last {unacked} messages; \
             one goes as a probe after the rest"
        );
        let least = i32::try_from(silence.messages).unwrap_or(i32::MAX);
        let note = async {
            let client = self.context.store.client().await?;
            health::rest_silent(&client, phone, least, rest, &reason).await
        };
        let rested = note
            .await
            .inspect_err(|error| tracing::warn!("a silent number's rest was not written: {error}"))
            .unwrap_or(false);
        if rested {
            tracing::warn!(sender = %phone.masked(), unacked, "a number is silent and rests");
            metrics::counter!("sender_silent_rests_total").increment(1);
        }
        rested
    }
}
