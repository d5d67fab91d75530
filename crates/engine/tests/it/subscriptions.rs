//! Changing a subscription: previews, upgrades after money, downgrades on their day, seats,
//! surplus.

use crate::provider_calls::{calls, code, settle_calls, subscribed};
use crate::proxies::Fault;
use crate::worlds::{World, own, settings, state};
use domain::catalogue::{CreditGrant, Grants};
use domain::codes::Code;
use domain::credits::Credits;
use domain::time::Interval;
use engine::checkout_sessions::Pace;
use engine::prices::NewPrice;
use engine::subscriptions::changing::{ChangeRequest, Progress, Timing};
use engine::{Engine, Failure, Page, SecondSubscription, Settings};
use serde_json::{Value, json};

fn to(price: &str) -> ChangeRequest {
    ChangeRequest {
        price: Some(price.to_owned()),
        quantity: None,
        timing: Timing::Automatic,
        pace: Pace::Unlimited,
    }
}

fn seats(quantity: i64) -> ChangeRequest {
    ChangeRequest {
        price: None,
        quantity: Some(quantity),
        timing: Timing::Automatic,
        pace: Pace::Unlimited,
    }
}

/// A dearer monthly plan with 500 credits.
async fn team(world: &World) -> anyhow::Result<String> {
    let catalogue = world.engine.catalogue().await?;
    let offers = |offering: &&engine::products::Offering| {
        let mut prices = offering.prices.iter();
        prices.any(|price| price.nickname.as_deref() == Some("Pro monthly"))
    };
    let product = catalogue.iter().find(offers).unwrap().product.id.to_string();
    let credits = CreditGrant {
        amount: Credits::new(500)?,
        unit: "credits".to_owned(),
        every: Interval::MONTH,
        ..catalogue
            .iter()
            .flat_map(|offering| &offering.prices)
            .find_map(|price| price.grants.credits.first().cloned())
            .unwrap()
    };
    let new = NewPrice {
        product,
        unit_amount: 9_900,
        currency: "usd".to_owned(),
        interval: Some(("month".to_owned(), 1)),
        nickname: Some("Team monthly".to_owned()),
        trial_days: 0,
        grants: Grants { credits: vec![credits], ..Grants::default() },
    };
    Ok(world.engine.prices_create(new).await?.id.to_string())
}

/// From now on the customer's card is declined.
async fn card_fails(world: &World, who: &str) -> anyhow::Result<()> {
    let page = Page::new(None, None)?;
    let row = world.engine.subscriptions_list(&own(who), page).await?.data.remove(0);
    let id = row.provider_subscription_id;
    let customer = world.get(&format!("/v1/subscriptions/{id}")).await["customer"].clone();
    let customer = customer.as_str().unwrap();
    let attached = world
        .post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", &[("customer", customer)])
        .await;
    let method = attached["id"].as_str().unwrap();
    let path = format!("/v1/subscriptions/{id}");
    let told = world.post(&path, &[("default_payment_method", method)]).await;
    assert_eq!(told["default_payment_method"], method, "{told}");
    Ok(())
}

async fn provider_subscription(world: &World, who: &str) -> Value {
    let page = Page::new(None, None).unwrap();
    let rows = world.engine.subscriptions_list(&own(who), page).await.unwrap().data;
    let id = &rows[0].provider_subscription_id;
    world.get(&format!("/v1/subscriptions/{id}")).await
}

