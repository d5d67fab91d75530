//! Purchases that are told of at the same moment share a transaction; each is what it is alone.

use crate::worlds::{World, deliver, drain, own, state};
use domain::catalogue::{CreditGrant, FeatureGrant, Grants};
use domain::credits::Credits;
use domain::time::{Interval, Unit};
use engine::checkout_sessions::{Buyer, CheckoutRequest};
use engine::credits::ConsumeRequest;
use engine::prices::NewPrice;
use engine::{Engine, Page};
use providers::stripe::{Request, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::StoreError;
use store::credits::EntryKind;
use store::watch::{Step, Watcher};

const PAGE: &str = "checkout.session.completed";

fn of_kind(events: &[Value], kind: &str) -> Vec<Value> {
    events.iter().filter(|event| event["type"] == kind).cloned().collect()
}

/// Everything that can be seen of a customer from outside, but for ids and the moment it was done.
async fn everything(engine: &Engine, who: &str) -> Value {
    let subject = own(who);
    let page = || Page::new(Some(100), None).unwrap();
    let entries = engine.credits_entries(&subject, "credits", page()).await.unwrap().data;
    let entries: Vec<_> = entries
        .iter()
        .map(|it| {
            json!([
                it.number,
                it.kind.as_str(),
                it.amount,
                it.balance_after,
                it.reference.as_deref().map(|text| text.split(':').next()),
                // A debt is paid at the moment of applying.
                (it.kind == EntryKind::Grant).then_some(it.effective_at.seconds()),
            ])
        })
        .collect();
    let told = engine.notifications_list(page(), None, Some(who)).await.unwrap().data;
    let mut told: Vec<_> =
        told.iter().map(|it| json!([it["type"], it["data"]]).to_string()).collect();
    told.sort();
    let payments = engine.payments_list(&subject, page()).await.unwrap().data;
    let payments: Vec<_> = payments
        .iter()
        .map(|it| {
            json!([
                it.fact,
                it.provider_payment_intent_id,
                it.provider_session_id,
                it.price_id.as_ref().map(|id| id.as_str()),
                it.description,
                it.paid_at.map(|at| at.seconds()),
            ])
        })
        .collect();
    let tokens = engine.credits_balance(&subject, "tokens").await.unwrap().total;
    let mut state = state(engine, who).await;
    // Lots of one moment stand in any order.
    state["grants"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    json!({
        "state": state, "entries": entries, "told": told, "payments": payments,
        "tokens": tokens,
    })
}

/// Which statements were made and which transactions committed, and how often.
fn steps() -> (Arc<Mutex<BTreeMap<&'static str, usize>>>, Watcher) {
    let counts: Arc<Mutex<BTreeMap<_, _>>> = Arc::default();
    let counted = counts.clone();
    let watcher: Watcher = Arc::new(move |at, what| {
        if matches!(at, Step::Statement | Step::Committed) {
            *counted.lock().unwrap().entry(what).or_default() += 1;
        }
        Box::pin(std::future::ready(Ok(())))
    });
    (counts, watcher)
}

/// People who buy at the same moment, most of them plainly.
async fn crowd(world: &World) -> anyhow::Result<Vec<&'static str>> {
    let debtor = world.request("debtor", "100 Credits").await;
    world.pay(debtor).await?;
    world.tell_all().await;
    let all = ConsumeRequest {
        amount: 100,
        unit: "credits".into(),
        reference: None,
        idempotency_key: None,
    };
    world.engine.credits_consume(&own("debtor"), all).await?;
    let intents = world.get("/v1/payment_intents?limit=1").await;
    let intent = intents["data"][0]["id"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent)]).await;
    world.tell_all().await;
    assert_eq!(world.engine.debts_open(&own("debtor"), "credits").await?, 100);
    let whom = ["ann", "bob", "cem", "dea", "ann", "debtor"];
    for who in whom {
        let request = world.request(who, "100 Credits").await;
        world.pay(request).await?;
    }
    // Two units and a feature for good, twice; and one for some days.
    let credits = |unit: &str, amount: i64| CreditGrant {
        unit: unit.into(),
        amount: Credits::new(amount).unwrap(),
        every: Interval { unit: Unit::Month, count: 1 },
        trial_amount: None,
    };
    let feature = |days| vec![FeatureGrant { feature: "api_access".into(), days }];
    let bundle = Grants {
        credits: vec![credits("credits", 7), credits("tokens", 9)],
        // Named twice, it is unlocked once.
        features: [feature(None), feature(None)].concat(),
    };
    let pass = Grants { credits: vec![], features: feature(Some(30)) };
    for (who, grants, quantity) in [("eli", bundle, 2), ("fay", pass, 1)] {
        let new = NewPrice {
            product: world.product().await,
            unit_amount: 500,
            currency: "usd".into(),
            interval: None,
            nickname: Some(who.into()),
            trial_days: 0,
            grants,
        };
        world.engine.prices_create(new).await?;
        let request = CheckoutRequest { quantity, ..world.request(who, who).await };
        world.pay(request).await?;
    }
    let plan = world.request("subscriber", "Pro monthly").await;
    world.pay(plan).await?;
    let mut guest = world.request("nobody", "100 Credits").await;
    guest.buyer = Buyer::Guest { address: "127.0.0.1".into(), browser: None };
    world.pay(guest).await?;
    Ok(vec!["ann", "bob", "cem", "dea", "debtor", "eli", "fay", "subscriber"])
}

