//! Fills a ledger with messages of the months that are over, as they are at rest.
//!
//! The fill is not measured: two connections write whole months, and each month is left as
//! autovacuum would have left it. The rows are those that sending and reporting would have made,
//! so an audit of the ledger finds nothing wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use nix::sys::statvfs::statvfs;
use time::{Date, Duration, OffsetDateTime};
use tokio::time::Instant;
use tokio_postgres::Client;
use uuid::{NoContext, Timestamp, Uuid};

use crate::bench::report::count;
use crate::bench::sql::{self, Past};

/// Months before the newest one over which messages are spread too: a year of tables.
const MONTHS_BEFORE: u32 = 11;
/// Connections that fill.
const CONNECTIONS: usize = 2;
/// Messages of a statement; a campaign more at most.
const BATCH: usize = 100_000;
/// Bytes that a message takes: a row of 410 with its story, its key, its share of receipts and of
/// what a page leaves over. Measured; see docs/PERFORMANCE.md.
const BYTES_EACH: u64 = 500;
/// Bytes that must be left besides: twice the log between two checkpoints, and what is measured.
const RESERVE: u64 = 10_000_000_000;

/// What a ledger was filled with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filled {
    /// The campaigns, oldest first.
    pub(crate) campaigns: Vec<Uuid>,
    /// Tables of messages.
    pub(crate) months: usize,
    /// Seconds that it took.
    pub(crate) secs: f64,
}

/// Campaigns with this many messages in all, of a thousand to ten thousand each, spread evenly over
/// the months up to `until` and over the senders.
fn campaigns(messages: usize, until: OffsetDateTime, senders: &[String]) -> Vec<Past> {
    let since = since(until);
    let span = until - since;
    let (mut past, mut done) = (Vec::new(), 0);
    while done < messages {
        let n = past.len();
        // 7 and 10 have no common divisor: every thousand comes once in ten.
        let total = (1_000 * (1 + n * 7 % 10)).min(messages - done);
        let at = since + span * (done as f64 / messages as f64);
        past.push(Past {
            id: id_at(at),
            sender: senders[n % senders.len()].clone(),
            at,
            total: i32::try_from(total).unwrap_or(i32::MAX),
        });
        done += total;
    }
    past
}

/// When the oldest of the months begins whose newest has this moment.
fn since(until: OffsetDateTime) -> OffsetDateTime {
    let mut month = first_of(until.date());
    for _ in 0..MONTHS_BEFORE {
        month = first_of(month.previous_day().unwrap_or(month));
    }
    month.midnight().assume_utc()
}

/// The first day of this day's month.
fn first_of(day: Date) -> Date {
    day.replace_day(1).unwrap_or(day)
}

/// An id of this moment.
fn id_at(at: OffsetDateTime) -> Uuid {
    let secs = u64::try_from(at.unix_timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, secs, at.nanosecond()))
}

/// By the first day of the month that has the table of its messages.
fn by_month(past: Vec<Past>) -> BTreeMap<Date, Vec<Past>> {
    let mut months: BTreeMap<Date, Vec<Past>> = BTreeMap::new();
    for one in past {
        let month = first_of(one.at.date());
        months.entry(month).or_default().push(one);
    }
    months
}

/// Makes sure that the disk can take so many more messages.
fn check_room(folder: &str, messages: usize) -> anyhow::Result<()> {
    let disk = statvfs(Path::new(folder))
        .with_context(|| format!("the free room of {folder} cannot be read"))?;
    let free = disk.blocks_available() * disk.fragment_size();
    let needed = messages as u64 * BYTES_EACH + RESERVE;
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    ensure!(
        free >= needed,
        "{} messages need {:.0} GB of disk and {folder} has {:.0}; ask for fewer by --messages, \
         or for another folder by --dir",
        count(messages),
        gigabytes(needed),
        gigabytes(free),
    );
    Ok(())
}

