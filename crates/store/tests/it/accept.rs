//! Campaigns are accepted whole or not at all, and the same by either way.

use std::path::Path;
use std::sync::Arc;

use models::campaign::CampaignStatus;
use models::ids::{CampaignId, TraceId};
use models::phone::PhoneNumber;
use models::template::Variables;
use store::campaigns::{
    Acceptance, Accepted, NewCampaign, accept, accept_again, accept_few, recall,
};
use store::{GenericClient, Spool, StoreError};
use testkit::{TestDatabase, database};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use crate::fixture::{phone, session, worker};
use crate::races::{BOUND, somebody_waits};

/// Bytes of a spool that are held in memory.
const MEMORY: usize = 1 << 20;
/// The most recipients that one statement stores.
const FEW: usize = 100;

async fn scene() -> (TestDatabase, PhoneNumber) {
    let (db, sender) = (database().await, phone(1));
    let worker = worker(&db).await;
    session(&db, worker, &sender).await;
    (db, sender)
}

fn campaign(sender: &PhoneNumber) -> NewCampaign {
    NewCampaign {
        id: CampaignId::new(Uuid::now_v7()),
        sender: sender.clone(),
        template: "Hi {{name}} of {{town}}".to_owned(),
        variables: Variables::from([("town".to_owned(), "Tunis".to_owned())]),
        media_url: Some("https://example.com/cat.jpg".to_owned()),
        duplicates_removed: 3,
        trace_id: TraceId::new(Uuid::from_u128(7)),
    }
}

