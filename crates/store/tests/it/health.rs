//! Numbers that WhatsApp holds something against: what they rest for, and what excuses whom.

use std::time::Duration;

use store::health::{self, Restriction};
use store::ledger::{Claim, Outcome, Proof};
use store::receipts::{self, Report};
use time::OffsetDateTime;

use crate::fixture::phone;
use crate::ledger::{Scene, scene};

const HOUR: Duration = Duration::from_secs(3_600);

impl Scene {
    async fn claim_by(&self, ordinal: i32, id: &str) {
        let claim = Claim {
            message_id: Some(id.to_owned()),
            ..self.claim(ordinal)
        };
        let claimed = self.write(&[], &[claim]).await.claimed.remove(0);
        assert_eq!(claimed.unwrap().message_id.as_deref(), Some(id));
    }

    async fn accepted_by(&self, ordinal: i32, id: &str) {
        self.claim_by(ordinal, id).await;
        let outcome = Outcome::Sent {
            message_id: None,
            proof: Proof::Answer,
        };
        let written = self.write(&[self.conclusion(ordinal, outcome)], &[]).await;
        assert!(written.concluded[0].is_some());
    }

    async fn ack(&self, id: &str, ack: i16) {
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

    async fn restrict(&self, until: Option<OffsetDateTime>) -> bool {
        let restriction = Restriction {
            code: "time_locked",
            reason: "error 463".to_owned(),
            until,
            otherwise: HOUR,
        };
        let mut client = self.db.store.client().await.unwrap();
        health::restrict(&mut client, &phone(1), &restriction)
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

    async fn sql(&self, sql: &str) {
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
    assert!(!scene.restrict(None).await, "there is nothing left to excuse");
}

#[tokio::test]
async fn a_session_that_came_back_does_not_end_what_whatsapp_imposed() {
    let scene = scene(1).await;
    let not_working = Outcome::Again {
        cause: crate::ledger::cause("session_not_working"),
        retry_in: Duration::from_secs(9),
        number_rests: true,
        tried: false,
    };
    scene.send(0, not_working).await;
    assert!(scene.restrict(None).await);
    scene
        .sql("UPDATE sessions SET status_at = clock_timestamp()")
        .await;
    let client = scene.db.store.client().await.unwrap();
    let rest = || async {
        let speaker = store::roster::one(&client, scene.tenure.worker, &phone(1)).await;
        speaker.unwrap().unwrap().resting_for.unwrap_or_default()
    };
    assert!(rest().await > HOUR / 2, "the message waited for its session");
    scene
        .sql("UPDATE senders SET resting_until = now() - interval '1 second'")
        .await;
    assert_eq!(rest().await, Duration::ZERO, "the lock is over");
    scene
        .sql("UPDATE senders SET resting_until = now() + interval '1 hour', rest_code = 'other'")
        .await;
    assert_eq!(rest().await, Duration::ZERO, "this rest is of the session");
}
