//! Numbers that WhatsApp holds something against: what they rest for, and what excuses whom.

use std::time::Duration;

use store::GenericClient as _;
use store::health::{self, Restriction};
use store::ledger::{Claim, Outcome, Proof};
use store::receipts::{self, Report};
use time::OffsetDateTime;

use crate::fixture::phone;
use crate::ledger::{Scene, again, scene, sent};

const HOUR: Duration = Duration::from_secs(3_600);

impl Scene {
    pub(crate) async fn claim_by(&self, ordinal: i32, id: &str) {
        let claim = Claim {
            message_id: Some(id.to_owned()),
            ..self.claim(ordinal)
        };
        let claimed = self.write(&[], &[claim]).await.claimed.remove(0);
        assert_eq!(claimed.unwrap().message_id.as_deref(), Some(id));
    }

    pub(crate) async fn accepted_by(&self, ordinal: i32, id: &str) {
        self.claim_by(ordinal, id).await;
        let outcome = Outcome::Sent {
            message_id: None,
            proof: Proof::Answer,
        };
        let written = self.write(&[self.conclusion(ordinal, outcome)], &[]).await;
        assert!(written.concluded[0].is_some());
    }

    pub(crate) async fn ack(&self, id: &str, ack: i16) {
        let report = Report {
            sender: phone(1),
            generation: 1,
            message_id: id.to_owned(),
            ack,
            at: None,
        };
        let mut client = self.db.store.client().await.unwrap();
        receipts::record(&mut client, &[report]).await.unwrap();
    }

    pub(crate) async fn restrict(&self, until: Option<OffsetDateTime>) -> bool {
        let restriction = Restriction {
            code: "time_locked",
            reason: "error 463".to_owned(),
            until,
            otherwise: HOUR,
            otherwise_max: 5 * HOUR,
        };
        let mut client = self.db.store.client().await.unwrap();
        health::restrict(&mut client, &phone(1), 1, &restriction)
            .await
            .unwrap()
    }

