//! What can go wrong between us and PostgreSQL, classified once.

use deadpool_postgres::PoolError;

/// A failed query or connection.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection could be had, or it was lost: nothing is known to have been written. Retry.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// PostgreSQL refused a statement.
    #[error("the database refused a statement")]
    Query(#[source] tokio_postgres::Error),
    /// A row holds what this program does not know.
    #[error("the database holds a {what} that this version does not know: {value}")]
    Unreadable {
        /// The column's idea.
        what: &'static str,
        /// What stands there.
        value: String,
    },
    /// The schema is not the one this program was built for.
    #[error(
        "the database's schema is at version {found}, this program needs {needed}: \
         run `wahacast-gateway migrate`"
    )]
    Schema {
        /// Its last migration; 0 for an empty database.
        found: i32,
        /// Ours.
        needed: i32,
    },
    /// The disk did not keep what was set down between upload and ledger; nothing was written.
    #[error("recipients could not be kept between their upload and the ledger")]
    Spool(#[source] std::io::Error),
    /// A migration was to go through a pooler.
    #[error(
        "the database cannot be migrated through a pooler: set DATABASE_DIRECT_URL to its own \
         address"
    )]
    Pooled,
    /// A migration failed.
    #[error("the database could not be migrated")]
    Migration(#[source] refinery::Error),
}

impl StoreError {
    /// Whether the same call can succeed later without anything being changed.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The name of the violated constraint, where that is what happened.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Query(error) => error.as_db_error().and_then(|db| db.constraint()),
            _ => None,
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        use tokio_postgres::error::SqlState;
        // Class 57 is the server going away (or our statement timed out), 53 is it being out of
        // something, 40 a conflict that a retry settles; 55P03 is a lock that we do not wait for.
        let passing = match error.code() {
            Some(state) => {
                *state == SqlState::CANNOT_CONNECT_NOW
                    || *state == SqlState::LOCK_NOT_AVAILABLE
                    || ["57", "53", "08", "40"]
                        .iter()
                        .any(|class| state.code().starts_with(class))
            }
            None => {
                error.is_closed()
                    || std::error::Error::source(&error)
                        .is_some_and(|cause| cause.is::<std::io::Error>())
            }
        };
        if passing {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Query(error)
        }
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            error => Self::Unavailable(Box::new(error)),
        }
    }
}
