//! The types of a statement's parameters, which an unnamed statement must be sent with.
//!
//! PostgreSQL is asked once for each text, by preparing it under a name and giving the name up
//! again within one message: a pooler passes a message on as a whole, so both happen on one
//! connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

/// What one pool has learnt. Bounded by the number of statements in the program's text.
#[derive(Debug, Default)]
pub(crate) struct Types {
    known: RwLock<HashMap<&'static str, Arc<[Type]>>>,
}

impl Types {
    /// The types of a statement, asked for where they are not known yet.
    pub(crate) async fn of(&self, db: &Client, sql: &'static str) -> Result<Arc<[Type]>, Error> {
        if let Some(types) = self.get(sql) {
            return Ok(types);
        }
        // Two at once ask twice, and are told the same.
        let types = learn(db, sql).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(sql, Arc::clone(&types));
        Ok(types)
    }

    fn get(&self, sql: &'static str) -> Option<Arc<[Type]>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(sql).cloned()
    }
}

/// Asks PostgreSQL. Inside a transaction, one that is aborted stays so.
pub(crate) async fn learn(db: &Client, sql: &str) -> Result<Arc<[Type]>, Error> {
    // No two have one name, also where a connection was cut between the parts of the message.
    static ASKED: AtomicU64 = AtomicU64::new(0);
    if !sql.contains('$') {
        return Ok(Arc::new([]));
    }
    let (process, number) = (std::process::id(), ASKED.fetch_add(1, Ordering::Relaxed));
    let name = format!("wahacast_{process}_{number}");
    let question = format!(
        "PREPARE {name} AS {sql}; \
         SELECT parameter_types::oid[]::text FROM pg_prepared_statements WHERE name = '{name}'; \
         DEALLOCATE {name}"
    );
    let answers = db.simple_query(&question).await?;
    let told = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(read(told.unwrap_or_default()))
}

/// Reads `{25,2950}`. A type of somebody's own making stays unknown, and no value fits it: we have
/// no such parameters.
fn read(array: &str) -> Arc<[Type]> {
    let oids = array.trim_matches(['{', '}']).split(',');
    let oids = oids.filter_map(|oid| oid.parse().ok());
    oids.map(|oid| Type::from_oid(oid).unwrap_or(Type::UNKNOWN))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_in_their_order() {
        let types = read("{25,2951,23}");
        assert_eq!(*types, [Type::TEXT, Type::UUID_ARRAY, Type::INT4]);
        assert_eq!(*read("{}"), []);
        assert_eq!(*read("{4294967295}"), [Type::UNKNOWN]);
    }
}
