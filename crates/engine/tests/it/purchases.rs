//! Buying, renewing, cancelling, refunding: what each leaves behind.

use crate::worlds::{World, deliver, drain, own, state};
use domain::codes::Code;
use engine::Failure;
use engine::checkout_sessions::{Buyer, Pace, TrialRule, Wanted};
use serde_json::json;

fn code(failure: Failure) -> Code {
    match failure {
        Failure::Refused { code, .. } => code,
        Failure::RateLimited { .. } => Code::RateLimited,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn row_66_a_renewal_resets_the_allowance_and_keeps_packs() -> anyhow::Result<()> {
    for world in World::all().await? {
        let plan = world.request("buyer", "Pro monthly").await;
        let pack = world.request("buyer", "100 Credits").await;
        world.pay(plan).await?;
        world.pay(pack).await?;
        world.tell_all().await;
        let consume = engine::credits::ConsumeRequest {
            amount: 30,
            unit: "credits".into(),
            reference: None,
            idempotency_key: None,
        };
        world.engine.credits_consume(&own("buyer"), consume).await?;
        assert_eq!(state(&world.engine, "buyer").await["balance"], json!([70, 100, 0]));
        world.tell_all().await;
        let repeated = state(&world.engine, "buyer").await;
        assert_eq!(repeated["balance"], json!([70, 100, 0]), "row 68: a repeat does not refill");
        world.advance("1mo").await;
        world.tell_all().await;
        let renewed = state(&world.engine, "buyer").await;
        assert_eq!(renewed["balance"], json!([100, 100, 0]), "{} {renewed}", world.name);
        assert_eq!(renewed["payments"].as_array().map(Vec::len), Some(3));
    }
    Ok(())
}

#[tokio::test]
async fn row_78_a_cancelled_plan_serves_its_period_out() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let plan = world.request("buyer", "Pro monthly").await;
    world.pay(plan).await?;
    world.tell_all().await;
    let subject = own("buyer");
    let cancelled = world.engine.subscriptions_cancel(&subject, None).await?;
    assert!(cancelled.cancel_at_period_end);
    let again = world.engine.subscriptions_cancel(&subject, None).await?;
    assert_eq!(again.updated_at, cancelled.updated_at, "the second call changes nothing");
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["features"]["api_access"], "entitled");
    let resumed = world.engine.subscriptions_resume(&subject, None, Pace::Unlimited).await?;
    assert!(!resumed.cancel_at_period_end && resumed.cancel_at.is_none());
    world.engine.subscriptions_cancel(&subject, None).await?;
    world.advance("period-end").await;
    assert_eq!(state(&world.engine, "buyer").await["features"]["api_access"], "ended");
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["subscriptions"][0][0], "canceled", "{end}");
    assert_eq!(end["balance"], json!([0, 0, 0]));
    let refused = world.engine.subscriptions_cancel(&subject, None).await.unwrap_err();
    assert_eq!(code(refused), Code::SubscriptionNotFound);
    Ok(())
}

#[tokio::test]
async fn row_75_a_trial_starts_with_the_allowance_and_its_free_invoice_is_no_payment()
-> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let mut plan = world.request("buyer", "Pro monthly").await;
    plan.trial = TrialRule::Automatic;
    world.pay(plan.clone()).await?;
    world.tell_all().await;
    let trial = state(&world.engine, "buyer").await;
    assert_eq!(trial["subscriptions"][0][0], "trialing", "{trial}");
    assert_eq!(trial["balance"], json!([100, 0, 0]), "{trial}");
    assert_eq!(trial["payments"], json!([]));
    assert_eq!(trial["grants"].as_array().map(Vec::len), Some(1));
    assert_eq!(trial["features"]["api_access"], "entitled");
    world.advance("15d").await;
    world.tell_all().await;
    let paid = state(&world.engine, "buyer").await;
    assert_eq!(paid["subscriptions"][0][0], "active", "{paid}");
    assert_eq!(paid["balance"], json!([100, 0, 0]), "{paid}");
    assert_eq!(paid["payments"], json!([[2999, "paid", 0]]));
    Ok(())
}

#[tokio::test]
async fn row_40_a_trial_is_given_once() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let mut plan = world.request("buyer", "Pro monthly").await;
    plan.trial = TrialRule::Automatic;
    world.pay(plan.clone()).await?;
    world.tell_all().await;
    world.engine.subscriptions_cancel(&own("buyer"), None).await?;
    world.advance("15d").await;
    world.tell_all().await;
    let second = world.engine.checkout_create(plan).await?.session;
    assert_eq!(second.trial_days, 0);
    Ok(())
}

