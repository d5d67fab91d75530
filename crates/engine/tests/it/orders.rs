//! Any order, any repetition: one state.

use crate::worlds::{World, deliver, drain, state};
use engine::Engine;
use serde_json::{Value, json};

/// Every order of some items.
pub fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, first) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(index);
        for mut order in permutations(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

pub fn of_kind(events: &[Value], kind: &str) -> Option<Value> {
    events.iter().find(|event| event["type"] == kind).cloned()
}

/// The four events of a first purchase; where the sandbox sends no update, one is made from the
/// creation, a second later.
fn first_purchase(events: &[Value]) -> Vec<Value> {
    let completed = of_kind(events, "checkout.session.completed").unwrap();
    let created = of_kind(events, "customer.subscription.created").unwrap();
    let paid = of_kind(events, "invoice.paid").unwrap();
    let updated = of_kind(events, "customer.subscription.updated").unwrap_or_else(|| {
        let mut updated = created.clone();
        updated["id"] = json!("evt_updated");
        updated["type"] = json!("customer.subscription.updated");
        updated["created"] = json!(created["created"].as_i64().unwrap() + 1);
        updated
    });
    vec![completed, created, paid, updated]
}

pub async fn told(engine: &Engine, order: &[Value]) -> Value {
    for event in order {
        deliver(engine, event).await;
        drain(engine).await;
        deliver(engine, event).await;
    }
    drain(engine).await;
    state(engine, "buyer").await
}

#[tokio::test]
async fn row_53_all_orders_of_a_first_purchase_end_alike() -> anyhow::Result<()> {
    for world in World::all().await? {
        let request = world.request("buyer", "Pro monthly").await;
        world.pay(request).await?;
        let events = first_purchase(&world.events().await);
        world.freeze().await;
        let forgotten = World::oblivious().await?;
        for provider in [None, Some(forgotten.as_str())] {
            let mut first: Option<Value> = None;
            for order in permutations(&events) {
                let engine = world.copy(provider).await?;
                let end = told(&engine, &order).await;
                let kinds: Vec<_> = order.iter().map(|event| event["type"].clone()).collect();
                assert_eq!(end["balance"], json!([100, 0, 0]), "{} {kinds:?} {end}", world.name);
                assert_eq!(end["payments"], json!([[2999, "paid", 0]]), "{kinds:?}");
                assert_eq!(end["features"]["knowledge_base"], "entitled", "{kinds:?}");
                assert_eq!(end["parked"], json!([]), "{kinds:?}");
                let first = first.get_or_insert_with(|| end.clone());
                assert_eq!(*first, end, "{} {kinds:?}", world.name);
                engine.store().close().await;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn row_54_old_news_does_not_take_a_subscription_back() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await?;
    world.tell_all().await;
    let created = of_kind(&world.events().await, "customer.subscription.created").unwrap();
    let at = created["created"].as_i64().unwrap();
    let told = |id: &str, status: &str, created_at: i64| {
        let mut event = created.clone();
        event["id"] = json!(id);
        event["type"] = json!("customer.subscription.updated");
        event["created"] = json!(created_at);
        event["data"]["object"]["status"] = json!(status);
        event
    };
    deliver(&world.engine, &told("evt_new", "active", at + 20)).await;
    drain(&world.engine).await;
    deliver(&world.engine, &told("evt_old", "past_due", at + 10)).await;
    drain(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await["subscriptions"][0][0], "active");
    let mut deleted = told("evt_deleted", "canceled", at + 30);
    deleted["type"] = json!("customer.subscription.deleted");
    deleted["data"]["object"]["ended_at"] = json!(at + 30);
    deliver(&world.engine, &deleted).await;
    deliver(&world.engine, &told("evt_late", "active", at + 40)).await;
    drain(&world.engine).await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["subscriptions"][0][0], "canceled", "terminal states are never left");
    assert_eq!(end["balance"], json!([0, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn row_51_fifty_parallel_deliveries_have_one_effect() -> anyhow::Result<()> {
    for world in World::all().await? {
        let request = world.request("buyer", "100 Credits").await;
        world.pay(request).await?;
        let event = of_kind(&world.events().await, "checkout.session.completed").unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (engine, event) = (world.engine.clone(), event.clone());
            tasks.spawn(async move {
                deliver(&engine, &event).await;
                drain(&engine).await;
            });
        }
        while let Some(task) = tasks.join_next().await {
            task?;
        }
        drain(&world.engine).await;
        let end = state(&world.engine, "buyer").await;
        assert_eq!(end["balance"], json!([0, 100, 0]), "{}", world.name);
        assert_eq!(end["payments"], json!([[1999, "paid", 0]]));
    }
    Ok(())
}

#[tokio::test]
async fn row_60_and_57_foreign_and_poisoned_events_change_nothing() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "100 Credits").await;
    world.pay(request).await?;
    let event = of_kind(&world.events().await, "checkout.session.completed").unwrap();
    let mut live = event.clone();
    live["livemode"] = json!(true);
    live["id"] = json!("evt_live");
    let mut other = event.clone();
    other["account"] = json!("acct_other");
    other["id"] = json!("evt_other");
    let mut poisoned = event.clone();
    poisoned["data"]["object"].as_object_mut().unwrap().remove("id");
    poisoned["id"] = json!("evt_poisoned");
    let mut stranger = event.clone();
    stranger["id"] = json!("evt_stranger");
    stranger["data"]["object"]["id"] = json!("cs_test_stranger");
    stranger["data"]["object"]["client_reference_id"] = json!(null);
    stranger["data"]["object"]["customer"] = json!("cus_stranger");
    stranger["data"]["object"]["metadata"] = json!({});
    for event in [&live, &other, &poisoned, &stranger] {
        deliver(&world.engine, event).await;
    }
    drain(&world.engine).await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([0, 0, 0]));
    assert_eq!(end["parked"].as_array().map(Vec::len), Some(2), "{end}");
    let page = engine::Page::new(Some(100), None)?;
    for ignored in world.engine.events_list(page, Some("ignored")).await?.data {
        world.engine.events_replay(ignored.id.as_str()).await?;
    }
    drain(&world.engine).await;
    let replayed = state(&world.engine, "buyer").await;
    assert_eq!(replayed["balance"], json!([0, 0, 0]), "a replay is judged like a delivery");
    deliver(&world.engine, &event).await;
    drain(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 100, 0]));
    Ok(())
}

#[tokio::test]
async fn row_62_the_completed_session_alone_brings_everything() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await?;
    let completed = of_kind(&world.events().await, "checkout.session.completed").unwrap();
    deliver(&world.engine, &completed).await;
    drain(&world.engine).await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([100, 0, 0]), "{end}");
    assert_eq!(end["payments"], json!([[2999, "paid", 0]]));
    assert_eq!(end["subscriptions"][0][0], "active");
    assert_eq!(end["features"]["knowledge_base"], "entitled");
    Ok(())
}

