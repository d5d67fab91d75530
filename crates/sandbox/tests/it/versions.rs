//! Older versions of the API: their shapes, their parameters, and webhooks in the endpoint's own.

use serde_json::{Value, json};

use crate::world::{Answer, Shop, World, id, text};

const CARD: &str = "pm_card_visa";

async fn look(world: &World, version: &str, path: &str) -> Value {
    let (status, body) =
        world.send(world.request("GET", path).header("stripe-version", version)).await;
    assert_eq!(status, 200, "{version} {path}: {body}");
    body
}

async fn post(world: &World, version: &str, path: &str, form: &[(&str, &str)]) -> Answer {
    world.send(world.request("POST", path).header("stripe-version", version).form(form)).await
}

async fn subscribed(world: &World) -> Value {
    let customer = world.payer(CARD).await;
    let price = world.price("1000", Some("month")).await;
    let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
    world.make("/v1/subscriptions", &form).await
}

#[tokio::test]
async fn unknown_versions_are_refused_and_known_ones_named() {
    let world = World::start().await;
    for unknown in ["2019-2-19", "2099-01-01.fern", "", "2025-03-31.clover", "2026-08.preview"] {
        let request = world.request("POST", "/v1/customers").header("stripe-version", unknown);
        let (status, body) = world.send(request).await;
        let message = text(&body["error"]["message"]);
        assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")));
        assert!(
            message.starts_with(&format!("Invalid Stripe API version: {unknown}")),
            "{message}"
        );
    }
    assert_eq!(world.look("/v1/customers").await["data"], json!([]), "nothing was made");
    for (asked, told) in [(Some("2024-06-20"), "2024-06-20"), (None, "2026-10-28.endive")] {
        let mut request = world.request("GET", "/v1/customers");
        if let Some(asked) = asked {
            request = request.header("stripe-version", asked);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.headers()["stripe-version"], told);
    }
    let form = [("url", "http://shop.test/"), ("enabled_events[]", "*"), ("api_version", "2019")];
    let (status, body) = world.post("/v1/webhook_endpoints", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("api_version")));
}

#[tokio::test]
async fn moved_properties_are_where_each_version_had_them() {
    let world = World::start().await;
    let subscription = subscribed(&world).await;
    let customer = text(&subscription["customer"]);
    let invoice = format!("/v1/invoices/{}", text(&subscription["latest_invoice"]));
    let subscription = format!("/v1/subscriptions/{}", id(&subscription));
    let charges = format!("/v1/charges?customer={customer}");
    let intents = format!("/v1/payment_intents?customer={customer}");
    // Where, what, in which of the four: 2024-06-20, the first basil, the first clover, today's.
    let truths = [
        (&subscription, "/current_period_end", "1..."),
        (&subscription, "/items/data/0/current_period_end", ".111"),
        (&subscription, "/discount", "1..."),
        (&subscription, "/discounts", "1111"),
        (&subscription, "/billing_mode", "..11"),
        (&subscription, "/customer_account", "...1"),
        (&subscription, "/items/data/0/price/recurring/aggregate_usage", "1..."),
        (&invoice, "/payment_intent", "1..."),
        (&invoice, "/charge", "1..."),
        (&invoice, "/paid", "1..."),
        (&invoice, "/subscription", "1..."),
        (&invoice, "/subscription_details/metadata", "1..."),
        (&invoice, "/total_tax_amounts", "1..."),
        (&invoice, "/total_taxes", ".111"),
        (&invoice, "/parent/subscription_details/subscription", ".111"),
        (&invoice, "/lines/data/0/price/id", "1..."),
        (&invoice, "/lines/data/0/plan/id", "1..."),
        (&invoice, "/lines/data/0/type", "1..."),
        (&invoice, "/lines/data/0/pricing/price_details/price", ".111"),
        (&invoice, "/lines/data/0/parent", ".111"),
        (&invoice, "/lines/data/0/subscription", "1111"),
        (&charges, "/data/0/invoice", "1..."),
        (&intents, "/data/0/invoice", "1..."),
        (&intents, "/data/0/excluded_payment_method_types", "..11"),
    ];
    let versions = ["2024-06-20", "2025-03-31.basil", "2025-09-30.clover", "2026-10-28.endive"];
    for (path, pointer, expected) in truths {
        let mut found = String::new();
        for version in versions {
            let shown = look(&world, version, path).await;
            found.push(if shown.pointer(pointer).is_some() { '1' } else { '.' });
        }
        assert_eq!(found, expected, "{pointer}");
    }
}