#[tokio::test]
async fn row_81_a_preview_says_what_a_change_costs_and_changes_nothing() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let team = team(&world).await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let before = (provider_subscription(&world, "buyer").await, world.events().await.len());
    let subject = own("buyer");
    let dearer = world.engine.subscriptions_preview(&subject, None, &to(&team)).await?;
    assert_eq!(dearer.prorated_amount, dearer.amount_due);
    assert!(0 < dearer.amount_due && dearer.has_credit, "{dearer:?}");
    let more = world.engine.subscriptions_preview(&subject, None, &seats(3)).await?;
    assert!(0 < more.amount_due, "{more:?}");
    let free = world.price("Free").await;
    let cheaper = world.engine.subscriptions_preview(&subject, None, &to(&free)).await?;
    assert_eq!((cheaper.amount_due, cheaper.has_credit), (0, false));
    let page = Page::new(None, None)?;
    let held = world.engine.subscriptions_list(&subject, page).await?.data.remove(0);
    assert_eq!(Some(cheaper.takes_effect_at), held.period_end);
    let after = (provider_subscription(&world, "buyer").await, world.events().await.len());
    assert_eq!(before, after, "nothing has changed at the provider");
    assert!(calls(&world.engine).await.iter().all(|call| call.kind == "customer.create"));
    Ok(())
}

#[tokio::test]
async fn row_82_an_upgrade_is_made_once_and_refills_after_its_money() -> anyhow::Result<()> {
    for world in World::all().await? {
        let team = team(&world).await?;
        subscribed(&world, "buyer", "Pro monthly").await?;
        let proxy = world.proxy().await;
        let engine = world.through(&proxy);
        let (subject, wish) = (own("buyer"), to(&team));
        let submits = (0..2).map(|_| engine.subscriptions_change(&subject, None, &wish));
        for changed in futures::future::join_all(submits).await {
            let changed = changed?;
            assert_eq!(changed.progress, Progress::Done);
            assert_eq!(changed.subscription.price_id.unwrap().as_str(), team);
        }
        let again = engine.subscriptions_change(&subject, None, &wish).await?;
        assert_eq!(again.progress, Progress::Done);
        assert_eq!(proxy.asked("/v1/subscriptions/").len(), 1, "a double submit is one change");
        world.tell_all().await;
        let now = state(&world.engine, "buyer").await;
        assert_eq!(now["payments"].as_array().map(Vec::len), Some(2), "{now}");
        assert_eq!(now["subscriptions"].as_array().map(Vec::len), Some(1), "in place");
        assert_eq!(now["balance"][0], 100, "row 67: only a period refills: {now}");
        world.advance("period-end").await;
        world.tell_all().await;
        let next = state(&world.engine, "buyer").await;
        assert_eq!(next["balance"][0], 500, "the new plan's allowance, after its money: {next}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_083_a_page_is_closed_once_its_plan_is_had_otherwise() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Free").await?;
    let page = world.request("buyer", "Pro monthly").await;
    let page = world.engine.checkout_create(page).await?.session.provider_session_id.unwrap();
    let customer = provider_subscription(&world, "buyer").await["customer"].clone();
    let customer = customer.as_str().unwrap();
    let path = "/v1/payment_methods/pm_card_visa/attach";
    let card = world.post(path, &[("customer", customer)]).await["id"].clone();
    let card = card.as_str().unwrap();
    let form = [("invoice_settings[default_payment_method]", card)];
    world.post(&format!("/v1/customers/{customer}"), &form).await;
    let wish = to(&world.price("Pro monthly").await);
    let changed = world.engine.subscriptions_change(&own("buyer"), None, &wish).await?;
    assert_eq!(changed.progress, Progress::Done, "{changed:?}");
    let told = world.get(&format!("/v1/checkout/sessions/{page}")).await;
    assert_eq!(told["status"], "expired", "nobody pays for it a second time");
    Ok(())
}

#[tokio::test]
async fn row_82_a_failed_charge_leaves_the_old_plan() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let team = team(&world).await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    card_fails(&world, "buyer").await?;
    world.tell_all().await;
    let before = state(&world.engine, "buyer").await;
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    let (subject, wish) = (own("buyer"), to(&team));
    let waiting = engine.subscriptions_change(&subject, None, &wish).await?;
    assert_eq!(waiting.progress, Progress::AwaitingPayment, "{waiting:?}");
    assert!(waiting.payment_url.is_some(), "{waiting:?}");
    world.tell_all().await;
    let after = state(&world.engine, "buyer").await;
    assert_eq!(after["balance"], before["balance"], "no allowance before money");
    let page = Page::new(None, None)?;
    let held = engine.subscriptions_list(&subject, page).await?.data.remove(0);
    assert_ne!(held.price_id.unwrap().as_str(), team);
    assert_eq!(held.pending_price_id.unwrap().as_str(), team);
    // Pitfall 90: with another card it is another attempt, under another key.
    let told = provider_subscription(&world, "buyer").await;
    let customer = told["customer"].as_str().unwrap();
    let attached =
        world.post("/v1/payment_methods/pm_card_visa/attach", &[("customer", customer)]).await;
    let path = format!("/v1/subscriptions/{}", held.provider_subscription_id);
    let method = attached["id"].as_str().unwrap();
    world.post(&path, &[("default_payment_method", method)]).await;
    let done = engine.subscriptions_change(&subject, None, &wish).await?;
    assert_eq!(done.progress, Progress::Done, "{done:?}");
    let asked = proxy.asked("/v1/subscriptions/");
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].key, asked[1].key);
    assert!(asked[0].body.contains("pending_if_incomplete"));
    Ok(())
}

