//! A RabbitMQ vhost for each test.

use std::fmt;

use reqwest::{Client, Method, Response, StatusCode};
use url::Url;

use crate::{cleanup, fresh_name, url_from_env};

/// An empty vhost. Deleted with this value, connections or not.
pub struct TestVhost {
    /// Where it is, with credentials.
    pub amqp_url: String,
    name: String,
    management: Url,
}

impl fmt::Debug for TestVhost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestVhost")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl TestVhost {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls the management interface: `path` begins after `/api/`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn manage(&self, method: Method, path: &str, body: &'static str) -> Response {
        let answer = request(&self.management, method, path, body).await;
        answer.unwrap_or_else(|cause| panic!("RabbitMQ's management does not answer: {cause}"))
    }

    /// Deletes one of its queues, messages and all.
    ///
    /// # Panics
    /// When RabbitMQ refuses.
    pub async fn delete_queue(&self, queue: &str) {
        let path = format!("queues/{}/{queue}", self.name);
        let status = self.manage(Method::DELETE, &path, "").await.status();
        assert!(status.is_success(), "deleting queue {queue} gave {status}");
    }

    /// Closes every connection to it that the management interface lists by now, and says how
    /// many. A new connection may take a few seconds to be listed: call it until enough were.
    ///
    /// # Panics
    /// When the answer cannot be read.
    pub async fn close_connections(&self) -> usize {
        let path = format!("vhosts/{}/connections?columns=name", self.name);
        let listed = self.manage(Method::GET, &path, "").await.text().await;
        let listed = listed.unwrap_or_else(|cause| panic!("the list is cut short: {cause}"));
        let names = listed
            .split("\"name\":\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        let mut closed = 0;
        for name in names {
            let mut path = self.management.clone();
            path.set_path(&format!("connections/{name}"));
            let path = path.path().trim_start_matches('/').to_owned();
            let status = self.manage(Method::DELETE, &path, "").await.status();
            closed += usize::from(status.is_success());
        }
        closed
    }
}

impl Drop for TestVhost {
    fn drop(&mut self) {
        let (management, path) = (self.management.clone(), format!("vhosts/{}", self.name));
        cleanup::now(&format!("vhost {}", self.name), async move {
            request(&management, Method::DELETE, &path, "")
                .await
                .map(|_| ())
        });
    }
}

/// Makes a vhost on the broker that `AMQP_URL` names, through `RABBITMQ_MANAGEMENT_URL`. The user
/// of the former must be an administrator.
///
/// # Panics
/// When that cannot be done; the message says how to run tests.
pub async fn vhost() -> TestVhost {
    let mut amqp = url_from_env("AMQP_URL");
    let mut management = url_from_env("RABBITMQ_MANAGEMENT_URL");
    let user = if amqp.username().is_empty() {
        "guest"
    } else {
        amqp.username()
    }
    .to_owned();
    if management.username().is_empty() {
        let password = amqp.password().unwrap_or("guest");
        let taken = management
            .set_username(&user)
            .and(management.set_password(Some(password)));
        taken.unwrap_or_else(|()| panic!("RABBITMQ_MANAGEMENT_URL cannot carry a user"));
    }
    let name = fresh_name();
    amqp.set_path(&name);
    let vhost = TestVhost {
        amqp_url: amqp.to_string(),
        name,
        management,
    };
    let all = r#"{"configure":".*","write":".*","read":".*"}"#;
    let permissions = format!("permissions/{}/{user}", vhost.name);
    for (path, body) in [(format!("vhosts/{}", vhost.name), "{}"), (permissions, all)] {
        let status = vhost.manage(Method::PUT, &path, body).await.status();
        let made = matches!(status, StatusCode::CREATED | StatusCode::NO_CONTENT);
        assert!(made, "PUT /api/{path} gave {status}: {}", crate::HOW_TO_RUN);
    }
    vhost
}

async fn request(
    management: &Url,
    method: Method,
    path: &str,
    body: &'static str,
) -> reqwest::Result<Response> {
    let mut base = management.clone();
    let (user, password) = (
        base.username().to_owned(),
        base.password().map(str::to_owned),
    );
    // Credentials travel in the header; a URL with them would stand in every error.
    let _cleared = base.set_username("").and(base.set_password(None));
    let url = format!("{}/api/{path}", base.as_str().trim_end_matches('/'));
    let client = Client::builder().no_proxy().build()?;
    client
        .request(method, url)
        .basic_auth(user, password)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
}