#[tokio::test]
async fn pitfall_104_a_yearly_plan_refills_every_month() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let plan = world.request("buyer", "Pro yearly").await;
    world.pay(plan).await?;
    world.tell_all().await;
    for month in 1..=12 {
        let balance = state(&world.engine, "buyer").await["balance"].clone();
        assert_eq!(balance, json!([100, 0, 0]), "month {month}");
        world.advance("1mo").await;
        drain(&world.engine).await;
        world.tell_all().await;
    }
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["grants"].as_array().map(Vec::len), Some(13), "twelve, and the renewed year's");
    Ok(())
}

#[tokio::test]
async fn row_73_refunds_add_up_and_withdraw_what_they_bought() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let pack = world.request("buyer", "100 Credits").await;
    let session = world.pay(pack).await?;
    world.tell_all().await;
    let session = world.get(&format!("/v1/checkout/sessions/{session}")).await;
    let intent = session["payment_intent"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent), ("amount", "999")]).await;
    world.tell_all().await;
    let half = state(&world.engine, "buyer").await;
    assert_eq!(half["balance"], json!([0, 51, 0]), "{half}");
    assert_eq!(half["payments"], json!([[1999, "partially_refunded", 999]]));
    let consume = engine::credits::ConsumeRequest {
        amount: 50,
        unit: "credits".into(),
        reference: None,
        idempotency_key: None,
    };
    world.engine.credits_consume(&own("buyer"), consume).await?;
    world.post("/v1/refunds", &[("payment_intent", intent)]).await;
    world.tell_all().await;
    world.tell_all().await;
    let whole = state(&world.engine, "buyer").await;
    assert_eq!(whole["balance"], json!([0, 0, 0]), "{whole}");
    assert_eq!(whole["payments"], json!([[1999, "refunded", 1999]]));
    Ok(())
}

#[tokio::test]
async fn pitfall_097_a_refund_told_first_leaves_nothing() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let access = world.request("buyer", "RAG Access").await;
    let session = world.pay(access).await?;
    let session = world.get(&format!("/v1/checkout/sessions/{session}")).await;
    let intent = session["payment_intent"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent)]).await;
    let mut events = world.events().await;
    events.reverse();
    for event in &events {
        deliver(&world.engine, event).await;
        drain(&world.engine).await;
    }
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["features"]["knowledge_base"], "revoked", "{end}");
    assert_eq!(end["payments"], json!([[4900, "refunded", 4900]]));
    Ok(())
}

#[tokio::test]
async fn a_one_time_purchase_unlocks_for_its_days() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let access = world.request("buyer", "RAG Access").await;
    world.pay(access).await?;
    world.tell_all().await;
    let held = state(&world.engine, "buyer").await;
    assert_eq!(held["features"]["knowledge_base"], "entitled");
    assert_eq!(held["features"]["api_access"], "not_entitled");
    world.advance("30d").await;
    let over = state(&world.engine, "buyer").await;
    assert_eq!(over["features"]["knowledge_base"], "ended");
    Ok(())
}

#[tokio::test]
async fn a_guest_becomes_a_customer_by_paying() -> anyhow::Result<()> {
    for reversed in [false, true] {
        let world = World::sqlite().await?;
        let mut plan = world.request("nobody", "Pro monthly").await;
        plan.buyer = Buyer::Guest { address: "127.0.0.1".into(), browser: None };
        let checkout = world.engine.checkout_create(plan).await?;
        let session = checkout.session.provider_session_id.unwrap();
        let browser = checkout.browser.unwrap();
        let browser = secrecy::ExposeSecret::expose_secret(&browser).to_owned();
        let mut pack = world.request("nobody", "100 Credits").await;
        let kept = Some(browser.clone());
        pack.buyer = Buyer::Guest { address: "127.0.0.1".into(), browser: kept };
        world.pay(pack).await?;
        assert!(world.engine.checkout_claim(&session, &browser).await?.is_none(), "not paid yet");
        let path = format!("/_sandbox/checkout/{session}/complete");
        world.post(&path, &[("email", "guest@example.com")]).await;
        let mut events = world.events().await;
        if reversed {
            events.reverse();
        }
        for event in &events {
            deliver(&world.engine, event).await;
            drain(&world.engine).await;
        }
        assert!(world.engine.checkout_claim(&session, "guessed").await?.is_none());
        let web = world.engine.checkout_claim(&session, &browser).await?.unwrap();
        let page = engine::Page::first();
        let all = world.engine.customers_list(page).await?.data;
        assert_eq!(all.len(), 2, "the demonstration's and the guest");
        let end = state(&world.engine, web.customer.as_str()).await;
        assert_eq!(end["balance"], json!([100, 100, 0]), "one browser, one customer: {end}");
        assert_eq!(end["parked"], json!([]));
    }
    Ok(())
}

