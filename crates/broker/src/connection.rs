//! One connection a process, kept by [`Broker::keep`]. Invariant: whoever holds it can tell at any
//! time whether it is there, and nobody else connects.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{pause, topology};

/// A broker that is there answers within milliseconds; this is for one that hangs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How soon a loss is seen. A look costs two atomic reads.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Seconds after which a silent peer counts as gone, unless the URL says otherwise.
const HEARTBEAT: u16 = 15;
/// How long closing may take; the broker forgets us anyway.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the broker cannot be used. The text holds no credentials.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The URL cannot be read.
    #[error("AMQP_URL cannot be read: {0}")]
    Url(String),
    /// The broker did not answer in time.
    #[error("no answer from RabbitMQ within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// The broker refused, or was not there.
    #[error("RabbitMQ: {0}")]
    Refused(Box<lapin::Error>),
}

/// Whether the broker can be used, or why not.
pub type State = Result<(), String>;

/// The connection of this process, as everybody shares it. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

struct Shared {
    uri: AMQPUri,
    name: String,
    link: watch::Sender<Option<Arc<Connection>>>,
    state: watch::Sender<State>,
    users: TaskTracker,
}

impl fmt::Debug for Broker {
    /// Without the URL, which carries a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Reads the URL and connects to nothing yet: that is what [`Broker::keep`] does. `name` is
    /// shown in RabbitMQ's management UI.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn new(amqp_url: &str, name: impl Into<String>) -> Result<Self, BrokerError> {
        let mut uri = AMQPUri::from_str(amqp_url).map_err(BrokerError::Url)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let shared = Shared {
            uri,
            name: name.into(),
            link: watch::Sender::new(None),
            state: watch::Sender::new(Err("not connected yet".to_owned())),
            users: TaskTracker::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Connects, declares the topology, and connects again whenever the connection is lost, until
    /// `shutdown` is raised and every consumer and publisher has finished what it holds. Run it
    /// once, as a supervised task.
    pub async fn keep(&self, shutdown: CancellationToken) {
        let mut attempt = 0;
        while !shutdown.is_cancelled() {
            let connected = tokio::select! {
                () = shutdown.cancelled() => break,
                connected = self.connect() => connected,
            };
            match connected {
                Ok(connection) => {
                    tracing::info!("connected to RabbitMQ");
                    attempt = 0;
                    self.shared.link.send_replace(Some(Arc::new(connection)));
                    self.watch(&shutdown).await;
                }
                Err(cause) => {
                    if attempt == 0 {
                        tracing::warn!("cannot reach RabbitMQ, trying for ever: {cause}");
                    }
                    self.say(Err(cause.to_string()));
                }
            }
            if !shutdown.is_cancelled() {
                pause::unless(&shutdown, pause::after(attempt)).await;
                attempt = attempt.saturating_add(1);
            }
        }
        self.shared.users.close();
        self.shared.users.wait().await;
        self.close().await;
    }

    /// Whether RabbitMQ can be used, or why not; for a readiness probe.
    ///
    /// # Errors
    /// The reason, without credentials.
    pub fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    /// The state and its changes.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// The connection if it is there now.
    pub(crate) fn connection(&self) -> Option<Arc<Connection>> {
        let link = self.shared.link.borrow();
        link.as_ref()
            .filter(|connection| connection.status().connected())
            .cloned()
    }

    /// The connection as soon as it is there.
    pub(crate) async fn connected(&self) -> Arc<Connection> {
        let mut links = self.shared.link.subscribe();
        loop {
            if let Some(connection) = self.connection() {
                return connection;
            }
            // The sender lives as long as this broker, so there will be a change.
            let _change = links.changed().await;
        }
    }

    /// As long as this is held, a stopping [`Broker::keep`] leaves the connection open.
    pub(crate) fn in_use(&self) -> TaskTrackerToken {
        self.shared.users.token()
    }

    async fn connect(&self) -> Result<Connection, BrokerError> {
        let options =
            ConnectionProperties::default().with_connection_name(self.shared.name.as_str().into());
        let attempt = async {
            let connection = Connection::connect_uri(self.shared.uri.clone(), options).await?;
            let channel = connection.create_channel().await?;
            topology::declare(&channel).await?;
            channel.close(200, "declared".into()).await?;
            Ok(connection)
        };
        match timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(connected) => connected.map_err(|cause| BrokerError::Refused(Box::new(cause))),
            Err(_) => Err(BrokerError::Timeout),
        }
    }

    /// Keeps the state true until the connection is lost or `shutdown` is raised.
    async fn watch(&self, shutdown: &CancellationToken) {
        while let Some(connection) = self.connection() {
            self.say(if connection.status().blocked() {
                Err("RabbitMQ takes no messages: it is short of memory or disk".to_owned())
            } else {
                Ok(())
            });
            drop(connection);
            pause::unless(shutdown, LOOK_EVERY).await;
            if shutdown.is_cancelled() {
                return;
            }
        }
        tracing::warn!("the connection to RabbitMQ was lost, connecting again");
        self.shared.link.send_replace(None);
        self.say(Err("the connection was lost".to_owned()));
    }

    async fn close(&self) {
        if let Some(connection) = self.shared.link.send_replace(None) {
            let closing = timeout(CLOSE_TIMEOUT, connection.close(200, "goodbye".into())).await;
            tracing::debug!(?closing, "closed the connection to RabbitMQ");
        }
        self.say(Err("closed".to_owned()));
    }

    fn say(&self, state: State) {
        self.shared.state.send_if_modified(|known| {
            let changed = *known != state;
            *known = state;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_its_password() {
        for url in [
            "",
            "nothing",
            "http://user:hunter2@host/",
            "amqp://user:hunter2@host:x/",
        ] {
            let refused = Broker::new(url, "test").unwrap_err().to_string();
            assert!(refused.starts_with("AMQP_URL cannot be read"), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_a_state_and_not_an_end() {
        let broker = Broker::new("amqp://user:hunter2@127.0.0.1:1/vhost", "test").unwrap();
        let shutdown = CancellationToken::new();
        let mut states = broker.states();
        let watching = async {
            let tried = states.wait_for(|s| s.as_ref().is_err_and(|why| why.contains("RabbitMQ")));
            let reason = tried.await.unwrap().clone().unwrap_err();
            assert!(!reason.contains("hunter2"), "{reason}");
            shutdown.cancel();
        };
        tokio::join!(broker.keep(shutdown.clone()), watching);
        assert!(!format!("{broker:?}").contains("hunter2"));
    }
}
