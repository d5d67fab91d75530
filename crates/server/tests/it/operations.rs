//! What operators and their monitoring see of the work: lists with rows of every kind, the audit
//! log, numbers that are not zero.

use domain::ids::{DeliveryId, OutboxEventId, ProviderCallId, SyncRunId};
use domain::time::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;
use store::Tx;
use store::api_keys::KeyScope;
use store::deliveries::{Attempted, DeliveryState};
use store::outbox::OutboxEvent;
use store::provider_calls::{CallState, ProviderCall};
use store::sync_runs::{SyncRun, SyncState};

use crate::admin::{get, operator, parked, told};
use crate::servers::Server;

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

async fn call(tx: &mut Tx, kind: &str, state: CallState, now: Timestamp) {
    let id = ProviderCallId::new(now, random());
    let row = ProviderCall {
        customer_id: None,
        kind: kind.into(),
        fact: id.to_string(),
        object_id: Some(format!("object of {kind}")),
        parameters: "{}".into(),
        idempotency_key: id.to_string(),
        urgency: store::provider_calls::Urgency::Wish,
        state,
        attempts: 3,
        next_attempt_at: now,
        lease_token: 0,
        leased_until: now,
        outcome: None,
        heard_at: None,
        created_at: now,
        updated_at: now,
        id,
    };
    assert!(tx.provider_calls_insert(&row).await.unwrap());
}

/// One delivery that waits, and one that was given up.
async fn deliveries(tx: &mut Tx, now: Timestamp) {
    let event = OutboxEvent {
        id: OutboxEventId::new(now, random()),
        customer_id: None,
        kind: "endpoint.test".into(),
        fact: "a fact".into(),
        object_id: None,
        data: "{}".into(),
        created_at: now,
        recorded_at: now,
    };
    assert!(tx.outbox_insert(&event).await.unwrap());
    tx.outbox_spread(&[&event.id]).await.unwrap();
    for receiver in ["receiver_that_fails", "receiver_that_waits"] {
        let id = DeliveryId::new(now, random());
        assert!(tx.deliveries_insert(&id, &event.id, receiver, now).await.unwrap());
    }
    let claimed = tx.deliveries_claim("receiver_that_fails", now, now).await.unwrap().unwrap();
    let told = Attempted { status_code: Some(503), error: Some("answered 503".into()) };
    tx.deliveries_finish(&claimed, DeliveryState::Failed, &told, None).await.unwrap();
}

async fn sync_run(tx: &mut Tx, now: Timestamp) -> SyncRunId {
    let differences: Vec<_> = (0..80)
        .map(|number| {
            json!({
                "resource": "subscriptions", "object": format!("sub_{number}"),
                "row": "subscription", "row_id": "sub_1", "field": "status",
                "ours": "active", "theirs": "canceled",
            })
        })
        .collect();
    let counts = json!({ "seen": 90, "equal": 3, "repaired": 80, "failed": 7 });
    let report = json!({
        "resources": { "subscriptions": counts }, "differences": differences,
        "unlisted": 0, "troubles": [], "incomplete": [],
        "drift": { "repaired_seconds": 120, "unrepaired_seconds": 30 },
    });
    let row = SyncRun {
        id: SyncRunId::new(now, random()),
        kind: "objects".into(),
        scope: None,
        dry_run: false,
        state: SyncState::Partial,
        cursor: None,
        report: report.to_string(),
        error: None,
        leased_until: Timestamp::from_micros(0),
        created_at: now,
        started_at: Some(now),
        finished_at: Some(now.plus_seconds(-60)),
    };
    assert!(tx.sync_runs_insert(&row).await.unwrap());
    row.id
}

#[tokio::test]
async fn calls_deliveries_and_sync_runs_are_listed_by_state() {
    let server = Server::start().await;
    let (_, cookie, _) = operator(&server).await;
    for (path, empty) in [
        ("/admin/calls?state=", "No such calls."),
        ("/admin/deliveries", "No such deliveries."),
        ("/admin/sync-runs", "None yet."),
    ] {
        let page = get(&server, path, &cookie).await;
        assert!(page.status == 200 && page.text.contains(empty), "{path}: {}", page.text);
    }
    let now = server.engine.clock().wall();
    let mut tx = server.engine.store().begin("test").await.unwrap();
    call(&mut tx, "wish.unknown", CallState::Unknown, now).await;
    call(&mut tx, "wish.refused", CallState::Refused, now).await;
    deliveries(&mut tx, now).await;
    let run = sync_run(&mut tx, now).await;
    tx.commit().await.unwrap();
    for (path, there, absent) in [
        ("/admin/calls", "wish.refused", "nothing"),
        ("/admin/calls?state=unknown", "wish.unknown", "wish.refused"),
        ("/admin/calls?state=refused", "object of wish.refused", "wish.unknown"),
        ("/admin/deliveries?state=", "receiver_that_waits", "nothing"),
        ("/admin/deliveries?state=failed", "answered 503", "receiver_that_waits"),
        ("/admin/deliveries?state=pending", "receiver_that_waits", "receiver_that_fails"),
    ] {
        let page = get(&server, path, &cookie).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text.contains(there), "{path}: {}", page.text);
        assert!(!page.text.contains(absent), "{path}: {}", page.text);
    }
    let page = get(&server, "/admin/sync-runs", &cookie).await;
    assert!(page.text.contains("subscription sub_1  status: active"), "{}", page.text);
    let more = format!("more lines: <code>GET /v1/sync-runs/{run}</code>");
    assert!(page.text.contains(&more), "what is cut is told: {}", page.text);
    for path in ["/admin/calls?state=lost", "/admin/deliveries?cursor=%3Cb%3E"] {
        assert_eq!(get(&server, path, &cookie).await.status, 422, "{path}");
    }
}

