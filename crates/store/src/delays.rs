//! Delays: the global ones and each sender's own.
//!
//! A change is seen by lane owners in the poll that they make anyway: `settings.version` grows
//! with the global ones, the lane of the sender's session is woken for its own.

use models::delays::{DelayOverrides, Delays};
use models::phone::PhoneNumber;
use tokio_postgres::Row;

use crate::column::{duration, millis};
use crate::{Client, GenericClient, StoreError, sessions};

const SEED: &str = "
    INSERT INTO settings (message_delay_ms, sender_switch_delay_ms, campaign_delay_ms)
    VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

/// Writes the first global delays; changes nothing when there are some.
pub async fn seed(db: &impl GenericClient, delays: Delays) -> Result<(), StoreError> {
    let statement = db.prepare_cached(SEED).await?;
    let [message, switch, campaign] =
        [delays.message, delays.sender_switch, delays.campaign].map(millis);
    db.execute(&statement, &[&message, &switch, &campaign])
        .await?;
    Ok(())
}

const GLOBAL: &str =
    "SELECT message_delay_ms, sender_switch_delay_ms, campaign_delay_ms FROM settings";

/// The global delays; zero before [`seed`].
pub async fn global(db: &impl GenericClient) -> Result<Delays, StoreError> {
    let statement = db.prepare_cached(GLOBAL).await?;
    let row = db.query_opt(&statement, &[]).await?;
    Ok(row.as_ref().map(read_all).unwrap_or_default())
}

const SET_GLOBAL: &str = "
    INSERT INTO settings (message_delay_ms, sender_switch_delay_ms, campaign_delay_ms)
    VALUES (COALESCE($1::bigint, 0), COALESCE($2::bigint, 0), COALESCE($3::bigint, 0))
    ON CONFLICT (id) DO UPDATE SET version = settings.version + 1,
        message_delay_ms = COALESCE($1::bigint, settings.message_delay_ms),
        sender_switch_delay_ms = COALESCE($2::bigint, settings.sender_switch_delay_ms),
        campaign_delay_ms = COALESCE($3::bigint, settings.campaign_delay_ms)
    RETURNING message_delay_ms, sender_switch_delay_ms, campaign_delay_ms";

/// Changes the global delays that are given; returns all of them.
pub async fn set_global(
    db: &impl GenericClient,
    change: DelayOverrides,
) -> Result<Delays, StoreError> {
    let statement = db.prepare_cached(SET_GLOBAL).await?;
    let [message, switch, campaign] = columns(change);
    let row = db
        .query_one(&statement, &[&message, &switch, &campaign])
        .await?;
    Ok(read_all(&row))
}

const OF_SENDER: &str = "
    SELECT message_delay_ms, sender_switch_delay_ms, campaign_delay_ms
    FROM senders WHERE phone = $1";

/// A sender's own delays; none for a number that is not known.
pub async fn of_sender(
    db: &impl GenericClient,
    phone: &PhoneNumber,
) -> Result<DelayOverrides, StoreError> {
    let statement = db.prepare_cached(OF_SENDER).await?;
    let row = db.query_opt(&statement, &[&phone.digits()]).await?;
    Ok(row.as_ref().map(read_own).unwrap_or_default())
}

const SET_OF_SENDER: &str = "
    INSERT INTO senders (phone, message_delay_ms, sender_switch_delay_ms, campaign_delay_ms)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (phone) DO UPDATE SET
        message_delay_ms = COALESCE($2, senders.message_delay_ms),
        sender_switch_delay_ms = COALESCE($3, senders.sender_switch_delay_ms),
        campaign_delay_ms = COALESCE($4, senders.campaign_delay_ms)
    RETURNING message_delay_ms, sender_switch_delay_ms, campaign_delay_ms";

/// Changes a sender's own delays that are given; returns all of its own. The number need not have
/// a session yet.
pub async fn set_of_sender(
    client: &mut Client,
    phone: &PhoneNumber,
    change: DelayOverrides,
) -> Result<DelayOverrides, StoreError> {
    let tx = client.transaction().await?;
    sessions::wake_lane(&tx, phone).await?;
    let statement = tx.prepare_cached(SET_OF_SENDER).await?;
    let [message, switch, campaign] = columns(change);
    let row = tx
        .query_one(&statement, &[&phone.digits(), &message, &switch, &campaign])
        .await?;
    tx.commit().await?;
    Ok(read_own(&row))
}

const CLEAR: &str = "
    UPDATE senders SET message_delay_ms = NULL, sender_switch_delay_ms = NULL,
        campaign_delay_ms = NULL
    WHERE phone = $1";

/// Goes back to the global delays.
pub async fn clear_of_sender(client: &mut Client, phone: &PhoneNumber) -> Result<(), StoreError> {
    let tx = client.transaction().await?;
    sessions::wake_lane(&tx, phone).await?;
    let statement = tx.prepare_cached(CLEAR).await?;
    tx.execute(&statement, &[&phone.digits()]).await?;
    tx.commit().await?;
    Ok(())
}

fn columns(change: DelayOverrides) -> [Option<i64>; 3] {
    [change.message, change.sender_switch, change.campaign].map(|delay| delay.map(millis))
}

fn read_all(row: &Row) -> Delays {
    Delays {
        message: duration(row.get(0)),
        sender_switch: duration(row.get(1)),
        campaign: duration(row.get(2)),
    }
}

fn read_own(row: &Row) -> DelayOverrides {
    let own = |column: usize| row.get::<_, Option<i64>>(column).map(duration);
    DelayOverrides {
        message: own(0),
        sender_switch: own(1),
        campaign: own(2),
    }
}
