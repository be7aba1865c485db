//! Connections.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::{Config, NoTls};

use crate::StoreError;

/// Longest wait for a free or a new connection: callers answer 503, or retry, rather than pile up.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest statement; cut by the server, so that none outlives the caller that gave up on it.
const STATEMENT_MS_MAX: u32 = 60_000;

/// A pool of connections to the ledger. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
}

impl Store {
    /// A pool of at most `connections_max`, none of which is opened before it is needed.
    pub fn new(database_url: &str, connections_max: usize) -> Result<Self, StoreError> {
        let mut config: Config = database_url.parse()?;
        config.connect_timeout(CONNECTION_WAIT_MAX);
        config.keepalives_idle(Duration::from_secs(30));
        if config.get_options().is_none() {
            config.options(format!("-c statement_timeout={STATEMENT_MS_MAX}"));
        }
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(connections_max)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(CONNECTION_WAIT_MAX),
                create: Some(CONNECTION_WAIT_MAX),
                recycle: Some(CONNECTION_WAIT_MAX),
            })
            .build()
            .map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        Ok(Self { pool })
    }

    /// A connection, for as long as it is held.
    pub async fn client(&self) -> Result<Object, StoreError> {
        Ok(self.pool.get().await?)
    }

    /// Asks the database for nothing, to see whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.client().await?.simple_query("").await?;
        Ok(())
    }
}