#[tokio::test]
async fn monitoring_sees_what_waits() {
    let server = Server::start().await;
    let before = server.call("GET", "/metrics", &server.key, "").await;
    assert!(before.text.contains("tollgate_inbox_events{state=\"parked\"} 0"), "{}", before.text);
    told(&server, parked("evt_1")).await;
    told(&server, parked("evt_2")).await;
    let now = server.engine.clock().wall();
    let mut tx = server.engine.store().begin("test").await.unwrap();
    call(&mut tx, "wish", CallState::Unknown, now).await;
    call(&mut tx, "wish", CallState::Refused, now).await;
    deliveries(&mut tx, now).await;
    sync_run(&mut tx, now).await;
    tx.commit().await.unwrap();
    let soon = server.call("GET", "/metrics", &server.key, "").await;
    assert_eq!(soon.text, before.text, "nobody keeps the database busy by asking often");
    let replica = server.again(&[]).await;
    let (_, key) = replica.engine.api_keys_create("graphs", KeyScope::Metrics).await.unwrap();
    let answer = replica.call("GET", "/metrics", key.expose_secret(), "").await;
    let objects = "tollgate_objects_out_of_sync{kind=\"objects\",resource=\"subscriptions\"";
    for line in [
        "tollgate_inbox_events{state=\"parked\"} 2",
        "tollgate_inbox_events{state=\"pending\"} 0",
        "tollgate_provider_calls{state=\"unknown\"} 1",
        "tollgate_deliveries{state=\"failed\"} 1",
        "tollgate_deliveries{state=\"pending\"} 1",
        "tollgate_drift_seconds{kind=\"objects\",outcome=\"repaired\"} 120",
        "tollgate_drift_seconds{kind=\"objects\",outcome=\"unrepaired\"} 30",
        &format!("{objects},outcome=\"repaired\"}} 80"),
        &format!("{objects},outcome=\"unrepaired\"}} 7"),
    ] {
        assert!(answer.text.lines().any(|found| found == line), "{line}\n{}", answer.text);
    }
    assert!(!answer.text.contains("refused"), "only what waits is counted: {}", answer.text);
    for (method, path) in [("GET", "/v1/events"), ("POST", "/v1/credits/grants")] {
        let refused = replica.call(method, path, key.expose_secret(), "{}").await;
        assert_eq!(refused.code(), "forbidden", "{path}");
    }
}

#[tokio::test]
async fn what_a_server_key_does_is_in_the_audit_log() {
    let server = Server::start().await;
    let post = async |path: &str, body: serde_json::Value| {
        let answer = server.call("POST", path, &server.key, &body.to_string()).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
        answer.json()
    };
    post("/v1/customers", json!({ "external_id": "anna" })).await;
    let grant = json!({ "customer": "anna", "amount": 70, "reason": "an apology" });
    post("/v1/credits/grants", grant).await;
    let url = "https://first.example.com/secret-path?token=x";
    let made = post("/v1/webhook-endpoints", json!({ "url": url })).await;
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/webhook-endpoints/{id}");
    post(&format!("{path}/rotate-secret"), json!({})).await;
    let change = r#"{"url":"https://second.example.com/","status":"disabled"}"#;
    assert_eq!(server.call("PATCH", &path, &server.key, change).await.status, 200);
    let delivery = post(&format!("{path}/test"), json!({})).await;
    server.engine.deliver_due().await.unwrap();
    let delivery = delivery["id"].as_str().unwrap();
    post(&format!("/v1/deliveries/{delivery}/redeliver"), json!({})).await;
    assert_eq!(server.call("DELETE", &path, &server.key, "").await.status, 204);
    let refused = server.call("DELETE", &path, &server.key, "").await;
    assert_eq!(refused.status, 404, "what did not happen is not in the log");
    let log = server.engine.audits_list(engine::Page::new(None, None).unwrap()).await.unwrap();
    let mut log = log.data;
    log.reverse();
    let actions: Vec<&str> = log.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "credits.grant",
            "webhook_endpoint.create",
            "webhook_endpoint.rotate_secret",
            "webhook_endpoint.update",
            "delivery.redeliver",
            "webhook_endpoint.delete",
        ]
    );
    assert!(log.iter().all(|row| row.actor_name.as_deref() == Some("tests")));
    assert_eq!((log[1].object_id.as_str(), log[4].object_id.as_str()), (id, delivery));
    let detail = |row: usize| log[row].detail.clone().unwrap_or_default();
    assert!(detail(0).starts_with("an apology (70 "), "{}", detail(0));
    let changed = detail(3);
    assert!(changed.contains("first.example.com, enabled"), "{changed}");
    assert!(changed.contains("second.example.com, disabled"), "{changed}");
    assert!(log.iter().all(|row| !row.detail.iter().any(|text| text.contains("secret-path"))));
}
