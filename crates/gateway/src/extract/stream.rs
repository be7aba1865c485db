//! A campaign as lines: the first is the campaign, each further one a recipient.
//!
//! Two things go on at once: the next batch comes in here, while the one before is read on a
//! thread that may wait for the disk. The database knows nothing of it until all is in and good.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::web::{self, BytesMut};
use bytes::Bytes;
use futures_util::future::try_join;
use serde_json::value::RawValue;

use super::body::{next_chunk, refuse_announced, too_large};
use super::fields::Fields;
use super::lines::Lines;
use super::submission::{INLINE_BYTES_MAX, stopping};
use crate::accept::{Draft, Submission, faults_of};
use crate::problem::{Fault, Kind, Problem};
use crate::settings::LimitSettings;

/// Bytes that are gathered before they are read: many lines, so that changing threads for each
/// batch costs nothing beside them.
const BATCH: usize = 256 * 1_024;
/// Room for the piece that crosses a batch's end; HTTP hands out about this much at once.
const ROOM: usize = 64 * 1_024;

/// Reads a campaign to its last line.
pub(super) async fn stream(
    req: &HttpRequest,
    payload: Payload,
    limits: Arc<LimitSettings>,
) -> Result<Submission, Problem> {
    refuse_announced(req, limits.stream_bytes)?;
    let mut batches = Batches {
        payload,
        bytes: 0,
        bytes_max: limits.stream_bytes,
        ended: false,
    };
    let mut reading = Reading {
        lines: Lines::default(),
        campaign: Campaign {
            limits,
            begun: None,
        },
    };
    let mut batch = batches.next().await?;
    if batches.ended && batch.len() <= INLINE_BYTES_MAX {
        reading.feed(&batch)?;
        return reading.finish();
    }
    while !batch.is_empty() {
        let read = async move {
            let read = web::block(move || reading.feed(&batch).map(|()| reading));
            read.await.map_err(stopping)?
        };
        // What is wrong with this batch goes before what is wrong with the next one.
        let following = async { Ok(batches.next().await) };
        let (read, following) = try_join(read, following).await?;
        (reading, batch) = (read, following?);
    }
    let finished = web::block(move || reading.finish());
    finished.await.map_err(stopping)?
}

/// A body in pieces of a good size.
struct Batches {
    payload: Payload,
    bytes: usize,
    bytes_max: usize,
    ended: bool,
}

impl Batches {
    /// The next one; empty behind the last.
    async fn next(&mut self) -> Result<Bytes, Problem> {
        // The first may be all there is; further ones are of one size, so that they need no copy.
        let room = if self.bytes == 0 { 0 } else { BATCH + ROOM };
        let mut batch = BytesMut::with_capacity(room);
        while !self.ended && batch.len() < BATCH {
            let Some(chunk) = next_chunk(&mut self.payload).await? else {
                self.ended = true;
                break;
            };
            self.bytes += chunk.len();
            if self.bytes > self.bytes_max {
                return Err(too_large(self.bytes_max));
            }
            batch.extend_from_slice(&chunk);
        }
        Ok(batch.freeze())
    }
}

/// What was read of a stream so far.
struct Reading {
    lines: Lines,
    campaign: Campaign,
}

impl Reading {
    fn feed(&mut self, batch: &[u8]) -> Result<(), Problem> {
        let Self { lines, campaign } = self;
        lines.feed(batch, &mut |number, line| campaign.line(number, line))
    }

    fn finish(mut self) -> Result<Submission, Problem> {
        let Self { lines, campaign } = &mut self;
        lines.end(&mut |number, line| campaign.line(number, line))?;
        let Some((draft, faults)) = self.campaign.begun else {
            return Err(Problem::new(
                Kind::MalformedJson,
                "the body is empty: its first line is the campaign",
            ));
        };
        draft.finish(faults)
    }
}

struct Campaign {
    limits: Arc<LimitSettings>,
    /// What the first line holds, and what is wrong with it.
    begun: Option<(Draft, Vec<Fault>)>,
}

impl Campaign {
    fn line(&mut self, number: usize, line: &[u8]) -> Result<(), Problem> {
        let Some((draft, _)) = &mut self.begun else {
            let mut fields = Fields::parse(line)?;
            let draft = Draft::new(&mut fields, &self.limits);
            self.begun = Some((draft, faults_of(fields.finish())));
            return Ok(());
        };
        if let Ok(text) = std::str::from_utf8(line)
            && draft.plain(text)?
        {
            return Ok(());
        }
        let entry: &RawValue = serde_json::from_slice(line).map_err(|error| {
            let detail = format!("line {number} is not JSON: {error}");
            Problem::new(Kind::MalformedJson, detail)
        })?;
        draft.recipient(entry)
    }
}
