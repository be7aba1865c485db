//! Statements of the ledger that go without the key of their rows, and why each may.

use std::fmt::Write as _;

use tidy::Tree;
use tidy::keys::{Statement, Way, statements, without_key};

/// Each reads every partition of `campaigns` and would ask every shard; so none may be run for
/// each message, and none may touch `messages` but the audit.
const WITHOUT: &[(&str, &str)] = &[
    (
        "audit::CAMPAIGNS",
        "counts everything anew, a page at a time",
    ),
    ("audit::FLIGHTS", "looks for what no row points to"),
    ("audit::IDS", "pages through all campaigns"),
    ("campaigns::LIST", "a list for people"),
    ("campaigns::PAGE", "a list for people"),
    (
        "campaigns::cancel::LOCK_OPEN",
        "a session is removed with its number's open campaigns",
    ),
    (
        "campaigns::crowds",
        "an open campaign of each number on a worker",
    ),
    (
        "campaigns::situation::SITUATIONS",
        "campaigns' reasons: their numbers' earlier open campaigns",
    ),
    (
        "campaigns::prospect::PROSPECT",
        "what lies before new campaigns: their numbers' open ones, a hundred at most",
    ),
    ("figures::FIGURES", "sums for people"),
    ("figures::STATES", "sums for people"),
    (
        "retention::HELD",
        "a month whose campaigns have not all ended, once a round",
    ),
    ("retention::PAST", "months past retention, once a round"),
    (
        "retention::TRACES",
        "what months past retention leave, a batch at a time",
    ),
    (
        "retention::mark",
        "campaigns past retention, a batch at a time",
    ),
    (
        "roster::roster",
        "the first open campaign of each number, when a lane or number is loaded",
    ),
    ("senders::TOTALS", "a list for people"),
    (
        "sweep::STALE",
        "campaigns that nothing moved for long, a batch at a time",
    ),
    (
        "sweep::WANTING",
        "an open campaign of a lane that nobody owns, a batch at a time",
    ),
];

fn tree() -> Tree {
    Tree::read(&super::root()).unwrap()
}

#[test]
fn statements_carry_the_campaigns_id() {
    let faults: Vec<_> = without_key(&tree(), WITHOUT)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_the_audit_reads_all_messages() {
    let all = statements(&tree());
    let reads_all = |one: &&Statement| one.ways.contains(&("messages", Way::Without));
    let places: Vec<_> = all.iter().filter(reads_all).map(Statement::place).collect();
    assert_eq!(places, ["audit::FLIGHTS"]);
    // What moves a message in either direction is seen at all.
    for place in [
        "ledger::CLAIM",
        "ledger::CONCLUDE",
        "receipts::moves::APPLY",
    ] {
        let found = all.iter().find(|one| one.place() == place);
        assert_eq!(found.map(Statement::way), Some(Way::Joined), "{place}");
    }
}

/// The table of `docs/CITUS.md`.
pub(super) fn table() -> String {
    let mut table = String::from("| statement | messages | campaigns | retries | why without |\n");
    table += "| --- | --- | --- | --- | --- |\n";
    for one in statements(&tree()) {
        let way = |name| {
            let way = one.ways.iter().find(|(table, _)| *table == name);
            way.map(|(_, way)| way.to_string()).unwrap_or_default()
        };
        let (messages, campaigns, retries) = (way("messages"), way("campaigns"), way("retries"));
        let place = one.place();
        let why = WITHOUT.iter().find(|(name, _)| *name == place);
        let why = why.map(|(_, why)| *why).unwrap_or_default();
        let _written = writeln!(
            table,
            "| `{place}` | {messages} | {campaigns} | {retries} | {why} |"
        );
    }
    table
}
