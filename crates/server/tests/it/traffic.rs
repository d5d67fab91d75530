//! Recorded traffic at the door: every event and every object is taken, classified and applied
//! without a failure, whole and with any part of it null or absent.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use store::inbox::{InboxEvent, InboxState};

use crate::samples::{changed, one_of_each, optional, recorded_objects, samples};
use crate::servers::Server;
use crate::webhooks::deliver;

const OTHER_MODE: &str = "the event belongs to the other mode";
const NOTHING: &str = "nothing follows from events of this kind";

/// Recordings repeat ids; here each has its own, and tells of this server's mode where asked to.
fn renamed(events: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let mut events = events;
    for (number, (_, event)) in events.iter_mut().enumerate() {
        event["id"] = json!(format!("evt_recorded_{number}"));
    }
    events
}

async fn taken(server: &Server, name: &str, event: &Value) -> InboxEvent {
    let answer = deliver(server, &event.to_string()).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text);
    server.engine.events_get(event["id"].as_str().unwrap()).await.unwrap()
}

/// What must be acted on, whatever else is.
fn moves_money(event: &Value) -> bool {
    let kind = event["type"].as_str().unwrap_or_default();
    let verb = kind.strip_prefix("invoice.");
    kind.starts_with("customer.subscription.")
        || kind.starts_with("checkout.session.")
        || kind == "charge.refunded"
        || verb.is_some_and(|verb| verb.starts_with("paid") || verb.starts_with("payment_"))
}

fn check_classified(name: &str, event: &Value, row: &InboxEvent) {
    let reason = row.reason.as_deref().unwrap_or_default();
    let thin = event["object"] == "v2.core.event";
    match row.state {
        InboxState::Ignored if event["livemode"] == true => {
            assert_eq!(reason, OTHER_MODE, "{name}")
        }
        InboxState::Ignored => {
            assert_eq!(reason, NOTHING, "{name}");
            assert!(!moves_money(event), "{name} was ignored");
        }
        InboxState::Pending => {
            assert!(event["livemode"] != true, "{name}");
            assert!(thin || event["data"]["object"].is_object(), "{name}");
        }
        state => panic!("{name} is {} at the door: {reason}", state.as_str()),
    }
}

fn counted(counts: &mut BTreeMap<String, usize>, row: &InboxEvent) {
    let reason = row.reason.as_deref().unwrap_or_default();
    // Ids differ from one to the next.
    let reason = reason.split(" price_").next().unwrap_or_default();
    *counts.entry(format!("{} {reason}", row.state.as_str())).or_default() += 1;
}

#[tokio::test]
async fn every_recorded_event_is_taken_classified_and_applied() {
    let (server, _) = Server::with_provider().await;
    let (mut at_the_door, mut in_the_end) = (BTreeMap::new(), BTreeMap::new());
    let events = renamed(samples().into_iter().chain(recorded_objects()).collect());
    for (name, event) in &events {
        let row = taken(&server, name, event).await;
        check_classified(name, event, &row);
        counted(&mut at_the_door, &row);
    }
    while server.engine.apply_next().await.unwrap() {}
    for (name, event) in &events {
        let row = server.engine.events_get(event["id"].as_str().unwrap()).await.unwrap();
        // All of it belongs to strangers, so none of it may have an effect.
        let settled = matches!(row.state, InboxState::Ignored | InboxState::Parked);
        assert!(settled && row.reason.is_some(), "{name}: {row:?}");
        counted(&mut in_the_end, &row);
    }
    println!("{} at the door: {at_the_door:#?}", events.len());
    println!("in the end: {in_the_end:#?}");
    for kind in ["payments", "invoices", "subscriptions"] {
        let path = format!("/v1/{kind}?customer=nobody");
        assert_eq!(server.call("GET", &path, &server.key, "").await.status, 404);
    }
    let page = engine::Page::new(Some(100), None).unwrap();
    let customers = server.engine.customers_list(page).await.unwrap().data;
    assert_eq!(customers.len(), 1, "strangers are made customers: {customers:?}");
    assert!(events.is_empty() || 1_000 < events.len(), "{}", events.len());
}

/// The short run takes some variants of all; `TOLLGATE_LONG=1` takes all of them.
fn stride() -> usize {
    if std::env::var_os("TOLLGATE_LONG").is_some() { 1 } else { 29 }
}

#[tokio::test]
async fn pitfall_046_any_part_of_a_recorded_event_may_be_null_or_absent_at_the_door() {
    let (server, _) = Server::with_provider().await;
    let mut variants = 0;
    let mut kept = 0;
    let shapes = one_of_each(renamed(samples().into_iter().chain(recorded_objects()).collect()));
    for (name, event) in &shapes {
        let whole = taken(&server, name, event).await;
        for pointer in optional(event) {
            for replacement in [None, Some(Value::Null)] {
                variants += 1;
                if variants % stride() != 0 {
                    continue;
                }
                kept += 1;
                let mut variant = changed(event, &pointer, replacement.clone());
                variant["id"] = json!(format!("evt_variant_{variants}"));
                let row =
                    taken(&server, &format!("{name} {pointer} {replacement:?}"), &variant).await;
                let decides = ["/livemode", "/account", "/context"].contains(&pointer.as_str())
                    || pointer.starts_with("/related_object")
                    // The oldest disputes are known by their charge alone.
                    || event["data"]["object"]["id"].is_null() && pointer == "/data/object/charge";
                assert!(
                    decides || row.state == whole.state,
                    "{name} {pointer} {replacement:?}: {:?} {:?}",
                    row.state,
                    row.reason
                );
            }
        }
        while server.engine.apply_next().await.unwrap() {}
    }
    println!("{kept} of {variants} variants of {} kinds of events", shapes.len());
    let page = engine::Page::new(Some(100), None).unwrap();
    let pending = server.engine.events_list(page, Some("pending")).await.unwrap().data;
    assert!(pending.is_empty(), "{pending:?}");
}
