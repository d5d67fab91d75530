//! What an operator sees of the inbox, and what is done about it by hand.

use crate::worlds::{World, deliver, drain, own, signed, state};
use domain::ids::{InboxEventId, PriceId};
use domain::time::Timestamp;
use engine::audits::Act;
use engine::event_log::EventSearch;
use engine::{Engine, Page};
use secrecy::ExposeSecret as _;
use std::collections::BTreeMap;
use store::api_keys::KeyScope;
use store::inbox::{InboxEvent, InboxState};

async fn act(engine: &Engine, reason: &str) -> Act {
    let (key, _) = engine.api_keys_create("operator", KeyScope::Admin).await.unwrap();
    Act::new(key.id, Some(reason.to_owned())).unwrap()
}

#[tokio::test]
async fn every_act_of_an_operator_is_written_down_with_its_reason() -> anyhow::Result<()> {
    for world in World::all().await? {
        let engine = &world.engine;
        sell_unknown_plan(&world).await;
        let told = world.events().await;
        let event = told.iter().rfind(|event| event["type"] == "invoice.paid").unwrap();
        deliver(engine, event).await;
        drain(engine).await;
        let id = event["id"].as_str().unwrap();
        let detail = engine.event_detail(id).await?;
        assert_eq!(detail.event.state, InboxState::Parked, "{:?}", detail.event.reason);
        let because = detail.event.reason.clone().unwrap();

        let act = act(engine, "the catalogue was mended").await;
        let replayed = engine.event_replay(id, &act).await?;
        assert_eq!(replayed.event.state, InboxState::Pending);
        assert_eq!(replayed.event.attempts, 0);
        assert_eq!(replayed.audits.len(), 1, "{}", world.name);
        let written = &replayed.audits[0];
        assert_eq!(written.action, "event.replay");
        assert_eq!(written.actor, act.key.as_str());
        assert_eq!(written.actor_name.as_deref(), Some("operator"));
        let expected = format!("the catalogue was mended (was parked: {because})");
        assert_eq!(written.detail.as_deref(), Some(expected.as_str()));
        assert!(engine.event_replay(id, &act).await.is_err(), "it is due already");

        drain(engine).await;
        let done = engine.events_replay_parked(None, Some(&because), &act).await?;
        assert_eq!((done.replayed, done.more), (1, false), "{}", world.name);
        drain(engine).await;
        let ignored = engine.event_ignore(id, &act).await?;
        assert_eq!(ignored.event.state, InboxState::Ignored);
        let reason = ignored.event.reason.unwrap();
        assert_eq!(reason, "set aside by an operator: the catalogue was mended");
        assert!(engine.event_ignore(id, &act).await.is_err());
        let actions: Vec<_> = ignored.audits.iter().map(|one| one.action.as_str()).collect();
        assert_eq!(actions, ["event.ignore", "event.replay", "event.replay"]);
        let all = engine.audits_list(Page::first()).await?.data;
        assert_eq!(all.len(), 3, "{}", world.name);
        assert!(all.iter().all(|one| one.object_id == ignored.event.id.as_str()));
    }
    Ok(())
}

#[tokio::test]
async fn events_are_found_by_our_customer_whatever_it_is_called() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let engine = &world.engine;
    world.pay(world.request("anna", "Pro monthly").await).await?;
    world.pay(world.request("berta", "100 Credits").await).await?;
    world.tell_all().await;
    let anna = engine.customers_get(&own("anna")).await?;
    let search = |name: &str| EventSearch { customer: Some(name.into()), ..Default::default() };
    let page = || Page::new(Some(100), None).unwrap();
    let by_name = engine.event_log(page(), &search("anna")).await?.data;
    let by_id = engine.event_log(page(), &search(anna.id.as_str())).await?.data;
    assert_eq!(by_name.len(), by_id.len());
    assert!(by_name.iter().any(|one| one.kind == "checkout.session.completed"));
    assert!(by_name.iter().any(|one| one.kind == "invoice.paid"));
    assert!(by_name.iter().all(|one| one.customer_id.as_ref().is_none_or(|id| *id == anna.id)));
    let everything = engine.event_log(page(), &EventSearch::default()).await?.data;
    assert!(by_name.len() < everything.len());
    let theirs = &by_name.iter().find(|one| one.customer_id.is_some()).unwrap().ordering_key;
    let by_theirs = engine.event_log(page(), &search(theirs)).await?.data;
    assert_eq!(by_theirs.len(), by_id.len());
    assert!(engine.event_log(page(), &search("nobody")).await?.data.is_empty());
    Ok(())
}

