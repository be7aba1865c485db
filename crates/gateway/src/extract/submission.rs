//! A campaign's body: one JSON object, or a stream of lines.
//!
//! Always true: what is kept of a body while it comes in is its recipients in their short form;
//! of a stream, never more than one line besides.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::{self, BytesMut, Data};
use actix_web::{FromRequest, HttpRequest};
use bytes::Bytes;
use serde::de::{self, DeserializeSeed, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::body::{media_type, need_media, next_chunk, read_all, refuse_announced, too_large};
use super::fields::Fields;
use crate::accept::{Draft, Submission};
use crate::problem::{Kind, Problem};
use crate::settings::LimitSettings;
use crate::state::Gateway;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
/// The longest line of a stream.
const LINE_BYTES_MAX: usize = 1_024 * 1_024;
/// A body beyond this is read on a thread of its own, so that nobody else waits for it.
const INLINE_BYTES_MAX: usize = 256 * 1_024;

/// A campaign without a fault, whatever its body's form.
#[derive(Debug)]
pub struct Submitted(pub Submission);

impl FromRequest for Submitted {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, payload) = (req.clone(), payload.take());
        Box::pin(async move {
            let limits = match req.app_data::<Data<Gateway>>() {
                Some(gateway) => Arc::clone(&gateway.limits),
                None => return Err(Problem::new(Kind::Internal, "the gateway has no state")),
            };
            if media_type(&req).as_deref() == Some(NDJSON) {
                return stream(&req, payload, &limits).await.map(Self);
            }
            need_media(&req, &[JSON, NDJSON])?;
            let body = read_all(&req, payload, limits.body_bytes).await?;
            if body.len() <= INLINE_BYTES_MAX {
                return whole(&body, &limits).map(Self);
            }
            let parsed = web::block(move || whole(&body, &limits)).await;
            let gone = |_| Problem::not_yet("the gateway is stopping", 5);
            parsed.map_err(gone)?.map(Self)
        })
    }
}

/// A campaign as one JSON object.
fn whole(body: &Bytes, limits: &LimitSettings) -> Result<Submission, Problem> {
    let mut fields = Fields::parse(body)?;
    let mut draft = Draft::new(&mut fields, limits);
    if let Some(raw) = fields.raw("recipients") {
        if raw.get().starts_with('[') {
            entries(raw, &mut draft)?;
        } else {
            fields.faults.push("/recipients", "must be an array");
        }
    }
    draft.finish(fields)
}

/// Hands the entries of an array on, one at a time.
fn entries(array: &RawValue, draft: &mut Draft<'_>) -> Result<(), Problem> {
    let mut stopped = None;
    let each = Each {
        draft,
        stopped: &mut stopped,
    };
    let read = each.deserialize(&mut serde_json::Deserializer::from_str(array.get()));
    match (stopped, read) {
        (Some(problem), _) => Err(problem),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(Problem::fault(
            "/recipients",
            format!("cannot be read: {error}"),
        )),
    }
}

struct Each<'a, 'l> {
    draft: &'a mut Draft<'l>,
    stopped: &'a mut Option<Problem>,
}

impl<'de> DeserializeSeed<'de> for Each<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Each<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of recipients")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<&RawValue>()? {
            if let Err(problem) = self.draft.recipient(entry) {
                *self.stopped = Some(problem);
                return Err(de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// A campaign as lines: the first is the campaign, each further one a recipient.
async fn stream(
    req: &HttpRequest,
    mut payload: Payload,
    limits: &LimitSettings,
) -> Result<Submission, Problem> {
    refuse_announced(req, limits.stream_bytes)?;
    let mut lines = Lines::default();
    let first = lines
        .next(&mut payload, limits.stream_bytes)
        .await?
        .ok_or_else(|| {
            Problem::new(
                Kind::MalformedJson,
                "the body is empty: its first line is the campaign",
            )
        })?;
    let mut fields = Fields::parse(&first)?;
    let mut draft = Draft::new(&mut fields, limits);
    while let Some(line) = lines.next(&mut payload, limits.stream_bytes).await? {
        let entry: &RawValue = serde_json::from_slice(&line).map_err(|error| {
            let detail = format!("line {} is not JSON: {error}", lines.count);
            Problem::new(Kind::MalformedJson, detail)
        })?;
        draft.recipient(entry)?;
    }
    draft.finish(fields)
}

/// The lines of a body, empty ones left out.
#[derive(Default)]
struct Lines {
    rest: BytesMut,
    /// How many bytes of `rest` are known to hold no line end.
    searched: usize,
    bytes: usize,
    ended: bool,
    count: usize,
}

impl Lines {
    async fn next(
        &mut self,
        payload: &mut Payload,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, Problem> {
        loop {
            if let Some(line) = self.take() {
                self.count += 1;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            if self.rest.len() > LINE_BYTES_MAX {
                let detail = format!(
                    "line {} has more than {LINE_BYTES_MAX} bytes",
                    self.count + 1
                );
                return Err(Problem::new(Kind::BodyTooLarge, detail));
            }
            match next_chunk(payload).await? {
                None => self.ended = true,
                Some(chunk) => {
                    self.bytes += chunk.len();
                    if self.bytes > bytes_max {
                        return Err(too_large(bytes_max));
                    }
                    self.rest.extend_from_slice(&chunk);
                }
            }
        }
    }

    /// A line that is there in full; the last one needs no line end.
    fn take(&mut self) -> Option<Bytes> {
        match self.rest[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            Some(at) => {
                let line = self.rest.split_to(self.searched + at + 1);
                self.searched = 0;
                Some(line.freeze())
            }
            None if self.ended && !self.rest.is_empty() => {
                self.searched = 0;
                Some(self.rest.split().freeze())
            }
            None => {
                self.searched = self.rest.len();
                None
            }
        }
    }
}