/// Recipients, every other one with variables that hold all that JSON must escape.
fn spool(recipients: usize, more: &str) -> Spool {
    let mut spool = Spool::new(MEMORY, &std::env::temp_dir());
    for n in 0..recipients {
        let own = format!(r#"{{"a":"{more}","name":"\"Leïla\" \\ {n}"}}"#);
        let own = (n % 2 == 1).then_some(own.as_str());
        let number = phone(u32::try_from(n).unwrap()).key();
        spool.push(number, own).unwrap();
    }
    spool
}

async fn submit(db: &TestDatabase, campaign: NewCampaign, spool: Spool) -> Box<Accepted> {
    let mut client = db.store.client().await.unwrap();
    match accept(&mut client, campaign, spool).await.unwrap() {
        Acceptance::Accepted(accepted) => accepted,
        Acceptance::SenderUnknown => panic!("the sender has a session"),
    }
}

/// Everything that is stored of a campaign but its id, its size and when it was: the campaign, its
/// first recipients, its job.
async fn stored(db: &TestDatabase, id: CampaignId) -> Vec<serde_json::Value> {
    let sql = "
        SELECT to_jsonb(c) - '{id,created_at,sweep_at,total}'::text[] FROM campaigns c
            WHERE id = $1
        UNION ALL (SELECT to_jsonb(m) - 'campaign_id' FROM messages m
            WHERE campaign_id = $1 ORDER BY ordinal LIMIT 100)
        UNION ALL SELECT to_jsonb(o) - '{id,campaign_id,created_at}'::text[] FROM outbox o
            WHERE campaign_id = $1";
    let client = db.client().await;
    let rows = client.query(sql, &[&id.uuid()]).await.unwrap();
    rows.iter()
        .map(|row| row.get::<_, Json<serde_json::Value>>(0).0)
        .collect()
}

async fn count(db: &TestDatabase, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    db.client().await.query_one(&sql, &[]).await.unwrap().get(0)
}

async fn nothing_is_stored(db: &TestDatabase) {
    for table in ["campaigns", "messages", "outbox"] {
        assert_eq!(count(db, table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn both_ways_store_the_same() {
    let (db, sender) = scene().await;
    let few = submit(&db, campaign(&sender), spool(FEW, "")).await;
    let many = submit(&db, campaign(&sender), spool(FEW + 1, "")).await;
    let (one, other) = (stored(&db, few.campaign.id), stored(&db, many.campaign.id));
    let (one, other) = (one.await, other.await);
    assert_eq!(one.len(), FEW + 2);
    assert_eq!(one, other);
    assert_eq!(one[2]["variables"]["name"], "\"Leïla\" \\ 1");
    let total = (FEW + FEW + 1) as i64;
    assert_eq!(count(&db, "messages").await, total);
}

#[tokio::test]
async fn what_is_told_is_what_is_stored() {
    let (db, sender) = scene().await;
    let mut before = 0;
    for (place, recipients) in (0..).zip([1, FEW, FEW + 1, 5_000]) {
        let told = submit(&db, campaign(&sender), spool(recipients, "")).await;
        let client = db.store.client().await.unwrap();
        let kept = store::campaigns::one(&client, told.campaign.id)
            .await
            .unwrap();
        let kept = kept.unwrap();
        assert_eq!(format!("{:?}", told.campaign), format!("{kept:?}"));
        let prospect = told.prospect.expect("what lies before it can be read");
        assert!(prospect.now >= kept.created_at);
        assert_eq!(prospect.campaigns_before, Some(place));
        assert_eq!((prospect.speakers, prospect.messages_before), (1, before));
        before += i64::try_from(recipients).unwrap();
    }
}

#[tokio::test]
async fn few_recipients_with_much_to_tell_are_copied_from_the_disk() {
    let (db, sender) = scene().await;
    let spool = spool(20, &"x".repeat(200_000));
    assert!(spool.is_on_disk());
    let accepted = submit(&db, campaign(&sender), spool).await;
    let rows = stored(&db, accepted.campaign.id).await;
    assert_eq!(rows.len(), 22);
    assert_eq!(rows[20]["variables"]["a"].as_str().unwrap().len(), 200_000);
}

#[tokio::test]
async fn without_a_session_nothing_is_stored() {
    let (db, sender) = scene().await;
    let client = db.client().await;
    for recipients in [1, FEW + 1] {
        for (number, wanted) in [(phone(2), "RUNNING"), (sender.clone(), "GONE")] {
            let sql = "UPDATE sessions SET wanted = $1";
            client.execute(sql, &[&wanted]).await.unwrap();
            let mut pooled = db.store.client().await.unwrap();
            let new = campaign(&number);
            let answer = accept(&mut pooled, new, spool(recipients, "")).await;
            assert!(
                matches!(answer, Ok(Acceptance::SenderUnknown)),
                "{answer:?}"
            );
            nothing_is_stored(&db).await;
        }
    }
}

/// Removes a sender's session meanwhile.
fn begin_removal(
    db: &Arc<TestDatabase>,
    sender: &PhoneNumber,
) -> JoinHandle<Result<Option<u64>, StoreError>> {
    let (db, sender) = (Arc::clone(db), sender.clone());
    tokio::spawn(async move {
        let mut client = db.store.client().await.unwrap();
        store::sessions::remove(&mut client, &sender).await
    })
}

/// Whoever removes a session cancels its campaigns: none may slip in between.
#[tokio::test]
async fn a_session_that_is_being_removed_takes_no_campaign() {
    for recipients in [1, FEW + 1] {
        let (db, sender) = scene().await;
        let db = Arc::new(db);
        let before = submit(&db, campaign(&sender), spool(2, "")).await.campaign;
        let mut holder = db.client().await;
        let held = holder.transaction().await.unwrap();
        let sql = "SELECT FROM campaigns FOR UPDATE";
        held.execute(sql, &[]).await.unwrap();
        let removing = begin_removal(&db, &sender);
        let client = db.store.client().await.unwrap();
        somebody_waits(&client).await;
        let accepting = {
            let (db, sender) = (Arc::clone(&db), sender.clone());
            tokio::spawn(async move {
                let mut client = db.store.client().await.unwrap();
                accept(&mut client, campaign(&sender), spool(recipients, "")).await
            })
        };
        held.commit().await.unwrap();
        assert_eq!(removing.await.unwrap().unwrap(), Some(1));
        let answer = timeout(BOUND, accepting).await.unwrap().unwrap();
        assert!(
            matches!(answer, Ok(Acceptance::SenderUnknown)),
            "{answer:?}"
        );
        let open = "SELECT count(*) FROM campaigns WHERE completed_at IS NULL";
        let row = client.query_one(open, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
        let found = store::campaigns::one(&client, before.id).await.unwrap();
        let why = found.unwrap().cancel_reason;
        assert_eq!(why.as_deref(), Some("the sender's session was removed"));
    }
}

/// Its login ended with the session that was removed.
#[tokio::test]
async fn a_session_that_is_made_again_while_it_leaves_is_logged_out_first() {
    let (db, sender) = scene().await;
    let mut client = db.store.client().await.unwrap();
    let placed = "UPDATE sessions SET created = true, status = 'WORKING'";
    client.execute(placed, &[]).await.unwrap();
    let removed = store::sessions::remove(&mut client, &sender).await;
    assert_eq!(removed.unwrap(), Some(0));
    assert!(store::sessions::create(&mut client, &sender).await.unwrap());
    let session = "SELECT wanted = 'RUNNING' AND logout AND status = 'STARTING' FROM sessions";
    let row = client.query_one(session, &[]).await.unwrap();
    assert!(row.get::<_, bool>(0));
    let again = submit(&db, campaign(&sender), spool(2, "")).await.campaign;
    assert!(!store::sessions::create(&mut client, &sender).await.unwrap());
    let found = store::campaigns::one(&client, again.id).await.unwrap();
    assert_eq!(found.unwrap().status, CampaignStatus::Pending);
}

/// A campaign that is being accepted comes first: it is there to be cancelled.
#[tokio::test]
async fn a_removal_waits_for_campaigns_that_are_being_accepted() {
    let (db, sender) = scene().await;
    let db = Arc::new(db);
    let mut slow = db.client().await;
    let accepting = slow.transaction().await.unwrap();
    let sql = "SELECT FROM sessions FOR KEY SHARE";
    accepting.execute(sql, &[]).await.unwrap();
    let removing = begin_removal(&db, &sender);
    somebody_waits(&db.store.client().await.unwrap()).await;
    let insert = "INSERT INTO campaigns (id, sender, template, total, trace_id)
        VALUES ($1, $2, '', 1, $1)";
    let id = Uuid::now_v7();
    let values: &[&(dyn ToSql + Sync)] = &[&id, &sender.digits()];
    accepting.execute(insert, values).await.unwrap();
    accepting.commit().await.unwrap();
    assert_eq!(removing.await.unwrap().unwrap(), Some(1));
}

/// Cuts the one file that this process holds open in `directory`.
fn cut_file_in(directory: &Path) {
    let held = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let ours = held
        .map(|entry| entry.path())
        .filter(|fd| std::fs::read_link(fd).is_ok_and(|target| target.starts_with(directory)));
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours.len(), 1, "the spool's file is open and has no name");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&ours[0])
        .unwrap();
    file.set_len(MEMORY as u64).unwrap();
}

#[tokio::test]
async fn a_spool_that_lost_something_stores_nothing() {
    let (db, sender) = scene().await;
    let directory = tempfile::tempdir().unwrap();
    let mut damaged = Spool::new(MEMORY, directory.path());
    for n in 0..500_000 {
        damaged.push(phone(n).key(), None).unwrap();
    }
    cut_file_in(directory.path());
    let mut client = db.store.client().await.unwrap();
    let answer = accept(&mut client, campaign(&sender), damaged).await;
    assert!(matches!(answer, Err(StoreError::Spool(_))), "{answer:?}");
    nothing_is_stored(&db).await;
    drop(client);
    submit(&db, campaign(&sender), spool(1, "")).await;
}

/// A campaign of one recipient for each of these senders, in a group.
async fn group(db: &TestDatabase, senders: &[PhoneNumber]) -> Vec<Option<Box<Accepted>>> {
    let small = senders
        .iter()
        .map(|sender| (campaign(sender), spool(2, "")));
    let small: Vec<_> = small.collect();
    let client = db.store.client().await.unwrap();
    let answers = accept_few(&client, &small).await.unwrap();
    assert_eq!(answers.len(), small.len());
    let answers = answers.into_iter().zip(small);
    answers
        .map(|(answer, (new, _))| match answer {
            Acceptance::SenderUnknown => None,
            Acceptance::Accepted(accepted) => {
                assert_eq!(accepted.campaign.id, new.id);
                Some(accepted)
            }
        })
        .collect()
}

fn campaigns_before(answers: &[Option<Box<Accepted>>], n: usize) -> Option<i64> {
    let prospect = answers[n].as_ref().unwrap().prospect.unwrap();
    prospect.campaigns_before
}

#[tokio::test]
async fn of_a_group_those_are_stored_whose_number_has_a_session() {
    let (db, sender) = scene().await;
    let alone = submit(&db, campaign(&sender), spool(2, "")).await;
    let worker = worker(&db).await;
    session(&db, worker, &phone(3)).await;
    let senders = [phone(3), phone(2), sender.clone(), phone(3)];
    let answers = group(&db, &senders).await;
    let taken: Vec<_> = answers.iter().map(Option::is_some).collect();
    assert_eq!(taken, [true, false, true, true]);
    let wanted = stored(&db, alone.campaign.id).await;
    let of_sender = answers[2].as_ref().unwrap();
    assert_eq!(stored(&db, of_sender.campaign.id).await, wanted);
    let before = |n: usize| campaigns_before(&answers, n);
    assert_eq!([0, 2, 3].map(before), [Some(0), Some(1), Some(1)]);
    assert_eq!(count(&db, "messages").await, 8);
    assert_eq!(count(&db, "outbox").await, 4);
}

#[tokio::test]
async fn only_so_many_campaigns_before_one_are_counted() {
    let (db, sender) = scene().await;
    let many: Vec<_> = std::iter::repeat_n(sender, 52).collect();
    let answers = group(&db, &many).await;
    let before = |n: usize| campaigns_before(&answers, n);
    assert_eq!([0, 50, 51].map(before), [Some(0), Some(50), None]);
}

#[tokio::test]
async fn a_campaign_is_stored_once_however_often_it_is_brought() {
    let (db, sender) = scene().await;
    let small = (campaign(&sender), spool(2, ""));
    let client = db.store.client().await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        match accept_again(&client, &small).await.unwrap() {
            Acceptance::Accepted(accepted) => seen.push(accepted.campaign),
            Acceptance::SenderUnknown => panic!("the sender has a session"),
        }
    }
    assert_eq!((seen[0].id, seen[0].counts), (seen[1].id, seen[1].counts));
    assert_eq!(seen[0].created_at, seen[1].created_at);
    let rows = "SELECT (SELECT count(*) FROM campaigns), (SELECT count(*) FROM messages),
        (SELECT count(*) FROM outbox)";
    let row = db.client().await.query_one(rows, &[]).await.unwrap();
    let counted: [i64; 3] = [0, 1, 2].map(|column| row.get(column));
    assert_eq!(counted, [1, 2, 1]);
}

#[tokio::test]
async fn what_is_still_being_stored_is_waited_for_before_anything_is_said_of_it() {
    let (db, sender) = scene().await;
    for commits in [true, false] {
        let new = campaign(&sender);
        let mut slow = db.client().await;
        let storing = slow.transaction().await.unwrap();
        let insert = "INSERT INTO campaigns (id, sender, template, total, trace_id)
            VALUES ($1, $2, '', 500, $1)";
        let id = new.id.uuid();
        storing
            .execute(insert, &[&id, &sender.digits()])
            .await
            .unwrap();
        let mut client = db.store.client().await.unwrap();
        let end = async {
            somebody_waits(&db.store.client().await.unwrap()).await;
            if commits {
                storing.commit().await.unwrap();
            } else {
                storing.rollback().await.unwrap();
            }
        };
        let (found, ()) = tokio::join!(recall(&mut client, &new, 500), end);
        let found = found.unwrap().map(|found| match found {
            Acceptance::Accepted(accepted) => accepted.campaign.id,
            Acceptance::SenderUnknown => panic!("the sender has a session"),
        });
        assert_eq!(found, commits.then_some(new.id));
    }
    let nobody = NewCampaign {
        sender: phone(99),
        ..campaign(&sender)
    };
    let mut client = db.store.client().await.unwrap();
    let found = recall(&mut client, &nobody, 500).await.unwrap();
    assert!(found.is_none(), "{found:?}");
    let count = "SELECT count(*) FROM campaigns";
    let row = db.client().await.query_one(count, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1, "a look leaves nothing behind");
}