#[tokio::test]
async fn purchases_that_are_told_together_are_what_they_are_alone() -> anyhow::Result<()> {
    for world in World::all().await? {
        let whom = crowd(&world).await?;
        let told_before = 1;
        let pages = of_kind(&world.events().await, PAGE).split_off(told_before);
        assert_eq!(pages.len(), 10);
        world.freeze().await;
        let (counts, watcher) = steps();
        let together = world.copy(None).await?;
        let together = world.on(together.store().clone().watched(watcher))?;
        for page in &pages {
            deliver(&together, page).await;
        }
        drain(&together).await;
        let counts = counts.lock().unwrap().clone();
        // Plans, guests, debtors and passes for some days go their own way, and so does whoever
        // buys twice and stands before them.
        let folds = counts.get("inbox_events.applied_fold");
        assert_eq!(folds, Some(&1), "{} {counts:?}", world.name);
        assert_eq!(counts.get("events.apply"), Some(&5), "{} {counts:?}", world.name);
        let alone = world.copy(None).await?;
        for page in &pages {
            // What names no session of ours by itself is found by what we wrote on it.
            let mut page = page.clone();
            page["data"]["object"]["client_reference_id"] = Value::Null;
            deliver(&alone, &page).await;
            drain(&alone).await;
        }
        for who in whom {
            let (one, other) = (everything(&together, who).await, everything(&alone, who).await);
            assert_eq!(one, other, "{} {who}", world.name);
            if who == "eli" {
                assert_eq!((&one["tokens"], &one["state"]["balance"][1]), (&json!(18), &json!(14)));
                assert_eq!(one["state"]["features"]["api_access"], "entitled");
            }
        }
        for engine in [&together, &alone] {
            let left = engine.events_list(Page::new(Some(100), None)?, Some("pending")).await?;
            assert_eq!(left.data.len(), 0, "{}", world.name);
        }
        together.store().close().await;
        alone.store().close().await;
    }
    Ok(())
}

/// Pages that are not plain are looked at together once, not by every claim.
#[tokio::test]
async fn pages_that_are_not_plain_are_not_looked_at_again_and_again() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    for guest in 0..6 {
        let mut request = world.request("nobody", "100 Credits").await;
        request.buyer = Buyer::Guest { address: format!("127.0.0.{guest}"), browser: None };
        world.pay(request).await?;
    }
    let (counts, watcher) = steps();
    let engine = world.watched(watcher);
    for page in of_kind(&world.events().await, PAGE) {
        deliver(&engine, &page).await;
    }
    drain(&engine).await;
    let counts = counts.lock().unwrap().clone();
    assert_eq!(counts.get("events.apply"), Some(&6), "{counts:?}");
    assert_eq!(counts.get("inbox_events.next_alike"), Some(&1), "{counts:?}");
    Ok(())
}

/// Fails one step of one transaction or statement, once.
fn failing(step: Step, name: &'static str) -> Watcher {
    let left = AtomicUsize::new(1);
    Arc::new(move |at, what| {
        let wanted = at == step && what == name;
        let fails = wanted && left.swap(0, Ordering::SeqCst) == 1;
        Box::pin(async move {
            match fails {
                true => Err(StoreError::RowCount { name: "failing", changed: 0 }),
                false => Ok(()),
            }
        })
    })
}