#[tokio::test]
async fn pitfall_067_our_own_downgrade_waits_for_its_day() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let team = team(&world).await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let subject = own("buyer");
    let pro = world.price("Pro monthly").await;
    world.engine.subscriptions_change(&subject, None, &to(&team)).await?;
    world.tell_all().await;
    let balance = state(&world.engine, "buyer").await["balance"].clone();
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    // The answer to the plan is lost: the same schedule is found again.
    proxy.breaks("/v1/subscription_schedules", Fault::Dropped);
    let planned = engine.subscriptions_change(&subject, None, &to(&pro)).await?;
    assert_eq!(planned.progress, Progress::Scheduled, "{planned:?}");
    assert_eq!(planned.subscription.price_id.as_ref().unwrap().as_str(), team);
    assert_eq!(planned.subscription.pending_price_id.as_ref().unwrap().as_str(), pro);
    let schedules = world.get("/v1/subscription_schedules").await;
    assert_eq!(schedules["data"].as_array().map(Vec::len), Some(1));
    let told = provider_subscription(&world, "buyer").await;
    assert!(told["metadata"]["tollgate_customer"].is_string(), "our marks stay: {told}");
    let sent = proxy.asked("/").len();
    let again = engine.subscriptions_change(&subject, None, &to(&pro)).await?;
    assert_eq!(again.progress, Progress::Scheduled);
    assert_eq!(proxy.asked("/").len(), sent, "a double submit changes nothing");
    // Staying after all drops the plan; then it is made again.
    let kept = engine.subscriptions_change(&subject, None, &to(&team)).await?;
    assert_eq!(kept.progress, Progress::Done, "{kept:?}");
    assert!(kept.subscription.pending_price_id.is_none());
    engine.subscriptions_change(&subject, None, &to(&pro)).await?;
    world.tell_all().await;
    assert_eq!(state(&engine, "buyer").await["balance"], balance, "nothing changes before the day");
    world.advance("period-end").await;
    world.tell_all().await;
    let page = Page::new(None, None)?;
    let held = engine.subscriptions_list(&subject, page).await?.data.remove(0);
    assert_eq!(held.price_id.unwrap().as_str(), pro);
    assert!(held.pending_price_id.is_none());
    let balance = state(&engine, "buyer").await["balance"].clone();
    assert_eq!(balance, json!([100, 0, 0]), "the new plan's allowance for the new period");
    Ok(())
}