    /// Status, WhatsApp id, and whether another attempt waits.
    async fn message(&self, ordinal: i32) -> (i16, Option<String>, bool) {
        let client = self.db.store.client().await.unwrap();
        let sql = "SELECT m.status, m.waha_message_id, EXISTS (SELECT FROM retries r
                WHERE r.campaign_id = m.campaign_id AND r.ordinal = m.ordinal)
            FROM messages m WHERE m.campaign_id = $1 AND m.ordinal = $2";
        let key = (self.campaign.uuid(), ordinal);
        let row = client.query_one(sql, &[&key.0, &key.1]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    /// For how many hours the number rests, rounded; why; and its restrictions in a row.
    async fn rest(&self) -> (i32, Option<String>, i32) {
        let client = self.db.store.client().await.unwrap();
        let sql = "SELECT round(EXTRACT(EPOCH FROM resting_until - now()) / 3600)::integer,
            rest_code, restrictions FROM senders";
        let row = client.query_one(sql, &[]).await.unwrap();
        let hours: Option<i32> = row.get(0);
        (hours.unwrap_or_default(), row.get(1), row.get(2))
    }

    async fn rest_is_over(&self) {
        self.sql("UPDATE senders SET resting_until = now() - interval '1 second'")
            .await;
    }

    pub(crate) async fn sql(&self, sql: &str) {
        let client = self.db.store.client().await.unwrap();
        client.execute(sql, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_that_was_excused_is_taken_back_by_a_late_ack() {
    for (ack, status, counters) in [(1, 2, [1, 0, 0]), (2, 3, [0, 1, 0]), (3, 4, [0, 0, 1])] {
        let scene = scene(1).await;
        scene.accepted_by(0, "3EB0AA").await;
        scene.ack("3EB0AA", -1).await;
        assert!(scene.restrict(None).await);
        assert_eq!(scene.message(0).await, (0, None, true), "it is excused");
        // Reports come in any order: WhatsApp had taken it before.
        scene.ack("3EB0AA", ack).await;
        let wanted = (status, Some("3EB0AA".to_owned()), false);
        assert_eq!(scene.message(0).await, wanted, "and not said again");
        let client = scene.db.store.client().await.unwrap();
        let sql = "SELECT status, sent, delivered, read, failed, completed_at IS NOT NULL
            FROM campaigns";
        let row = client.query_one(sql, &[]).await.unwrap();
        let found = [1, 2, 3].map(|column| row.get::<_, i32>(column));
        assert_eq!((row.get(0), found), ("COMPLETED", counters));
        assert_eq!((row.get::<_, i32>(4), row.get(5)), (0, true));
    }
}

#[tokio::test]
async fn a_late_ack_of_an_earlier_id_counts_when_the_message_is_on_its_way_again() {
    let cause = || crate::ledger::cause("because");
    for outcome in [
        again(false),
        Outcome::Failed(cause()),
        Outcome::Unknown(cause()),
    ] {
        let scene = scene(1).await;
        scene.accepted_by(0, "3EB0AA").await;
        scene.ack("3EB0AA", -1).await;
        assert!(scene.restrict(None).await);
        scene.rest_is_over().await;
        scene.claim_by(0, "3EB0BB").await;
        scene.ack("3EB0AA", 2).await;
        let after = format!("{outcome:?}");
        scene.write(&[scene.conclusion(0, outcome)], &[]).await;
        let wanted = (3, Some("3EB0AA".to_owned()), false);
        assert_eq!(scene.message(0).await, wanted, "{after}");
    }
}

#[tokio::test]
async fn one_refusal_excuses_one_attempt() {
    let scene = scene(1).await;
    scene.accepted_by(0, "3EB0AA").await;
    scene.ack("3EB0AA", -1).await;
    assert!(scene.restrict(None).await);
    scene
        .sql("UPDATE senders SET resting_until = now(), rest_code = NULL")
        .await;
    // Its next attempt fails at the worker; the code only looks like a refusal by WhatsApp.
    scene.claim_by(0, "3EB0BB").await;
    let refused = Outcome::Failed(crate::ledger::cause("whatsapp_refused"));
    let written = scene.write(&[scene.conclusion(0, refused)], &[]).await;
    assert!(written.concluded[0].is_some());
    scene.restrict(None).await;
    let failed = (5, Some("3EB0BB".to_owned()), false);
    assert_eq!(scene.message(0).await, failed, "nothing excuses this one");
    let (_, counters, rows) = scene.counts().await;
    assert_eq!((counters, rows), (vec![0, 0, 1, 0, 0], vec![0, 0, 1, 0, 0]));
    // A refusal of its own does, once.
    scene.ack("3EB0BB", -1).await;
    assert!(scene.restrict(None).await);
    assert_eq!(scene.message(0).await, (0, None, true));
    assert!(
        !scene.restrict(None).await,
        "there is nothing left to excuse"
    );
}

#[tokio::test]
async fn a_session_that_came_back_does_not_end_what_whatsapp_imposed() {
    let scene = scene(1).await;
    scene.send(0, number_rests("session_not_working", 1)).await;
    assert!(scene.restrict(None).await);
    scene
        .sql("UPDATE sessions SET status_at = clock_timestamp()")
        .await;
    let rest = || async {
        let speaker = scene.speaker().await;
        speaker.unwrap().unwrap().resting_for.unwrap_or_default()
    };
    assert!(
        rest().await > HOUR / 2,
        "the message waited for its session"
    );
    scene
        .sql("UPDATE senders SET resting_until = now() - interval '1 second'")
        .await;
    assert_eq!(rest().await, Duration::ZERO, "the lock is over");
    scene
        .sql("UPDATE senders SET resting_until = now() + interval '1 hour', rest_code = 'other'")
        .await;
    assert_eq!(rest().await, Duration::ZERO, "this rest is of the session");
}

fn locked(hours: i32, restrictions: i32) -> (i32, Option<String>, i32) {
    (hours, Some("time_locked".to_owned()), restrictions)
}

fn number_rests(code: &str, hours: u32) -> Outcome {
    Outcome::Again {
        cause: crate::ledger::cause(code),
        retry_in: hours * HOUR,
        number_rests: true,
        tried: false,
    }
}

#[tokio::test]
async fn each_restriction_in_a_row_rests_longer_and_only_an_ack_ends_the_row() {
    let scene = scene(9).await;
    for (ordinal, hours) in [(0, 1), (1, 2), (2, 4), (3, 5)] {
        // The worker takes it, and WhatsApp says no afterwards.
        let id = format!("3EB0{ordinal}");
        scene.accepted_by(ordinal, &id).await;
        scene.ack(&id, -1).await;
        assert!(scene.restrict(None).await);
        assert_eq!(scene.rest().await, locked(hours, ordinal + 1));
        assert!(!scene.restrict(None).await, "the same one, seen again");
        assert_eq!(scene.rest().await, locked(hours, ordinal + 1));
        scene.rest_is_over().await;
    }
    // Nothing else ends it: neither what the worker says nor silence.
    for (code, hours) in [("session_not_working", 5), ("time_locked", 5)] {
        scene.write(&[], &[scene.claim(4)]).await;
        let outcome = number_rests(code, 1);
        scene.write(&[scene.conclusion(4, outcome)], &[]).await;
        scene.rest_is_over().await;
        assert!(scene.restrict(None).await);
        assert_eq!(scene.rest().await.0, hours);
        scene.rest_is_over().await;
    }
    scene.accepted_by(4, "3EB0AA").await;
    scene.ack("3EB0AA", 1).await;
    assert!(scene.restrict(None).await);
    assert_eq!(scene.rest().await, locked(1, 1), "it begins anew");
}

#[tokio::test]
async fn a_restriction_that_a_worker_answers_with_is_one_of_the_row() {
    let scene = scene(9).await;
    for ordinal in 0..2 {
        scene.send(ordinal, number_rests("time_locked", 1)).await;
        assert_eq!(scene.rest().await, locked(1, ordinal + 1));
        scene.rest_is_over().await;
    }
    let speaker = scene.speaker().await;
    assert_eq!(speaker.unwrap().unwrap().rests, 2, "the sender doubles it");
    assert!(scene.restrict(None).await);
    assert_eq!(scene.rest().await, locked(4, 3));
}

#[tokio::test]
async fn an_ack_of_what_was_said_before_does_not_end_a_lock_under_way() {
    let scene = scene(9).await;
    scene.accepted_by(0, "3EB0AA").await;
    let client = scene.db.store.client().await.unwrap();
    let now: OffsetDateTime = client.query_one("SELECT now()", &[]).await.unwrap().get(0);
    assert!(scene.restrict(Some(now + 3 * HOUR)).await);
    for ack in 1..=3 {
        scene.ack("3EB0AA", ack).await;
        assert_eq!(scene.rest().await, locked(3, 1), "ack {ack}");
    }
    scene.rest_is_over().await;
    assert!(scene.restrict(None).await);
    assert_eq!(scene.rest().await, locked(2, 2), "and the row goes on");
}

#[tokio::test]
async fn what_a_worker_says_does_not_shorten_a_lock_under_way() {
    let scene = scene(9).await;
    scene.claim_by(0, "3EB0AA").await;
    assert!(scene.restrict(None).await);
    let outcome = number_rests("session_not_working", 0);
    scene.write(&[scene.conclusion(0, outcome)], &[]).await;
    assert_eq!(scene.rest().await, locked(1, 1));
    let outcome = number_rests("time_locked", 3);
    scene.send(0, outcome).await;
    assert_eq!(scene.rest().await, locked(3, 1), "it is the same lock");
}

impl Scene {
    async fn rest_silent(&self, unacked: i32) -> bool {
        let client = self.db.store.client().await.unwrap();
        health::rest_silent(&client, &phone(1), unacked, HOUR, "silence")
            .await
            .unwrap()
    }

    /// Why the number rests, and its rests in a row.
    async fn silence(&self) -> (Option<String>, Option<String>, i32) {
        let client = self.db.store.client().await.unwrap();
        let sql = "SELECT rest_code, rest_reason, rests FROM senders";
        let row = client.query_one(sql, &[]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }
}

fn silent(rests: i32) -> (Option<String>, Option<String>, i32) {
    (Some("silent".to_owned()), Some("silence".to_owned()), rests)
}

#[tokio::test]
async fn a_number_is_not_silent_once_it_was_heard_of() {
    let scene = scene(9).await;
    scene.accepted_by(0, "3EB0AA").await;
    scene.accepted_by(1, "3EB0BB").await;
    scene.ack("3EB0AA", 1).await;
    assert!(!scene.rest_silent(2).await, "an ack came meanwhile");
    assert_eq!(scene.silence().await, (None, None, 0));
    scene.accepted_by(2, "3EB0CC").await;
    scene.accepted_by(3, "3EB0DD").await;
    assert!(scene.restrict(None).await);
    assert!(!scene.rest_silent(2).await, "WhatsApp says why");
    assert_eq!(scene.rest().await, locked(1, 1));
    scene.rest_is_over().await;
    assert!(scene.rest_silent(2).await);
    assert_eq!(scene.silence().await.0.as_deref(), Some("silent"));
}

#[tokio::test]
async fn a_probe_says_nothing_for_a_silent_number_but_by_its_ack() {
    let cause = || crate::ledger::cause("because");
    for outcome in [
        sent(),
        Outcome::Failed(cause()),
        Outcome::Unknown(cause()),
        again(false),
        number_rests("session_not_working", 0),
    ] {
        let scene = scene(9).await;
        scene.accepted_by(0, "3EB0AA").await;
        assert!(scene.rest_silent(1).await);
        scene.rest_is_over().await;
        let after = format!("{outcome:?}");
        scene.send(1, outcome).await;
        assert_eq!(scene.silence().await, silent(1), "{after}");
        assert!(scene.rest_silent(1).await);
        assert_eq!(scene.silence().await, silent(2), "{after}");
        scene.ack("3EB0AA", 1).await;
        assert_eq!(scene.silence().await, (None, None, 0), "{after}");
    }
}

#[tokio::test]
async fn a_probe_that_a_restriction_meets_says_so() {
    let scene = scene(9).await;
    scene.accepted_by(0, "3EB0AA").await;
    assert!(scene.rest_silent(1).await);
    scene.rest_is_over().await;
    scene.send(1, number_rests("time_locked", 2)).await;
    assert_eq!(scene.rest().await, locked(2, 1));
}

#[tokio::test]
async fn a_restriction_that_is_over_changes_nothing() {
    let scene = scene(1).await;
    scene.accepted_by(0, "3EB0AA").await;
    scene.ack("3EB0AA", -1).await;
    let client = scene.db.store.client().await.unwrap();
    let now: OffsetDateTime = client.query_one("SELECT now()", &[]).await.unwrap().get(0);
    assert!(!scene.restrict(Some(now - HOUR)).await);
    assert_eq!(scene.rest().await, (0, None, 0));
    assert_eq!(scene.message(0).await.0, 5, "nor does it excuse anything");
}
