//! The shapes of the provider's API versions, thin events, and events that lack a part: one state.

use crate::samples::{changed, optional};
use crate::worlds::{World, deliver, drain, state};
use axum::extract::{Request, State};
use engine::Engine;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const VERSIONS: [&str; 5] = [
    "2024-06-20",
    "2025-03-31.basil",
    "2025-09-30.clover",
    "2026-03-25.dahlia",
    "2026-10-28.endive",
];

/// What arrived at each address.
type Heard = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

async fn hear(State(heard): State<Heard>, request: Request) {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let event = serde_json::from_slice(&body).unwrap();
    heard.lock().unwrap().entry(path).or_default().push(event);
}

/// An endpoint for each version, and what they hear from now on.
async fn listeners(world: &World) -> anyhow::Result<Heard> {
    let heard = Heard::default();
    let app = axum::Router::new().fallback(hear).with_state(heard.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    for version in VERSIONS {
        let url = format!("http://{address}/{version}");
        let form = [("url", &*url), ("enabled_events[0]", "*"), ("api_version", version)];
        let made = world.post("/v1/webhook_endpoints", &form).await;
        assert!(made["id"].is_string(), "{made}");
    }
    Ok(heard)
}

/// Waits until every listener has heard of everything that happened since.
async fn heard_all(heard: &Heard, events: usize) {
    for _ in 0..600 {
        let counts: Vec<usize> = heard.lock().unwrap().values().map(Vec::len).collect();
        if counts.len() == VERSIONS.len() && counts.iter().all(|count| events <= *count) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{events} events were not delivered to all");
}

/// As old as the oldest shape that is read: items know only their plan.
fn before_prices(events: &[Value]) -> Vec<Value> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if fields.contains_key("plan") && fields["plan"].is_object() {
                    fields.remove("price");
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut events = events.to_vec();
    for event in &mut events {
        event["api_version"] = json!("2020-08-27");
        strip(&mut event["data"]["object"]);
    }
    events
}

async fn told(engine: &Engine, events: &[Value]) -> Value {
    for event in events {
        deliver(engine, event).await;
    }
    drain(engine).await;
    state(engine, "buyer").await
}

#[tokio::test]
async fn pitfall_035_a_purchase_a_renewal_and_a_refund_are_the_same_in_all_shapes()
-> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    let before = world.events().await.len();
    let heard = listeners(&world).await?;
    world.pay(request).await?;
    world.advance("32d").await;
    let charges = world.get("/v1/charges").await;
    let renewal = charges["data"][0]["id"].as_str().unwrap().to_owned();
    world.post("/v1/refunds", &[("charge", &renewal), ("amount", "1000")]).await;
    let all = world.events().await.len() - before;
    heard_all(&heard, all).await;
    world.freeze().await;
    let mut shapes: BTreeMap<String, Vec<Value>> = heard.lock().unwrap().clone();
    for events in shapes.values_mut() {
        events.sort_by_key(|event| event["created"].as_i64());
    }
    let oldest = before_prices(&shapes["2024-06-20"]);
    shapes.insert("2020-08-27".to_owned(), oldest);
    let forgotten = World::oblivious().await?;
    for provider in [None, Some(forgotten.as_str())] {
        let mut first: Option<Value> = None;
        for (version, events) in &shapes {
            let events: Vec<Value> = match provider {
                None => events.clone(),
                // Since basil, whose money a charge was can only be asked.
                Some(_) => {
                    let told = |event: &&Value| {
                        let kind = event["type"].as_str().unwrap_or_default();
                        !kind.contains("charge") && !kind.contains("refund")
                    };
                    events.iter().filter(told).cloned().collect()
                }
            };
            let engine = world.copy(provider).await?;
            let end = told(&engine, &events).await;
            let refunded = if provider.is_none() { 1000 } else { 0 };
            let payments = json!([[2999, "paid", refunded], [2999, "paid", 0]]);
            assert_eq!(end["balance"][1], json!(0), "{version} {end}");
            assert_eq!(end["subscriptions"][0][0], "active", "{version} {end}");
            let mut found = end["payments"].as_array().unwrap().clone();
            found.sort_by_key(|payment| payment[2].as_i64().map(|refunded| -refunded));
            let found: Vec<Value> = found.iter().map(|it| json!([it[0], "paid", it[2]])).collect();
            assert_eq!(json!(found), payments, "{version} {end}");
            let first = first.get_or_insert_with(|| end.clone());
            assert_eq!(*first, end, "{version}");
            engine.store().close().await;
        }
    }
    Ok(())
}

/// A bought subscription whose provider has forgotten it: only what events carry counts.
async fn subscribed() -> anyhow::Result<(World, Engine, Value)> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await?;
    world.tell_all().await;
    let events = world.events().await;
    let created = events.iter().find(|event| event["type"] == "customer.subscription.created");
    let mut updated = created.unwrap().clone();
    updated["type"] = json!("customer.subscription.updated");
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    let engine = world.copy(Some(&forgotten)).await?;
    Ok((world, engine, updated))
}

