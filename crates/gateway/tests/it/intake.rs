//! Small campaigns that come at the same time: stored together, answered each by itself.

use futures_util::future::join_all;
use serde_json::json;
use testkit::eventually;

use crate::app::{App, SOON, Said, app};

async fn send(app: &App, sender: &str, template: &str) -> Said {
    let body = json!({"sender_number": sender, "template": template,
        "recipients": ["1234567", {"number": "1234568", "variables": {"name": sender}}]});
    app.post("/api/send", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_at_once_gets_its_own_answer() {
    let app = app().await;
    let senders: Vec<String> = (0..8).map(|n| format!("4210807{n}")).collect();
    for sender in &senders {
        app.session(sender).await;
    }
    // One in five has no session.
    let nobody = (0..40).map(|_| "99999999");
    let all = senders.iter().map(String::as_str).cycle().take(160);
    let asked: Vec<&str> = all.chain(nobody).collect();
    let answers = join_all(asked.iter().map(|sender| send(&app, sender, "Hi"))).await;
    for (sender, answer) in asked.iter().zip(&answers) {
        if *sender == "99999999" {
            answer.is_problem(409, "sender-unknown");
            continue;
        }
        let view = answer.is(202);
        assert_eq!(
            (&view["sender_number"], &view["total_messages"]),
            (&json!(sender), &json!(2))
        );
        let id = view["id"].as_str().unwrap();
        let rows = format!(
            "SELECT count(*) FROM messages m JOIN campaigns c ON c.id = m.campaign_id
             WHERE c.id = '{id}' AND c.sender = '{sender}'
                AND (m.variables IS NULL) = (m.ordinal = 0)
                AND COALESCE(m.variables->>'name', c.sender) = c.sender"
        );
        assert_eq!(app.number(&rows).await, 2, "{id}");
    }
    assert_eq!(app.number("SELECT count(*) FROM campaigns").await, 160);
    app.until_published().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_whose_session_is_locked_holds_up_nobody_else() {
    let app = app().await;
    for sender in ["42108077", "42108078"] {
        app.session(sender).await;
    }
    let mut db = app.db.client().await;
    let lock = db.transaction().await.unwrap();
    let sql = "SELECT FROM sessions WHERE phone = '42108077' FOR UPDATE";
    lock.execute(sql, &[]).await.unwrap();
    let blocked = send(&app, "42108077", "Hi");
    let others = async {
        eventually("the first to wait", SOON, async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (app.number(waiting).await > 0).then_some(())
        })
        .await;
        for _ in 0..3 {
            send(&app, "42108078", "Hi").await.is(202);
        }
        lock.commit().await.unwrap();
    };
    let (blocked, ()) = futures_util::future::join(blocked, others).await;
    blocked.is(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_the_database_refuses_takes_no_other_with_it() {
    let app = app().await;
    app.session("42108077").await;
    let client = app.db.client().await;
    client
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON campaigns FOR EACH ROW
                WHEN (NEW.template = 'refused') EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    let templates = ["taken", "refused", "taken", "taken"].repeat(10);
    let sent = templates
        .iter()
        .map(|template| send(&app, "42108077", template));
    for (template, answer) in templates.iter().zip(join_all(sent).await) {
        match *template {
            "taken" => assert_eq!(answer.is(202)["total_messages"], 2),
            _ => assert!(answer.is_problem(500, "internal").is_empty()),
        }
    }
    assert_eq!(app.number("SELECT count(*) FROM campaigns").await, 30);
    assert_eq!(app.number("SELECT count(*) FROM messages").await, 60);
}

/// Ends whatever waits for a lock in this test's database, once it does.
async fn end_who_waits(app: &App) {
    eventually("somebody waits and is ended", SOON, async || {
        let end = "SELECT count(*) FROM (
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock') ended";
        (app.number(end).await > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_whose_connection_is_lost_on_the_way_is_stored_once() {
    let app = app().await;
    app.session("42108077").await;
    let many: Vec<String> = (0..200).map(|n| format!("21642{n:06}")).collect();
    for recipients in [vec!["1234567".to_owned()], many] {
        let mut db = app.db.client().await;
        let lock = db.transaction().await.unwrap();
        let sql = "SELECT FROM sessions WHERE phone = '42108077' FOR UPDATE";
        lock.execute(sql, &[]).await.unwrap();
        let body = json!({"sender_number": "42108077", "template": "Hi", "recipients": recipients});
        let sent = app.post("/api/send", body);
        let lost = async {
            end_who_waits(&app).await;
            lock.commit().await.unwrap();
        };
        let (answer, ()) = futures_util::future::join(sent, lost).await;
        // Many are not kept for a second attempt; that nothing is stored is known, and said.
        match recipients.len() {
            1 => assert_eq!(answer.is(202)["total_messages"], 1),
            _ => assert!(answer.is_problem(503, "unavailable").is_empty()),
        }
        assert_eq!(app.number("SELECT count(*) FROM campaigns").await, 1);
    }
    assert_eq!(app.number("SELECT count(*) FROM messages").await, 1);
}
