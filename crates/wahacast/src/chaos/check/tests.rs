//! Each judge finds the crime that it is for, and none in a sound history.

use serde_json::json;
use store::audit::Held;
use time::OffsetDateTime;

use super::*;

const DELAYS: Delays = Delays {
    message: Duration::from_millis(400),
    switch: Duration::from_millis(200),
    campaign: Duration::from_secs(1),
};

fn heard(session: &str, recipient: u64, at_ms: u64) -> Heard {
    Heard {
        worker: 1,
        session: session.to_owned(),
        chat: format!("{recipient}@c.us"),
        message_id: format!("3EB0{recipient}"),
        arrived_at: OffsetDateTime::UNIX_EPOCH,
        arrived_mono_ns: at_ms * 1_000_000,
        answered_mono_ns: Some((at_ms + 50) * 1_000_000),
    }
}

fn held(campaign: u128, recipient: u64, status: &'static str) -> (String, Held) {
    let held = Held {
        campaign: Uuid::from_u128(campaign),
        sender: "a".to_owned(),
        recipient: recipient.to_string(),
        status,
        message_id: None,
        error_code: None,
        steps: vec!["12:00:00.000 2 accepted epoch 1".to_owned()],
    };
    (recipient.to_string(), held)
}

/// Two numbers on one worker; the first has two campaigns.
fn sound() -> History {
    History {
        heard: vec![
            heard("a", 1, 0),
            heard("a", 2, 450),
            heard("b", 3, 700),
            heard("a", 4, 1_500),
        ],
        held: [
            held(1, 1, "READ"),
            held(1, 2, "SENT"),
            held(2, 3, "UNKNOWN"),
            held(3, 4, "DELIVERED"),
            held(3, 5, "UNKNOWN"),
            held(3, 6, "CANCELLED"),
        ]
        .into(),
        campaigns: [(Uuid::from_u128(1), "COMPLETED".to_owned())].into(),
        own_ids: BTreeMap::new(),
    }
}

fn rules(found: &[Violation]) -> Vec<&'static str> {
    found.iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_sound_history_is_acquitted() {
    let history = sound();
    let one = (Uuid::from_u128(3), vec!["4".to_owned(), "6".to_owned()]);
    assert_eq!(recipients(&history), []);
    assert_eq!(pace(&history, DELAYS), []);
    assert_eq!(stuck(&history), []);
    assert_eq!(accepted(&history, &[one]), []);
}

#[test]
fn whoever_is_lost_or_heard_twice_or_denied_is_found() {
    let mut twice = sound();
    twice.heard.push(heard("a", 1, 9_000));
    assert_eq!(rules(&recipients(&twice)), ["doubled"]);
    let mut lost = sound();
    lost.heard.remove(1);
    assert_eq!(rules(&recipients(&lost)), ["lost"]);
    let mut denied = sound();
    denied.heard.push(heard("a", 6, 9_000));
    assert_eq!(rules(&recipients(&denied)), ["denied"]);
    let mut invented = sound();
    invented.heard.push(heard("a", 77, 9_000));
    assert_eq!(rules(&recipients(&invented)), ["invented"]);
    let gone = (Uuid::from_u128(9), vec!["77".to_owned()]);
    assert_eq!(rules(&accepted(&sound(), &[gone])), ["lost"]);
    let moved = (Uuid::from_u128(9), vec!["1".to_owned()]);
    assert_eq!(rules(&accepted(&sound(), &[moved])), ["lost"]);
}

#[test]
fn a_gap_that_is_short_by_a_nanosecond_is_found() {
    for (place, at_ms, rule) in [(1, 450, "R1"), (2, 700, "R2"), (3, 1_500, "R3")] {
        let mut hasty = sound();
        let exact = hasty.heard[place].clone();
        assert_eq!(exact.arrived_mono_ns, at_ms * 1_000_000);
        hasty.heard[place].arrived_mono_ns -= 1;
        assert_eq!(rules(&pace(&hasty, DELAYS)), [rule]);
    }
    // Without an answer nobody can say since when the sender waited, but from the arrival.
    let mut unanswered = sound();
    unanswered.held.get_mut("1").unwrap().steps.clear();
    unanswered.heard[1].arrived_mono_ns = 400_000_000;
    assert_eq!(pace(&unanswered, DELAYS), []);
    unanswered.heard[1].arrived_mono_ns -= 1;
    assert_eq!(rules(&pace(&unanswered, DELAYS)), ["R1"]);
}

#[test]
fn a_campaign_that_does_not_end_is_found() {
    let mut history = sound();
    let open = (Uuid::from_u128(2), "IN_PROGRESS".to_owned());
    history.campaigns.extend([open]);
    assert_eq!(rules(&stuck(&history)), ["stuck"]);
}

#[test]
fn a_message_that_is_not_counted_or_counted_twice_is_found() {
    let status = |sent: i64, delivered: i64| {
        json!({"total_messages": 9, "pending_messages": 3, "sending_messages": 1,
            "sent_messages": sent, "delivered_messages": delivered, "read_messages": 1,
            "failed_messages": 1, "cancelled_messages": 0, "suppressed_messages": 0,
            "unknown_messages": 0})
    };
    assert_eq!(conserved(&status(4, 2)), None);
    for (sent, delivered) in [(3, 2), (5, 2), (4, 5), (4, 0)] {
        assert!(conserved(&status(sent, delivered)).is_some());
    }
    assert!(conserved(&json!({})).is_some());
}

#[test]
fn a_campaign_that_waits_without_a_reason_is_found() {
    assert!(explained(&json!({}), Duration::from_secs(60)).is_some());
    assert_eq!(explained(&json!({}), Duration::from_secs(2)), None);
}
