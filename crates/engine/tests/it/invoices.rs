//! Invoices that are paid otherwise than by one card: in parts, from a balance, elsewhere.

use crate::orders::{of_kind, permutations, told};
use crate::worlds::{World, own, state};
use serde_json::{Value, json};

/// The provider's names of somebody who has bought a pack, and of the plan's price.
async fn shopper() -> anyhow::Result<(World, String, String)> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    world.tell_all().await;
    let sessions = world.get("/v1/checkout/sessions?limit=1").await;
    let customer = sessions["data"][0]["customer"].as_str().unwrap().to_owned();
    let plan = world.engine.prices_get(&world.price("Pro monthly").await).await?;
    Ok((world, customer, plan.provider_price_id.unwrap()))
}

/// An open invoice of a subscription that is billed by mail.
async fn billed(world: &World, customer: &str, price: &str) -> String {
    let form = [
        ("customer", customer),
        ("items[0][price]", price),
        ("collection_method", "send_invoice"),
        ("days_until_due", "30"),
    ];
    let made = world.post("/v1/subscriptions", &form).await;
    let invoice = made["latest_invoice"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let path = format!("/v1/invoices/{invoice}");
    if world.get(&path).await["status"] == "draft" {
        world.post(&format!("{path}/finalize"), &[]).await;
    }
    assert_eq!(world.get(&path).await["status"], "open");
    invoice
}

async fn pay_part(world: &World, customer: &str, invoice: &str, amount: &str) -> String {
    let form = [
        ("amount", amount),
        ("currency", "usd"),
        ("customer", customer),
        ("payment_method", "pm_card_visa"),
        ("payment_method_types[]", "card"),
        ("confirm", "true"),
    ];
    let intent = world.post("/v1/payment_intents", &form).await;
    let id = intent["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/invoices/{invoice}/attach_payment");
    let attached = world.post(&path, &[("payment_intent", &id)]).await;
    assert!(attached["id"].is_string(), "{attached}");
    id
}

#[tokio::test]
async fn pitfall_079_parts_of_an_invoice_are_one_payment_and_one_grant() -> anyhow::Result<()> {
    let (world, customer, price) = shopper().await?;
    let invoice = billed(&world, &customer, &price).await;
    let first = pay_part(&world, &customer, &invoice, "1000").await;
    world.tell_all().await;
    let half = state(&world.engine, "buyer").await;
    assert_eq!(half["balance"], json!([0, 100, 0]), "nothing before all of it: {half}");
    assert_eq!(half["features"]["knowledge_base"], "revoked", "{half}");
    // A part goes back before the rest has come.
    world.post("/v1/refunds", &[("payment_intent", &first), ("amount", "300")]).await;
    world.tell_all().await;
    let second = pay_part(&world, &customer, &invoice, "1999").await;
    world.tell_all().await;
    let whole = state(&world.engine, "buyer").await;
    assert_eq!(whole["payments"][0], json!([2999, "partially_refunded", 300]), "{whole}");
    assert_eq!(whole["payments"].as_array().map(Vec::len), Some(2), "{whole}");
    // 300 of 2999, rounded down.
    assert_eq!(whole["balance"], json!([90, 100, 0]), "{whole}");
    assert_eq!(whole["features"]["knowledge_base"], "entitled");
    for (intent, amount) in [(&second, "1999"), (&first, "700")] {
        world.post("/v1/refunds", &[("payment_intent", intent), ("amount", amount)]).await;
    }
    world.tell_all().await;
    let gone = state(&world.engine, "buyer").await;
    assert_eq!(gone["payments"][0], json!([2999, "refunded", 2999]), "{gone}");
    assert_eq!(gone["balance"], json!([0, 100, 0]));
    assert_eq!(gone["features"]["knowledge_base"], "revoked");
    assert_eq!(gone["parked"], json!([]));
    Ok(())
}

#[tokio::test]
async fn pitfall_079_an_invoice_paid_elsewhere_is_paid() -> anyhow::Result<()> {
    let (world, customer, price) = shopper().await?;
    let invoice = billed(&world, &customer, &price).await;
    let path = format!("/v1/invoices/{invoice}/pay");
    let paid = world.post(&path, &[("paid_out_of_band", "true")]).await;
    assert_eq!(paid["status"], "paid", "{paid}");
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([100, 100, 0]), "{end}");
    assert_eq!(end["features"]["knowledge_base"], "entitled");
    assert_eq!(end["parked"], json!([]));
    Ok(())
}

#[tokio::test]
async fn pitfall_078_a_balance_that_pays_a_renewal_renews() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.tell_all().await;
    let sessions = world.get("/v1/checkout/sessions?limit=1").await;
    let customer = sessions["data"][0]["customer"].as_str().unwrap();
    let credited = world.post(&format!("/v1/customers/{customer}"), &[("balance", "-9000")]).await;
    assert_eq!(credited["balance"], -9000, "{credited}");
    world.advance("1mo").await;
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["payments"], json!([[2999, "paid", 0]]), "no money came: {end}");
    assert_eq!(end["balance"], json!([100, 0, 0]));
    assert_eq!(end["grants"].as_array().map(Vec::len), Some(2), "{end}");
    assert_eq!(end["features"]["knowledge_base"], "entitled");
    Ok(())
}