#[tokio::test]
async fn rows_37_39_41_42_45_checkouts_that_are_refused_or_repeated() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let engine = &world.engine;
    let base = world.request("buyer", "Pro monthly").await;
    let with = |change: &dyn Fn(&mut engine::checkout_sessions::CheckoutRequest)| {
        let mut request = base.clone();
        change(&mut request);
        request
    };
    let cases = [
        (with(&|r| r.price = "price_unknown".into()), Code::PriceNotFound),
        (with(&|r| r.product = Some("prod_unknown".into())), Code::ProductNotFound),
        (with(&|r| r.wanted = Wanted::OneTime), Code::PriceNotOneTime),
        (with(&|r| r.success_url = Some("https://evil.example/x".into())), Code::InvalidReturnUrl),
        (with(&|r| r.cancel_url = Some("javascript:alert(1)".into())), Code::InvalidReturnUrl),
        (
            with(&|r| r.success_url = Some("http://127.0.0.1:8000/a b".into())),
            Code::InvalidReturnUrl,
        ),
        (
            with(&|r| r.success_url = Some("http://127.0.0.1:8000/a#b".into())),
            Code::InvalidReturnUrl,
        ),
        (with(&|r| r.quantity = 0), Code::InvalidRequest),
    ];
    for (request, expected) in cases {
        assert_eq!(code(engine.checkout_create(request).await.unwrap_err()), expected);
    }
    assert!(world.events().await.iter().all(|event| event["type"] != "customer.created"));
    let keyed = with(&|r| r.idempotency_key = Some("once".into()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (engine, request) = (engine.clone(), keyed.clone());
        tasks.spawn(async move { engine.checkout_create(request).await });
    }
    let mut ids = std::collections::BTreeSet::new();
    while let Some(task) = tasks.join_next().await {
        ids.insert(task??.session.provider_session_id);
    }
    assert_eq!(ids.len(), 1, "row 41: one session");
    let other = with(&|r| {
        r.idempotency_key = Some("once".into());
        r.quantity = 2;
    });
    assert_eq!(code(engine.checkout_create(other).await.unwrap_err()), Code::IdempotencyConflict);
    for _ in 0..4 {
        engine.checkout_create(base.clone()).await?;
    }
    assert_eq!(code(engine.checkout_create(base.clone()).await.unwrap_err()), Code::RateLimited);
    engine.checkout_create(world.request("another", "Pro monthly").await).await?;
    world.pay(with(&|r| r.pace = Pace::Unlimited)).await?;
    world.tell_all().await;
    let second = with(&|r| r.pace = Pace::Unlimited);
    assert_eq!(code(engine.checkout_create(second).await.unwrap_err()), Code::AlreadySubscribed);
    Ok(())
}

#[tokio::test]
async fn row_38_twenty_first_checkouts_make_one_customer() -> anyhow::Result<()> {
    for world in World::all().await? {
        let mut request = world.request("fresh", "Pro monthly").await;
        request.pace = Pace::Unlimited;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (engine, request) = (world.engine.clone(), request.clone());
            tasks.spawn(async move { engine.checkout_create(request).await });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        let customers = world.get("/v1/customers?limit=100").await;
        assert_eq!(customers["data"].as_array().map(Vec::len), Some(1), "{}", world.name);
    }
    Ok(())
}

