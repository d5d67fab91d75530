//! Metered prices: usage is billed when the period has ended, at the last price it was used under.

use serde_json::{Value, json};

use crate::world::{World, id, text};

/// What the price is made of, what was used, what it costs.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, i64);

/// A metered monthly price with its meter's event name.
async fn metered(world: &World, event: &str, more: &[(&str, &str)]) -> String {
    let form =
        [("display_name", "Calls"), ("event_name", event), ("default_aggregation[formula]", "sum")];
    let list = world.look("/v1/billing/meters").await;
    let known =
        list["data"].as_array().expect("a list").iter().find(|row| row["event_name"] == event);
    let meter = match known {
        Some(meter) => id(meter),
        None => id(&world.make("/v1/billing/meters", &form).await),
    };
    let product = id(&world.make("/v1/products", &[("name", "Calls")]).await);
    let mut form = vec![
        ("product", product.as_str()),
        ("currency", "usd"),
        ("recurring[interval]", "month"),
        ("recurring[usage_type]", "metered"),
        ("recurring[meter]", meter.as_str()),
    ];
    form.extend_from_slice(more);
    id(&world.make("/v1/prices", &form).await)
}

async fn report(world: &World, event: &str, customer: &str, value: &str) {
    let form = [
        ("event_name", event),
        ("payload[stripe_customer_id]", customer),
        ("payload[value]", value),
    ];
    world.make("/v1/billing/meter_events", &form).await;
}

async fn subscribe(world: &World, customer: &str, price: &str) -> Value {
    let form = [("customer", customer), ("items[0][price]", price)];
    world.make("/v1/subscriptions", &form).await
}

async fn invoices(world: &World, subscription: &Value) -> Vec<Value> {
    let path = format!("/v1/invoices?subscription={}", id(subscription));
    world.look(&path).await["data"].as_array().expect("a list").clone()
}

/// Total, quantity and amount of the newest invoice's first line.
async fn newest(world: &World, subscription: &Value) -> (i64, Option<i64>, Option<i64>) {
    let invoices = invoices(world, subscription).await;
    let line = &invoices[0]["lines"]["data"][0];
    let total = invoices[0]["total"].as_i64().expect("a total");
    (total, line["quantity"].as_i64(), line["amount"].as_i64())
}

#[tokio::test]
async fn usage_is_billed_at_renewal_and_only_once() {
    let world = World::start().await;
    let price = metered(&world, "calls", &[("unit_amount", "10")]).await;
    let customer = world.payer("pm_card_visa").await;
    let subscription = subscribe(&world, &customer, &price).await;
    assert_eq!(subscription["status"], "active");
    let item = &subscription["items"]["data"][0];
    assert!(item.get("quantity").is_none(), "what is metered has no quantity");
    assert_eq!(item["plan"]["usage_type"], "metered");
    let first = invoices(&world, &subscription).await;
    assert_eq!((&first[0]["total"], &first[0]["lines"]["data"]), (&json!(0), &json!([])));
    report(&world, "calls", &customer, "20").await;
    report(&world, "calls", &customer, "5").await;
    world.advance("period-end").await;
    assert_eq!(newest(&world, &subscription).await, (250, Some(25), Some(250)));
    let line = &invoices(&world, &subscription).await[0]["lines"]["data"][0];
    assert_eq!(line["period"]["start"], item["current_period_start"]);
    assert_eq!(line["period"]["end"], item["current_period_end"]);
    report(&world, "calls", &customer, "-3").await;
    world.advance("period-end").await;
    assert_eq!(newest(&world, &subscription).await, (0, Some(0), Some(0)), "never below zero");
}