#[tokio::test]
async fn values_move_with_their_properties() {
    let world = World::start().await;
    let subscription = subscribed(&world).await;
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let expand = "?expand[]=latest_invoice.payment_intent&expand[]=latest_invoice.charge.invoice\
                  &expand[]=latest_invoice.subscription.customer\
                  &expand[]=latest_invoice.lines.data.price.product";
    let old = look(&world, "2024-06-20", &format!("{path}{expand}")).await;
    let item = &subscription["items"]["data"][0];
    assert_eq!(old["current_period_end"], item["current_period_end"]);
    assert_eq!(old["current_period_start"], item["current_period_start"]);
    let invoice = &old["latest_invoice"];
    assert_eq!(invoice["paid"], true);
    assert_eq!(invoice["tax"], Value::Null);
    assert_eq!(invoice["payment_intent"]["status"], "succeeded");
    assert_eq!(invoice["payment_intent"]["invoice"], invoice["id"]);
    assert_eq!(invoice["charge"]["id"], invoice["payment_intent"]["latest_charge"]);
    assert_eq!(invoice["charge"]["invoice"]["charge"], invoice["charge"]["id"], "shown as old too");
    assert_eq!(invoice["subscription"]["customer"]["email"], "ada@example.com");
    let line = &invoice["lines"]["data"][0];
    assert_eq!((&line["type"], &line["proration"]), (&json!("subscription"), &json!(false)));
    assert_eq!(line["price"]["product"]["name"], "Pro");
    assert_eq!(line["plan"]["id"], line["price"]["id"]);
    assert_eq!(line["subscription_item"], item["id"]);
    assert_eq!(line["unit_amount_excluding_tax"], "1000");
    // What moved away cannot be expanded where it is no more.
    let refused = format!("{path}?expand[]=latest_invoice.payment_intent");
    let (status, body) = world.get(&refused).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("expand")));
    let request = world.request("GET", &format!("{path}?expand[]=latest_invoice.payments"));
    let (status, _) = world.send(request.header("stripe-version", "2024-06-20")).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn prorations_are_invoice_items_before_basil() {
    let world = World::start().await;
    let subscription = subscribed(&world).await;
    let other = world.price("3000", Some("month")).await;
    let item = text(&subscription["items"]["data"][0]["id"]);
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let form = [
        ("items[0][id]", item.as_str()),
        ("items[0][price]", &other),
        ("proration_behavior", "always_invoice"),
    ];
    let changed = world.make(&path, &form).await;
    let invoice = format!("/v1/invoices/{}", text(&changed["latest_invoice"]));
    let invoice = look(&world, "2024-06-20", &invoice).await;
    let lines = invoice["lines"]["data"].as_array().expect("lines");
    assert!(lines.iter().any(|line| line["amount"].as_i64() < Some(0)), "{invoice}");
    for line in lines {
        assert_eq!((&line["proration"], &line["type"]), (&json!(true), &json!("invoiceitem")));
        assert_eq!(line["subscription_item"], item);
        let waiting = format!("/v1/invoiceitems/{}", text(&line["invoice_item"]));
        let waiting = look(&world, "2024-06-20", &waiting).await;
        assert_eq!(waiting["subscription"], subscription["id"]);
        assert_eq!(waiting["price"]["id"], line["price"]["id"]);
        assert_eq!(waiting.get("pricing"), None);
    }
}

/// The event in which something was different before.
async fn change_of(shop: &Shop, key: &str) -> Value {
    let mut hooks = shop.wait_for(3).await.into_iter();
    let found = hooks.find(|hook| !hook.event["data"]["previous_attributes"][key].is_null());
    found.expect("it changed").event
}

