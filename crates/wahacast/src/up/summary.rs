//! Where everything is, for people.

use std::fmt::Write;
use std::path::Path;

use super::RunFacts;
use crate::supervise::Entry;

/// A few lines without secrets: those are named by the file that holds them.
pub(super) fn text(dir: &Path, facts: &RunFacts, processes: &[Entry]) -> String {
    let dir = dir.display();
    let management = facts.rabbitmq_management.as_deref().map_or_else(
        || "not known (set RABBITMQ_MANAGEMENT_URL)".to_owned(),
        |url| format!("{}/  (user and password: guest)", without_login(url)),
    );
    let mut text = format!(
        "\nwahacast is running; Ctrl-C stops it.\n\
         \x20 API          {gateway}\n\
         \x20 docs         {gateway}/docs\n\
         \x20 admin key    admin_api_key in {dir}/run.json\n\
         \x20 RabbitMQ     {management}\n\
         \x20 database     {database}  (password in {dir}/run.json)\n\
         \x20 logs         {dir}/logs\n",
        gateway = facts.gateway,
        database = without_login(&facts.database),
    );
    if let [first, ..] = &*facts.workers {
        let count = facts.workers.len();
        let _infallible = writeln!(
            text,
            "  WAHA         {count} simulated, first {}",
            first.url
        );
    }
    let names: Vec<String> = processes
        .iter()
        .map(|process| format!("{}-{} ({})", process.name, process.replica, process.pid))
        .collect();
    let _infallible = writeln!(text, "  processes    {}", names.join(", "));
    text
}

/// The URL without user and password.
fn without_login(url: &str) -> String {
    match url.split_once("://").zip(url.rsplit_once('@')) {
        Some(((scheme, _), (_, place))) => format!("{scheme}://{place}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_not_shown() {
        assert_eq!(without_login("postgres://u:p@h:1/d"), "postgres://h:1/d");
        assert_eq!(without_login("http://h:1"), "http://h:1");
    }
}
