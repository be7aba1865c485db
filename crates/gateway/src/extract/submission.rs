//! A campaign's body: one JSON object, or a stream of lines.
//!
//! Always true: what is kept of a body while it comes in is its recipients in their short form,
//! and of these no more than a bound in memory; of a stream, one batch and one line besides.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::error::BlockingError;
use actix_web::web::{self, Data};
use actix_web::{FromRequest, HttpRequest};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::body::{media_type, need_media, read_all};
use super::fields::Fields;
use super::stream::stream;
use crate::accept::{Draft, Submission, faults_of};
use crate::problem::{Kind, Problem};
use crate::settings::LimitSettings;
use crate::state::Gateway;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
/// A body beyond this is read on a thread of its own, so that nobody else waits for it. Up to here
/// reading takes less than a millisecond, and never waits for the disk: the least that a spool
/// holds in memory is far more.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1_024;

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
                return stream(&req, payload, limits).await.map(Self);
            }
            need_media(&req, &[JSON, NDJSON])?;
            let body = read_all(&req, payload, limits.body_bytes).await?;
            if body.len() <= INLINE_BYTES_MAX {
                return whole(&body, &limits).map(Self);
            }
            let parsed = web::block(move || whole(&body, &limits)).await;
            parsed.map_err(stopping)?.map(Self)
        })
    }
}

/// Threads for reading are gone only when the process is ending.
pub(super) fn stopping(_: BlockingError) -> Problem {
    Problem::not_yet("the gateway is stopping", 5)
}

/// A campaign as one JSON object.
fn whole(body: &Bytes, limits: &Arc<LimitSettings>) -> Result<Submission, Problem> {
    let mut fields = Fields::parse(body)?;
    let mut draft = Draft::new(&mut fields, limits);
    if let Some(raw) = fields.raw("recipients") {
        if raw.get().starts_with('[') {
            entries(raw, &mut draft)?;
        } else {
            fields.faults.push("/recipients", "must be an array");
        }
    }
    draft.finish(faults_of(fields.finish()))
}

/// Hands the entries of an array on, one at a time. That the array is JSON was seen before.
fn entries(array: &RawValue, draft: &mut Draft) -> Result<(), Problem> {
    let mut rest = array.get().get(1..).unwrap_or_default();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', ',']);
        if rest.is_empty() || rest.starts_with(']') {
            return Ok(());
        }
        let length = match draft.plain_first(rest)? {
            Some(length) => length,
            None => entry(rest, draft)?,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// Hands the entry on that `rest` begins with; how long it is.
fn entry(rest: &str, draft: &mut Draft) -> Result<usize, Problem> {
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
    match values.next() {
        Some(Ok(raw)) => draft.recipient(raw)?,
        Some(Err(error)) => {
            let detail = format!("cannot be read: {error}");
            return Err(Problem::fault("/recipients", detail));
        }
        None => return Ok(rest.len()),
    }
    Ok(values.byte_offset())
}

#[cfg(test)]
mod tests {
    use chassis::config::{Settings, Source};

    use super::*;

    fn read(recipients: &str) -> Result<usize, Vec<String>> {
        let limits = LimitSettings::from_source(&Source::from_pairs([("MAX_RECIPIENTS", "9")]));
        let body = format!(
            "{{\"sender_number\": \"42108077\", \"template\": \"x\", \"recipients\": {recipients}}}"
        );
        let read = whole(&Bytes::from(body), &Arc::new(limits.unwrap()));
        read.map(|submission| submission.recipients.len())
            .map_err(|problem| {
                problem
                    .errors
                    .into_iter()
                    .map(|fault| fault.pointer)
                    .collect()
            })
    }

    #[test]
    fn an_array_is_read_to_its_end_whatever_its_entries_are() {
        let plain = r#"[ "1000001" ,"1000002",{"number":"1000003","variables":{"a":"],["}}
            , {"number": "1000\u00304", "variables": {"a": "\"]"}} ]"#;
        assert_eq!(read(plain), Ok(4));
        let wrong = r#"["]", [[], "1000001"], 7, null, {"number": {"x": "}]"}}, "1000001", true]"#;
        let pointers = [
            "/recipients/0",
            "/recipients/1",
            "/recipients/2",
            "/recipients/3",
            "/recipients/4/number",
            "/recipients/6",
        ];
        assert_eq!(read(wrong), Err(pointers.map(str::to_owned).to_vec()));
        for nobody in ["[]", "[ \n]", "7", "{}"] {
            assert!(
                read(nobody)
                    .unwrap_err()
                    .contains(&"/recipients".to_owned()),
                "{nobody}"
            );
        }
        let ten = format!("[{}]", ["\"1000001\""; 10].join(","));
        assert_eq!(read(&ten), Err(vec!["/recipients".to_owned()]));
    }
}
