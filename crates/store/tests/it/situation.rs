//! What surrounds campaigns, looked at together and alone; and lists of them.

use models::campaign::CampaignStatus;
use models::ids::CampaignId;
use store::GenericClient as _;
use store::campaigns::{self, Campaign, Earlier, Filter, Situation};
use testkit::{TestDatabase, database};

use crate::fixture::{DEAD_AFTER, campaign, phone, session, worker};

async fn sql(db: &TestDatabase, text: &str) {
    let client = db.store.client().await.unwrap();
    client.batch_execute(text).await.unwrap();
}

async fn rows(db: &TestDatabase, ids: &[CampaignId]) -> Vec<Campaign> {
    let client = db.store.client().await.unwrap();
    let mut rows = campaigns::some(&client, ids).await.unwrap();
    rows.sort_by_key(|row| row.id);
    rows
}

/// All at once; each must be what it is when it is looked at alone.
async fn looked(db: &TestDatabase, rows: &[Campaign]) -> Vec<Situation> {
    let client = db.store.client().await.unwrap();
    let all: Vec<&Campaign> = rows.iter().collect();
    let together = campaigns::situations(&client, &all, DEAD_AFTER).await;
    let together = together.unwrap();
    let mut looked = Vec::new();
    for row in rows {
        let alone = campaigns::situations(&client, &[row], DEAD_AFTER).await;
        let (alone, together) = (&alone.unwrap()[&row.id], &together[&row.id]);
        let told = |situation: &Situation| {
            let mut situation = situation.clone();
            situation.now = time::OffsetDateTime::UNIX_EPOCH;
            format!("{situation:?}")
        };
        assert_eq!(told(alone), told(together));
        looked.push(together.clone());
    }
    looked
}

fn speakers(situation: &Situation) -> Option<i64> {
    let worker = situation.session.as_ref()?.worker.as_ref()?;
    Some(worker.speakers)
}

#[tokio::test]
async fn campaigns_looked_at_together_are_as_they_are_alone() {
    let db = database().await;
    let (one, other) = (worker(&db).await, worker(&db).await);
    for (number, worker) in [(1, one), (2, one), (3, one), (4, other), (5, other)] {
        session(&db, worker, &phone(number)).await;
    }
    let mut ids = Vec::new();
    for number in [1, 1, 1, 2, 4, 5] {
        ids.push(campaign(&db, &phone(number), 10).await);
    }
    let queued = format!(
        "UPDATE sessions SET worker_id = NULL, queued_at = now() - interval '1 hour'
         WHERE phone = '{}';
         UPDATE campaigns SET sent = 4, failed = 1, next_ordinal = 5 WHERE id = '{}'",
        phone(5).digits(),
        ids[0].uuid()
    );
    sql(&db, &queued).await;
    let looked = looked(&db, &rows(&db, &ids).await).await;
    let crowds: Vec<_> = looked.iter().map(speakers).collect();
    assert_eq!(crowds, [Some(2), Some(2), Some(2), Some(2), Some(1), None]);
    let earlier = |campaigns, messages| {
        Some(Earlier {
            first: ids[0],
            campaigns,
            messages,
        })
    };
    let before: Vec<_> = looked.iter().map(|one| one.earlier).collect();
    assert_eq!(
        before,
        [None, earlier(1, 5), earlier(2, 15), None, None, None]
    );
    let place = looked[5].session.as_ref().unwrap().queue_place;
    assert_eq!(place, 1, "the only one in the queue");
    assert!(looked.iter().all(|one| !one.replicas_alive));
}

#[tokio::test]
async fn retries_are_told_once_nothing_else_is_left() {
    let db = database().await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(1)).await;
    let id = campaign(&db, &phone(1), 3).await;
    let retry = format!(
        "UPDATE campaigns SET sent = 1, next_ordinal = 2 WHERE id = '{0}';
         INSERT INTO retries VALUES ('{0}', 0, now() + interval '1 hour'),
            ('{0}', 1, now() + interval '2 hours')",
        id.uuid()
    );
    sql(&db, &retry).await;
    let before = looked(&db, &rows(&db, &[id]).await).await;
    assert_eq!(before[0].retry_at, None, "one was not begun");
    sql(&db, "UPDATE campaigns SET next_ordinal = 3").await;
    let after = looked(&db, &rows(&db, &[id]).await).await;
    let waits = after[0].retry_at.unwrap() - after[0].now;
    assert!((3_500..3_601).contains(&waits.whole_seconds()), "{waits}");
}

#[tokio::test]
async fn one_that_has_ended_since_it_was_read_has_nothing_before_it() {
    let db = database().await;
    let worker = worker(&db).await;
    for number in [1, 2] {
        session(&db, worker, &phone(number)).await;
    }
    let mut ids = Vec::new();
    for number in [1, 1, 1, 2] {
        ids.push(campaign(&db, &phone(number), 1).await);
    }
    let read = rows(&db, &ids).await;
    let ended = format!(
        "UPDATE campaigns SET status = 'CANCELLED', completed_at = now()
         WHERE id IN ('{}', '{}')",
        ids[1].uuid(),
        ids[3].uuid()
    );
    sql(&db, &ended).await;
    let looked = looked(&db, &read).await;
    let before: Vec<_> = looked
        .iter()
        .map(|one| one.earlier.map(|earlier| earlier.campaigns))
        .collect();
    assert_eq!(before, [None, None, Some(1), None]);
    assert_eq!(
        speakers(&looked[3]),
        Some(1),
        "what else is known stays known"
    );
}

#[tokio::test]
async fn a_number_that_is_not_known_has_no_situation() {
    let db = database().await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(1)).await;
    let id = campaign(&db, &phone(1), 1).await;
    let mut row = rows(&db, &[id]).await;
    row[0].sender = phone(2);
    let client = db.store.client().await.unwrap();
    let found = campaigns::situations(&client, &[&row[0]], DEAD_AFTER).await;
    assert!(found.unwrap().is_empty());
    let found = campaigns::situations(&client, &[], DEAD_AFTER).await;
    assert!(found.unwrap().is_empty());
}

async fn list(db: &TestDatabase, filter: &Filter, limit: i64) -> Vec<CampaignId> {
    let client = db.store.client().await.unwrap();
    let list = campaigns::list(&client, filter, limit).await.unwrap();
    list.iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn lists_go_on_behind_their_cursor_whoever_is_listed() {
    let db = database().await;
    let worker = worker(&db).await;
    let mut ids = Vec::new();
    for number in [1, 2] {
        session(&db, worker, &phone(number)).await;
    }
    for n in 0..12 {
        ids.push(campaign(&db, &phone(1 + n % 2), 1).await);
    }
    let newest: Vec<_> = ids.iter().rev().copied().collect();
    let of_one: Vec<_> = newest.iter().skip(1).step_by(2).copied().collect();
    let everybodys = Filter::default();
    let own = Filter {
        sender: Some(phone(1)),
        ..Filter::default()
    };
    // Often enough for the server to keep a plan for all parameters.
    for _ in 0..8 {
        for (filter, wanted) in [(&everybodys, &newest), (&own, &of_one)] {
            assert_eq!(list(&db, filter, 99).await, *wanted);
            let after = Filter {
                after: Some(wanted[2]),
                ..filter.clone()
            };
            assert_eq!(list(&db, &after, 2).await, wanted[3..5]);
            let none = Filter {
                status: Some(CampaignStatus::Cancelled),
                ..filter.clone()
            };
            assert!(list(&db, &none, 99).await.is_empty());
        }
    }
}
