//! `stream`: a campaign of a million recipients, uploaded line by line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use futures_util::stream;
use reqwest::{Body, Client as Http};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use uuid::Uuid;

use super::accept::{accepted, ready, recipients, stored};
use super::cost;
use super::figure::{Rounds, Row, Target};
use super::report::Report;
use super::sql;
use super::stage::{Hall, Stage};
use super::{Extent, TEXT};

/// Recipients of the campaign.
const RECIPIENTS: usize = 1_000_000;
/// Lines in one piece of the upload.
const LINES: usize = 1_000;
/// Rounds; each is long enough to be steady.
const ROUNDS_MAX: u32 = 5;
/// Between two looks at the gateway's memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Measures and reports.
pub(crate) async fn run(hall: &Hall, extent: Extent, report: &mut Report) -> anyhow::Result<()> {
    let (stage, db, phones) = ready(hall).await?;
    let recipients = recipients(extent.of(RECIPIENTS));
    let head = json!({"sender_number": phones[0],
        "template": TEXT});
    let plain: Vec<bytes::Bytes> = lines(&head.to_string(), &recipients, |to| format!("\"{to}\""));
    let (mut rounds, mut growth) = (Rounds::default(), Vec::new());
    for _ in 0..extent.rounds.min(ROUNDS_MAX) {
        let (secs, grown) = upload(&stage, &db, (&plain, recipients.len())).await?;
        let copied = sql::copy_messages(&db, Uuid::now_v7(), &recipients).await?;
        rounds.push(
            recipients.len() as f64 / secs,
            recipients.len() as f64 / copied,
        );
        growth.push(grown);
        sql::forget_messages(&db).await?;
    }
    report
        .rows
        .push(rounds.row("stream", "recipients/s", Target::AtLeast(0.3)));
    let most = Target::AtMost(64.0);
    report.rows.push(Row::alone(
        "stream, memory of the gateway",
        "MiB",
        &growth,
        most,
    ));
    let head = json!({"sender_number": phones[0], "template": "Hello {{name}}, here is {{code}}."});
    let own = lines(&head.to_string(), &recipients, |to| {
        format!(
            "{{\"number\":\"{to}\",\"variables\":{{\"name\":\"Somebody {to}\",\"code\":\"{to}\"}}}}"
        )
    });
    let (secs, grown) = upload(&stage, &db, (&own, recipients.len())).await?;
    let row = Row::alone("stream, own variables, memory", "MiB", &[grown], most);
    let rate = recipients.len() as f64 / secs;
    report
        .rows
        .push(row.noted(format!("at {rate:.0} recipients/s")));
    Ok(())
}

fn lines(head: &str, recipients: &[String], line: impl Fn(&str) -> String) -> Vec<bytes::Bytes> {
    let mut pieces = vec![bytes::Bytes::from(format!("{head}\n"))];
    for some in recipients.chunks(LINES) {
        let text: String = some.iter().map(|to| line(to) + "\n").collect();
        pieces.push(text.into());
    }
    pieces
}

/// Seconds until the campaign is accepted, and the MiB by which the gateway's memory grew at most.
async fn upload(
    stage: &Stage,
    db: &Client,
    (pieces, recipients): (&[bytes::Bytes], usize),
) -> anyhow::Result<(f64, f64)> {
    let pid = stage.pid("gateway")?;
    let before = cost::memory(pid);
    ensure!(before > 0, "the gateway's memory cannot be read");
    let done = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut most = before;
            while !done.load(Ordering::Acquire) {
                most = most.max(cost::memory(pid));
                sleep(LOOK_EVERY).await;
            }
            most
        }
    });
    let http = Http::builder().timeout(Duration::from_secs(170)).build()?;
    let pieces: Vec<_> = pieces.iter().cloned().map(anyhow::Ok).collect();
    let began = Instant::now();
    let request = http
        .post(format!("{}/api/send", stage.gateway))
        .header("content-type", "application/x-ndjson")
        .body(Body::wrap_stream(stream::iter(pieces)));
    let taken = accepted(request).await;
    let secs = began.elapsed().as_secs_f64();
    done.store(true, Ordering::Release);
    let most = watch.await?;
    stored(db, taken?, recipients).await?;
    Ok((secs, (most - before) as f64 / f64::from(1 << 20)))
}
