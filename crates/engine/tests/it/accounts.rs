//! Whose events are ours, and what a start finds wrong between settings and account.

use crate::worlds::{World, deliver, drain, state};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use engine::accounts::Misfit;
use engine::sync_runs::{Resource, SyncRequest};
use engine::{Clock, Engine};
use providers::stripe::{self, API_VERSION};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::prices::Price;

const OTHER: &str = "the event belongs to another account";

/// What the provider of a case answers: its account, and the collections that are out of bounds.
#[derive(Clone)]
struct Case {
    account: &'static str,
    forbidden: &'static [&'static str],
    endpoints: Value,
}

async fn answer(State(case): State<Arc<Case>>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches("/v1/");
    if case.forbidden.contains(&path) || case.forbidden == ["*"] {
        let error = json!({"error": {"type": "invalid_request_error", "message": "permission"}});
        return (StatusCode::FORBIDDEN, axum::Json(error)).into_response();
    }
    let list = |data: Value| json!({"object": "list", "has_more": false, "data": data});
    let body = match path {
        "account" => json!({"id": case.account, "object": "account"}),
        "webhook_endpoints" => list(case.endpoints.clone()),
        _ => list(json!([])),
    };
    axum::Json(body).into_response()
}

/// An engine on a new database, or on a world's, whose provider answers as the case says.
async fn engine_with(world: &World, key: &str, case: &Case) -> anyhow::Result<Engine> {
    let app = axum::Router::new().fallback(answer).with_state(Arc::new(case.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = stripe::Client::new(stripe::Settings {
        secret_key: SecretString::from(key),
        api_base: base,
        timeout: Duration::from_secs(5),
        max_retries: 0,
    })?;
    let store = world.engine.store().clone();
    let settings = world.engine.settings().clone();
    Ok(Engine::new(store, Some(client), Clock::wall_only(), settings))
}

fn fine() -> Case {
    Case { account: "acct_ours", forbidden: &[], endpoints: json!([]) }
}

#[tokio::test]
async fn pitfall_112_only_our_own_account_has_effects() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let ours = world.get("/v1/account").await["id"].as_str().unwrap().to_owned();
    let request = world.request("buyer", "100 Credits").await;
    world.pay(request).await?;
    let events = world.events().await;
    let completed = events.iter().find(|event| event["type"] == "checkout.session.completed");
    let told = |id: &str, key: &str, account: &str| {
        let mut event = completed.unwrap().clone();
        event["id"] = json!(id);
        event[key] = json!(account);
        event
    };
    for (id, key, account) in [
        ("evt_other", "account", "acct_other"),
        ("evt_context", "context", "acct_other"),
        ("evt_tail", "context", &*format!("{ours}/acct_other")),
        ("evt_longer", "account", &*format!("{ours}0")),
    ] {
        deliver(&world.engine, &told(id, key, account)).await;
        drain(&world.engine).await;
        let row = world.engine.events_get(id).await?;
        assert_eq!((row.state.as_str(), row.reason.as_deref()), ("ignored", Some(OTHER)), "{id}");
    }
    assert_eq!(state(&world.engine, "buyer").await["payments"], json!([]));
    let organisation = format!("org_1/{ours}");
    for (id, key, account) in
        [("evt_ours", "account", &ours), ("evt_org", "context", &organisation)]
    {
        deliver(&world.engine, &told(id, key, account)).await;
        drain(&world.engine).await;
        assert_eq!(world.engine.events_get(id).await?.state.as_str(), "applied", "{id}");
    }
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 100, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_112_an_account_that_is_not_known_yet_is_waited_for() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let silent = format!("http://{}", closed.local_addr()?);
    drop(closed);
    let mut told = json!({
        "id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1_790_000_000,
        "livemode": false, "account": "acct_other",
        "data": {"object": {"id": "in_1", "object": "invoice"}},
    });
    world.freeze().await;
    let engine = world.copy(Some(&silent)).await?;
    deliver(&engine, &told).await;
    assert!(engine.apply_next().await?);
    let row = engine.events_get("evt_1").await?;
    assert_eq!((row.state.as_str(), row.attempts), ("pending", 1), "nobody could say whose it is");
    told["id"] = json!("evt_2");
    let engine = world.copy(None).await?;
    deliver(&engine, &told).await;
    drain(&engine).await;
    assert_eq!(engine.events_get("evt_2").await?.state.as_str(), "ignored");
    Ok(())
}

#[tokio::test]
async fn the_account_is_remembered_and_another_one_is_refused() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.engine.store().deployment_bind(false, world.engine.clock().wall()).await?;
    let engine = engine_with(&world, "sk_test_1", &fine()).await?;
    assert_eq!(engine.account_misfits().await?, []);
    let other = Case { account: "acct_another", ..fine() };
    let engine = engine_with(&world, "sk_test_2", &other).await?;
    let misfits = engine.account_misfits().await?;
    let (bound, found) = ("acct_ours".to_owned(), "acct_another".to_owned());
    assert_eq!(misfits, [Misfit::OtherAccount { bound, found }]);
    assert!(misfits[0].is_fatal());
    Ok(())
}