#[tokio::test]
async fn row_39_two_tabs_do_not_become_two_subscriptions() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let mut plan = world.request("buyer", "Pro monthly").await;
    plan.trial = TrialRule::Automatic;
    let first = world.engine.checkout_create(plan.clone()).await?.session;
    world.pay(plan).await?;
    let first = first.provider_session_id.unwrap();
    let told = world.get(&format!("/v1/checkout/sessions/{first}")).await;
    assert_eq!(told["status"], "expired");
    world.post(&format!("/_sandbox/checkout/{first}/complete"), &[]).await;
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["subscriptions"].as_array().map(Vec::len), Some(1), "{end}");
    assert_eq!(end["balance"], json!([100, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn access_bought_twice_lasts_twice_and_a_refund_takes_its_own_back() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let first = world.pay(world.request("buyer", "RAG Access").await).await?;
    world.advance("1d").await;
    let mut twofold = world.request("buyer", "RAG Access").await;
    twofold.quantity = 2;
    world.pay(twofold).await?;
    world.tell_all().await;
    let days_left = async || {
        let decision = world.engine.check(&own("buyer"), "knowledge_base").await.unwrap();
        let left = decision.ends_at.map(|end| end.seconds() - world.engine.clock().now().seconds());
        assert!(decision.allowed || left.is_none_or(|left| left <= 0));
        left.map(|seconds| (seconds + 43_200) / 86_400)
    };
    let mut ends = Vec::new();
    let subject = own("buyer");
    for held in world.engine.customers_state(&subject).await?.entitlements {
        ends.push(held.ends_at);
    }
    assert_eq!(ends.len(), 1, "the second purchase waits for the first to end");
    assert_eq!(days_left().await, Some(89), "and goes on from there");
    world.advance("29d").await;
    assert_eq!(days_left().await, Some(60));
    let session = world.get(&format!("/v1/checkout/sessions/{first}")).await;
    let intent = session["payment_intent"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent)]).await;
    world.tell_all().await;
    assert_eq!(days_left().await, Some(31), "the second counts from its own payment on");
    Ok(())
}

#[tokio::test]
async fn a_refund_reaches_what_a_hold_gives_back() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let session = world.pay(world.request("buyer", "100 Credits").await).await?;
    world.tell_all().await;
    let hold = engine::holds::HoldRequest {
        amount: 100,
        unit: "credits".into(),
        expires_in: None,
        reference: None,
        idempotency_key: None,
    };
    let held = world.engine.credits_hold(&own("buyer"), hold).await?;
    let session = world.get(&format!("/v1/checkout/sessions/{session}")).await;
    let intent = session["payment_intent"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent)]).await;
    world.tell_all().await;
    world.engine.credits_release(&own("buyer"), held.id.as_str()).await?;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn a_refunded_period_gives_no_access_and_no_later_refill() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro yearly").await).await?;
    world.tell_all().await;
    let intents = world.get("/v1/payment_intents?limit=1").await;
    let intent = intents["data"][0]["id"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent), ("amount", "14995")]).await;
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([50, 0, 0]));
    world.advance("1mo").await;
    drain(&world.engine).await;
    let refilled = state(&world.engine, "buyer").await;
    assert_eq!(refilled["balance"], json!([50, 0, 0]), "half of each refill: {refilled}");
    assert_eq!(refilled["features"]["api_access"], "entitled");
    world.post("/v1/refunds", &[("payment_intent", intent)]).await;
    world.tell_all().await;
    world.advance("1mo").await;
    drain(&world.engine).await;
    let gone = state(&world.engine, "buyer").await;
    assert_eq!(gone["balance"], json!([0, 0, 0]), "{gone}");
    assert_eq!(gone["features"]["api_access"], "revoked");
    Ok(())
}

#[tokio::test]
async fn a_trial_that_ends_early_leaves_no_trial_credits() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let mut plan = world.request("buyer", "Pro monthly").await;
    plan.trial = TrialRule::Automatic;
    world.pay(plan).await?;
    world.tell_all().await;
    let subscriptions = world.get("/v1/subscriptions?limit=1").await;
    let id = subscriptions["data"][0]["id"].as_str().unwrap();
    world.post(&format!("/v1/subscriptions/{id}"), &[("trial_end", "now")]).await;
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["subscriptions"][0][0], "active", "{end}");
    assert_eq!(end["balance"], json!([100, 0, 0]), "{end}");
    Ok(())
}

#[tokio::test]
async fn row_39_a_paid_page_whose_event_is_on_its_way_is_a_subscription() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let plan = world.request("buyer", "Pro monthly").await;
    world.pay(plan.clone()).await?;
    let second = world.engine.checkout_create(plan).await.unwrap_err();
    assert_eq!(code(second), Code::AlreadySubscribed);
    let open = world.get("/v1/checkout/sessions?status=open").await;
    assert_eq!(open["data"], json!([]), "nothing stays payable");
    let told = state(&world.engine, "buyer").await;
    assert_eq!(told["balance"], json!([100, 0, 0]), "and what was paid is there: {told}");
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await, told, "its late events change nothing");
    Ok(())
}