/// Who comes at once may find what failed still locked: some servers undo it a moment later.
async fn drain_all(engine: &Engine) -> anyhow::Result<()> {
    for _ in 0..500 {
        drain(engine).await;
        let page = Page::new(Some(100), None)?;
        if engine.events_list(page, Some("pending")).await?.data.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("events are left over")
}

/// A transaction of many purchases that fails is made up for one by one; one that was committed and
/// nobody heard of is not done again.
#[tokio::test]
async fn purchases_that_fail_together_are_neither_lost_nor_doubled() -> anyhow::Result<()> {
    let steps = [
        (Step::Statement, "payments.insert"),
        (Step::Statement, "inbox_events.applied_fold"),
        (Step::Commit, "events.claim"),
        (Step::Committed, "events.claim"),
    ];
    for world in World::all().await? {
        for who in ["ann", "bob", "cem"] {
            let request = world.request(who, "100 Credits").await;
            world.pay(request).await?;
        }
        let pages = of_kind(&world.events().await, PAGE);
        world.freeze().await;
        for (step, name) in steps {
            let engine = world.copy(None).await?;
            let engine = world.on(engine.store().clone().watched(failing(step, name)))?;
            for page in &pages {
                deliver(&engine, page).await;
            }
            drain_all(&engine).await?;
            for who in ["ann", "bob", "cem"] {
                let end = state(&engine, who).await;
                assert_eq!(end["balance"], json!([0, 100, 0]), "{} {name} {end}", world.name);
                assert_eq!(end["payments"], json!([[1999, "paid", 0]]), "{name} {end}");
            }
            engine.store().close().await;
        }
    }
    Ok(())
}

/// The world's provider, whose list of pages shows none.
fn without_pages(world: &World) -> anyhow::Result<providers::stripe::Client> {
    world.client_that(|request: &Request| {
        let hides = request.path.starts_with("/v1/checkout/sessions?");
        hides.then(|| Response {
            status: 200,
            headers: Default::default(),
            body: br#"{"object":"list","data":[],"has_more":false,"url":"/"}"#.to_vec(),
        })
    })
}

/// Money that went back is told before its purchase, of which the provider shows nothing yet.
#[tokio::test]
async fn a_refund_that_nobody_understood_is_looked_at_again() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "100 Credits").await;
    world.pay(request).await?;
    let intents = world.get("/v1/payment_intents?limit=1").await;
    let intent = intents["data"][0]["id"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent)]).await;
    let events = world.events().await;
    let (page, refund) = (of_kind(&events, PAGE), of_kind(&events, "charge.refunded"));
    world.freeze().await;
    let pending = async |engine: &Engine| {
        let page = Page::new(Some(100), None).unwrap();
        engine.events_list(page, Some("pending")).await.unwrap().data.len()
    };
    let ignored = async |engine: &Engine| {
        let page = Page::new(Some(100), None).unwrap();
        let ignored = engine.events_list(page, Some("ignored")).await.unwrap().data;
        ignored.into_iter().filter_map(|event| event.reason).collect::<Vec<_>>()
    };
    let nobodys = "nothing of ours was bought with this money";
    // The page comes while the refund waits: at once it is taken at its word, later it asks.
    for (page_after, balance_then) in [(5, 100), (400, 0)] {
        let wall = Arc::new(AtomicI64::new(world.engine.clock().wall().micros()));
        let engine = world.copy_behind_at(without_pages(&world)?, wall.clone()).await?;
        let pass = |seconds: i64| wall.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
        deliver(&engine, &refund[0]).await;
        drain(&engine).await;
        assert_eq!((pending(&engine).await, ignored(&engine).await), (0, vec![nobodys.into()]));
        pass(page_after);
        deliver(&engine, &page[0]).await;
        drain(&engine).await;
        let then = state(&engine, "buyer").await;
        assert_eq!(then["balance"], json!([0, balance_then, 0]), "{page_after} {then}");
        pass(901);
        engine.run_timers().await?;
        drain(&engine).await;
        assert_eq!(ignored(&engine).await.len(), 0, "it was looked at again");
        let end = state(&engine, "buyer").await;
        assert_eq!(end["balance"], json!([0, 0, 0]), "{page_after} {end}");
        assert_eq!(end["payments"], json!([[1999, "refunded", 1999]]), "{page_after} {end}");
        assert_eq!(pending(&engine).await, 0);
        engine.store().close().await;
    }
    // Of whom nothing is ever told, it is ignored.
    let wall = Arc::new(AtomicI64::new(world.engine.clock().wall().micros()));
    let engine = world.copy_behind_at(without_pages(&world)?, wall.clone()).await?;
    deliver(&engine, &refund[0]).await;
    drain(&engine).await;
    for looks in [true, false] {
        wall.fetch_add(901 * 1_000_000, Ordering::SeqCst);
        engine.run_timers().await?;
        assert_eq!(engine.apply_next().await?, looks, "it is looked at twice, not more");
        assert_eq!(ignored(&engine).await, [nobodys]);
    }
    Ok(())
}