#[tokio::test]
async fn nothing_is_compared_with_another_account() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.engine.store().deployment_bind(false, world.engine.clock().wall()).await?;
    let catalogue = || SyncRequest {
        resources: vec![Resource::Products, Resource::Prices],
        ..SyncRequest::default()
    };
    let engine = engine_with(&world, "sk_test_1", &fine()).await?;
    assert_eq!(engine.account_misfits().await?, []);
    let on_sale = |rows: Vec<Price>| rows.iter().filter(|row| row.active).count();
    let mut tx = engine.store().read("test").await?;
    let before = on_sale(tx.prices_known("stripe", "", 100).await?);
    drop(tx);
    let other = Case { account: "acct_another", ..fine() };
    let engine = engine_with(&world, "sk_test_2", &other).await?;
    let run = engine.sync(catalogue(), &|_| {}).await?;
    assert_eq!(run.state.as_str(), "failed");
    assert!(run.error.as_deref().is_some_and(|why| why.contains("acct_another")), "{run:?}");
    let mut tx = engine.store().read("test").await?;
    let after = on_sale(tx.prices_known("stripe", "", 100).await?);
    assert!(0 < before && after == before, "all of it stays on sale");
    Ok(())
}

#[tokio::test]
async fn pitfall_110_a_restricted_key_that_lacks_a_permission_is_refused() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let cases: [(&'static [&'static str], Option<Vec<Misfit>>); 4] = [
        (&[], Some(vec![])),
        (&["account", "webhook_endpoints"], Some(vec![])),
        (&["charges", "invoices"], Some(vec![Misfit::Forbidden(vec!["charges", "invoices"])])),
        (&["*"], None),
    ];
    for (forbidden, expected) in cases {
        let case = Case { forbidden, ..fine() };
        let engine = engine_with(&world, "rk_test_1", &case).await?;
        let misfits = engine.account_misfits().await.ok();
        assert_eq!(misfits, expected, "{forbidden:?}");
        assert!(misfits.iter().flatten().all(Misfit::is_fatal));
    }
    let hidden = Case { forbidden: &["account"], ..fine() };
    let engine = engine_with(&world, "sk_test_1", &hidden).await?;
    assert!(engine.account_misfits().await.is_err(), "a whole key sees its account");
    Ok(())
}

#[tokio::test]
async fn pitfall_035_an_endpoint_in_another_version_is_warned_of() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let ours = world.engine.settings().public_url.join("/payments/webhook")?;
    let endpoint = |url: &str, version: Value, status: &str| {
        let mut endpoint = json!({"id": "we", "url": url});
        endpoint["api_version"] = version;
        endpoint["status"] = json!(status);
        endpoint
    };
    let case = Case {
        endpoints: json!([
            endpoint(ours.as_str(), json!(API_VERSION), "enabled"),
            endpoint(ours.as_str(), json!("2024-06-20"), "enabled"),
            endpoint(ours.as_str(), Value::Null, "enabled"),
            endpoint(ours.as_str(), json!("2020-08-27"), "disabled"),
            endpoint("http://127.0.0.1:80001/elsewhere", json!("2020-08-27"), "enabled"),
        ]),
        ..fine()
    };
    let engine = engine_with(&world, "sk_test_1", &case).await?;
    let misfits = engine.account_misfits().await?;
    let expected = [Some("2024-06-20".to_owned()), None]
        .map(|version| Misfit::Version { url: ours.to_string(), version });
    assert_eq!(misfits, expected);
    assert!(!misfits.iter().any(Misfit::is_fatal), "it works all the same");
    assert!(misfits[0].to_string().contains("2024-06-20"), "{}", misfits[0]);
    Ok(())
}