/// Fills the ledger of a URL; its senders and their sessions are there.
///
/// # Errors
/// There is too little room on the disk, or the server refuses.
pub(crate) async fn fill(url: &str, senders: &[String], messages: usize) -> anyhow::Result<Filled> {
    let began = Instant::now();
    let until = OffsetDateTime::now_utc() - Duration::days(1);
    let past = campaigns(messages, until, senders);
    let ids = past.iter().map(|one| one.id).collect();
    let months: Vec<(Date, Vec<Past>)> = by_month(past).into_iter().collect();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(crate::bench::stage::connect(url).await?);
    }
    let (folder, _) = sql::disk(&clients[0]).await?;
    check_room(&folder, messages)?;
    for (month, _) in &months {
        sql::open_month(&clients[0], *month).await?;
    }
    let (next, left) = (AtomicUsize::new(0), AtomicUsize::new(messages));
    let fills = clients.iter().map(|db| async {
        while let Some((month, past)) = months.get(next.fetch_add(1, Ordering::Relaxed)) {
            // Whoever else writes to this disk may have taken the room meanwhile.
            check_room(&folder, left.load(Ordering::Relaxed))?;
            let written = fill_month(db, *month, past).await?;
            let left = left.fetch_sub(written, Ordering::Relaxed) - written;
            let (left, secs) = (count(left), began.elapsed().as_secs_f64());
            eprintln!("bench: the month of {month} is filled after {secs:.0} s; {left} to go");
        }
        anyhow::Ok(())
    });
    try_join_all(fills).await?;
    Ok(Filled {
        campaigns: ids,
        months: months.len(),
        secs: began.elapsed().as_secs_f64(),
    })
}

/// Writes a month in the order of its ids; the messages that it has.
async fn fill_month(db: &Client, month: Date, past: &[Past]) -> anyhow::Result<usize> {
    let (mut from, mut written) = (0, 0);
    while from < past.len() {
        let (mut upto, mut batch) = (from, 0);
        while upto < past.len() && batch < BATCH {
            batch += usize::try_from(past[upto].total)?;
            upto += 1;
        }
        sql::add_past(db, &past[from..upto]).await?;
        (from, written) = (upto, written + batch);
    }
    sql::close_month(db, month).await?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fleet::numbers;

    const UNTIL: OffsetDateTime = time::macros::datetime!(2026-11-25 12:00 UTC);

    #[test]
    fn messages_are_spread_over_a_year_of_months() {
        let past = campaigns(1_000_000, UNTIL, &numbers(7));
        assert_eq!(
            past.iter().map(|one| i64::from(one.total)).sum::<i64>(),
            1_000_000
        );
        assert!(past.iter().all(|one| one.at < UNTIL && one.total <= 10_000));
        assert!(
            past.is_sorted_by(|a, b| a.id < b.id),
            "ids must be of their times"
        );
        let months = by_month(past);
        assert_eq!(months.len(), 12);
        let (least, most) = (
            months.values().map(Vec::len).min(),
            months.values().map(Vec::len).max(),
        );
        assert!(most <= least.map(|least| 2 * least), "{least:?} {most:?}");
    }

    #[test]
    fn too_little_room_is_said_before_anything_is_written() {
        check_room("/", 0).unwrap_or_else(|cause| assert!(cause.to_string().contains("GB")));
        let cause = check_room("/", 1 << 50).unwrap_err().to_string();
        assert!(cause.contains("--messages"), "{cause}");
    }

    #[tokio::test]
    async fn an_audit_finds_nothing_wrong_with_what_was_filled() {
        let database = testkit::database().await;
        let db = database.client().await;
        let (phones, worker) = (numbers(3), [Uuid::now_v7()]);
        let (urls, keys) = (["http://127.0.0.1:9"], ["key"]);
        sql::add_workers(&db, &worker, &urls, &keys, 9)
            .await
            .unwrap();
        sql::add_sessions(&db, &phones, &[worker[0]; 3])
            .await
            .unwrap();
        let filled = fill(&database.direct_url, &phones, 60_007).await;
        let filled = filled.unwrap_or_else(|cause| panic!("{cause:#}"));
        let mut client = database.store.client().await.unwrap();
        let audit = store::audit::audit(&mut client).await.unwrap();
        assert_eq!((audit.messages, audit.differences), (60_007, Vec::new()));
        assert_eq!(audit.campaigns, filled.campaigns.len() as u64);
        let held = "SELECT count(*) FILTER (WHERE tableoid = 'messages_default'::regclass),
            count(DISTINCT tableoid), count(*) FILTER (WHERE cardinality(steps) < 2)
            FROM messages";
        let row = db.query_one(held, &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(2)), (0, 0));
        assert_eq!(row.get::<_, i64>(1), filled.months as i64);
        assert!(
            sql::receipts(&db).await.unwrap() > 0,
            "the newest have receipts"
        );
        let tuned = "SELECT count(*) FROM pg_class WHERE relname LIKE 'messages_20__\\___'
            AND relkind = 'r' AND 'fillfactor=30' <> ALL (reloptions)";
        assert_eq!(db.query_one(tuned, &[]).await.unwrap().get::<_, i64>(0), 0);
    }
}