/// The completed session of a pack, told as `kind` with another payment status.
fn told_as(completed: &Value, id: &str, kind: &str, payment: &str) -> Value {
    let mut event = completed.clone();
    event["id"] = json!(id);
    event["type"] = json!(kind);
    event["data"]["object"]["payment_status"] = json!(payment);
    event
}

#[tokio::test]
async fn row_64_nothing_before_money_whichever_order_tells_of_it() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "100 Credits").await;
    world.pay(request).await?;
    let completed = of_kind(&world.events().await, "checkout.session.completed").unwrap();
    world.freeze().await;
    let unpaid = told_as(&completed, "evt_unpaid", "checkout.session.completed", "unpaid");
    let kind = "checkout.session.async_payment_succeeded";
    let succeeded = told_as(&completed, "evt_succeeded", kind, "paid");
    let kind = "checkout.session.async_payment_failed";
    let failed = told_as(&completed, "evt_failed", kind, "unpaid");
    let cases = [
        (vec![&unpaid], json!([0, 0, 0]), json!([[1999, "pending", 0]])),
        (vec![&unpaid, &succeeded], json!([0, 100, 0]), json!([[1999, "paid", 0]])),
        (vec![&succeeded, &unpaid], json!([0, 100, 0]), json!([[1999, "paid", 0]])),
        (vec![&unpaid, &failed], json!([0, 0, 0]), json!([[1999, "failed", 0]])),
        (vec![&failed, &unpaid], json!([0, 0, 0]), json!([[1999, "failed", 0]])),
    ];
    for (order, balance, payments) in cases {
        let engine = world.copy(None).await?;
        for event in &order {
            deliver(&engine, event).await;
            drain(&engine).await;
        }
        let end = state(&engine, "buyer").await;
        let kinds: Vec<_> = order.iter().map(|event| event["id"].clone()).collect();
        assert_eq!(end["balance"], balance, "{kinds:?} {end}");
        assert_eq!(end["payments"], payments, "{kinds:?}");
    }
    Ok(())
}

#[tokio::test]
async fn row_67_and_68_only_the_invoice_of_a_period_refills_it_and_once() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await?;
    world.tell_all().await;
    let paid = of_kind(&world.events().await, "invoice.paid").unwrap();
    for reason in ["subscription_update", "manual", "subscription_threshold", "zap"] {
        let mut other = paid.clone();
        other["id"] = json!(format!("evt_{reason}"));
        other["data"]["object"]["id"] = json!(format!("in_{reason}"));
        other["data"]["object"]["billing_reason"] = json!(reason);
        let lines = other["data"]["object"]["lines"]["data"].as_array_mut().unwrap();
        for line in lines {
            let end = line["period"]["end"].as_i64().unwrap();
            line["period"] = json!({ "start": end, "end": end + 2_600_000 });
        }
        deliver(&world.engine, &other).await;
    }
    for (index, kind) in ["invoice.paid", "invoice.payment_succeeded"].iter().enumerate() {
        let mut again = paid.clone();
        again["id"] = json!(format!("evt_again_{index}"));
        again["type"] = json!(kind);
        deliver(&world.engine, &again).await;
    }
    drain(&world.engine).await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["grants"].as_array().map(Vec::len), Some(1), "{end}");
    assert_eq!(end["balance"], json!([100, 0, 0]));
    assert_eq!(end["payments"].as_array().map(Vec::len), Some(5), "money is recorded all the same");
    Ok(())
}

#[tokio::test]
async fn row_76_an_unknown_price_is_parked_until_it_is_known() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await?;
    world.tell_all().await;
    let mut unknown = of_kind(&world.events().await, "customer.subscription.created").unwrap();
    unknown["id"] = json!("evt_unknown");
    unknown["data"]["object"]["id"] = json!("sub_unknown");
    unknown["data"]["object"]["metadata"] = json!({});
    let item = &mut unknown["data"]["object"]["items"]["data"][0];
    item["price"]["id"] = json!("price_unknown");
    deliver(&world.engine, &unknown).await;
    drain(&world.engine).await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["parked"].as_array().map(Vec::len), Some(1), "{end}");
    assert_eq!(end["balance"], json!([100, 0, 0]));
    Ok(())
}
