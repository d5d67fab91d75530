//! Whose a fact is: this mode, this account, this application, this customer; else nobody's. And
//! what becomes of a fact while something of ours is broken.

use crate::worlds::{World, deliver, drain, own, state};
use engine::checkout_sessions::Buyer;
use engine::{Engine, Failure, Page};
use serde_json::{Value, json};

fn of_kind(events: &[Value], kind: &str) -> Value {
    events.iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("no {kind}")).clone()
}

fn page() -> Page {
    Page::new(Some(100), None).unwrap()
}

async fn bought(nickname: &str) -> anyhow::Result<(World, Vec<Value>)> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", nickname).await;
    world.pay(request).await?;
    let events = world.events().await;
    Ok((world, events))
}

async fn outcome(engine: &Engine, id: &str) -> (String, String) {
    let row = engine.events_get(id).await.unwrap();
    (row.state.as_str().to_owned(), row.reason.unwrap_or_default())
}

#[tokio::test]
async fn pitfall_109_and_row_60_the_other_mode_has_no_effect() -> anyhow::Result<()> {
    let (world, events) = bought("100 Credits").await?;
    let mut live = of_kind(&events, "checkout.session.completed");
    live["livemode"] = json!(true);
    deliver(&world.engine, &live).await;
    drain(&world.engine).await;
    let id = live["id"].as_str().unwrap();
    let expected = ("ignored".to_owned(), "the event belongs to the other mode".to_owned());
    assert_eq!(outcome(&world.engine, id).await, expected);
    assert!(matches!(world.engine.events_replay(id).await, Ok(_) | Err(Failure::Refused { .. })));
    drain(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await["payments"], json!([]));
    // The reverse: what the test mode tells a live deployment.
    let mut settings = world.engine.settings().clone();
    settings.livemode = true;
    let clock = world.engine.clock().clone();
    let production = Engine::new(world.engine.store().clone(), None, clock, settings);
    let mut test = live.clone();
    test["id"] = json!("evt_test");
    test["livemode"] = json!(false);
    deliver(&production, &test).await;
    assert_eq!(outcome(&production, "evt_test").await, expected);
    // One database serves one mode.
    let (store, now) = (world.engine.store(), world.engine.clock().wall());
    store.deployment_bind(false, now).await?;
    assert!(store.deployment_bind(true, now).await.is_err());
    assert!(store.deployment_bind(false, now).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn pitfall_110_a_live_key_on_a_database_of_test_prices_is_refused() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let (store, now) = (world.engine.store(), world.engine.clock().wall());
    store.deployment_bind(false, now).await?;
    let refused = store.deployment_bind(true, now).await.unwrap_err().to_string();
    assert!(refused.contains("test") && refused.contains("live"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn pitfall_111_a_lost_customer_is_replaced_once() -> anyhow::Result<()> {
    let (world, events) = bought("100 Credits").await?;
    world.tell_all().await;
    let old = of_kind(&events, "checkout.session.completed");
    let old = old["data"]["object"]["customer"].as_str().unwrap().to_owned();
    let gone = world.delete(&format!("/v1/customers/{old}")).await;
    assert_eq!(gone["deleted"], true, "{gone}");
    let mut customers = Vec::new();
    for _ in 0..2 {
        let request = world.request("buyer", "100 Credits").await;
        let session = world.pay(request).await?;
        let session = world.get(&format!("/v1/checkout/sessions/{session}")).await;
        customers.push(session["customer"].as_str().unwrap().to_owned());
    }
    assert_ne!(customers[0], old);
    assert_eq!(customers[0], customers[1], "once");
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 300, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_113_other_applications_on_the_account_are_let_be() -> anyhow::Result<()> {
    let (world, _) = bought("100 Credits").await?;
    world.tell_all().await;
    let before = state(&world.engine, "buyer").await;
    let form = [("email", "guest@example.com"), ("payment_method", "pm_card_visa")];
    let stranger = world.post("/v1/customers", &form).await["id"].as_str().unwrap().to_owned();
    let form = [
        ("currency", "usd"),
        ("unit_amount", "700"),
        ("recurring[interval]", "month"),
        ("product_data[name]", "Elsewhere"),
    ];
    let price = world.post("/v1/prices", &form).await["id"].as_str().unwrap().to_owned();
    let method = world.get(&format!("/v1/customers/{stranger}/payment_methods")).await;
    let method = method["data"][0]["id"].as_str().unwrap().to_owned();
    let form = [
        ("customer", &*stranger),
        ("items[0][price]", &price),
        ("default_payment_method", &method),
    ];
    let sold = world.post("/v1/subscriptions", &form).await;
    assert_eq!(sold["status"], "active", "{sold}");
    world.tell_all().await;
    let after = state(&world.engine, "buyer").await;
    for part in ["balance", "payments", "invoices", "subscriptions", "grants", "features"] {
        assert_eq!(after[part], before[part], "{part}: the same e-mail is not the same person");
    }
    let customers = world.engine.customers_list(page()).await?.data.len();
    let (again, told) = (world.engine.clone(), world.events().await);
    for event in told.iter().filter(|event| event.to_string().contains(&stranger)) {
        let (state, reason) = outcome(&again, event["id"].as_str().unwrap()).await;
        let is_set_aside = ["ignored", "parked"].contains(&&*state);
        assert!(is_set_aside, "{} is {state}: {reason}", event["type"]);
        let kind = event["type"].as_str().unwrap_or_default();
        if kind.starts_with("customer.") || kind.starts_with("invoice.") {
            assert_eq!(state, "ignored", "{kind}: {reason}");
        }
    }
    assert_eq!(world.engine.customers_list(page()).await?.data.len(), customers);
    Ok(())
}

#[tokio::test]
async fn pitfall_113_what_a_customer_of_ours_buys_elsewhere_grants_nothing() -> anyhow::Result<()> {
    let (world, events) = bought("100 Credits").await?;
    world.tell_all().await;
    let before = state(&world.engine, "buyer").await;
    let mut foreign = of_kind(&events, "checkout.session.completed");
    foreign["id"] = json!("evt_foreign");
    let session = &mut foreign["data"]["object"];
    session["id"] = json!("cs_test_foreign");
    session["payment_intent"] = json!("pi_foreign");
    session["client_reference_id"] = Value::Null;
    session["metadata"] = json!({"order": "77"});
    deliver(&world.engine, &foreign).await;
    drain(&world.engine).await;
    let after = state(&world.engine, "buyer").await;
    assert_eq!((&after["balance"], &after["grants"]), (&before["balance"], &before["grants"]));
    assert_eq!(outcome(&world.engine, "evt_foreign").await.0, "ignored");
    Ok(())
}

#[tokio::test]
async fn pitfall_114_two_replicas_that_hear_of_one_event_have_one_effect() -> anyhow::Result<()> {
    for world in World::all().await? {
        let request = world.request("buyer", "Pro monthly").await;
        world.pay(request).await?;
        let events = world.events().await;
        let replica = world.through(&world.proxy().await);
        let mut tasks = tokio::task::JoinSet::new();
        for engine in [world.engine.clone(), replica.clone()] {
            let events = events.clone();
            tasks.spawn(async move {
                for event in &events {
                    deliver(&engine, event).await;
                    while engine.apply_next().await.unwrap() {}
                }
            });
        }
        tasks.join_all().await;
        drain(&replica).await;
        drain(&world.engine).await;
        let end = state(&world.engine, "buyer").await;
        assert_eq!(end["balance"], json!([100, 0, 0]), "{} {end}", world.name);
        assert_eq!(end["payments"], json!([[2999, "paid", 0]]));
        let log = world.engine.events_list(page(), None).await?.data;
        assert_eq!(log.len(), events.len(), "{}", world.name);
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_115_a_deleted_customer_loses_access_and_keeps_the_ledger() -> anyhow::Result<()> {
    let (world, events) = bought("Pro monthly").await?;
    world.tell_all().await;
    let old = of_kind(&events, "checkout.session.completed");
    let old = old["data"]["object"]["customer"].as_str().unwrap().to_owned();
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests.push(world.request("buyer", "Pro monthly").await);
    }
    world.freeze().await;
    world.delete(&format!("/v1/customers/{old}")).await;
    let all = world.events().await;
    let gone = of_kind(&all, "customer.deleted");
    let ended = of_kind(&all, "customer.subscription.deleted");
    let mut bare = gone.clone();
    bare["data"]["object"] = json!({"id": old, "object": "customer", "deleted": true});
    for order in [[&gone, &ended], [&ended, &gone], [&bare, &ended], [&ended, &bare]] {
        let engine = world.copy(None).await?;
        for event in order {
            deliver(&engine, event).await;
            drain(&engine).await;
        }
        let kinds: Vec<_> = order.iter().map(|event| event["type"].clone()).collect();
        let end = state(&engine, "buyer").await;
        assert_eq!(end["subscriptions"][0][0], "canceled", "{kinds:?} {end}");
        assert_ne!(end["features"]["knowledge_base"], "entitled", "{kinds:?}");
        assert_eq!(end["payments"], json!([[2999, "paid", 0]]), "{kinds:?}");
        let entries = engine.credits_entries(&own("buyer"), "credits", page()).await?.data;
        assert!(!entries.is_empty(), "{kinds:?}: the ledger is kept");
        let session = engine.checkout_create(requests.remove(0)).await?.session;
        let session = session.provider_session_id.unwrap();
        let session = world.get(&format!("/v1/checkout/sessions/{session}")).await;
        assert_ne!(session["customer"], json!(old), "{kinds:?}: it works with a new one");
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_119_metadata_that_is_lost_or_forged_changes_nobody() -> anyhow::Result<()> {
    let (world, mut events) = bought("Pro monthly").await?;
    // Somebody else, whose reference is forged into the purchase.
    let request = world.request("other", "100 Credits").await;
    world.pay(request).await?;
    let other = world.events().await;
    let other = other.iter().rev().find(|event| event["type"] == "checkout.session.completed");
    let forged = other.unwrap()["data"]["object"]["metadata"].clone();
    assert!(forged.as_object().is_some_and(|entries| !entries.is_empty()));
    events.retain(|event| event["data"]["object"]["object"] != "customer");
    world.freeze().await;
    for kind in ["checkout.session.completed", "customer.subscription.created", "invoice.paid"] {
        for metadata in [json!({}), Value::Null, forged.clone()] {
            let engine = world.copy(None).await?;
            for event in &events {
                let mut event = event.clone();
                if event["type"] == kind {
                    put_metadata(&mut event["data"]["object"], &metadata);
                }
                deliver(&engine, &event).await;
            }
            drain(&engine).await;
            let end = state(&engine, "buyer").await;
            assert_eq!(end["balance"], json!([100, 0, 0]), "{kind} {metadata} {end}");
            let stolen = state(&engine, "other").await;
            assert_eq!(stolen["balance"], json!([0, 0, 0]), "{kind} {metadata} {stolen}");
            assert_eq!(stolen["subscriptions"], json!([]));
            engine.store().close().await;
        }
    }
    Ok(())
}

/// Wherever an object of this kind carries our reference.
fn put_metadata(object: &mut Value, metadata: &Value) {
    for place in ["/metadata", "/parent/subscription_details/metadata"] {
        if let Some(found) = object.pointer_mut(place) {
            *found = metadata.clone();
        }
    }
}

#[tokio::test]
async fn row_61_a_session_without_an_address_finds_its_user() -> anyhow::Result<()> {
    let (world, events) = bought("100 Credits").await?;
    let mut known = of_kind(&events, "checkout.session.completed");
    let session = &mut known["data"]["object"];
    session["customer_email"] = Value::Null;
    session["customer_details"] = Value::Null;
    let mut unknown = known.clone();
    unknown["id"] = json!("evt_unknown");
    let session = &mut unknown["data"]["object"];
    session["id"] = json!("cs_test_unknown");
    session["customer"] = Value::Null;
    session["client_reference_id"] = Value::Null;
    session["metadata"] = json!({});
    session["customer_details"] = json!({"email": "guest@example.com"});
    deliver(&world.engine, &unknown).await;
    drain(&world.engine).await;
    let (found, reason) = outcome(&world.engine, "evt_unknown").await;
    assert_eq!(found, "parked", "{reason}");
    deliver(&world.engine, &known).await;
    drain(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 100, 0]));
    // A guest is known by the session alone.
    let guest = engine::checkout_sessions::CheckoutRequest {
        buyer: Buyer::Guest { address: "127.0.0.1".to_owned(), browser: None },
        ..world.request("guest", "100 Credits").await
    };
    let session = world.pay(guest).await?;
    let events = world.events().await;
    let completed = events.iter().find(|event| event["data"]["object"]["id"] == session.as_str());
    let mut completed = completed.unwrap().clone();
    completed["data"]["object"]["customer_email"] = Value::Null;
    deliver(&world.engine, &completed).await;
    drain(&world.engine).await;
    let id = completed["id"].as_str().unwrap();
    assert_eq!(outcome(&world.engine, id).await.0, "applied");
    Ok(())
}

#[tokio::test]
async fn pitfall_117_an_address_that_somebody_typed_links_nobody() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let mut known = world.request("known", "100 Credits").await;
    known.email = Some("guest@example.com".to_owned());
    world.pay(known).await?;
    let mut pack = world.request("nobody", "100 Credits").await;
    pack.buyer = Buyer::Guest { address: "127.0.0.1".into(), browser: None };
    world.pay(pack).await?;
    world.tell_all().await;
    assert_eq!(state(&world.engine, "known").await["balance"], json!([0, 100, 0]));
    let mut other = world.request("other", "RAG Access").await;
    other.email = Some("guest@example.com".to_owned());
    world.pay(other).await?;
    world.tell_all().await;
    let other = state(&world.engine, "other").await;
    assert_eq!(
        (&other["balance"], other["payments"].as_array().map(Vec::len)),
        (&json!([0, 0, 0]), Some(1))
    );
    Ok(())
}
