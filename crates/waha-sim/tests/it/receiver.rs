//! A receiver of webhooks.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

#[derive(Clone)]
pub(crate) struct Post {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) raw: Vec<u8>,
    pub(crate) body: Value,
}

#[derive(Default)]
struct Inbox {
    posts: Mutex<Vec<Post>>,
    /// Answers still to be given; 200 afterwards.
    answers: Mutex<Vec<u16>>,
}

pub(crate) struct Receiver {
    pub(crate) url: String,
    inbox: Arc<Inbox>,
}

async fn take(request: HttpRequest, raw: web::Bytes, inbox: web::Data<Inbox>) -> HttpResponse {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = request
        .headers()
        .iter()
        .map(|(k, v)| (k.to_string(), text(v)))
        .collect();
    let body = serde_json::from_slice(&raw).unwrap();
    inbox.posts.lock().unwrap().push(Post {
        headers,
        raw: raw.to_vec(),
        body,
    });
    let mut answers = inbox.answers.lock().unwrap();
    let status = if answers.is_empty() {
        200
    } else {
        answers.remove(0)
    };
    HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap()).finish()
}

impl Receiver {
    /// Starts a receiver whose first answers are `answers`.
    pub(crate) fn start(answers: &[u16]) -> Self {
        let inbox = Arc::new(Inbox::default());
        inbox.answers.lock().unwrap().extend(answers);
        let data = web::Data::from(Arc::clone(&inbox));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let app = move || {
            App::new()
                .app_data(data.clone())
                .default_service(web::to(take))
        };
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .listen(listener)
            .unwrap();
        tokio::spawn(server.run());
        Self { url, inbox }
    }

    pub(crate) fn config(&self) -> Value {
        serde_json::json!({"webhooks": [{"url": self.url, "events": ["*"]}]})
    }

    pub(crate) fn posts(&self, event: &str) -> Vec<Post> {
        let posts = self.inbox.posts.lock().unwrap();
        posts
            .iter()
            .filter(|post| post.body["event"] == event)
            .cloned()
            .collect()
    }

    /// The payloads of `event` so far.
    pub(crate) fn payloads(&self, event: &str) -> Vec<Value> {
        self.posts(event)
            .into_iter()
            .map(|post| post.body["payload"].clone())
            .collect()
    }

    /// Waits until `enough` says that the payloads of `event` suffice.
    pub(crate) async fn until(&self, event: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let payloads = self.payloads(event);
            if enough(&payloads) {
                return payloads;
            }
            assert!(Instant::now() < end, "too few {event}: {payloads:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn until_count(&self, event: &str, count: usize) -> Vec<Value> {
        self.until(event, |payloads| payloads.len() >= count).await
    }
}