#[tokio::test]
async fn fractions_packages_and_tiers_add_up() {
    let world = World::start().await;
    let cases: [Case<'_>; 5] = [
        (&[("unit_amount_decimal", "0.025")], "1021", 26),
        (
            &[
                ("unit_amount", "300"),
                ("transform_quantity[divide_by]", "1000"),
                ("transform_quantity[round]", "up"),
            ],
            "2001",
            900,
        ),
        (
            &[
                ("unit_amount", "300"),
                ("transform_quantity[divide_by]", "1000"),
                ("transform_quantity[round]", "down"),
            ],
            "2999",
            600,
        ),
        (
            &[
                ("billing_scheme", "tiered"),
                ("tiers_mode", "graduated"),
                ("tiers[0][up_to]", "100"),
                ("tiers[0][unit_amount]", "0"),
                ("tiers[1][up_to]", "inf"),
                ("tiers[1][unit_amount]", "7"),
                ("tiers[1][flat_amount]", "50"),
            ],
            "110",
            120,
        ),
        (
            &[
                ("billing_scheme", "tiered"),
                ("tiers_mode", "volume"),
                ("tiers[0][up_to]", "100"),
                ("tiers[0][unit_amount]", "10"),
                ("tiers[1][up_to]", "inf"),
                ("tiers[1][unit_amount]", "7"),
            ],
            "110",
            770,
        ),
    ];
    let mut subscriptions = Vec::new();
    for (form, value, total) in cases {
        let price = metered(&world, "calls", form).await;
        let customer = world.payer("pm_card_visa").await;
        let subscription = subscribe(&world, &customer, &price).await;
        report(&world, "calls", &customer, value).await;
        subscriptions.push((subscription, total));
    }
    world.advance("32d").await;
    for (subscription, total) in subscriptions {
        assert_eq!(newest(&world, &subscription).await.0, total, "{}", id(&subscription));
    }
}

#[tokio::test]
async fn a_flat_fee_is_billed_ahead_and_usage_behind() {
    let world = World::start().await;
    let price = metered(&world, "calls", &[("unit_amount", "2")]).await;
    let flat = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", flat.as_str()),
        ("items[1][price]", price.as_str()),
    ];
    let subscription = world.make("/v1/subscriptions", &form).await;
    assert_eq!(newest(&world, &subscription).await.0, 1_000);
    report(&world, "calls", &customer, "100").await;
    world.advance("period-end").await;
    assert_eq!(newest(&world, &subscription).await.0, 1_200);
}

#[tokio::test]
async fn usage_of_a_trial_is_free() {
    let world = World::start().await;
    let price = metered(&world, "calls", &[("unit_amount", "2")]).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("trial_period_days", "7"),
    ];
    let subscription = world.make("/v1/subscriptions", &form).await;
    report(&world, "calls", &customer, "100").await;
    world.advance("8d").await;
    assert_eq!(newest(&world, &subscription).await.0, 0);
    report(&world, "calls", &customer, "3").await;
    world.advance("1mo").await;
    assert_eq!(newest(&world, &subscription).await.0, 6);
}

#[tokio::test]
async fn the_last_usage_is_billed_when_it_ends() {
    let world = World::start().await;
    let price = metered(&world, "calls", &[("unit_amount", "2")]).await;
    let customer = world.payer("pm_card_visa").await;
    let subscription = subscribe(&world, &customer, &price).await;
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    world.make(&path, &[("cancel_at_period_end", "true")]).await;
    report(&world, "calls", &customer, "50").await;
    world.advance("period-end").await;
    assert_eq!(world.look(&path).await["status"], "canceled");
    assert_eq!(newest(&world, &subscription).await, (100, Some(50), Some(100)));
    let second = subscribe(&world, &customer, &price).await;
    report(&world, "calls", &customer, "7").await;
    world.advance("1h").await;
    let request = world.request("DELETE", &format!("/v1/subscriptions/{}", id(&second)));
    let (status, body) = world.send(request.form(&[("invoice_now", "true")])).await;
    assert_eq!((status, &body["status"]), (200, &json!("canceled")), "{body}");
    assert_eq!(newest(&world, &second).await, (14, Some(7), Some(14)));
    let third = subscribe(&world, &customer, &price).await;
    report(&world, "calls", &customer, "7").await;
    world.delete(&format!("/v1/subscriptions/{}", id(&third))).await;
    assert_eq!(invoices(&world, &third).await.len(), 1, "nobody asked for a last invoice");
}

