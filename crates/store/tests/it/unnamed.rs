//! Statements without names: what a pooler in transaction mode needs of us.

use models::ids::{CampaignId, TraceId};
use models::template::Variables;
use store::campaigns::{self, Acceptance, NewCampaign};
use store::{Client, GenericClient, Spool, Store, StoreError, ledger};
use testkit::TestDatabase;
use uuid::Uuid;

use crate::fixture::phone;
use crate::ledger::{scene, sent};

/// A pool of one connection, whose statements have no names.
fn unnamed(db: &TestDatabase) -> Store {
    Store::new(&format!("{}?statements=unnamed", db.direct_url), 1).unwrap()
}

/// What a pooler would hand to the next transaction of somebody else.
async fn left_behind(client: &Client) -> Vec<String> {
    let sql = "SELECT name FROM pg_prepared_statements";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Accepts a campaign of the first number.
pub(crate) async fn accept(client: &mut Client, recipients: u32) -> CampaignId {
    let id = Uuid::now_v7();
    let campaign = NewCampaign {
        id: CampaignId::new(id),
        sender: phone(1),
        template: "hello {{name}}".to_owned(),
        variables: Variables::from([("name".to_owned(), "you".to_owned())]),
        media_url: None,
        duplicates_removed: 0,
        trace_id: TraceId::new(id),
    };
    let mut spool = Spool::new(1 << 16, &std::env::temp_dir());
    for number in 0..recipients {
        let variables = Some(r#"{"name":"Amina"}"#);
        spool.push(phone(1_000 + number).key(), variables).unwrap();
    }
    let id = campaign.id;
    let accepted = campaigns::accept(client, campaign, spool).await.unwrap();
    assert!(matches!(accepted, Acceptance::Accepted(_)));
    id
}

#[tokio::test]
async fn a_campaign_is_accepted_claimed_and_concluded_and_no_statement_stays_behind() {
    let scene = scene(2).await;
    let store = unnamed(&scene.db);
    let mut client = store.client().await.unwrap();
    accept(&mut client, 3).await;
    let (claims, replica) = ([scene.claim(0)], scene.replica);
    let written = ledger::write(&mut client, replica, &[], &claims)
        .await
        .unwrap();
    assert!(written.claimed[0].is_some());
    let conclusions = [scene.conclusion(0, sent())];
    let written = ledger::write(&mut client, replica, &conclusions, &[])
        .await
        .unwrap();
    assert!(written.concluded[0].is_some());
    assert_eq!(left_behind(&client).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind_and_says_why() {
    let db = testkit::database().await;
    let store = unnamed(&db);
    let mut client = store.client().await.unwrap();
    let wrong = client.query(
        "SELECT no_such_column FROM lanes WHERE epoch = $1",
        &[&1_i64],
    );
    let refused = StoreError::from(wrong.await.unwrap_err());
    assert!(!refused.is_unavailable(), "{refused}");
    let tx = client.transaction().await.unwrap();
    let text = tx.query("SELECT $1::text", &[&1_i64]).await;
    assert!(text.unwrap_err().to_string().contains("parameter"));
    tx.rollback().await.unwrap();
    assert_eq!(left_behind(&client).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_migration_does_not_go_through_a_pooler() {
    let db = testkit::database().await;
    let url = format!("{}?statements=unnamed", db.direct_url);
    let refused = store::migrate::run(&url).await.unwrap_err();
    assert!(matches!(refused, StoreError::Pooled), "{refused}");
}
