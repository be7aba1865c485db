//! The months of `messages`: tables are made ahead of time, so that each message lies in the month
//! of its campaign's id.
//!
//! Always true: an insert never fails for want of a month, because what is of none goes into the
//! default table; whoever makes months holds up nobody for longer than [`LOCK_WAIT_MS_MAX`], and
//! holds no lock beyond its transaction, so that a pooler between us and PostgreSQL may share
//! connections by transaction.

use time::Date;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::{Client, GenericClient, StoreError, Transaction};

/// Months that are made beyond the current one: schedulers may be away for that long.
pub const MONTHS_AHEAD: i32 = 3;
/// The longest wait for a lock on a table of messages. Whoever comes after us waits behind us for
/// as long, so it is short; the next round tries again.
pub const LOCK_WAIT_MS_MAX: u32 = 500;
/// Any number of ours: one at a time makes months, or drops them.
const ADVISORY_LOCK: i64 = 0x7761_6862;

/// What a look at the months came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// Months that have a table now and had none.
    pub made: u64,
    /// First days of months that stay in the default table, because ids of theirs were there before
    /// their table was: some gateway's clock was far ahead.
    pub in_default: Vec<Date>,
    /// Somebody else is at it, or holds a lock that we did not wait for.
    pub busy: bool,
}

const MISSING: &str = "
    SELECT month::date
    FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
        date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => $1),
        interval '1 month') AS month
    CROSS JOIN first_id_at(month AT TIME ZONE 'UTC') AS first_id
    WHERE NOT EXISTS (SELECT FROM message_partitions
        WHERE since_id <= first_id AND until_id > first_id)
    ORDER BY month";
const MAKE: &str = "SELECT make_messages_partition($1)";

/// Makes the tables of this month and the next [`MONTHS_AHEAD`] where they are missing. One short
/// query when they are not.
///
/// # Errors
/// When the ledger does not answer.
pub async fn make_ahead(client: &mut Client) -> Result<Made, StoreError> {
    if client.query(MISSING, &[&MONTHS_AHEAD]).await?.is_empty() {
        return Ok(Made::default());
    }
    let busy = Made {
        busy: true,
        ..Made::default()
    };
    let Some(tx) = begin(client).await? else {
        return Ok(busy);
    };
    match make_inside(&tx).await {
        Ok(made) => {
            tx.commit().await?;
            Ok(made)
        }
        Err(error) if is_busy(&error) => Ok(busy),
        Err(error) => Err(error.into()),
    }
}

/// Looks again: whoever was at it before us has made some meanwhile.
async fn make_inside(tx: &Transaction<'_>) -> Result<Made, Error> {
    let mut made = Made::default();
    for row in tx.query(MISSING, &[&MONTHS_AHEAD]).await? {
        let month: Date = row.get(0);
        if tx.query_one(MAKE, &[&month]).await?.get(0) {
            made.made += 1;
        } else {
            made.in_default.push(month);
        }
    }
    Ok(made)
}

const ALONE: &str = "SELECT pg_try_advisory_xact_lock($1)";

/// A transaction that changes the tables of messages, and waits for nobody for long; `None` when
/// somebody else is at it.
pub(crate) async fn begin(client: &mut Client) -> Result<Option<Transaction<'_>>, StoreError> {
    let tx = client.transaction().await?;
    let patience = format!("SET LOCAL lock_timeout = {LOCK_WAIT_MS_MAX}");
    tx.batch_execute(&patience).await?;
    let alone = tx.query_one(ALONE, &[&ADVISORY_LOCK]).await?.get(0);
    Ok(if alone { Some(tx) } else { None })
}

/// Whether somebody held a lock for longer than we wait.
pub(crate) fn is_busy(error: &Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}
