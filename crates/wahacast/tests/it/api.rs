//! The gateway as a client of it sees it.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// Any single answer takes less, a QR that is being made included.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What came back, and to which question.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    question: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn expect_status(&self, status: u16) {
        let (question, text) = (&self.question, self.text());
        assert_eq!(self.status, status, "{question} answered {text}");
    }

    /// The body, after checking the status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        self.expect_status(status);
        let (question, text) = (&self.question, self.text());
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|cause| panic!("{question} is not JSON ({cause}): {text}"))
    }

    /// The same for an RFC 9457 problem: its media type and its members.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16) -> Value {
        let problem = self.expect(status);
        let kind = self.header("content-type");
        let question = &self.question;
        assert!(
            kind.starts_with("application/problem+json"),
            "{question}: a problem came as {kind:?}"
        );
        assert_eq!(problem["status"], status, "{question}: {problem}");
        for member in ["type", "title", "detail"] {
            assert!(
                problem[member].is_string(),
                "{question}: no {member} in {problem}"
            );
        }
        problem
    }
}

/// A client of one gateway.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) base: String,
    pub(crate) key: String,
}

impl Api {
    pub(crate) fn new(base: &str, key: &str) -> Self {
        let client = Client::builder().no_proxy().timeout(ANSWER_WITHIN).build();
        Self {
            client: client.unwrap(),
            base: base.to_owned(),
            key: key.to_owned(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends it; `Err` when no answer came.
    pub(crate) async fn try_ask(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let request = request.build()?;
        let question = format!("{} {}", request.method(), request.url());
        let answer = self.client.execute(request).await?;
        Ok(Answer {
            question,
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.bytes().await?.to_vec(),
        })
    }

    pub(crate) async fn ask(&self, request: RequestBuilder) -> Answer {
        let answer = self.try_ask(request).await;
        answer.unwrap_or_else(|cause| panic!("the gateway did not answer: {cause:?}"))
    }

    /// As a user: no key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(self.request(Method::POST, path).json(body)).await
    }

    /// As an administrator.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self
            .request(method, path)
            .header("X-Admin-API-Key", &self.key);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.ask(request).await
    }

    pub(crate) async fn admin_get(&self, path: &str) -> Answer {
        self.admin(Method::GET, path, None).await
    }

    pub(crate) async fn admin_post(&self, path: &str, body: &Value) -> Answer {
        self.admin(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn admin_delete(&self, path: &str) -> Answer {
        self.admin(Method::DELETE, path, None).await
    }
}
