//! The schema's versions. Forward only; run by `wahacast-gateway migrate`, checked by every start.

use tokio_postgres::NoTls;

use crate::pool::split;
use crate::{Statements, Store, StoreError, partitions};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Any number of ours: the lock that makes two migrators take turns (refinery itself takes none).
const ADVISORY_LOCK: i64 = 0x7761_6861;

/// Brings a database to this program's version, with tables for the months to come. Two at once
/// take turns. The URL must lead past any pooler: the turn is a lock of the connection's own.
pub async fn run(database_url: &str) -> Result<(), StoreError> {
    let (url, statements) = split(database_url);
    if statements == Statements::Unnamed {
        return Err(StoreError::Pooled);
    }
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    let work = async move {
        // A role's bounds are for the services' statements: a migration may read whole tables.
        client
            .batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")
            .await?;
        client
            .execute("SELECT pg_advisory_lock($1)", &[&ADVISORY_LOCK])
            .await?;
        embedded::migrations::runner()
            .run_async(&mut client)
            .await
            .map_err(StoreError::Migration)?;
        let store = Store::new(&url, 1)?;
        partitions::make_ahead(&mut store.client().await?).await?;
        Ok(())
        // The lock goes with the connection.
    };
    tokio::select! {
        result = work => result,
        closed = connection => Err(StoreError::Unavailable(match closed {
            Err(error) => Box::new(error),
            Ok(()) => "the connection was closed".into(),
        })),
    }
}

/// The version this program was built for.
pub fn needed() -> i32 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(|m| m.version())
        .max()
        .unwrap_or(0)
}

/// Refuses a database whose schema is older or newer than this program.
pub async fn check(db: &impl crate::GenericClient) -> Result<(), StoreError> {
    const FOUND: &str = "SELECT COALESCE(max(version), 0) FROM refinery_schema_history";
    let needed = needed();
    let found = match db.query_one(FOUND, &[]).await {
        Ok(row) => row.get(0),
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::UNDEFINED_TABLE) => 0,
        Err(error) => return Err(error.into()),
    };
    if found == needed {
        Ok(())
    } else {
        Err(StoreError::Schema { found, needed })
    }
}
