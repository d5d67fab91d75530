//! Comparing with the provider on demand, and what monitoring sees of it.

use serde_json::json;

use crate::servers::{PROVIDER_KEY, Server, token};

async fn post(base: &str, path: &str, form: &[(&str, &str)]) -> serde_json::Value {
    let request = reqwest::Client::new().post(format!("{base}{path}")).bearer_auth(PROVIDER_KEY);
    request.form(form).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn row_83_a_run_is_queued_done_and_told_with_its_counts() {
    let (server, base) = Server::with_provider().await;
    let product = post(&base, "/v1/products", &[("name", "Many")]).await;
    let product = product["id"].as_str().unwrap();
    for number in 0..130 {
        let amount = (100 + number).to_string();
        let form = [("product", product), ("currency", "usd"), ("unit_amount", &amount)];
        post(&base, "/v1/prices", &form).await;
    }
    let body = r#"{"resources":["products","prices"]}"#;
    let queued = server.call("POST", "/v1/sync-runs", &server.key, body).await;
    assert_eq!((queued.status.as_u16(), queued.json()["state"].as_str()), (202, Some("queued")));
    let path = format!("/v1/sync-runs/{}", queued.json()["id"].as_str().unwrap());
    assert_eq!(server.call("GET", &path, &server.key, "").await.json()["state"], "queued");
    while server.engine.sync_due().await.unwrap() {}
    let done = server.call("GET", &path, &server.key, "").await.json();
    assert_eq!(done["state"], "completed", "{done}");
    assert_eq!(done["resources"]["prices"]["created"], 130, "more than one page: {done}");
    assert_eq!(done["resources"]["products"]["created"], 1);
    let again = server.call("POST", "/v1/sync-runs", &server.key, body).await.json();
    while server.engine.sync_due().await.unwrap() {}
    let path = format!("/v1/sync-runs/{}", again["id"].as_str().unwrap());
    let again = server.call("GET", &path, &server.key, "").await.json();
    assert_eq!(again["resources"]["prices"]["created"], 0, "{again}");
    let list = server.call("GET", "/v1/sync-runs?kind=manual", &server.key, "").await.json();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn row_83_what_cannot_be_run_is_refused_by_name() {
    let (server, _) = Server::with_provider().await;
    for (body, param) in
        [(r#"{"resources":["plans"]}"#, "resources"), (r#"{"since":"yesterday"}"#, "since")]
    {
        let answer = server.call("POST", "/v1/sync-runs", &server.key, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()["param"].as_str()), (422, Some(param)));
    }
    let nobody = server.call("POST", "/v1/sync-runs", &server.key, r#"{"customer":"x"}"#).await;
    assert_eq!(nobody.status.as_u16(), 404);
    let stranger = server.call("POST", "/v1/sync-runs", &token("anna"), "{}").await;
    assert_eq!(stranger.status.as_u16(), 403);
    let unknown = server.call("GET", "/v1/sync-runs/sync_1", &server.key, "").await;
    assert_eq!(unknown.status.as_u16(), 404);
    let off = Server::start().await;
    let answer = off.call("POST", "/v1/sync-runs", &off.key, "{}").await;
    assert_eq!(answer.code(), "payments_disabled");
}

#[tokio::test]
async fn row_83_a_provider_that_is_down_fails_the_run() {
    let (server, base) = Server::with_provider().await;
    let queued = server.call("POST", "/v1/sync-runs", &server.key, "{}").await.json();
    let faults = json!({"api": {"status": 500}});
    let client = reqwest::Client::new();
    client.post(format!("{base}/_sandbox/faults")).json(&faults).send().await.unwrap();
    let run = async { while server.engine.sync_due().await.unwrap() {} };
    tokio::time::timeout(std::time::Duration::from_secs(120), run).await.unwrap();
    let path = format!("/v1/sync-runs/{}", queued["id"].as_str().unwrap());
    let done = server.call("GET", &path, &server.key, "").await.json();
    assert_eq!(done["state"], "failed", "{done}");
    // It is asked whose account it is before anything is listed.
    assert!(done["error"].is_string(), "{done}");
    let text = server.call("GET", "/metrics", &server.key, "").await.text;
    assert!(text.contains("tollgate_sync_run_whole{kind=\"manual\"} 0"), "{text}");
}

#[tokio::test]
async fn metrics_are_for_the_merchants_monitoring() {
    let (server, _) = Server::with_provider().await;
    assert_eq!(server.call("GET", "/metrics", "", "").await.status.as_u16(), 401);
    assert_eq!(server.call("GET", "/metrics", &token("anna"), "").await.status.as_u16(), 403);
    while server.engine.sync_due().await.unwrap() {}
    let answer = server.call("GET", "/metrics", &server.key, "").await;
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "# TYPE tollgate_drift_seconds gauge",
        "tollgate_drift_seconds{kind=\"objects\",outcome=\"unrepaired\"} 0",
        "tollgate_objects_out_of_sync{kind=\"objects\",resource=\"subscriptions\",\
         outcome=\"unrepaired\"} 0",
        "tollgate_oldest_unapplied_event_seconds 0",
        "tollgate_inbox_events{state=\"parked\"} 0",
        "tollgate_sync_run_whole{kind=\"events\"} 1",
    ] {
        assert!(answer.text.lines().any(|found| found == line), "{line}\n{}", answer.text);
    }
    let health = server.call("GET", "/health", "", "").await.json();
    assert_eq!(health["inbox"], "current");
}
