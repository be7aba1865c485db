//! Settings are read, and refused with every fault at once.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::*;

crate::settings! {
    /// One of each kind.
    struct Everything {
        /// First line.
        /// Second line.
        "TEST_TURN" => turn: u32 = 30, 1..=10_000;
        /// Seconds.
        "TEST_POLL" => poll: Duration = 2.5, 0.1..=60.0;
        /// An address.
        "TEST_LISTEN" => listen: SocketAddr = "127.0.0.1:8080";
        /// A flag.
        "TEST_FLAG" => flag: bool = false;
        /// A secret that must be given.
        "TEST_KEY" => key: SecretString, 4..=100;
        /// A list.
        "TEST_LIST" => list: Vec<u16> = "";
        /// Absent unless given.
        "TEST_URL" => url: Option<Url>;
    }
}

fn load(pairs: &[(&str, &str)]) -> Result<Everything, Faults> {
    Everything::from_source(&Source::from_pairs(pairs.iter().copied()))
}

#[test]
fn defaults_are_read_like_anything_else() {
    let settings = load(&[("TEST_KEY", "hidden"), ("TEST_POLL", "  ")]).unwrap();
    assert_eq!((settings.turn, settings.flag), (30, false));
    assert_eq!(settings.poll, Duration::from_millis(2_500));
    assert_eq!(settings.listen.port(), 8080);
    assert_eq!(settings.key.expose_secret(), "hidden");
    assert!(settings.list.is_empty() && settings.url.is_none());
}

#[test]
fn values_override_defaults() {
    let settings = load(&[
        ("TEST_KEY", "hidden"),
        ("TEST_TURN", " 7 "),
        ("TEST_POLL", "1"),
        ("TEST_LIST", "1, 2,,3"),
        ("TEST_URL", "http://127.0.0.1:1/w/2"),
        ("TEST_FLAG", "yes"),
    ])
    .unwrap();
    assert_eq!((settings.turn, settings.flag), (7, true));
    assert_eq!(settings.poll, Duration::from_secs(1));
    assert_eq!(settings.list, [1, 2, 3]);
    assert_eq!(settings.url.unwrap().path(), "/w/2");
}

#[test]
fn every_fault_is_reported_with_its_key_and_no_secret() {
    let faults = load(&[
        ("TEST_TURN", "0"),
        ("TEST_POLL", "soon"),
        ("TEST_LISTEN", "nowhere"),
        ("TEST_KEY", "abc"),
        ("TEST_URL", "//user:abc@"),
    ])
    .unwrap_err();
    let keys: Vec<_> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "TEST_TURN",
            "TEST_POLL",
            "TEST_LISTEN",
            "TEST_KEY",
            "TEST_URL"
        ]
    );
    let text = faults.to_string();
    assert!(
        text.contains("TEST_TURN: it must be from 1 to 10000, not 0"),
        "{text}"
    );
    assert!(
        text.contains("\"soon\" is not a number of seconds"),
        "{text}"
    );
    assert!(!text.contains("abc"), "{text}");
}

#[test]
fn a_missing_required_setting_says_so() {
    assert_eq!(
        load(&[]).unwrap_err().to_string(),
        "TEST_KEY: is required, a secret text"
    );
}

#[test]
fn the_table_tells_what_a_person_needs() {
    let [turn, .., key, _, url] = Everything::SETTINGS else {
        panic!("a row is missing")
    };
    assert_eq!(
        (turn.key, turn.default, turn.required),
        ("TEST_TURN", Some("30"), false)
    );
    assert_eq!(turn.reason, " First line.\n Second line.");
    assert_eq!(turn.bounds, Some("1..=10_000"));
    assert!(key.required && key.secret && key.default.is_none());
    assert!(!url.required && url.default.is_none());
}

#[test]
fn groups_are_read_together() {
    crate::settings! {
        struct Other {
            /// A number.
            "OTHER" => number: u8;
        }
    }
    let source = Source::from_pairs([("TEST_TURN", "x")]);
    let faults = <(Everything, Other)>::from_source(&source).unwrap_err();
    assert_eq!(faults.0.len(), 3);
    assert_eq!(<(Everything, Other)>::docs().len(), 8);
    let source = Source::from_pairs([("OTHER", "7")]);
    assert_eq!(Other::from_source(&source).unwrap().number, 7);
}

#[test]
fn a_source_shows_no_values() {
    let source = Source::from_pairs([("TEST_TURN", "secret")]);
    assert!(!format!("{source:?}").contains("secret"));
}
