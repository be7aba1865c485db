//! The document, the keys, and what every path has in common.

use reqwest::Method;
use serde_json::Value;

use crate::app::{App, app, said};

/// Every operation: its method, its path with something to fill in, and its description.
async fn operations(app: &App) -> Vec<(Method, String, Value)> {
    let document = app.get("/openapi.json").await;
    let paths = document.is(200)["paths"].as_object().unwrap();
    let mut found = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            let path = path
                .replace("{phone_number}", "42108077")
                .replace("{generation}", "1")
                .replace("{campaign_id}", "01980000-0000-7000-8000-000000000000")
                .replace("{worker_id}", "01980000-0000-7000-8000-000000000000");
            found.push((method, path, operation.clone()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_has_an_id_and_its_problems() {
    let app = app().await;
    let operations = operations(&app).await;
    assert_eq!(operations.len(), 35);
    let mut ids = Vec::new();
    for (method, path, operation) in &operations {
        ids.push(operation["operationId"].as_str().unwrap());
        assert!(operation["summary"].is_string() && operation["tags"][0].is_string());
        let responses = operation["responses"].as_object().unwrap();
        for status in ["401", "503"] {
            assert!(responses.contains_key(status), "{method} {path} {status}");
        }
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{method} {path}"
        );
        for (status, response) in responses
            .iter()
            .filter(|(status, _)| status.as_str() >= "400")
        {
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(
                schema, "#/components/schemas/Problem",
                "{method} {path} {status}"
            );
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), operations.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_calls_need_the_key_and_a_wrong_one_is_refused_everywhere() {
    let app = app().await;
    let mut guarded = 0;
    for (method, path, operation) in operations(&app).await {
        let wrong = app
            .call(method.clone(), &path)
            .header("X-Admin-API-Key", "wrong");
        said(wrong).await.is_problem(401, "admin-key-wrong");
        let admin = path.starts_with("/api/admin/");
        if operation["security"].is_array() {
            guarded += 1;
            said(app.call(method, &path))
                .await
                .is_problem(401, "admin-key-missing");
        } else {
            assert!(!admin, "{path} must say that it needs the key");
        }
    }
    assert_eq!(guarded, 19);
    let wrong = app
        .call(Method::GET, "/livez")
        .header("X-Admin-API-Key", "wrong");
    said(wrong).await.is_problem(401, "admin-key-wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_type_is_published() {
    let app = app().await;
    let document = app.get("/openapi.json").await;
    let types = document.is(200)["components"]["schemas"]["ProblemType"]["enum"].clone();
    let kinds: Vec<_> = gateway::problem::Kind::ALL
        .iter()
        .map(|kind| kind.id())
        .collect();
    assert_eq!(types, Value::from(kinds));
    let scheme = &document.body["components"]["securitySchemes"]["admin_key"];
    assert_eq!(scheme["name"], "X-Admin-API-Key");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_leads_somewhere() {
    let app = app().await;
    let document = app.get("/openapi.json").await;
    let text = document.is(200).to_string();
    for reference in text.split("\"#/").skip(1) {
        let pointer = format!("/{}", reference.split('"').next().unwrap());
        assert!(document.body.pointer(&pointer).is_some(), "{pointer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_works_offline() {
    let app = app().await;
    let page = app.call(Method::GET, "/docs").send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.url().path()), (200, "/docs/"));
    let html = page.text().await.unwrap();
    assert!(
        html.contains("swagger-ui") && !html.contains("https://"),
        "{html}"
    );
    let script = app
        .call(Method::GET, "/docs/swagger-ui-bundle.js")
        .send()
        .await
        .unwrap();
    assert!(script.bytes().await.unwrap().len() > 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods() {
    let app = app().await;
    for path in [
        "/",
        "/api",
        "/api/nothing",
        "/api/admin/nothing",
        "/api/sessions/",
    ] {
        app.get(path).await.is_problem(404, "route-unknown");
    }
    let refused = app.get("/api/send").await;
    refused.is_problem(405, "method-not-allowed");
    assert_eq!(refused.header("allow"), "POST");
    let refused = said(app.call(Method::PUT, "/api/sessions")).await;
    refused.is_problem(405, "method-not-allowed");
    assert_eq!(refused.header("allow"), "POST, GET");
}

/// Types of one name would be one schema, of whichever came last.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_healthy_is_told_of_numbers_and_of_workers_each_in_its_own_way() {
    let app = app().await;
    let document = app.get("/openapi.json").await;
    let schemas = &document.is(200)["components"]["schemas"];
    let health = |view: &str| {
        let path = schemas[view]["properties"]["health"]["$ref"].as_str();
        &schemas[path.unwrap().rsplit('/').next().unwrap()]
    };
    assert!(health("SessionView")["properties"]["state"].is_object());
    assert_eq!(
        health("WorkerView")["enum"],
        serde_json::json!(["unknown", "up", "down"])
    );
}
