//! `run.json`: where everything is, for programs. It holds secrets, so only its owner reads it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::supervise::Roster;

/// A simulated WAHA worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SimWorker {
    /// Its base URL as a WAHA server.
    pub(crate) url: String,
    /// The key it demands.
    pub(crate) api_key: String,
    /// The base URL of its control interface, which WAHA does not have.
    pub(crate) control: String,
}

/// The part of `run.json` that stays the same while the system runs; the processes join it.
#[derive(Clone, Serialize)]
pub(crate) struct RunFacts {
    /// The gateway's base URL.
    pub(crate) gateway: String,
    /// The value of `X-Admin-API-Key`.
    pub(crate) admin_api_key: String,
    /// AMQP URL.
    pub(crate) amqp: String,
    /// Base URL of RabbitMQ's management interface, where known.
    pub(crate) rabbitmq_management: Option<String>,
    /// PostgreSQL URL.
    pub(crate) database: String,
    /// The simulated workers.
    pub(crate) workers: Vec<SimWorker>,
}

/// Writes `run.json` in `dir`, now and whenever a process starts or ends.
pub(crate) fn publish(dir: &Path, facts: &RunFacts, roster: &Roster) -> anyhow::Result<()> {
    let serde_json::Value::Object(object) = serde_json::to_value(facts)? else {
        anyhow::bail!("the facts of a run are not an object");
    };
    roster.publish(dir.join("run.json"), object)
}

/// Removes a `run.json` that is not true (any more).
pub(crate) fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_file(dir.join("run.json")) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(cause).context("cannot remove run.json")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::Crew;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn run_json_has_the_promised_fields() {
        let dir = tempfile::tempdir().unwrap();
        let worker = SimWorker {
            url: "http://127.0.0.1:2/w/1".to_owned(),
            api_key: "k".to_owned(),
            control: "http://127.0.0.1:2/c/1".to_owned(),
        };
        let facts = RunFacts {
            gateway: "http://127.0.0.1:1".to_owned(),
            admin_api_key: "secret".to_owned(),
            amqp: "amqp://h".to_owned(),
            rabbitmq_management: None,
            database: "postgres://h".to_owned(),
            workers: vec![worker],
        };
        let crew = Crew::new(dir.path(), true);
        publish(dir.path(), &facts, &crew.roster).unwrap();
        let path = dir.path().join("run.json");
        let written: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let expected = serde_json::json!({
            "gateway": "http://127.0.0.1:1",
            "admin_api_key": "secret",
            "amqp": "amqp://h",
            "rabbitmq_management": null,
            "database": "postgres://h",
            "workers": [{
                "url": "http://127.0.0.1:2/w/1",
                "api_key": "k",
                "control": "http://127.0.0.1:2/c/1",
            }],
            "processes": [],
        });
        assert_eq!(written, expected);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert!(!path.exists());
    }
}