#[tokio::test]
async fn pitfall_088_a_renewal_waits_for_authentication_and_goes_on() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let plan = world.request("buyer", "Pro monthly").await;
    world.pay_with(plan, "pm_card_authenticationRequired").await?;
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([100, 0, 0]));
    world.advance("1mo").await;
    world.tell_all().await;
    let waiting = state(&world.engine, "buyer").await;
    assert!(of_kind(&world.events().await, "invoice.payment_action_required").is_some());
    assert_eq!(waiting["subscriptions"][0][0], "past_due", "{waiting}");
    assert_eq!(waiting["features"]["knowledge_base"], "ended", "no grace here: {waiting}");
    assert_eq!(waiting["balance"], json!([0, 0, 0]), "{waiting}");
    assert_eq!(waiting["invoices"], json!([["open", 2999], ["paid", 2999]]), "no forecasts");
    let invoices = world.get("/v1/invoices?limit=1").await;
    let path = format!("/v1/invoices/{}/pay", invoices["data"][0]["id"].as_str().unwrap());
    let sessions = world.get("/v1/checkout/sessions?limit=1").await;
    let customer = sessions["data"][0]["customer"].as_str().unwrap();
    let attach = "/v1/payment_methods/pm_card_visa/attach";
    let method = world.post(attach, &[("customer", customer)]).await;
    let paid = world.post(&path, &[("payment_method", method["id"].as_str().unwrap())]).await;
    assert_eq!(paid["status"], "paid", "{paid}");
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["subscriptions"][0][0], "active", "{end}");
    assert_eq!(end["balance"], json!([100, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_108_an_invoice_that_gives_back_is_no_revenue() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.tell_all().await;
    let held = state(&world.engine, "buyer").await;
    let mut negative = of_kind(&world.events().await, "invoice.paid").unwrap();
    negative["id"] = json!("evt_negative");
    let invoice = &mut negative["data"]["object"];
    invoice["id"] = json!("in_negative");
    invoice["billing_reason"] = json!("subscription_update");
    invoice["total"] = json!(-500);
    invoice["amount_paid"] = json!(0);
    invoice["amount_due"] = json!(0);
    invoice["lines"]["data"][0]["amount"] = json!(-500);
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    let engine = world.copy(Some(&forgotten)).await?;
    let end = told(&engine, &[negative]).await;
    assert_eq!(end["payments"], held["payments"], "{end}");
    assert_eq!((&end["balance"], &end["grants"]), (&held["balance"], &held["grants"]));
    assert_eq!(end["invoices"].as_array().map(Vec::len), Some(2), "shown all the same");
    Ok(())
}

#[tokio::test]
async fn pitfall_103_two_words_for_a_paid_invoice_are_one_grant() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    let events = world.events().await;
    let words = ["invoice.paid", "invoice.payment_succeeded"];
    let words: Vec<Value> = words.iter().map(|kind| of_kind(&events, kind).unwrap()).collect();
    world.freeze().await;
    for order in permutations(&words) {
        let engine = world.copy(None).await?;
        let end = told(&engine, &order).await;
        assert_eq!(end["balance"], json!([100, 0, 0]), "{end}");
        assert_eq!(end["grants"].as_array().map(Vec::len), Some(1));
        assert_eq!(end["payments"], json!([[2999, "paid", 0]]));
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_102_changing_to_and_fro_refills_nothing() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.tell_all().await;
    world.advance("3d").await;
    let subscription = world.get("/v1/subscriptions?limit=1").await["data"][0].clone();
    let item = subscription["items"]["data"][0]["id"].as_str().unwrap();
    let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
    for round in 0..10 {
        let name = if round % 2 == 0 { "Pro yearly" } else { "Pro monthly" };
        let price = world.engine.prices_get(&world.price(name).await).await?;
        let form = [
            ("items[0][id]", item),
            ("items[0][price]", price.provider_price_id.as_deref().unwrap()),
            ("proration_behavior", "always_invoice"),
        ];
        let changed = world.post(&path, &form).await;
        assert!(changed["id"].is_string(), "{changed}");
        world.tell_all().await;
    }
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([100, 0, 0]), "one period's credits, no more: {end}");
    let grants = world.engine.credits_grants(&own("buyer"), engine::Page::first()).await?.data;
    let now = world.engine.clock().now();
    let begun: i64 =
        grants.iter().filter(|lot| lot.starts_at <= now).map(|lot| lot.numbers.granted).sum();
    assert_eq!(begun, 100);
    Ok(())
}
