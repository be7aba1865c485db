//! Bodies: their media type, their size, their fields.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::BytesMut;
use actix_web::{FromRequest, HttpRequest};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::fields::Fields;
use crate::problem::{Kind, Problem};

/// Bytes of a body, unless it names recipients.
const SMALL_MAX: usize = 64 * 1_024;
/// How long a client may pause within its body.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the fields of a body can become.
pub trait FromFields: Sized {
    /// Whether an empty body stands for an object without fields.
    const MAY_BE_EMPTY: bool = false;
    /// Bytes that such a body may have.
    const BODY_MAX: usize = SMALL_MAX;

    /// Reads the fields; what is wrong with them is kept there.
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self>;
}

/// A JSON body as one value.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: FromFields> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (req, payload) = (req.clone(), payload.take());
        Box::pin(async move {
            let body = read_all(&req, payload, T::BODY_MAX).await?;
            let body = if body.is_empty() && T::MAY_BE_EMPTY {
                Bytes::from_static(b"{}")
            } else {
                need_media(&req, &["application/json"])?;
                body
            };
            let mut fields = Fields::parse(&body)?;
            let value = T::from_fields(&mut fields);
            fields.finish()?;
            value.map(Self).ok_or_else(|| Problem::invalid(Vec::new()))
        })
    }
}

/// The media type of a body without its parameters, in lower case.
pub fn media_type(req: &HttpRequest) -> Option<String> {
    let text = req.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(
        text.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

/// Refuses a body of another media type.
///
/// # Errors
/// Which ones are taken.
pub fn need_media(req: &HttpRequest, taken: &[&str]) -> Result<(), Problem> {
    let given = media_type(req);
    if given.as_deref().is_some_and(|given| taken.contains(&given)) {
        return Ok(());
    }
    let given = given.map_or_else(
        || "nothing".to_owned(),
        |given| super::values::shown(&given),
    );
    let detail = format!("Content-Type must be {}, not {given}", taken.join(" or "));
    Err(Problem::new(Kind::MediaType, detail))
}

/// Reads a whole body.
///
/// # Errors
/// When it is larger than `bytes_max`, or does not come in time.
pub async fn read_all(
    req: &HttpRequest,
    mut payload: Payload,
    bytes_max: usize,
) -> Result<Bytes, Problem> {
    refuse_announced(req, bytes_max)?;
    let Some(first) = next_chunk(&mut payload).await? else {
        return Ok(Bytes::new());
    };
    let room = bytes_max.checked_sub(first.len());
    let mut room = room.ok_or_else(|| too_large(bytes_max))?;
    // Most bodies came with their head, in one piece.
    let Some(mut chunk) = next_chunk(&mut payload).await? else {
        return Ok(first);
    };
    let mut body = BytesMut::from(first);
    loop {
        let left = room.checked_sub(chunk.len());
        room = left.ok_or_else(|| too_large(bytes_max))?;
        body.extend_from_slice(&chunk);
        match next_chunk(&mut payload).await? {
            Some(next) => chunk = next,
            None => return Ok(body.freeze()),
        }
    }
}

/// Refuses a body that says beforehand that it is too large.
///
/// # Errors
/// When it does.
pub fn refuse_announced(req: &HttpRequest, bytes_max: usize) -> Result<(), Problem> {
    let announced = req.headers().get(actix_web::http::header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(bytes) if bytes > bytes_max as u64 => Err(too_large(bytes_max)),
        _ => Ok(()),
    }
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// When it breaks off, or does not come in time.
pub async fn next_chunk(payload: &mut Payload) -> Result<Option<Bytes>, Problem> {
    let incomplete = |detail: String| Problem::new(Kind::BodyIncomplete, detail);
    // What is there already needs no timer.
    let next = match payload.next().now_or_never() {
        Some(next) => Ok(next),
        None => tokio::time::timeout(PAUSE_MAX, payload.next()).await,
    };
    match next {
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(error))) => Err(incomplete(format!("the body broke off: {error}"))),
        Err(_) => Err(incomplete(format!(
            "the body paused for {} s",
            PAUSE_MAX.as_secs()
        ))),
    }
}

/// The refusal of a body that is too large.
pub fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!("the body has more than {bytes_max} bytes"),
    )
}
