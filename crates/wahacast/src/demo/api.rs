//! Speaks to the gateway as an administrator's HTTP client would.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::up::RunFacts;

/// Any single answer takes less; the longest is a QR that is being made.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at something that changes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The gateway's HTTP interface.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
    key: String,
}

impl Api {
    /// A client of the gateway of this run.
    pub(super) fn new(facts: &RunFacts) -> anyhow::Result<Self> {
        Self::at(&facts.gateway, &facts.admin_api_key, ANSWER_WITHIN)
    }

    /// A client of the gateway at `base`, which waits for any answer at most this long.
    pub(crate) fn at(base: &str, key: &str, answer_within: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::builder().timeout(answer_within).build()?,
            base: base.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Gets `path` and expects 200.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.call(Method::GET, path, None).await?;
        expect(&format!("GET {path}"), status, &[StatusCode::OK], body)
    }

    /// Posts `body` to `path` and expects one of the 2xx.
    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let (status, body) = self.call(Method::POST, path, Some(body)).await?;
        let good = [StatusCode::OK, StatusCode::CREATED, StatusCode::ACCEPTED];
        expect(&format!("POST {path}"), status, &good, body)
    }

    /// Deletes `path` and expects 200.
    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.call(Method::DELETE, path, None).await?;
        expect(&format!("DELETE {path}"), status, &[StatusCode::OK], body)
    }

    /// Sends one request with the admin key; a body that is not JSON reads as null.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        request = request.header("X-Admin-API-Key", &self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{path} was not answered"))?;
        let status = answer.status();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }
}

fn expect(
    what: &str,
    status: StatusCode,
    good: &[StatusCode],
    body: Value,
) -> anyhow::Result<Value> {
    if !good.contains(&status) {
        bail!("{what} answered {status}: {body}");
    }
    Ok(body)
}

/// Looks again and again until `look` finds something.
///
/// # Errors
/// `look` failed, or found nothing within `limit`; then `what` says what was awaited.
pub(super) async fn until<T, F>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let began = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if began.elapsed() > limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The text of a field.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("{field} is missing in {value}"))
}

/// The whole number of a field.
pub(super) fn count(value: &Value, field: &str) -> anyhow::Result<u64> {
    value[field]
        .as_u64()
        .with_context(|| format!("{field} is missing in {value}"))
}
