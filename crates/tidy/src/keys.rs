//! How the ledger's statements find their rows: whether each one that touches a table of the
//! ledger carries that table's key, the campaign.
//!
//! Partitions are left out and shards are found by the key alone; a statement without it reads
//! all of them. Read from the text of `crates/store`, as far as that is needed: strings by the
//! item that they stand in, blocks by their parentheses, comparisons with the key.

use std::collections::BTreeSet;
use std::fmt;

use crate::{Fault, File, Tree, source};

mod sql;

use sql::Block;

/// The tables whose rows belong to a campaign, and the column that says to which.
const TABLES: &[(&str, &str)] = &[
    ("messages", "campaign_id"),
    ("campaigns", "id"),
    ("retries", "campaign_id"),
];
/// Where statements stand.
const STORE: &str = "crates/store/src/";

/// How a statement finds rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By a key that comes in as a parameter: one shard, known before anything is read.
    Given,
    /// By keys that another table, or another part of the statement, gives.
    Joined,
    /// By something else, in every partition and on every shard.
    Without,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "parameter",
            Self::Joined => "join",
            Self::Without => "none",
        })
    }
}

/// One statement of the store and its ways to the tables above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The file.
    pub path: String,
    /// The item that holds it.
    pub name: String,
    /// Its line.
    pub line: usize,
    /// Each table that it touches, with the worst of its ways there.
    pub ways: Vec<(&'static str, Way)>,
}

impl Statement {
    /// The worst of its ways.
    pub fn way(&self) -> Way {
        let ways = self.ways.iter().map(|(_, way)| *way);
        ways.max().unwrap_or(Way::Given)
    }

    /// `ledger::CLAIM`.
    pub fn place(&self) -> String {
        let module = self.path.strip_prefix(STORE).unwrap_or(&self.path);
        let module = module.trim_end_matches(".rs").replace('/', "::");
        format!("{module}::{}", self.name)
    }
}

/// Every statement of the store that touches one of the tables.
pub fn statements(tree: &Tree) -> Vec<Statement> {
    let store = tree.rust().filter(|file| file.path.starts_with(STORE));
    store.flat_map(in_file).collect()
}

fn in_file(file: &File) -> Vec<Statement> {
    let lines = source::code(file);
    let found = sql::strings(&lines).into_iter().map(|item| Statement {
        path: file.path.clone(),
        name: item.name,
        line: item.line,
        ways: ways(&sql::blocks(&item.text)),
    });
    found.filter(|found| !found.ways.is_empty()).collect()
}

fn ways(blocks: &[Block]) -> Vec<(&'static str, Way)> {
    let all: Vec<_> = blocks.iter().flat_map(|block| block.ways(TABLES)).collect();
    let tables = TABLES.iter().filter_map(|(table, _)| {
        let worst = all.iter().filter(|(known, _)| known == table);
        Some((*table, worst.map(|(_, way)| *way).max()?))
    });
    tables.collect()
}