#[tokio::test]
async fn row_59_settled_payloads_are_kept_for_the_stated_days() -> anyhow::Result<()> {
    for world in World::all().await? {
        let engine = &world.engine;
        let days_ago = |days: i64| engine.clock().wall().plus_seconds(-days * 86_400);
        let mut tx = engine.store().begin("test").await?;
        for (name, days, state) in [
            ("evt_over", 91, InboxState::Applied),
            ("evt_waits", 91, InboxState::Parked),
            ("evt_fresh", 89, InboxState::Applied),
        ] {
            tx.inbox_insert(&settled(name, days_ago(days), state)).await?;
        }
        tx.commit().await?;
        drain(engine).await;
        for (name, kept) in [("evt_over", false), ("evt_waits", true), ("evt_fresh", true)] {
            let detail = engine.event_detail(name).await?;
            assert_eq!(detail.payload.is_some(), kept, "{}: {name}", world.name);
            assert_eq!(detail.event.payload_purged_at.is_none(), kept);
        }
        let act = act(engine, "by mistake").await;
        engine.event_ignore("evt_waits", &act).await?;
        drain(engine).await;
        assert!(engine.event_detail("evt_waits").await?.payload.is_none());
        let refused = engine.event_replay("evt_waits", &act).await.unwrap_err().to_string();
        assert!(refused.contains("no longer kept"), "{refused}");
    }
    Ok(())
}

fn settled(name: &str, received_at: Timestamp, state: InboxState) -> InboxEvent {
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    InboxEvent {
        id: InboxEventId::new(received_at, random),
        provider: "stripe".into(),
        provider_event_id: name.into(),
        kind: "invoice.paid".into(),
        ordering_key: name.into(),
        object_id: None,
        api_version: None,
        payload: b"{}".to_vec(),
        headers: None,
        state,
        reason: None,
        attempts: 0,
        lease_token: 0,
        occurred_at: received_at,
        received_at,
        applied_at: None,
    }
}

#[tokio::test]
async fn only_a_live_admin_key_signs_in_and_its_end_is_the_sessions_end() -> anyhow::Result<()> {
    for world in World::all().await? {
        let engine = &world.engine;
        let (_, server) = engine.api_keys_create("server", KeyScope::Server).await?;
        let (key, admin) = engine.api_keys_create("admin", KeyScope::Admin).await?;
        let sign_in = async |key: &str| engine.admin_sign_in(key, "192.0.2.1").await;
        for wrong in ["", "sk_test_invented", server.expose_secret(), &"x".repeat(5_000)] {
            assert!(sign_in(wrong).await?.is_none(), "{}: {wrong:.20}", world.name);
        }
        let token = sign_in(admin.expose_secret()).await?.expect("an admin key signs in");
        let token = token.expose_secret();
        let operator = engine.admin_session(token).await?.expect("the session is open");
        assert_eq!((operator.key.id.clone(), operator.key.name.as_str()), (key.id, "admin"));
        assert!(engine.admin_session("invented").await?.is_none());
        let other = sign_in(admin.expose_secret()).await?.expect("again");
        engine.admin_sign_out(other.expose_secret()).await?;
        assert!(engine.admin_session(other.expose_secret()).await?.is_none());
        assert!(engine.admin_session(token).await?.is_some(), "another session goes on");
        engine.api_keys_revoke(operator.key.id.as_str()).await?;
        assert!(engine.admin_session(token).await?.is_none(), "{}", world.name);
        assert!(sign_in(admin.expose_secret()).await?.is_none());
        let acts = engine.audits_list(Page::first()).await?.data;
        let acts: Vec<_> = acts.iter().map(|one| one.action.as_str()).collect();
        assert_eq!(acts, ["admin.sign_out", "admin.sign_in", "admin.sign_in"]);
    }
    Ok(())
}

#[tokio::test]
async fn an_address_that_fails_often_has_to_wait() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let (_, admin) = world.engine.api_keys_create("admin", KeyScope::Admin).await?;
    let attempts = (0..30).map(|_| world.engine.admin_sign_in("sk_test_wrong", "192.0.2.1"));
    let mut refused = 0;
    for attempt in attempts {
        match attempt.await {
            Ok(None) => refused += 1,
            Ok(Some(_)) => anyhow::bail!("a wrong key signed in"),
            Err(engine::Failure::RateLimited { retry_after_seconds }) => {
                assert!(0 < retry_after_seconds);
            }
            Err(other) => return Err(other.into()),
        }
    }
    assert_eq!(refused, 10);
    let elsewhere = world.engine.admin_sign_in(admin.expose_secret(), "192.0.2.2").await?;
    assert!(elsewhere.is_some(), "others do not wait");
    Ok(())
}

/// Sells `anna` a plan at the provider that our catalogue does not know; answers its price.
async fn sell_unknown_plan(world: &World) -> String {
    world.pay(world.request("anna", "100 Credits").await).await.unwrap();
    world.tell_all().await;
    let anna = world.engine.customers_get(&own("anna")).await.unwrap();
    let mut tx = world.engine.store().read("test").await.unwrap();
    let (theirs, _) = tx.customers_linked("stripe", &anna.id).await.unwrap().unwrap();
    drop(tx);
    let product = world.post("/v1/products", &[("name", "Made elsewhere")]).await;
    let price = [
        ("product", product["id"].as_str().unwrap()),
        ("currency", "usd"),
        ("unit_amount", "500"),
        ("recurring[interval]", "month"),
    ];
    let price = world.post("/v1/prices", &price).await;
    let attach = "/v1/payment_methods/pm_card_visa/attach";
    let card = world.post(attach, &[("customer", &theirs)]).await;
    let price = price["id"].as_str().unwrap().to_owned();
    let form = [
        ("customer", theirs.as_str()),
        ("items[0][price]", price.as_str()),
        ("default_payment_method", card["id"].as_str().unwrap()),
    ];
    let sold = world.post("/v1/subscriptions", &form).await;
    assert_eq!(sold["status"], "active", "{sold}");
    price
}

