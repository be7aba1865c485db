//! One request and its answer; knows when a request provably never left.

use reqwest::{RequestBuilder, StatusCode};

use crate::redact::causes;

/// Largest answer that is kept, in bytes: a list of several thousand sessions.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status; it arrived even when the body did not.
    pub(crate) status: StatusCode,
    /// The whole body, or why there is none.
    pub(crate) body: Result<Vec<u8>, Broken>,
}

/// Why nothing, or not everything, came back.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The request provably did not leave: no connection came about.
    NotSent(String),
    /// The request could not be built: the address or the key cannot be used.
    Unusable(String),
    /// The time was up; the request may have left.
    TimedOut,
    /// The connection broke; the request may have left.
    Cut(String),
    /// The answer is larger than is kept.
    TooLarge,
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        // The order matters: an attempt to connect that takes too long is both.
        if error.is_connect() {
            Self::NotSent(causes(&error))
        } else if error.is_builder() {
            Self::Unusable(causes(&error))
        } else if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::Cut(causes(&error))
        }
    }
}

/// Sends a request, which carries its own time limit, and reads the answer.
pub(crate) async fn exchange(request: RequestBuilder) -> Result<Answer, Broken> {
    let mut response = request.send().await?;
    let status = response.status();
    let mut body = Vec::new();
    let body = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_MAX => break Err(Broken::TooLarge),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break Ok(body),
            Err(error) => break Err(error.into()),
        }
    };
    Ok(Answer { status, body })
}