/// Statements without the key that are not among `known`, and those among `known` that have it by
/// now or are gone.
pub fn without_key(tree: &Tree, known: &[(&str, &str)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for statement in statements(tree) {
        let place = statement.place();
        let without = statement.ways.iter().find(|(_, way)| *way == Way::Without);
        let Some((table, _)) = without else { continue };
        if !known.iter().any(|(name, _)| *name == place) {
            let what = format!("{place} finds rows of {table} without the campaign's id");
            faults.push(Fault::new(&statement.path, statement.line, what));
        }
        seen.insert(place);
    }
    let stale = known.iter().filter(|(name, _)| !seen.contains(*name));
    faults.extend(stale.map(|(name, _)| {
        Fault::new(
            STORE,
            0,
            format!("{name} carries the key, or is gone: take it off the list"),
        )
    }));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ways of one constant with this SQL.
    fn found(sql: &str) -> Vec<(&'static str, Way)> {
        let text = format!("//! A.\nconst A: &str = \"{sql}\";\n");
        let path = "crates/store/src/a.rs";
        let all = statements(&Tree::sample(&[(path, &text)]));
        all.into_iter().flat_map(|one| one.ways).collect()
    }

    #[test]
    fn a_key_is_a_parameter_or_comes_by_a_join() {
        use Way::{Given, Joined, Without};
        let (messages, campaigns, retries) = ("messages", "campaigns", "retries");
        for (sql, ways) in [
            ("SELECT 1 FROM lanes WHERE worker_id = $1", vec![]),
            (
                "SELECT 1 FROM messages WHERE campaign_id = $1",
                vec![(messages, Given)],
            ),
            (
                "SELECT 1 FROM messages WHERE ordinal = $1",
                vec![(messages, Without)],
            ),
            (
                "SELECT 1 FROM messages m WHERE r.campaign_id = $1",
                vec![(messages, Without)],
            ),
            (
                "DELETE FROM retries WHERE campaign_id = ANY ($1)",
                vec![(retries, Given)],
            ),
            (
                "SELECT id FROM campaigns WHERE sender = $1",
                vec![(campaigns, Without)],
            ),
            (
                "SELECT id FROM campaigns WHERE id > $1",
                vec![(campaigns, Without)],
            ),
            (
                "UPDATE messages m SET status = 1 FROM placed p WHERE m.campaign_id = p.campaign_id",
                vec![(messages, Joined)],
            ),
            (
                "SELECT id FROM campaigns WHERE id IN (SELECT campaign_id FROM placed)",
                vec![(campaigns, Joined)],
            ),
            (
                "SELECT 1 FROM receipts r JOIN messages m USING (campaign_id, ordinal)",
                vec![(messages, Joined)],
            ),
            (
                "INSERT INTO retries (campaign_id) SELECT campaign_id FROM moved",
                vec![(retries, Joined)],
            ),
            (
                "INSERT INTO retries (campaign_id) VALUES ($1)",
                vec![(retries, Given)],
            ),
            // A comment is no key.
            (
                "SELECT 1 FROM messages -- WHERE campaign_id = $1\n",
                vec![(messages, Without)],
            ),
        ] {
            assert_eq!(found(sql), ways, "{sql}");
        }
    }

    #[test]
    fn two_tables_that_only_know_each_other_are_read_whole() {
        let both = "FROM campaigns c JOIN messages m ON m.campaign_id = c.id";
        let whole = [("messages", Way::Without), ("campaigns", Way::Without)];
        assert_eq!(found(&format!("SELECT 1 {both}")), whole);
        let one = [("messages", Way::Given), ("campaigns", Way::Given)];
        assert_eq!(found(&format!("SELECT 1 {both} WHERE c.id = $1")), one);
        let using = "SELECT 1 FROM retries r JOIN messages m USING (campaign_id, ordinal)";
        let whole = [("messages", Way::Without), ("retries", Way::Without)];
        assert_eq!(found(using), whole);
    }

    #[test]
    fn the_worst_part_of_a_statement_counts() {
        let sql = "WITH a AS (SELECT 1 FROM messages WHERE campaign_id = $1)
            SELECT 1 FROM messages WHERE status = 1 UNION ALL SELECT 1 FROM a";
        assert_eq!(found(sql), [("messages", Way::Without)]);
    }

    #[test]
    fn statements_without_a_key_and_stale_exceptions_are_found() {
        let text = "//! A.\nconst ALL: &str = \"SELECT 1 FROM messages\";\n";
        let tree = Tree::sample(&[("crates/store/src/a.rs", text)]);
        let said = |known| {
            let faults = without_key(&tree, known);
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let missing = "crates/store/src/a.rs:2: a::ALL finds rows of messages without the \
            campaign's id";
        assert_eq!(said(&[]), [missing]);
        assert_eq!(said(&[("a::ALL", "")]), Vec::<String>::new());
        let stale = said(&[("a::ALL", ""), ("a::GONE", "")]);
        assert_eq!(stale.len(), 1, "{stale:?}");
    }
}
