//! The database or the broker is away.

use serde_json::json;
use testkit::{database, eventually, free_port, vhost};

use crate::app::{App, SOON, app, app_with, start};
use crate::wire::Wire;

async fn ready(app: &App) -> Option<()> {
    app.readiness.missing().is_empty().then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_comes_with_both_servers() {
    let app = app().await;
    eventually("both servers", SOON, async || ready(&app).await).await;
    assert_eq!(
        *app.get("/readyz").await.is(200),
        json!({"ready": true, "missing": []})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_campaigns_are_accepted_and_their_jobs_follow() {
    let nobody = format!("amqp://guest:guest@127.0.0.1:{}/%2f", free_port());
    let app = app_with(&[("AMQP_URL", &nobody)]).await;
    app.session("42108077").await;
    let id = app.campaign("42108077", &["1234567"]).await;
    let readiness = app.get("/readyz").await;
    assert_eq!(readiness.is(503)["missing"][0]["dependency"], "rabbitmq");
    app.sql("INSERT INTO replicas (id, service, name) VALUES (gen_random_uuid(), 'sender', 's')")
        .await;
    app.get(&format!("/api/status/{id}")).await.is(200);
    assert_eq!(app.number("SELECT count(*) FROM outbox").await, 1);
    // The broker is back: another gateway on the same ledger finds it.
    let url = app.db.url.clone();
    let second = start(database().await, vhost().await, &[("DATABASE_URL", &url)]).await;
    app.until_published().await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_everything_is_503_and_comes_back() {
    let db = database().await;
    let mut url: url::Url = db.url.parse().unwrap();
    let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    let wire = Wire::to(target).await;
    url.set_port(Some(wire.address.port())).unwrap();
    let app = start(db, vhost().await, &[("DATABASE_URL", url.as_str())]).await;
    app.session("42108077").await;
    wire.cut();
    let body = json!({"sender_number": "42108077", "recipients": ["1234567"], "template": "x"});
    // It leaves over a wire that nobody knows to be cut, and perhaps it was stored; or somebody
    // does by now.
    let first = app.post("/api/send", body.clone()).await;
    assert_eq!(first.status, 503, "{}", first.body);
    for said in [
        app.post("/api/send", body.clone()).await,
        app.get("/api/sessions/42108077").await,
        app.admin_get("/api/admin/metrics").await,
    ] {
        said.is_problem(503, "unavailable");
        assert_eq!(said.header("retry-after"), "5");
    }
    eventually("/readyz to say so", SOON, async || {
        let readiness = app.get("/readyz").await;
        (readiness.body["missing"][0]["dependency"] == "postgresql").then_some(())
    })
    .await;
    app.get("/livez").await.is(200);
    wire.mend();
    eventually("the database to be back", SOON, async || ready(&app).await).await;
    app.post("/api/send", body).await.is(202);
    assert_eq!(app.number("SELECT count(*) FROM campaigns").await, 1);
}