/// What an operator does about an unknown price: our own plan is sold under it.
async fn mend_catalogue(world: &World, theirs: &str) {
    let pro = world.price("Pro monthly").await;
    let mut price = world.engine.prices_get(&pro).await.unwrap();
    price.id = PriceId::new(world.engine.clock().wall(), [9; 10]);
    price.provider_price_id = Some(theirs.to_owned());
    price.nickname = None;
    let mut tx = world.engine.store().begin("test").await.unwrap();
    tx.prices_insert(&price).await.unwrap();
    tx.prices_link(&price.id, theirs, world.engine.clock().now()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn pitfall_018_row_76_an_unknown_price_is_parked_and_applied_once_it_is_known()
-> anyhow::Result<()> {
    for world in World::all().await? {
        let engine = &world.engine;
        let price = sell_unknown_plan(&world).await;
        let before = state(engine, "anna").await;
        world.tell_all().await;
        let overview = engine.overview(1).await?;
        assert!(0 < overview.parked, "{}: nothing was parked", world.name);
        assert_eq!(overview.pending, 0, "nobody waits behind what is parked");
        assert!(overview.oldest_parked.is_some());
        let after = state(engine, "anna").await;
        assert_eq!(after["subscriptions"], before["subscriptions"], "{}", world.name);
        assert_eq!(after["balance"], before["balance"]);

        // Others go on, the same provider's customer included.
        world.pay(world.request("berta", "Pro monthly").await).await?;
        world.tell_all().await;
        assert_eq!(state(engine, "berta").await["balance"][0], 100, "{}", world.name);

        // As long as nothing is mended, a replay ends where it began.
        let act = act(engine, "let us see").await;
        engine.events_replay_parked(None, None, &act).await?;
        drain(engine).await;
        assert_eq!(engine.overview(1).await?.parked, overview.parked);

        mend_catalogue(&world, &price).await;
        for group in engine.overview(1).await?.groups {
            let because = group.reason.as_deref();
            engine.events_replay_parked(Some(&group.kind), because, &act).await?;
        }
        drain(engine).await;
        assert_eq!(engine.overview(1).await?.parked, 0, "{}", world.name);
        let mended = state(engine, "anna").await;
        assert_eq!(mended["balance"][0], 100, "{}: {mended}", world.name);
        assert_eq!(mended["subscriptions"][0][0], "active");
        let told = world.events().await;
        let begun = told.iter().rfind(|one| one["type"] == "customer.subscription.created");
        let detail = engine.event_detail(begun.unwrap()["id"].as_str().unwrap()).await?;
        let effects: Vec<_> = detail.effects.iter().map(|one| (one.what, &*one.status)).collect();
        assert_eq!(effects, [("subscription", "active")], "{}", world.name);
        world.tell_all().await;
        assert_eq!(state(engine, "anna").await, mended, "{}: nothing comes twice", world.name);
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_019_a_failure_leaves_its_evidence_and_nothing_half_done() -> anyhow::Result<()> {
    for world in World::all().await? {
        let engine = &world.engine;
        sell_unknown_plan(&world).await;
        let before = state(engine, "anna").await;
        let told: Vec<_> = world.events().await;
        let invoice = told.iter().rfind(|event| event["type"] == "invoice.paid").unwrap();
        let headers = BTreeMap::from([("user-agent".to_owned(), "Stripe/1.0".to_owned())]);
        let (payload, signature) = signed(engine, invoice);
        let received_after = engine.clock().wall();
        engine.receive_delivery(payload.as_bytes(), Some(&signature), &headers).await?;
        drain(engine).await;

        let detail = engine.event_detail(invoice["id"].as_str().unwrap()).await?;
        assert_eq!(detail.event.state, InboxState::Parked, "{}", world.name);
        assert!(detail.event.reason.is_some_and(|why| why.contains("known")));
        assert_eq!(detail.event.attempts, 1);
        assert!(received_after <= detail.event.received_at);
        assert_eq!(detail.payload.as_deref(), Some(payload.as_bytes()), "the very bytes");
        assert_eq!(detail.headers, headers);
        let mut after = state(engine, "anna").await;
        assert_eq!(after["parked"].as_array().map(Vec::len), Some(1));
        after["parked"] = before["parked"].clone();
        assert_eq!(after, before, "{}: rows of a failed attempt stayed", world.name);
    }
    Ok(())
}
