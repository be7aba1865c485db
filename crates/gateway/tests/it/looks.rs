//! Questions about campaigns that come at the same time: asked together, answered each by itself.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use gateway::looks::{Found, Looks};
use models::ids::CampaignId;
use serde_json::json;
use testkit::eventually;
use tokio::task::JoinHandle;

use crate::app::{App, SOON, app};

async fn campaigns(app: &App, senders: &[&str], each: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for sender in senders {
        app.session(sender).await;
        for _ in 0..each {
            ids.push(app.campaign(sender, &["1234567", "1234568"]).await);
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_at_once_is_told_of_its_own_campaign() {
    let app = app().await;
    let ids = campaigns(&app, &["42108077", "42108078", "42108079"], 4).await;
    let over = format!(
        "UPDATE campaigns SET status = 'COMPLETED', sent = 2, completed_at = now()
        WHERE id = '{}'",
        ids[0]
    );
    app.sql(&over).await;
    let unknown = "01980000-0000-7000-8000-000000000000".to_owned();
    let asked: Vec<&String> = ids.iter().chain([&unknown]).cycle().take(260).collect();
    let paths: Vec<String> = asked.iter().map(|id| format!("/api/status/{id}")).collect();
    let answers = join_all(paths.iter().map(|path| app.get(path))).await;
    for (id, answer) in asked.iter().zip(&answers) {
        if **id == unknown {
            answer.is_problem(404, "campaign-unknown");
            continue;
        }
        let place = ids.iter().position(|known| known == *id).unwrap();
        let view = answer.is(200);
        assert_eq!(view["id"], json!(id));
        assert_eq!(view["sender_number"], format!("4210807{}", 7 + place / 4));
        let is_over = place == 0;
        assert_eq!(view["status"] == "COMPLETED", is_over, "{view}");
        assert_eq!(view["reason"].is_null(), is_over, "{view}");
        assert_eq!(view["estimated_finish_at"].is_null(), is_over, "{view}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_read_takes_no_other_with_it() {
    let app = app().await;
    let ids = campaigns(&app, &["42108077"], 2).await;
    app.sql("INSERT INTO senders (phone) VALUES ('nobody')")
        .await;
    let odd = format!(
        "UPDATE campaigns SET sender = 'nobody' WHERE id = '{}'",
        ids[0]
    );
    app.sql(&odd).await;
    let paths: Vec<String> = ids.iter().map(|id| format!("/api/status/{id}")).collect();
    let asked = paths.iter().cycle().take(60);
    let answers = join_all(asked.map(|path| app.get(path))).await;
    for (n, answer) in answers.iter().enumerate() {
        if n % 2 == 0 {
            answer.is_problem(500, "internal");
        } else {
            assert_eq!(answer.is(200)["id"], json!(ids[1]));
        }
    }
}

/// Waits until so many statements wait for a lock, but those that ask for one.
async fn until_waiting(app: &App, count: i64) {
    eventually("statements to wait", SOON, async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND wait_event_type = 'Lock' AND query NOT LIKE 'LOCK%'";
        (app.number(waiting).await == count).then_some(())
    })
    .await;
}

/// A question that waits for a turn.
#[expect(clippy::disallowed_methods, reason = "the test sees its end")]
fn waits(looks: &Looks, id: CampaignId) -> JoinHandle<Found> {
    let looks = looks.clone();
    let mut look = Box::pin(async move { looks.look(id).await });
    // It stands in line before the next one is asked.
    assert!((&mut look).now_or_never().is_none());
    tokio::spawn(look)
}

/// So that what is asked afterwards waits for locks once, and not when it is prepared too.
async fn know_statements(app: &App, ids: &[CampaignId]) {
    let store = &app.db.store;
    let (one, other) = join(store.client(), store.client()).await;
    for db in [one.unwrap(), other.unwrap()] {
        let rows = store::campaigns::some(&db, ids).await.unwrap();
        let rows: Vec<_> = rows.iter().collect();
        let situations = store::campaigns::situations(&db, &rows, SOON).await;
        assert_eq!(situations.unwrap().len(), ids.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_asked_for_by_one_that_has_gone_is_answered() {
    let app = app().await;
    let ids = campaigns(&app, &["42108077"], 4).await;
    let ids: Vec<CampaignId> = ids.iter().map(|id| id.parse().unwrap()).collect();
    let looks = Looks::new(&app.db.store, Duration::from_secs(10));
    let over = "UPDATE campaigns SET status = 'COMPLETED', completed_at = now() WHERE id <> ";
    app.sql(&format!("{over}'{}'", ids[1])).await;
    know_statements(&app, &ids).await;
    let lock = "LOCK TABLE campaigns IN ACCESS EXCLUSIVE MODE";
    let mut first = app.db.client().await;
    let first = first.transaction().await.unwrap();
    first.batch_execute(lock).await.unwrap();
    // These take both turns; the others meet.
    let long = waits(&looks, ids[1]);
    let short = waits(&looks, ids[0]);
    until_waiting(&app, 2).await;
    let (gone, stays) = (waits(&looks, ids[2]), waits(&looks, ids[3]));
    // Comes between the statements of the long one, which keeps its turn, and before the others'.
    let mut second = app.db.client().await;
    let second = second.transaction().await.unwrap();
    let locked = async { second.batch_execute(lock).await.unwrap() };
    let released = async {
        eventually("the second lock to be asked for", SOON, async || {
            let asked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'
                AND NOT granted AND relation = 'campaigns'::regclass";
            (app.number(asked).await == 1).then_some(())
        })
        .await;
        first.commit().await.unwrap();
    };
    join(locked, released).await;
    let is = |found: Result<Found, _>| found.unwrap().unwrap().unwrap().0.id;
    assert_eq!(is(short.await), ids[0]);
    until_waiting(&app, 2).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    second.commit().await.unwrap();
    assert_eq!(is(stays.await), ids[3]);
    assert_eq!(is(long.await), ids[1]);
}
