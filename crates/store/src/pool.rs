//! Connections.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::{Config, NoTls};

use crate::client::Types;
use crate::{Client, GenericClient, Statements, StoreError};

/// Longest wait for a free or a new connection: callers answer 503, or retry, rather than pile up.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the server's machine to acknowledge what was sent to it.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// What each connection asks of the server. No statement outlives the caller that gave up on it.
/// And a caller whose machine vanished between two statements must not keep its locks until the
/// kernel's own two hours are over: lanes that it holds could not be taken by anybody.
const OPTIONS: &str = "-c statement_timeout=60s -c idle_in_transaction_session_timeout=15s \
    -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 \
    -c tcp_user_timeout=15s";

/// A pool of connections to the ledger. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// `None`: statements are named.
    types: Option<Arc<Types>>,
}

impl Store {
    /// A pool of at most `connections_max`, none of which is opened before it is needed. A URL
    /// with the parameter `statements=unnamed` leads through a pooler in transaction mode.
    pub fn new(database_url: &str, connections_max: usize) -> Result<Self, StoreError> {
        let (database_url, statements) = split(database_url);
        let mut config: Config = database_url.parse()?;
        config.connect_timeout(CONNECTION_WAIT_MAX);
        config.keepalives_idle(Duration::from_secs(30));
        // A server whose machine vanished answers nothing, not even that it is gone.
        config.tcp_user_timeout(SILENCE_MAX);
        // A pooler knows no such options; there the server or the pooler must set them.
        if statements == Statements::Named && config.get_options().is_none() {
            config.options(OPTIONS);
        }
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(connections_max)
            // The one that was used last knows the statements, and its server process is warm.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(CONNECTION_WAIT_MAX),
                create: Some(CONNECTION_WAIT_MAX),
                recycle: Some(CONNECTION_WAIT_MAX),
            })
            .build()
            .map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        let types = (statements == Statements::Unnamed).then(Arc::default);
        Ok(Self { pool, types })
    }

    /// A connection, for as long as it is held.
    pub async fn client(&self) -> Result<Client, StoreError> {
        Ok(Client::new(self.pool.get().await?, self.types.clone()))
    }

    /// Asks the database for nothing, to see whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.client().await?.batch_execute("").await?;
        Ok(())
    }
}

/// The parameter of our own is taken out of a URL: the driver refuses what it does not know, and
/// so it refuses a value that is none.
pub(crate) fn split(url: &str) -> (Cow<'_, str>, Statements) {
    let Some((base, parameters)) = url.split_once('?') else {
        return (Cow::Borrowed(url), Statements::Named);
    };
    let mut statements = Statements::Named;
    let kept = parameters.split('&').filter(|parameter| {
        match *parameter {
            "statements=named" => statements = Statements::Named,
            "statements=unnamed" => statements = Statements::Unnamed,
            _ => return true,
        }
        false
    });
    let kept: Vec<_> = kept.collect();
    let url = match kept[..] {
        [] => Cow::Borrowed(base),
        _ => Cow::Owned(format!("{base}?{}", kept.join("&"))),
    };
    (url, statements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_parameter_is_taken_out_of_the_url() {
        let (named, unnamed) = (Statements::Named, Statements::Unnamed);
        for (url, left, statements) in [
            ("postgres://u@h/d", "postgres://u@h/d", named),
            (
                "postgres://u@h/d?statements=named",
                "postgres://u@h/d",
                named,
            ),
            (
                "postgres://u@h/d?statements=unnamed",
                "postgres://u@h/d",
                unnamed,
            ),
            (
                "postgres://u@h/d?connect_timeout=3&statements=unnamed&application_name=a",
                "postgres://u@h/d?connect_timeout=3&application_name=a",
                unnamed,
            ),
        ] {
            assert_eq!(split(url), (Cow::Borrowed(left), statements), "{url}");
        }
        assert!(Store::new("postgres://u@h/d?statements=some", 1).is_err());
    }
}