#[tokio::test]
async fn a_plan_that_waits_does_not_stand_in_the_way_of_the_end() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let subject = own("buyer");
    let free = world.price("Free").await;
    let planned = world.engine.subscriptions_change(&subject, None, &to(&free)).await?;
    assert_eq!(planned.progress, Progress::Scheduled);
    let refused = world.engine.subscriptions_change(&subject, None, &seats(2)).await.unwrap_err();
    assert_eq!(code(&refused), Code::ChangePending);
    let ending = world.engine.subscriptions_cancel(&subject, None).await?;
    assert!(ending.cancel_at_period_end && ending.pending_price_id.is_none(), "{ending:?}");
    let refused = world.engine.subscriptions_change(&subject, None, &seats(2)).await.unwrap_err();
    assert_eq!(code(&refused), Code::SubscriptionEnding);
    Ok(())
}

#[tokio::test]
async fn a_change_does_not_drop_a_plan_that_waits() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let team = team(&world).await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let (subject, free) = (own("buyer"), world.price("Free").await);
    world.engine.subscriptions_change(&subject, None, &to(&free)).await?;
    let refused = world.engine.subscriptions_change(&subject, None, &to(&team)).await.unwrap_err();
    assert_eq!(code(&refused), Code::ChangePending);
    // Nor one that was planned at the provider and not told of yet.
    let unheard = "UPDATE subscriptions SET pending_price_id = NULL, pending_at = NULL";
    sqlx::query(unheard).execute(&world.raw().await?).await?;
    let refused = world.engine.subscriptions_change(&subject, None, &to(&team)).await.unwrap_err();
    assert_eq!(code(&refused), Code::ChangePending);
    let told = provider_subscription(&world, "buyer").await;
    assert!(told["schedule"].is_string(), "{told}");
    let page = Page::new(None, None)?;
    let held = world.engine.subscriptions_list(&subject, page).await?.data.remove(0);
    assert_eq!(held.pending_price_id.unwrap().as_str(), free, "it was read again");
    Ok(())
}

#[tokio::test]
async fn what_a_refused_call_has_changed_is_read_again() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let (subject, free) = (own("buyer"), world.price("Free").await);
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    engine.subscriptions_change(&subject, None, &to(&free)).await?;
    proxy.breaks("/v1/subscriptions", Fault::Status(400));
    let refused = engine.subscriptions_cancel(&subject, None).await.unwrap_err();
    assert_eq!(code(&refused), Code::ProviderRefused);
    assert!(provider_subscription(&world, "buyer").await["schedule"].is_null());
    let page = Page::new(None, None)?;
    let held = engine.subscriptions_list(&subject, page).await?.data.remove(0);
    assert_eq!((held.pending_price_id, held.pending_at), (None, None));
    Ok(())
}

#[tokio::test]
async fn a_schedule_that_runs_nothing_is_given_up() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let (subject, free) = (own("buyer"), world.price("Free").await);
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    proxy.breaks("/v1/subscription_schedules", Fault::Without("phases"));
    let refused = engine.subscriptions_change(&subject, None, &to(&free)).await.unwrap_err();
    assert_eq!(code(&refused), Code::ProviderRefused);
    assert_eq!(calls(&engine).await[0].state.as_str(), "refused");
    assert!(provider_subscription(&world, "buyer").await["schedule"].is_null());
    let planned = engine.subscriptions_change(&subject, None, &to(&free)).await?;
    assert_eq!(planned.progress, Progress::Scheduled);
    Ok(())
}

