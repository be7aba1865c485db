//! Campaigns after they were accepted.

use reqwest::Method;
use serde_json::json;

use crate::app::{App, app, said};

async fn two_senders() -> App {
    let app = app().await;
    app.session("42108077").await;
    app.session("42108078").await;
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_unknown_until_it_is_there() {
    let app = two_senders().await;
    let id = app.campaign("42108077", &["1234567", "1234568"]).await;
    let status = app.get(&format!("/api/status/{id}")).await;
    let view = status.is(200);
    assert_eq!(
        (&view["total_messages"], &view["pending_messages"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        (&view["progress"], &view["completed_at"]),
        (&json!(0.0), &json!(null))
    );
    assert!(view.get("messages").is_none());
    for unknown in ["01980000-0000-7000-8000-000000000000", "7", "abc"] {
        for (method, path) in [
            (Method::GET, format!("/api/status/{unknown}")),
            (Method::POST, format!("/api/cancel/{unknown}")),
            (Method::GET, format!("/api/campaigns/{unknown}/failed")),
        ] {
            said(app.call(method, &path))
                .await
                .is_problem(404, "campaign-unknown");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_page_by_page() {
    let app = two_senders().await;
    let id = app
        .campaign("42108077", &["1000001", "1000002", "1000003"])
        .await;
    let first = app
        .get(&format!("/api/status/{id}?details=true&limit=2"))
        .await;
    let messages = first.is(200)["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["recipient"], "1000001");
    assert_eq!(
        (&messages[0]["status"], &messages[0]["text"]),
        (&json!("PENDING"), &json!("Hello"))
    );
    let second = app.get(&first.next().unwrap()).await;
    assert_eq!(second.is(200)["messages"][0]["recipient"], "1000003");
    assert_eq!(second.next(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_see_their_own_campaigns_and_operators_everybodys() {
    let app = two_senders().await;
    let mine = app.campaign("42108077", &["1234567"]).await;
    let newer = app.campaign("42108077", &["1234567"]).await;
    let other = app.campaign("42108078", &["1234567"]).await;
    let ids = |list: &serde_json::Value| {
        let entries = list.as_array().unwrap().iter();
        entries
            .map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let own = app.get("/api/campaigns?sender_number=%2B42108077").await;
    assert_eq!(ids(own.is(200)), [newer.clone(), mine.clone()]);
    assert!(own.body[0]["reason"].is_string());
    let without = app.get("/api/campaigns").await;
    assert_eq!(without.is_problem(422, "invalid"), ["?sender_number"]);
    assert_eq!(
        ids(app.admin_get("/api/campaigns").await.is(200)),
        [other, newer.clone(), mine.clone()]
    );
    let page = app
        .get("/api/campaigns?sender_number=42108077&limit=1")
        .await;
    assert_eq!(ids(page.is(200)), [newer]);
    let page = app.get(&page.next().unwrap()).await;
    assert_eq!((ids(page.is(200)), page.next()), (vec![mine], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_checked_and_kept() {
    let app = two_senders().await;
    app.campaign("42108077", &["1234567"]).await;
    let count = async |query: &str| {
        let list = app
            .get(&format!("/api/campaigns?sender_number=42108077&{query}"))
            .await;
        list.is(200).as_array().unwrap().len()
    };
    assert_eq!(count("status=PENDING").await, 1);
    assert_eq!(count("status=COMPLETED").await, 0);
    assert_eq!(count("start_date=2020-01-01&end_date=2099-12-31").await, 1);
    assert_eq!(count("end_date=2020-01-01").await, 0);
    assert_eq!(count("start_date=2099-01-01T00:00:00Z").await, 0);
    let wrong = "status=DONE&start_date=soon&end_date=0&limit=0&cursor=x&sender_number=me";
    let refused = app.get(&format!("/api/campaigns?{wrong}")).await;
    assert_eq!(
        refused.is_problem(422, "invalid"),
        [
            "?sender_number",
            "?status",
            "?start_date",
            "?end_date",
            "?limit",
            "?cursor"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_twice_is_fine_and_a_finished_one_is_a_conflict() {
    let app = two_senders().await;
    let id = app.campaign("42108077", &["1234567", "1234568"]).await;
    for _ in 0..2 {
        let cancelled = app.post(&format!("/api/cancel/{id}"), json!(null)).await;
        let view = cancelled.is(200);
        assert_eq!(
            (&view["status"], &view["cancelled_messages"]),
            (&json!("CANCELLED"), &json!(2))
        );
        assert_eq!(
            (&view["pending_messages"], &view["reason"]),
            (&json!(0), &json!(null))
        );
        assert!(view["completed_at"].is_string());
    }
    let path = format!("/api/campaigns/{id}/messages/1234568");
    assert_eq!(app.get(&path).await.is(200)["status"], "CANCELLED");
    app.sql("UPDATE campaigns SET status = 'COMPLETED'").await;
    let refused = app.post(&format!("/api/cancel/{id}"), json!(null)).await;
    refused.is_problem(409, "campaign-finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_its_way_is_not_cancelled() {
    let app = two_senders().await;
    let id = app.campaign("42108077", &["1234567", "1234568"]).await;
    app.sql("UPDATE campaigns SET status = 'IN_PROGRESS', started_at = now()")
        .await;
    app.sql(&format!(
        "UPDATE senders SET in_flight_campaign = '{id}', in_flight_ordinal = 0
        WHERE phone = '42108077'"
    ))
    .await;
    let cancelled = app.post(&format!("/api/cancel/{id}"), json!(null)).await;
    let view = cancelled.is(200);
    assert_eq!(
        (&view["sending_messages"], &view["cancelled_messages"]),
        (&json!(1), &json!(1))
    );
    let ended = "SELECT count(*) FROM senders WHERE campaign_ended_at IS NOT NULL";
    assert_eq!(app.number(ended).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_recipients_are_listed() {
    let app = two_senders().await;
    let id = app.campaign("42108077", &["1234567", "1234568"]).await;
    let refused = "UPDATE messages SET status = 5, error_code = 'not_on_whatsapp', error = 'nobody'
        WHERE ordinal = 1";
    app.sql(refused).await;
    app.sql("UPDATE campaigns SET failed = 1").await;
    let failed = app.get(&format!("/api/campaigns/{id}/failed")).await;
    assert_eq!(
        *failed.is(200),
        json!({"campaign_id": id, "count": 1, "recipients":
        [{"recipient": "1234568", "error": "nobody", "error_code": "not_on_whatsapp"}]})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_past_retention_keeps_its_totals_and_says_so() {
    let app = two_senders().await;
    let id = app.campaign("42108077", &["1000001", "1000002"]).await;
    let view = app.get(&format!("/api/status/{id}")).await;
    assert_eq!(view.is(200)["messages_purged_at"], json!(null));
    let purged = "UPDATE campaigns SET status = 'COMPLETED_WITH_ERRORS', read = 1, failed = 1,
        completed_at = now(), messages_purged_at = '2026-01-02 03:04:05Z'";
    app.sql(purged).await;
    // Also while the rows are still there: whoever drops them may have died in between.
    for sql in ["SELECT 1", "DELETE FROM messages"] {
        app.sql(sql).await;
        let view = app.get(&format!("/api/status/{id}?details=true")).await;
        let view = view.is(200);
        assert_eq!(view["messages_purged_at"], "2026-01-02T03:04:05Z");
        assert_eq!(
            (
                &view["messages"],
                &view["total_messages"],
                &view["read_messages"]
            ),
            (&json!([]), &json!(2), &json!(1))
        );
        let failed = app.get(&format!("/api/campaigns/{id}/failed")).await;
        let failed = failed.is(200);
        assert_eq!(failed["messages_purged_at"], "2026-01-02T03:04:05Z");
        assert_eq!(
            (&failed["count"], &failed["recipients"]),
            (&json!(1), &json!([]))
        );
        for (method, path) in [
            (Method::GET, format!("/api/campaigns/{id}/messages/1000001")),
            (Method::POST, format!("/api/campaigns/{id}/unknown")),
        ] {
            let request = app.admin(method, &path).json(&json!({"as": "RESEND"}));
            said(request).await.is_problem(410, "messages-purged");
        }
    }
}
