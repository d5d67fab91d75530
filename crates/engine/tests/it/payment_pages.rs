//! Payment pages: one for one wish, none that nobody knows of, and counterparts that are gone.

use crate::provider_calls::{calls, code};
use crate::proxies::Fault;
use crate::worlds::{World, own};
use domain::codes::Code;
use engine::checkout_sessions::{CheckoutRequest, Pace, TrialRule};

async fn request(world: &World, who: &str, key: Option<&str>) -> CheckoutRequest {
    CheckoutRequest {
        pace: Pace::Unlimited,
        idempotency_key: key.map(str::to_owned),
        ..world.request(who, "100 Credits").await
    }
}

async fn count(world: &World, path: &str) -> usize {
    world.get(&format!("{path}?limit=100")).await["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn pitfall_089_a_hundred_identical_requests_open_one_page() -> anyhow::Result<()> {
    for world in World::all().await? {
        let proxy = world.proxy().await;
        let engine = world.through(&proxy);
        let request = request(&world, "buyer", Some("one")).await;
        let opening = (0..100).map(|_| engine.checkout_create(request.clone()));
        let mut ids = Vec::new();
        for opened in futures::future::join_all(opening).await {
            ids.push(opened?.session.provider_session_id.unwrap());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{}", world.name);
        assert_eq!(count(&world, "/v1/checkout/sessions").await, 1);
        assert_eq!(proxy.asked("/v1/checkout/sessions").len(), 1, "the others waited");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_089_a_page_that_nobody_heard_of_is_found_again() -> anyhow::Result<()> {
    for world in World::all().await? {
        let proxy = world.proxy().await;
        let engine = world.through(&proxy);
        let request = request(&world, "buyer", Some("one")).await;
        proxy.breaks("/v1/checkout/sessions", Fault::Silent);
        tokio::select! {
            opened = engine.checkout_create(request.clone()) => panic!("{opened:?}"),
            () = proxy.silent() => {}
        }
        let restarted = world.through(&proxy);
        assert_eq!(restarted.checkout_sweep().await?, 0, "somebody may still be at it");
        world.advance("1h").await;
        assert_eq!(restarted.checkout_sweep().await?, 1);
        assert_eq!(restarted.checkout_sweep().await?, 0, "it is settled");
        let mut asked = proxy.asked("/v1/checkout/sessions");
        asked.retain(|one| one.path == "/v1/checkout/sessions");
        assert!(2 <= asked.len() && asked.iter().all(|one| one.key == asked[0].key));
        let pages = world.get("/v1/checkout/sessions").await;
        assert_eq!(pages["data"].as_array().map(Vec::len), Some(1), "{}", world.name);
        let id = pages["data"][0]["id"].as_str().unwrap();
        let progress = restarted.checkout_progress(id).await?;
        assert_eq!(progress.map(|it| it.as_str()), Some("expired"), "we know it now");
        assert_eq!(pages["data"][0]["status"], "expired", "nobody waits for it any more");
        let again = restarted.checkout_create(request).await?.session.provider_session_id;
        assert_ne!(again.as_deref(), Some(id), "whoever still wants it has another one");
    }
    Ok(())
}

#[tokio::test]
async fn an_old_key_is_judged_again() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    let wanted = |key: &str| {
        let key = Some(key.to_owned());
        let world = &world;
        async move {
            let plan = world.request("buyer", "Pro monthly").await;
            let (trial, pace) = (TrialRule::Automatic, Pace::Unlimited);
            CheckoutRequest { trial, pace, idempotency_key: key, ..plan }
        }
    };
    proxy.breaks("/v1/checkout/sessions", Fault::Silent);
    let first = wanted("one").await;
    tokio::select! {
        opened = engine.checkout_create(first.clone()) => panic!("{opened:?}"),
        () = proxy.silent() => {}
    }
    world.pay(wanted("two").await).await?;
    world.tell_all().await;
    let refused = engine.checkout_create(first.clone()).await.unwrap_err();
    assert_eq!(code(&refused), Code::AlreadySubscribed);
    engine.subscriptions_cancel_now(&own("buyer"), None).await?;
    let opened = engine.checkout_create(first).await?.session;
    assert_eq!(opened.trial_days, 0, "a trial is given once");
    world.advance("1h").await;
    assert_eq!(engine.checkout_sweep().await?, 1);
    let open = world.get("/v1/checkout/sessions?status=open").await;
    let open: Vec<&str> =
        open["data"].as_array().unwrap().iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!(open, [opened.provider_session_id.unwrap()]);
    Ok(())
}

#[tokio::test]
async fn pitfall_111_a_lost_counterpart_is_replaced_once() -> anyhow::Result<()> {
    for world in World::all().await? {
        let proxy = world.proxy().await;
        let engine = world.through(&proxy);
        let first = request(&world, "buyer", None).await;
        engine.checkout_create(first.clone()).await?;
        let lost = world.get("/v1/customers").await["data"][0]["id"].clone();
        world.delete(&format!("/v1/customers/{}", lost.as_str().unwrap())).await;
        let opening = (0..5).map(|_| engine.checkout_create(first.clone()));
        for opened in futures::future::join_all(opening).await {
            let id = opened?.session.provider_session_id.unwrap();
            let page = world.get(&format!("/v1/checkout/sessions/{id}")).await;
            assert!(page["customer"].is_string() && page["customer"] != lost, "{page}");
        }
        assert_eq!(proxy.asked("/v1/customers").len(), 2, "{}", world.name);
        assert_eq!(count(&world, "/v1/customers").await, 1);
        assert_eq!(calls(&engine).await.len(), 2);
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_111_a_missing_price_is_no_missing_customer() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    let request = request(&world, "buyer", None).await;
    engine.checkout_create(request.clone()).await?;
    proxy.breaks("/v1/checkout/sessions", Fault::NoSuchPrice);
    let refused = engine.checkout_create(request).await.unwrap_err();
    assert_eq!(code(&refused), Code::ProviderRefused);
    assert_eq!(proxy.asked("/v1/customers").len(), 1, "nobody is created for it");
    Ok(())
}

#[tokio::test]
async fn pitfall_090_a_key_is_one_attempt() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    // Another request of ours holds the key there: that is no refusal.
    proxy.breaks("/v1/checkout/sessions", Fault::Status(409));
    proxy.breaks("/v1/checkout/sessions", Fault::Status(409));
    let request = request(&world, "buyer", Some("one")).await;
    let opened = engine.checkout_create(request.clone()).await?;
    let asked = proxy.asked("/v1/checkout/sessions");
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|one| one.key == asked[0].key));
    let again = engine.checkout_create(request.clone()).await?;
    assert_eq!(again.session.id, opened.session.id);
    let other = CheckoutRequest { quantity: 2, ..request.clone() };
    let refused = engine.checkout_create(other).await.unwrap_err();
    assert_eq!(code(&refused), Code::IdempotencyConflict);
    // What the provider refused for good is forgotten, so the key may stand for a new attempt.
    proxy.breaks("/v1/checkout/sessions", Fault::Status(400));
    let second = CheckoutRequest { idempotency_key: Some("two".to_owned()), ..request };
    engine.checkout_create(second.clone()).await.unwrap_err();
    assert!(engine.checkout_create(second).await?.session.url.is_some());
    let asked = proxy.asked("/v1/checkout/sessions");
    assert_ne!(asked[3].key, asked[4].key, "a new attempt has a key of its own");
    Ok(())
}