#[tokio::test]
async fn a_price_that_leaves_is_billed_up_to_then() {
    let world = World::start().await;
    let cheap = metered(&world, "calls", &[("unit_amount", "1")]).await;
    let dear = metered(&world, "calls", &[("unit_amount", "5")]).await;
    let customer = world.payer("pm_card_visa").await;
    let subscription = subscribe(&world, &customer, &cheap).await;
    report(&world, "calls", &customer, "10").await;
    world.advance("5d").await;
    let item = id(&subscription["items"]["data"][0]);
    let form = [("items[0][id]", item.as_str()), ("items[0][price]", dear.as_str())];
    world.make(&format!("/v1/subscriptions/{}", id(&subscription)), &form).await;
    report(&world, "calls", &customer, "3").await;
    world.advance("period-end").await;
    assert_eq!(newest(&world, &subscription).await.0, 10 + 15);
}

#[tokio::test]
async fn quantities_of_usage_are_refused() {
    let world = World::start().await;
    let price = metered(&world, "calls", &[("unit_amount", "2")]).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("items[0][quantity]", "2"),
    ];
    let (status, body) = world.post("/v1/subscriptions", &form).await;
    assert_eq!((status, text(&body["error"]["param"])), (400, "items[0][quantity]".to_owned()));
    let form = [
        ("mode", "subscription"),
        ("line_items[0][price]", price.as_str()),
        ("line_items[0][quantity]", "1"),
        ("success_url", "http://shop.test/ok"),
    ];
    let (status, body) = world.post("/v1/checkout/sessions", &form).await;
    assert_eq!(
        (status, text(&body["error"]["param"])),
        (400, "line_items[0][quantity]".to_owned())
    );
    let form = [
        ("mode", "subscription"),
        ("line_items[0][price]", price.as_str()),
        ("success_url", "http://shop.test/ok"),
        ("customer", customer.as_str()),
        ("expand[]", "line_items"),
    ];
    let session = world.make("/v1/checkout/sessions", &form).await;
    assert_eq!(session["amount_total"], 0);
    assert_eq!(session["line_items"]["data"][0]["quantity"], json!(null));
    let url = format!("{}/_sandbox/checkout/{}/complete", world.base, id(&session));
    let (status, body) = world.send(world.client.post(url)).await;
    assert_eq!((status, &body["status"]), (200, &json!("complete")), "{body}");
}

#[tokio::test]
async fn a_buyer_elsewhere_pays_the_price_of_their_currency() {
    let world = World::start().await;
    let product = id(&world.make("/v1/products", &[("name", "Pro")]).await);
    let form = [
        ("product", product.as_str()),
        ("currency", "usd"),
        ("unit_amount", "1000"),
        ("recurring[interval]", "month"),
        ("currency_options[eur][unit_amount]", "900"),
    ];
    let price = id(&world.make("/v1/prices", &form).await);
    let customer = world.payer("pm_card_visa").await;
    let form =
        [("customer", customer.as_str()), ("items[0][price]", price.as_str()), ("currency", "eur")];
    let subscription = world.make("/v1/subscriptions", &form).await;
    assert_eq!(subscription["currency"], "eur");
    assert_eq!(newest(&world, &subscription).await.0, 900);
    let session = world.session(&price, "subscription", &[("currency", "eur")]).await;
    assert_eq!((&session["amount_total"], &session["currency"]), (&json!(900), &json!("eur")));
    let form =
        [("customer", customer.as_str()), ("items[0][price]", price.as_str()), ("currency", "gbp")];
    let (status, body) = world.post("/v1/subscriptions", &form).await;
    assert_eq!((status, text(&body["error"]["param"])), (400, "items".to_owned()));
}