#[tokio::test]
async fn every_endpoint_hears_its_own_version() {
    let world = World::start().await;
    let (old, new) = (Shop::open(&[]).await, Shop::open(&[]).await);
    for (shop, version) in [(&old, "2024-06-20"), (&new, "2025-10-29.clover")] {
        let form = [
            ("url", shop.url.as_str()),
            ("enabled_events[]", "customer.subscription.updated"),
            ("enabled_events[]", "invoice.paid"),
            ("api_version", version),
        ];
        let endpoint = world.make("/v1/webhook_endpoints", &form).await;
        assert_eq!(endpoint["api_version"], version);
    }
    let subscription = subscribed(&world).await;
    world.advance("32d").await;
    let old_event = change_of(&old, "current_period_end").await;
    let new_event = change_of(&new, "items").await;
    let item = &subscription["items"]["data"][0];
    assert_eq!(old_event["api_version"], "2024-06-20");
    let before = &old_event["data"]["previous_attributes"];
    assert_eq!(before["current_period_end"], item["current_period_end"]);
    assert_eq!(before.get("items"), None, "the items had no period that could move");
    assert!(old_event["data"]["object"]["current_period_end"].is_i64());
    assert_eq!(new_event["api_version"], "2025-10-29.clover");
    let before = &new_event["data"]["previous_attributes"];
    assert_eq!(before.get("current_period_end"), None);
    assert_eq!(before["items"]["data"][0]["current_period_end"], item["current_period_end"]);
    assert_eq!(new_event["data"]["object"].get("customer_account"), None);
    let paid = old.hooks().into_iter().find(|hook| hook.event["type"] == "invoice.paid");
    let paid = &paid.expect("an invoice was paid").event["data"]["object"];
    assert_eq!(paid["subscription"], subscription["id"]);
    assert!(paid["payment_intent"].is_string() && paid.get("parent").is_none());
    // An event that is fetched is shown as it was made, whatever the caller speaks.
    let fetched = format!("/v1/events/{}", text(&old_event["id"]));
    let fetched = look(&world, "2024-06-20", &fetched).await;
    assert_eq!(fetched["api_version"], "2026-10-28.endive");
    assert_eq!(fetched["data"]["object"].get("current_period_end"), None);
}

#[tokio::test]
async fn declines_carry_the_payment_intent_as_it_was_shown() {
    let world = World::start().await;
    let form = [
        ("amount", "2000"),
        ("currency", "usd"),
        ("confirm", "true"),
        ("payment_method", "pm_card_chargeDeclined"),
        ("return_url", "http://shop.test/"),
    ];
    for (version, expected) in [("2024-06-20", true), ("2026-10-28.endive", false)] {
        let (status, body) = post(&world, version, "/v1/payment_intents", &form).await;
        assert_eq!(status, 402);
        let intent = &body["error"]["payment_intent"];
        assert_eq!(intent.get("invoice").is_some(), expected, "{version}");
        assert_eq!(intent.get("customer_account").is_none(), expected, "{version}");
    }
}

#[tokio::test]
async fn older_parameters_are_read_and_newer_versions_refuse_them() {
    let world = World::start().await;
    let coupon = world.make("/v1/coupons", &[("percent_off", "25"), ("duration", "once")]).await;
    let coupon = id(&coupon);
    let form = [("coupon", coupon.as_str()), ("code", "SPRING")];
    let (status, body) = post(&world, "2025-09-30.clover", "/v1/promotion_codes", &form).await;
    assert_eq!(status, 400, "{body}");
    let (status, body) = post(&world, "2025-08-27.basil", "/v1/promotion_codes", &form).await;
    assert_eq!((status, &body["coupon"]["id"]), (200, &json!(coupon)), "{body}");
    assert_eq!(body.get("promotion"), None);
    let price = world.price("1000", None).await;
    let form = [
        ("mode", "payment"),
        ("line_items[0][price]", price.as_str()),
        ("line_items[0][quantity]", "1"),
        ("success_url", "http://shop.test/ok"),
        ("ui_mode", "hosted"),
    ];
    let (status, body) = post(&world, "2026-03-25.dahlia", "/v1/checkout/sessions", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("ui_mode")));
    let (status, body) = post(&world, "2026-02-25.clover", "/v1/checkout/sessions", &form).await;
    assert_eq!((status, &body["ui_mode"]), (200, &json!("hosted")));
    let customer = world.payer(CARD).await;
    let form = [("customer", customer.as_str()), ("price", &price)];
    let (status, _) = post(&world, "2025-03-31.basil", "/v1/invoiceitems", &form).await;
    assert_eq!(status, 400);
    let (status, body) = post(&world, "2024-06-20", "/v1/invoiceitems", &form).await;
    assert_eq!((status, &body["unit_amount"]), (200, &json!(1000)), "{body}");
}
