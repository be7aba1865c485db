//! Asks workers about messages that WhatsApp has not reported on: webhooks get lost while a
//! gateway is away, and an old Core signs none.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use store::StoreError;
use store::receipts::{self, Ask, Report, claim_due_asks, note_unheard};
use store::reconcile;
use waha::messages::Lookup;

use crate::fleet::{Fleet, Hands};

/// How much later than the first question the next ones come. WhatsApp reports most messages
/// within seconds; a phone that is off for longer than this tells when it is on again.
const WAITS: [Duration; 2] = [Duration::from_secs(600), Duration::from_secs(3_600)];

/// Takes messages in hand about which somebody should be asked.
pub(crate) async fn ask_due(fleet: &Arc<Fleet>, hands: &Hands) -> Result<(), StoreError> {
    let mut db = fleet.store.client().await?;
    note_unheard(&mut db, fleet.settings.ask_after).await?;
    let batch = hands.free();
    if batch == 0 {
        return Ok(());
    }
    for ask in claim_due_asks(&db, fleet.settings.ask_after, batch).await? {
        let fleet = Arc::clone(fleet);
        hands.take(async move { question(&fleet, &ask).await });
    }
    Ok(())
}

/// Asks one question and writes the answer down.
///
/// # Errors
/// When the ledger does not answer; the question comes again.
pub async fn question(fleet: &Fleet, ask: &Ask) -> Result<(), StoreError> {
    let told = match fleet.waha(&ask.url, &ask.api_key) {
        Ok(waha) => {
            waha.get_message(&ask.waha_name, &ask.recipient, &ask.message_id)
                .await
        }
        Err(error) => Err(error),
    };
    let mut db = fleet.store.client().await?;
    let outcome = match told {
        Ok(Lookup::Found { ack, .. }) => {
            let ack = ack.unwrap_or(0);
            let report = Report {
                sender: ask.sender.clone(),
                generation: ask.generation,
                message_id: ask.message_id.clone(),
                ack: ack.clamp(-1, 4),
                at: None,
            };
            receipts::record(&mut db, &[report]).await?;
            if ack < 0 {
                // It may have been refused for the number's sake: its session tells.
                reconcile::hint(&db, &ask.sender, ask.generation).await?;
            }
            if ack == 0 {
                later(&db, ask).await?;
                "nothing_new"
            } else {
                "told"
            }
        }
        Ok(Lookup::NotFound) => {
            later(&db, ask).await?;
            "nothing_new"
        }
        Ok(Lookup::Unsupported) => {
            receipts::never_ask(&db, &ask.sender, &ask.message_id).await?;
            "unsupported"
        }
        // It says nothing about the message: the question comes again as before.
        Err(_) => "failed",
    };
    counter!("scheduler_asks_total", "outcome" => outcome).increment(1);
    Ok(())
}

async fn later(db: &impl store::GenericClient, ask: &Ask) -> Result<(), StoreError> {
    let asked = usize::try_from(ask.asks).unwrap_or(usize::MAX);
    match WAITS.get(asked) {
        Some(wait) => receipts::asked(db, &ask.sender, &ask.message_id, *wait).await,
        None => receipts::never_ask(db, &ask.sender, &ask.message_id).await,
    }
}
