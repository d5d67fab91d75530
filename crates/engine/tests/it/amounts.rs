//! What was paid is one thing, what it bought another: codes, taxes, currencies, forged marks.

use crate::orders::{of_kind, told};
use crate::worlds::{World, deliver, drain, own, state};
use domain::catalogue::{CreditGrant, Grants};
use domain::credits::Credits;
use domain::time::Interval;
use engine::prices::NewPrice;
use engine::products::NewProduct;
use serde_json::{Value, json};

/// A code that takes this much off.
async fn code(world: &World, percent: &str) -> String {
    let coupon = world.post("/v1/coupons", &[("percent_off", percent), ("duration", "once")]).await;
    let coupon = coupon["id"].as_str().unwrap();
    let form = [("promotion[type]", "coupon"), ("promotion[coupon]", coupon)];
    let code = world.post("/v1/promotion_codes", &form).await;
    code["code"].as_str().unwrap_or_else(|| panic!("{code}")).to_owned()
}

async fn pay_with_code(world: &World, nickname: &str, code: &str) -> Value {
    let request = world.request("buyer", nickname).await;
    let session = world.engine.checkout_create(request).await.unwrap().session;
    let id = session.provider_session_id.unwrap();
    let path = format!("/_sandbox/checkout/{id}/complete");
    let form = [("promotion_code", code), ("payment_method", "pm_card_visa")];
    let done = world.post(&path, &form).await;
    assert_eq!(done["status"], "complete", "{done}");
    done
}

#[tokio::test]
async fn pitfall_077_what_costs_nothing_is_granted_once() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let free = code(&world, "100").await;
    let pack = pay_with_code(&world, "100 Credits", &free).await;
    assert_eq!((&pack["amount_total"], &pack["payment_intent"]), (&json!(0), &json!(null)));
    world.tell_all().await;
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([0, 100, 0]), "{end}");
    assert_eq!(end["payments"], json!([[0, "paid", 0]]), "{end}");
    let plan = pay_with_code(&world, "Pro monthly", &free).await;
    assert_eq!(plan["amount_total"], 0);
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["subscriptions"][0][0], "active", "{end}");
    assert_eq!(end["features"]["knowledge_base"], "entitled");
    assert_eq!(end["payments"].as_array().map(Vec::len), Some(1), "no revenue: {end}");
    assert_eq!(end["parked"], json!([]));
    Ok(())
}

#[tokio::test]
async fn pitfall_101_credits_follow_the_price_and_not_the_amount() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let half = code(&world, "50").await;
    pay_with_code(&world, "100 Credits", &half).await;
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([0, 100, 0]), "{end}");
    assert_eq!(end["payments"][0][1], "paid");
    let paid = end["payments"][0][0].as_i64().unwrap();
    assert!((999..=1000).contains(&paid), "{paid}");
    // A tax on top, or inside: the same pack.
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    let completed = of_kind(&world.events().await, "checkout.session.completed").unwrap();
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    for (total, tax) in [(2399, 400), (1999, 333)] {
        let mut taxed = completed.clone();
        let session = &mut taxed["data"]["object"];
        session["amount_total"] = json!(total);
        session["total_details"] = json!({ "amount_tax": tax });
        let engine = world.copy(Some(&forgotten)).await?;
        let end = told(&engine, &[taxed]).await;
        assert_eq!(end["balance"], json!([0, 100, 0]), "{end}");
        assert_eq!(end["payments"], json!([[total, "paid", 0]]));
        engine.store().close().await;
    }
    Ok(())
}

/// A pack of a hundred credits at this price.
async fn pack_in(world: &World, currency: &str, unit_amount: i64) -> String {
    let (description, metadata) = (None, Default::default());
    let product = NewProduct { name: "Pack".into(), description, metadata };
    let product = world.engine.products_create(product).await.unwrap();
    let grant = CreditGrant {
        unit: "credits".into(),
        amount: Credits::new(100).unwrap(),
        every: Interval::MONTH,
        trial_amount: None,
    };
    let price = NewPrice {
        product: product.id.to_string(),
        unit_amount,
        currency: currency.into(),
        interval: None,
        nickname: None,
        trial_days: 0,
        grants: Grants { credits: vec![grant], features: Vec::new() },
    };
    world.engine.prices_create(price).await.unwrap().id.to_string()
}

