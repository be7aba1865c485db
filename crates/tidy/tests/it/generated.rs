//! The parts of files that programs write: settings and error codes.

use chassis::boot::ProcessSettings;
use chassis::config::{SettingDoc, Settings, Source, env_example, markdown};
use chassis::telemetry::TelemetrySettings;
use gateway::GatewaySettings;
use gateway::settings::MigrateSettings;
use scheduler::settings::SchedulerSettings;
use sender::settings::SenderSettings;
use tidy::block;

/// The settings of each process.
fn services() -> [(&'static str, Vec<SettingDoc>); 4] {
    let process = [ProcessSettings::docs(), TelemetrySettings::docs()].concat();
    let gateway = [GatewaySettings::docs(), MigrateSettings::docs()].concat();
    [
        ("process", process),
        ("gateway", gateway),
        ("scheduler", SchedulerSettings::docs()),
        ("sender", SenderSettings::docs()),
    ]
}

/// The settings by who reads them, each once. What several read comes first; the fullest reason is
/// the one that is printed.
fn sections() -> Vec<(String, Vec<SettingDoc>)> {
    let mut rows: Vec<(SettingDoc, Vec<&str>)> = Vec::new();
    for (service, docs) in services() {
        for mut doc in docs {
            doc.bounds = doc.bounds.map(|bounds| bounds.trim_end_matches("_usize"));
            match rows.iter_mut().find(|(known, _)| known.key == doc.key) {
                Some((known, readers)) => {
                    if doc.reason.len() > known.reason.len() {
                        known.reason = doc.reason;
                    }
                    known.required |= doc.required;
                    if !readers.contains(&service) {
                        readers.push(service);
                    }
                }
                None => rows.push((doc, vec![service])),
            }
        }
    }
    let mut sections: Vec<(String, Vec<SettingDoc>)> = Vec::new();
    rows.sort_by_key(|(_, readers)| (std::cmp::Reverse(readers.len()), readers[0] != "process"));
    for (doc, readers) in rows {
        let title = match readers[..] {
            ["process"] => "Every process".to_owned(),
            [one] => format!("The {one}"),
            [first, second] => format!("The {first} and the {second}"),
            _ => "The gateway, the scheduler and the sender".to_owned(),
        };
        match sections.iter_mut().find(|(known, _)| *known == title) {
            Some((_, docs)) => docs.push(doc),
            None => sections.push((title, vec![doc])),
        }
    }
    sections
}

/// Compares a block of a file with what it should say; writes it when `UPDATE_DOCS` is set.
#[track_caller]
fn check(path: &str, name: &str, content: &str) {
    let file = super::root().join(path);
    let text = std::fs::read_to_string(&file).unwrap();
    let wanted = block::replace(&text, name, content);
    let wanted = wanted.unwrap_or_else(|| panic!("{path} has no block {name}"));
    if Source::from_env().get("UPDATE_DOCS").is_some() {
        std::fs::write(&file, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "{path} is out of date; run UPDATE_DOCS=1 cargo test -p tidy"
        );
    }
}

#[test]
fn a_setting_means_the_same_to_all_who_read_it() {
    let all: Vec<_> = services().into_iter().flat_map(|(_, docs)| docs).collect();
    for one in &all {
        for other in all.iter().filter(|other| other.key == one.key) {
            assert_eq!(one.default, other.default, "defaults of {}", one.key);
            assert_eq!(one.kind, other.kind, "kinds of {}", one.key);
            assert_eq!(one.bounds, other.bounds, "bounds of {}", one.key);
        }
    }
}

#[test]
fn whoever_rests_a_restricted_number_knows_for_how_long() {
    for (service, docs) in services().into_iter().skip(1) {
        for key in ["RESTRICTED_REST_SECONDS", "RESTRICTED_REST_SECONDS_MAX"] {
            let read = docs.iter().any(|doc| doc.key == key);
            assert!(read, "the {service} does not read {key}");
        }
    }
}

#[test]
fn the_example_of_env_is_up_to_date() {
    let sections = sections();
    let sections = sections
        .iter()
        .map(|(title, docs)| format!("# ---- {title} ----\n\n{}", env_example(docs)));
    check(".env.example", "settings", &sections.collect::<String>());
}

#[test]
fn the_example_with_what_is_required_can_be_used_as_it_is() {
    let text = std::fs::read_to_string(super::root().join(".env.example")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let required = [
        ("DATABASE_URL", "postgres://u@localhost/d"),
        ("AMQP_URL", "amqp://u@localhost"),
        ("ADMIN_API_KEY", "b7f0c2d94e1a88c35d6e"),
        ("WEBHOOK_HMAC_KEY", "c35d6eb7f0c2d94e1a88"),
        ("WEBHOOK_BASE_URL", "http://localhost:8000"),
    ];
    let source = Source::from_pairs(pairs.chain(required));
    type Process = (ProcessSettings, TelemetrySettings);
    type Services = (GatewaySettings, SchedulerSettings, SenderSettings);
    let faults = <(Process, Services)>::from_source(&source).err();
    assert_eq!(faults, None);
}

#[test]
fn the_table_of_settings_is_up_to_date() {
    let sections = sections();
    let sections = sections
        .iter()
        .map(|(title, docs)| format!("### {title}\n\n{}\n", markdown(docs)));
    check(
        "docs/OPERATIONS.md",
        "settings",
        &sections.collect::<String>(),
    );
}

#[test]
fn the_table_of_codes_is_up_to_date() {
    let mut table = String::from("| code | who pays | meaning |\n| --- | --- | --- |\n");
    for code in waha::CODES {
        let blame = code.blame.map(|blame| format!("{blame:?}").to_lowercase());
        let blame = blame.as_deref().unwrap_or("nobody knows");
        table += &format!("| `{}` | {blame} | {} |\n", code.name, code.meaning);
    }
    check("docs/OPERATIONS.md", "codes", &table);
}

#[test]
fn the_table_of_statements_is_up_to_date() {
    check("docs/CITUS.md", "statements", &super::keys::table());
}
