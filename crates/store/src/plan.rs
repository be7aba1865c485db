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

/// For the rest of a transaction. What is switched off counts as endlessly dear where nothing else
/// will do, and for what is dear the server compiles code first: half a second for a statement that
/// opens a year of months.
macro_rules! by_key {
    () => {
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
        SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off;
        SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off"
    };
}
pub(crate) use by_key;

/// [`by_key`] for a transaction that has begun.
pub(crate) const BY_KEY: &str = by_key!();
