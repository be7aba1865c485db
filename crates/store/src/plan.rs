//! Keeps the planner to the rows that a statement names.
//!
//! Tables grow from nothing to millions of rows between two looks of the planner, and a statement
//! that names its messages by what another table says prunes the months that it does not need only
//! while it runs, in a nested loop that asks again for each row. The planner must not be free to
//! read whole tables because they were small when the plan was made. Plans outlive their
//! transaction, so every transaction that joins messages to something begins with this; a statement
//! without one takes each message by a subquery with `LIMIT`, which cannot be flattened into
//! another join. One whole campaign is named by a parameter of its own: a list in a parameter
//! prunes nothing.

use futures_util::future::join3;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::{Client, GenericClient, StoreError};

/// For the rest of a transaction. What is switched off counts as endlessly dear where nothing else
/// will do, and for what is dear the server compiles code first: half a second for a statement that
/// opens a year of months. And a list of few looks cheaper with a plan for that very list, which
/// the server then makes each time: 2.4 ms for one report, which is applied in 0.8.
macro_rules! by_key {
    () => {
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
        SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off;
        SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off;
        SET LOCAL plan_cache_mode = force_generic_plan"
    };
}
pub(crate) use by_key;

/// [`by_key`] for a transaction that has begun.
pub(crate) const BY_KEY: &str = by_key!();

/// Begins a transaction [`by_key`].
pub(crate) const BEGIN_BY_KEY: &str = concat!("BEGIN; ", by_key!());

/// Runs one statement by key, in a transaction of its own: a plan that was made when hardly a
/// campaign was open, or a month was empty, must not read all of them later.
pub(crate) async fn query_by_key(
    client: &Client,
    sql: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, StoreError> {
    let statement = client.prepare_cached(sql).await?;
    // All of it leaves at once, so that nothing else comes between, and the end whatever becomes of
    // the statement: after a failure it rolls back.
    let (begun, rows, ended) = join3(
        client.batch_execute(BEGIN_BY_KEY),
        client.query(&statement, parameters),
        client.batch_execute("COMMIT"),
    )
    .await;
    begun?;
    let rows = rows?;
    ended?;
    Ok(rows)
}