#[tokio::test]
async fn what_costs_calls_is_counted_for_end_users() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let team = team(&world).await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let (subject, wish) = (own("buyer"), ChangeRequest { pace: Pace::Limited, ..to(&team) });
    for _ in 0..5 {
        world.engine.subscriptions_preview(&subject, None, &wish).await?;
    }
    for refused in [
        world.engine.subscriptions_preview(&subject, None, &wish).await.map(drop),
        world.engine.subscriptions_change(&subject, None, &wish).await.map(drop),
    ] {
        let limited = matches!(refused, Err(Failure::RateLimited { retry_after_seconds: 1.. }));
        assert!(limited, "{refused:?}");
    }
    let free = world.price("Free").await;
    let cheaper = ChangeRequest { price: Some(free), ..wish };
    world.engine.subscriptions_preview(&subject, None, &cheaper).await?;
    world.engine.subscriptions_change(&subject, None, &to(&team)).await?;
    world.engine.subscriptions_cancel(&subject, None).await?;
    let refused = world.engine.subscriptions_resume(&subject, None, Pace::Limited).await;
    assert!(matches!(refused, Err(Failure::RateLimited { .. })), "{refused:?}");
    world.engine.subscriptions_cancel(&subject, None).await?;
    Ok(())
}

#[tokio::test]
async fn row_85_seats_reach_the_provider_once() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    let subject = own("buyer");
    for wrong in [0, -3, 1_001] {
        let refused = engine.subscriptions_change(&subject, None, &seats(wrong)).await.unwrap_err();
        assert_eq!(code(&refused), Code::InvalidRequest);
    }
    assert!(proxy.asked("/").is_empty());
    engine.subscriptions_change(&subject, None, &seats(5)).await?;
    let sent = proxy.asked("/").len();
    let wish = seats(10);
    let submits = (0..3).map(|_| engine.subscriptions_change(&subject, None, &wish));
    for changed in futures::future::join_all(submits).await {
        assert_eq!(changed?.subscription.quantity, 10);
    }
    assert_eq!(proxy.asked("/").len(), sent + 1, "5 to 10 reaches the provider once");
    let fewer = engine.subscriptions_change(&subject, None, &seats(2)).await?;
    assert_eq!((fewer.subscription.quantity, fewer.progress), (2, Progress::Done));
    Ok(())
}

#[tokio::test]
async fn pitfall_118_other_peoples_plans_are_not_changed() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "victim", "Pro monthly").await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let page = Page::new(None, None)?;
    let theirs = world.engine.subscriptions_list(&own("victim"), page).await?.data.remove(0);
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    for id in [theirs.id.as_str(), theirs.provider_subscription_id.as_str()] {
        let refused = engine.subscriptions_change(&own("buyer"), Some(id), &seats(5)).await;
        assert_eq!(code(&refused.unwrap_err()), Code::SubscriptionNotFound);
        let refused = engine.subscriptions_preview(&own("buyer"), Some(id), &seats(5)).await;
        assert_eq!(code(&refused.unwrap_err()), Code::SubscriptionNotFound);
    }
    assert!(proxy.asked("/").is_empty(), "nothing was sent to the provider");
    Ok(())
}

/// A second subscription that came about beside us.
async fn second(world: &World, who: &str) -> String {
    let first = provider_subscription(world, who).await;
    let customer = first["customer"].as_str().unwrap();
    let price = first["items"]["data"][0]["price"]["id"].as_str().unwrap();
    let method = first["default_payment_method"].as_str().unwrap();
    let form =
        [("customer", customer), ("items[0][price]", price), ("default_payment_method", method)];
    let made = world.post("/v1/subscriptions", &form).await;
    assert_eq!(made["status"], "active", "{made}");
    made["id"].as_str().unwrap().to_owned()
}

async fn with_policy(world: &World, policy: SecondSubscription) -> Engine {
    let settings = Settings { second_subscription: policy, ..settings().unwrap() };
    world.through_with(&world.proxy().await, settings)
}