/// The update so many seconds later, with its subscription changed.
fn later(updated: &Value, seconds: i64, change: impl FnOnce(&mut Value)) -> Value {
    let mut event = updated.clone();
    event["id"] = json!(format!("evt_later_{seconds}"));
    event["created"] = json!(updated["created"].as_i64().unwrap() + seconds);
    change(&mut event["data"]["object"]);
    event
}

#[tokio::test]
async fn pitfall_036_a_period_is_found_wherever_it_stands() -> anyhow::Result<()> {
    let (_world, engine, updated) = subscribed().await?;
    let period_end = async || state(&engine, "buyer").await["subscriptions"][0][1].clone();
    let held = period_end().await.as_i64().unwrap();
    let put = |object: &mut Value, top: Option<i64>, item: Option<i64>| {
        let start = json!(held - 86_400);
        for (place, end) in [("", top), ("/items/data/0", item)] {
            let fields = object.pointer_mut(place).unwrap().as_object_mut().unwrap();
            fields.remove("current_period_start");
            fields.remove("current_period_end");
            if let Some(end) = end {
                fields.insert("current_period_start".to_owned(), start.clone());
                fields.insert("current_period_end".to_owned(), json!(end));
            }
        }
    };
    let cases = [
        (10, Some(held + 10), None, held + 10),
        (20, None, Some(held + 20), held + 20),
        (30, Some(held + 31), Some(held + 30), held + 30),
        (40, None, None, held + 30),
    ];
    for (seconds, top, item, expected) in cases {
        let event = later(&updated, seconds, |object| put(object, top, item));
        deliver(&engine, &event).await;
        drain(&engine).await;
        let row = engine.events_get(event["id"].as_str().unwrap()).await?;
        assert_eq!(row.state.as_str(), "applied", "{:?}", row.reason);
        assert_eq!(period_end().await, json!(expected), "top {top:?}, item {item:?}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_037_the_item_of_our_plan_decides_in_any_order() -> anyhow::Result<()> {
    for ours_first in [true, false] {
        let (_world, engine, updated) = subscribed().await?;
        let before = state(&engine, "buyer").await;
        let event = later(&updated, 10, |object| {
            let items = object["items"]["data"].as_array_mut().unwrap();
            let mut other = items[0].clone();
            other["id"] = json!("si_other");
            other["price"] = json!({"id": "price_other", "product": "prod_other"});
            other["plan"] = Value::Null;
            let end = other["current_period_end"].as_i64().unwrap();
            other["current_period_end"] = json!(end + 335 * 86_400);
            items.insert(usize::from(ours_first), other);
        });
        deliver(&engine, &event).await;
        drain(&engine).await;
        let after = state(&engine, "buyer").await;
        assert_eq!(after, before, "ours first: {ours_first}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_044_new_words_are_kept_and_close_the_access() -> anyhow::Result<()> {
    let (_world, engine, updated) = subscribed().await?;
    let mut event = later(&updated, 10, |object| {
        object["status"] = json!("hibernating");
        object["collection_method"] = json!("carrier_pigeon");
    });
    event["api_version"] = json!("2031-01-01.zinnia");
    deliver(&engine, &event).await;
    drain(&engine).await;
    let end = state(&engine, "buyer").await;
    assert_eq!(end["subscriptions"][0][0], "hibernating", "{end}");
    assert_ne!(end["features"]["knowledge_base"], "entitled", "{end}");
    assert_eq!(end["parked"], json!([]));
    let row = engine.events_get(event["id"].as_str().unwrap()).await?;
    assert_eq!(row.api_version.as_deref(), Some("2031-01-01.zinnia"));
    Ok(())
}

#[tokio::test]
async fn pitfall_045_ids_of_any_form_are_taken() -> anyhow::Result<()> {
    let (_world, engine, updated) = subscribed().await?;
    let long = "x".repeat(255);
    for (number, id) in ["py_1", "gold", "du_1.A-b", &long].into_iter().enumerate() {
        let mut event = later(&updated, 10, |object| {
            object["id"] = json!(id);
            object["items"]["data"][0]["id"] = json!(format!("{}{number}", &id[1..]));
        });
        event["id"] = json!(format!("{number}{}", &id[1..]));
        deliver(&engine, &event).await;
        drain(&engine).await;
        let row = engine.events_get(event["id"].as_str().unwrap()).await?;
        assert_eq!(row.object_id.as_deref(), Some(id));
        assert_eq!(row.state.as_str(), "applied", "{id}: {:?}", row.reason);
    }
    Ok(())
}

/// The short run takes some variants of all; `TOLLGATE_LONG=1` takes all of them.
fn stride() -> usize {
    if std::env::var_os("TOLLGATE_LONG").is_some() { 1 } else { 17 }
}

#[tokio::test]
async fn pitfall_046_any_part_of_our_own_events_may_be_null_or_absent() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await?;
    world.tell_all().await;
    let pack = world.request("buyer", "100 Credits").await;
    world.pay(pack).await?;
    world.tell_all().await;
    let before = state(&world.engine, "buyer").await;
    assert_eq!(before["balance"], json!([100, 100, 0]));
    let (mut seen, mut variants, mut kept) = (Vec::new(), 0, 0);
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for event in world.events().await {
        let kind = event["type"].as_str().unwrap().to_owned();
        let is_acted_on = !kind.starts_with("product") && !kind.starts_with("price");
        if seen.contains(&kind) || !is_acted_on {
            continue;
        }
        seen.push(kind.clone());
        for pointer in optional(&event) {
            for replacement in [None, Some(Value::Null)] {
                variants += 1;
                if variants % stride() != 0 {
                    continue;
                }
                kept += 1;
                let mut variant = changed(&event, &pointer, replacement);
                let id = format!("evt_variant_{variants}");
                variant["id"] = json!(id);
                deliver(&world.engine, &variant).await;
                while world.engine.apply_next().await? {}
                let row = world.engine.events_get(&id).await?;
                let known = row.state.as_str() != "pending";
                assert!(known, "{kind} {pointer}: {:?}", row.reason);
                *outcomes.entry(row.state.as_str().to_owned()).or_default() += 1;
            }
        }
    }
    drain(&world.engine).await;
    println!("{kept} of {variants} variants of {} kinds of events: {outcomes:?}", seen.len());
    let after = state(&world.engine, "buyer").await;
    for same in ["balance", "payments", "grants", "invoices", "subscriptions", "features"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    Ok(())
}

/// The thin notice of a snapshot event.
fn thin(event: &Value) -> Value {
    let object = &event["data"]["object"];
    json!({
        "id": format!("{}_thin", event["id"].as_str().unwrap()), "object": "v2.core.event",
        "type": format!("v1.{}", event["type"].as_str().unwrap()), "livemode": false,
        "created": "2026-10-01T09:00:00.500Z", "snapshot_event": event["id"],
        "related_object": {"id": object["id"], "type": object["object"], "url": "/v1/somewhere"},
    })
}

#[tokio::test]
async fn pitfall_049_thin_events_fetch_what_they_are_about() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await?;
    let events = world.events().await;
    for kind in ["checkout.session.completed", "customer.subscription.created", "invoice.paid"] {
        let event = events.iter().find(|event| event["type"] == kind).unwrap();
        deliver(&world.engine, &thin(event)).await;
    }
    for (id, kind) in [("evt_new", "v2.future.thing.happened"), ("evt_v1", "v1.future.thing")] {
        let unknown = json!({
            "id": id, "object": "v2.core.event", "type": kind, "livemode": false,
            "created": "2026-10-01T09:00:00Z", "related_object": {"id": "x_1", "type": "thing"},
        });
        deliver(&world.engine, &unknown).await;
    }
    drain(&world.engine).await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([100, 0, 0]), "{end}");
    assert_eq!(end["payments"], json!([[2999, "paid", 0]]));
    assert_eq!(end["features"]["knowledge_base"], "entitled");
    for id in ["evt_new", "evt_v1"] {
        assert_eq!(world.engine.events_get(id).await?.state.as_str(), "ignored", "{id}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_050_a_thin_event_and_its_snapshot_have_one_effect() -> anyhow::Result<()> {
    for nickname in ["Pro monthly", "100 Credits"] {
        let world = World::sqlite().await?;
        let request = world.request("buyer", nickname).await;
        world.pay(request).await?;
        let snapshots = world.events().await;
        let thins: Vec<Value> = snapshots
            .iter()
            .filter(|event| event["data"]["object"]["id"].is_string())
            .map(thin)
            .collect();
        world.freeze().await;
        let mut first: Option<Value> = None;
        let twins = snapshots.iter().zip(&thins).flat_map(|(a, b)| [b.clone(), a.clone()]);
        let orders = [
            snapshots.clone(),
            [snapshots.clone(), thins.clone()].concat(),
            [thins.clone(), snapshots.clone()].concat(),
            twins.collect(),
        ];
        for (number, order) in orders.iter().enumerate() {
            let engine = world.copy(None).await?;
            let end = told(&engine, order).await;
            let first = first.get_or_insert_with(|| end.clone());
            assert_eq!(*first, end, "{nickname} order {number}");
            assert_eq!(end["payments"].as_array().map(Vec::len), Some(1));
            engine.store().close().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn thin_events_about_other_applications_are_let_be() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let stranger = world.post("/v1/customers", &[("email", "stranger@example.com")]).await;
    let stranger = stranger["id"].as_str().unwrap();
    let form = [
        ("currency", "usd"),
        ("unit_amount", "700"),
        ("recurring[interval]", "month"),
        ("product_data[name]", "Elsewhere"),
    ];
    let price = world.post("/v1/prices", &form).await["id"].as_str().unwrap().to_owned();
    let method = "/v1/payment_methods/pm_card_visa/attach";
    let method = world.post(method, &[("customer", stranger)]).await["id"].clone();
    let form = [
        ("customer", stranger),
        ("items[0][price]", price.as_str()),
        ("default_payment_method", method.as_str().unwrap()),
    ];
    assert_eq!(world.post("/v1/subscriptions", &form).await["status"], "active");
    for kind in ["customer.subscription.created", "invoice.paid"] {
        let events = world.events().await;
        let event = thin(events.iter().find(|event| event["type"] == kind).unwrap());
        deliver(&world.engine, &event).await;
        drain(&world.engine).await;
        let told = world.engine.events_get(event["id"].as_str().unwrap()).await?;
        assert_eq!(told.state.as_str(), "ignored", "{kind}: {:?}", told.reason);
    }
    Ok(())
}
