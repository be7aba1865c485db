//! A handle on one WAHA server.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::dto::KEY_HEADER;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept. WAHA's HTTP server closes one after five seconds; a
/// request that meets the closing would be lost with an unknown outcome, so we close first.
const IDLE: Duration = Duration::from_secs(3);

/// How long to wait for the answer to each kind of call, connecting included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Ping, version and status: 10 s.
    pub probe: Duration,
    /// Look-ups: 20 s, because WAHA itself waits up to 15 s for a session to be ready.
    pub read: Duration,
    /// Creating, starting, stopping: 45 s. WAHA waits 5 s for its lock and works for up to 30 s.
    pub lifecycle: Duration,
    /// A text: 130 s, because NOWEB waits up to 120 s for WhatsApp.
    pub text: Duration,
    /// Media: 190 s, because WAHA downloads the file first.
    pub media: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(10),
            read: Duration::from_secs(20),
            lifecycle: Duration::from_secs(45),
            text: Duration::from_secs(130),
            media: Duration::from_secs(190),
        }
    }
}

/// The HTTP client that all handles of a process share: a pool of connections, 5 s to connect,
/// no redirects, no proxy, no retries of its own.
///
/// # Errors
/// When the system cannot provide what it needs (not seen in practice).
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(concat!("wahacast/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .tcp_nodelay(true)
        .build()
}

/// One WAHA server. Cheap to clone; its calls are spread over the modules of this crate.
#[derive(Clone)]
pub struct Waha {
    http: reqwest::Client,
    address: Arc<Address>,
    pub(crate) timeouts: Timeouts,
}

struct Address {
    base: Url,
    /// Where texts go: put together once, not for each message.
    texts: Url,
    /// Absent when the key holds characters that no header can carry.
    key: Option<HeaderValue>,
}

impl Waha {
    /// A handle on the server at `base_url` (which may have a path), using a client made by
    /// [`http_client`]. Nothing is asked yet; an address that cannot be used shows in each call.
    pub fn new(base_url: &Url, api_key: SecretString, http: reqwest::Client) -> Self {
        let mut base = base_url.clone();
        base.set_query(None);
        base.set_fragment(None);
        let key = HeaderValue::from_str(api_key.expose_secret())
            .ok()
            .map(|mut key| {
                key.set_sensitive(true);
                key
            });
        let texts = below(&base, &["api", "sendText"]);
        Self {
            http,
            address: Arc::new(Address { base, texts, key }),
            timeouts: Timeouts::default(),
        }
    }

    /// The same server with other time limits.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> RequestBuilder {
        let mut url = below(&self.address.base, path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.request_at(method, url, timeout)
    }

    /// A request that says a text.
    pub(crate) fn say(&self) -> RequestBuilder {
        self.request_at(Method::POST, self.address.texts.clone(), self.timeouts.text)
    }

    fn request_at(&self, method: Method, url: Url, timeout: Duration) -> RequestBuilder {
        let request = self.http.request(method, url).timeout(timeout);
        match &self.address.key {
            Some(key) => request.header(KEY_HEADER, key.clone()),
            None => request,
        }
    }

    pub(crate) fn read(&self, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        self.request(Method::GET, path, query, self.timeouts.read)
    }

    pub(crate) fn probe(&self, path: &[&str]) -> RequestBuilder {
        self.request(Method::GET, path, &[], self.timeouts.probe)
    }

    pub(crate) fn change(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.request(method, path, &[], self.timeouts.lifecycle)
    }
}

fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    // Fails only for addresses that have no path; asking them fails just as well.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

impl std::fmt::Debug for Waha {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waha")
            .field("host", &self.address.base.host_str())
            .field("path", &self.address.base.path())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_below_the_prefix_and_the_key_stays_hidden() {
        for (base, path, joined) in [
            ("http://h:3000", vec!["ping"], "http://h:3000/ping"),
            ("http://h:3000/", vec!["ping"], "http://h:3000/ping"),
            (
                "http://h/w/17",
                vec!["api", "version"],
                "http://h/w/17/api/version",
            ),
            ("http://h/w/17/?x=1", vec!["a b"], "http://h/w/17/a%20b"),
            ("http://h/w", vec!["a/b", "c?d"], "http://h/w/a%2Fb/c%3Fd"),
        ] {
            let base = base.parse().unwrap();
            let waha = Waha::new(&base, "geheim".into(), http_client().unwrap());
            let request = waha.read(&path, &[]).build().unwrap();
            assert_eq!(request.url().as_str(), joined);
            assert_eq!(request.headers()["X-Api-Key"], "geheim");
            assert!(!format!("{waha:?} {request:?}").contains("geheim"));
        }
    }
}