#[tokio::test]
async fn row_39_a_surplus_subscription_ends_and_is_given_back() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    // Business time is on, so that one of the two is older.
    world.advance("1d").await;
    let newer = second(&world, "buyer").await;
    let engine = with_policy(&world, SecondSubscription::CancelNewest).await;
    for event in world.events().await {
        crate::worlds::deliver(&engine, &event).await;
    }
    crate::worlds::drain(&engine).await;
    settle_calls(&engine).await;
    let ended = world.get(&format!("/v1/subscriptions/{newer}")).await;
    assert_eq!(ended["status"], "canceled", "{ended}");
    let refunds = world.get("/v1/refunds").await;
    assert_eq!(refunds["data"].as_array().map(Vec::len), Some(1), "{refunds}");
    let kept = state(&engine, "buyer").await;
    let active = kept["subscriptions"].as_array().unwrap().iter().filter(|s| s[0] == "active");
    assert_eq!(active.count(), 1, "{kept}");
    assert_eq!(kept["features"]["api_access"], "entitled");
    engine.provider_calls_sweep().await?;
    let refunds = world.get("/v1/refunds").await;
    assert_eq!(refunds["data"].as_array().map(Vec::len), Some(1), "once");
    Ok(())
}

#[tokio::test]
async fn row_39_what_comes_to_be_surplus_again_is_ended_then() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    world.advance("1d").await;
    let older = provider_subscription(&world, "buyer").await;
    let path = format!("/v1/subscriptions/{}", older["id"].as_str().unwrap());
    let newer = second(&world, "buyer").await;
    let engine = with_policy(&world, SecondSubscription::CancelNewest).await;
    for (ends, status) in [("true", "active"), ("false", "canceled")] {
        for event in world.events().await {
            crate::worlds::deliver(&engine, &event).await;
        }
        crate::worlds::drain(&engine).await;
        world.post(&path, &[("cancel_at_period_end", ends)]).await;
        if ends == "false" {
            for event in world.events().await {
                crate::worlds::deliver(&engine, &event).await;
            }
            crate::worlds::drain(&engine).await;
        }
        settle_calls(&engine).await;
        let told = world.get(&format!("/v1/subscriptions/{newer}")).await;
        assert_eq!(told["status"], status, "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn row_39_the_only_one_left_is_not_ended_as_surplus() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    world.advance("1d").await;
    let older = provider_subscription(&world, "buyer").await;
    let path = format!("/v1/subscriptions/{}", older["id"].as_str().unwrap());
    let newer = second(&world, "buyer").await;
    world.delete(&path).await;
    let engine = with_policy(&world, SecondSubscription::CancelNewest).await;
    // The end of the older one is told late.
    for event in world.events().await {
        if event["type"] != "customer.subscription.deleted" {
            crate::worlds::deliver(&engine, &event).await;
        }
    }
    crate::worlds::drain(&engine).await;
    settle_calls(&engine).await;
    let kept = world.get(&format!("/v1/subscriptions/{newer}")).await;
    assert_eq!(kept["status"], "active", "{kept}");
    Ok(())
}

#[tokio::test]
async fn row_39_the_merchant_decides_unless_told_otherwise() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    second(&world, "buyer").await;
    world.tell_all().await;
    let made = calls(&world.engine).await;
    assert!(made.iter().all(|call| call.kind == "customer.create"), "{made:?}");
    let page = Page::new(None, None)?;
    let held = world.engine.subscriptions_list(&own("buyer"), page).await?.data;
    assert_eq!(held.iter().filter(|row| row.surplus_since.is_some()).count(), 1, "it is shown");
    Ok(())
}

#[tokio::test]
async fn pitfall_082_the_end_of_an_unpaid_plan_voids_what_is_open() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    card_fails(&world, "buyer").await?;
    world.advance("1mo").await;
    world.tell_all().await;
    let late = state(&world.engine, "buyer").await;
    assert_eq!(late["subscriptions"][0][0], "past_due", "{late}");
    let ended = world.engine.subscriptions_cancel_now(&own("buyer"), None).await?;
    assert_eq!(ended.status.as_str(), "canceled");
    let invoices = world.get("/v1/invoices?status=open").await;
    assert_eq!(invoices["data"].as_array().map(Vec::len), Some(0), "{invoices}");
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([0, 0, 0]));
    Ok(())
}