#[tokio::test]
async fn a_free_plan_just_taken_may_be_left_and_an_old_key_used_again() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Free").await).await?;
    let mut plan = world.request("buyer", "Pro monthly").await;
    plan.idempotency_key = Some("once".into());
    let first = world.engine.checkout_create(plan.clone()).await?.session;
    let again = world.engine.checkout_create(plan.clone()).await?.session;
    assert_eq!(first.id, again.id);
    let other = world.request("buyer", "Pro yearly").await;
    world.engine.checkout_create(other).await?;
    let anew = world.engine.checkout_create(plan).await?.session;
    assert_ne!(first.id, anew.id, "the page that the key stood for is closed");
    Ok(())
}

#[tokio::test]
async fn row_39_a_guest_with_two_tabs_buys_one_subscription() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let mut plan = world.request("nobody", "Pro monthly").await;
    let mut pack = world.request("nobody", "100 Credits").await;
    let browser = "ab".repeat(32);
    let kept = Some(browser.clone());
    plan.buyer = Buyer::Guest { address: "127.0.0.1".into(), browser: kept };
    pack.buyer = plan.buyer.clone();
    let first = world.engine.checkout_create(plan.clone()).await?.session;
    let second = world.engine.checkout_create(plan.clone()).await?.session;
    let status = async |session: &store::checkout_sessions::CheckoutSession| {
        let id = session.provider_session_id.clone().unwrap();
        world.get(&format!("/v1/checkout/sessions/{id}")).await["status"].clone()
    };
    assert_eq!((status(&first).await, status(&second).await), (json!("expired"), json!("open")));
    // Paying for something else signs the guest in; what is open in the browser is theirs too.
    let paid = world.pay(pack).await?;
    world.tell_all().await;
    let web = world.engine.checkout_claim(&paid, &browser).await?.unwrap();
    plan.buyer = Buyer::Subject(engine::Subject::Known(web.customer));
    let third = world.engine.checkout_create(plan).await?.session;
    assert_eq!((status(&second).await, status(&third).await), (json!("expired"), json!("open")));
    Ok(())
}

#[tokio::test]
async fn a_month_changed_to_a_year_goes_on_refilling() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.tell_all().await;
    let consume = engine::credits::ConsumeRequest {
        amount: 100,
        unit: "credits".into(),
        reference: None,
        idempotency_key: None,
    };
    world.engine.credits_consume(&own("buyer"), consume).await?;
    world.advance("10d").await;
    let yearly = world.engine.prices_get(&world.price("Pro yearly").await).await?;
    let subscription = world.get("/v1/subscriptions?limit=1").await["data"][0].clone();
    let item = subscription["items"]["data"][0]["id"].as_str().unwrap();
    let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
    let form = [
        ("items[0][id]", item),
        ("items[0][price]", yearly.provider_price_id.as_deref().unwrap()),
        ("proration_behavior", "always_invoice"),
    ];
    let changed = world.post(&path, &form).await;
    assert!(changed["id"].is_string(), "{changed}");
    world.tell_all().await;
    let upgraded = state(&world.engine, "buyer").await;
    assert_eq!(upgraded["balance"], json!([0, 0, 0]), "an upgrade refills nothing: {upgraded}");
    for month in 1..=3 {
        world.advance("1mo").await;
        world.tell_all().await;
        let refilled = state(&world.engine, "buyer").await;
        assert_eq!(refilled["balance"], json!([100, 0, 0]), "month {month}: {refilled}");
    }
    Ok(())
}

#[tokio::test]
async fn a_year_changed_to_a_month_refills_once_a_month() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let year = world.request("buyer", "Pro yearly").await;
    world.pay(year).await?;
    world.tell_all().await;
    let held = world.engine.subscriptions_current(&own("buyer")).await?.unwrap().subscription;
    let path = format!("/v1/subscriptions/{}", held.provider_subscription_id);
    let item = world.get(&path).await["items"]["data"][0]["id"].as_str().unwrap().to_owned();
    let month = world.engine.prices_get(&world.price("Pro monthly").await).await?;
    let month = month.provider_price_id.unwrap();
    world.post(&path, &[("items[0][id]", &item), ("items[0][price]", &month)]).await;
    world.tell_all().await;
    for _ in 0..3 {
        world.advance("1mo").await;
        world.tell_all().await;
        let state = state(&world.engine, "buyer").await;
        assert_eq!(state["balance"], json!([100, 0, 0]), "{state}");
    }
    Ok(())
}