#[tokio::test]
async fn pitfall_105_yen_have_no_cents() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let mut request = world.request("buyer", "100 Credits").await;
    request.price = pack_in(&world, "jpy", 500).await;
    let session = world.pay(request).await?;
    world.tell_all().await;
    let session = world.get(&format!("/v1/checkout/sessions/{session}")).await;
    assert_eq!((&session["amount_total"], &session["currency"]), (&json!(500), &json!("jpy")));
    let intent = session["payment_intent"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent), ("amount", "200")]).await;
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["payments"], json!([[500, "partially_refunded", 200]]), "{end}");
    assert_eq!(end["balance"], json!([0, 60, 0]));
    let payment = world.engine.payments_list(&own("buyer"), engine::Page::first()).await?.data;
    assert_eq!(payment[0].amount.to_string(), "¥500");
    Ok(())
}

#[tokio::test]
async fn pitfall_107_a_page_in_another_currency_grants_by_its_price() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    let events = world.events().await;
    let mut completed = of_kind(&events, "checkout.session.completed").unwrap();
    let session = &mut completed["data"]["object"];
    session["currency"] = json!("mxn");
    session["amount_total"] = json!(40_000);
    session["currency_conversion"] = json!({
        "amount_subtotal": 1999, "amount_total": 1999, "fx_rate": "20.01",
        "source_currency": "usd",
    });
    let mut refunded = of_kind(&events, "charge.succeeded").unwrap();
    refunded["id"] = json!("evt_refunded");
    refunded["type"] = json!("charge.refunded");
    refunded["data"]["object"]["amount_refunded"] = json!(1000);
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    let engine = world.copy(Some(&forgotten)).await?;
    let end = told(&engine, &[completed]).await;
    assert_eq!(end["balance"], json!([0, 100, 0]), "{end}");
    assert_eq!(end["payments"], json!([[40_000, "paid", 0]]));
    let page = engine::Page::first();
    let payment = engine.payments_list(&own("buyer"), page).await?.data.remove(0);
    assert_eq!(payment.amount.currency().as_str(), "mxn");
    // The refund is told in the currency that was settled: the same share goes back.
    let end = told(&engine, &[refunded]).await;
    assert_eq!(end["balance"], json!([0, 50, 0]), "{end}");
    assert_eq!(end["payments"], json!([[40_000, "partially_refunded", 20_011]]), "{end}");
    Ok(())
}

#[tokio::test]
async fn pitfall_119_a_forged_mark_moves_nothing_a_lost_one_loses_nothing() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    let sessions = world.get("/v1/checkout/sessions?limit=1").await;
    let marks = sessions["data"][0]["metadata"].as_object().unwrap().clone();
    assert!(marks.contains_key("tollgate_checkout"), "{marks:?}");
    let before = world.events().await;
    // Somebody else's money under our mark.
    let mut form = vec![
        ("amount".to_owned(), "50".to_owned()),
        ("currency".to_owned(), "usd".to_owned()),
        ("payment_method".to_owned(), "pm_card_visa".to_owned()),
        ("payment_method_types[]".to_owned(), "card".to_owned()),
        ("confirm".to_owned(), "true".to_owned()),
    ];
    for (key, value) in &marks {
        form.push((format!("metadata[{key}]"), value.as_str().unwrap().to_owned()));
    }
    let form: Vec<(&str, &str)> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let forged = world.post("/v1/payment_intents", &form).await;
    assert_eq!(forged["status"], "succeeded", "{forged}");
    for event in world.events().await.split_off(before.len()) {
        deliver(&world.engine, &event).await;
        drain(&world.engine).await;
    }
    let end = state(&world.engine, "buyer").await;
    assert_eq!((&end["payments"], &end["balance"]), (&json!([]), &json!([0, 0, 0])), "{end}");
    // Our own money without its mark.
    let mut bare = of_kind(&before, "charge.succeeded").unwrap();
    bare["id"] = json!("evt_bare");
    bare["data"]["object"]["metadata"] = json!({});
    let end = told(&world.engine, &[bare]).await;
    assert_eq!(end["payments"], json!([[1999, "paid", 0]]), "{end}");
    assert_eq!(end["balance"], json!([0, 100, 0]));
    Ok(())
}
