//! Tax rates, automatic tax, calculations and transactions.

use serde_json::{Value, json};

use crate::world::{World, id, text};

async fn rate(world: &World, percentage: &str, inclusive: &str) -> String {
    let form = [("display_name", "VAT"), ("percentage", percentage), ("inclusive", inclusive)];
    id(&world.make("/v1/tax_rates", &form).await)
}

#[tokio::test]
async fn tax_rates_are_made_archived_and_refused() {
    let world = World::start().await;
    let form = [
        ("display_name", "BTW"),
        ("percentage", "21.5"),
        ("inclusive", "true"),
        ("country", "NL"),
        ("tax_type", "vat"),
    ];
    let made = world.make("/v1/tax_rates", &form).await;
    assert_eq!((&made["percentage"], &made["inclusive"]), (&json!(21.5), &json!(true)));
    let path = format!("/v1/tax_rates/{}", id(&made));
    assert_eq!(world.make(&path, &[("active", "false")]).await["active"], false);
    let (status, _) = world.post(&path, &[("percentage", "5")]).await;
    assert_eq!(status, 400, "a rate keeps its percentage");
    for missing in ["display_name", "percentage", "inclusive"] {
        let form: Vec<_> = form.into_iter().filter(|(name, _)| *name != missing).collect();
        let (status, body) = world.post("/v1/tax_rates", &form).await;
        assert_eq!((status, &body["error"]["param"]), (400, &json!(missing)), "{body}");
    }
    let customer = world.payer("pm_card_visa").await;
    let archived = text(&made["id"]);
    let form = [("customer", customer.as_str()), ("default_tax_rates[]", archived.as_str())];
    let (status, body) = world.post("/v1/invoices", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("default_tax_rates[0]")));
}

#[tokio::test]
async fn rates_are_added_to_or_found_in_what_discounts_leave() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let price = world.price("1000", Some("month")).await;
    let other = world.price("605", Some("month")).await;
    let exclusive = rate(&world, "20", "false").await;
    let inclusive = rate(&world, "21", "true").await;
    let coupon = id(&world.make("/v1/coupons", &[("percent_off", "50")]).await);
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("items[1][price]", &other),
        ("items[1][tax_rates][]", &inclusive),
        ("default_tax_rates[]", &exclusive),
        ("discounts[0][coupon]", &coupon),
        ("expand[]", "latest_invoice"),
    ];
    let subscription = world.make("/v1/subscriptions", &form).await;
    assert_eq!(subscription["default_tax_rates"][0]["id"], json!(exclusive));
    let invoice = &subscription["latest_invoice"];
    // 500 + 20 % and 302 (half of 605, the odd cent went to the other line) with 21 % in it.
    let lines = &invoice["lines"]["data"];
    let left: i64 = 1605 - 803;
    assert_eq!(invoice["subtotal"], 1605);
    assert_eq!(invoice["total"], left + 100);
    let taxes: Vec<i64> =
        (0..2).map(|place| lines[place]["taxes"][0]["amount"].as_i64().expect("a tax")).collect();
    assert_eq!(taxes, [100, 52]);
    assert_eq!(invoice["total_excluding_tax"], left - 52);
    assert_eq!(invoice["total_taxes"].as_array().map(Vec::len), Some(2));
    assert_eq!(lines[0]["taxes"][0]["tax_behavior"], "exclusive");
    assert_eq!(invoice["amount_paid"], left + 100);
    world.advance("period-end").await;
    let path = format!("/v1/invoices?subscription={}", id(&subscription));
    assert_eq!(world.look(&path).await["data"][0]["total"], 1605 + 200, "taxes stay");
}

#[tokio::test]
async fn checkout_and_its_invoice_agree_on_taxes() {
    let world = World::start().await;
    let monthly = world.price("999", Some("month")).await;
    let once = world.price("333", None).await;
    let rate = rate(&world, "7.25", "false").await;
    let form = [
        ("line_items[0][tax_rates][]", rate.as_str()),
        ("line_items[1][price]", &once),
        ("line_items[1][quantity]", "3"),
        ("line_items[1][tax_rates][]", &rate),
    ];
    let session = world.session(&monthly, "subscription", &form).await;
    assert_eq!(session["amount_subtotal"], 1998);
    assert_eq!(session["total_details"]["amount_tax"], 144);
    let path = format!("/_sandbox/checkout/{}/complete", id(&session));
    let (status, done) = world.post(&path, &[]).await;
    assert_eq!(status, 200, "{done}");
    let invoice = world.look(&format!("/v1/invoices/{}", text(&done["invoice"]))).await;
    assert_eq!(invoice["total"], done["amount_total"]);
    assert_eq!(done["amount_total"], 1998 + 144);
}

#[tokio::test]
async fn automatic_tax_needs_to_know_where_the_customer_is() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let price = world.price("1000", Some("month")).await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("automatic_tax[enabled]", "true"),
        ("expand[]", "latest_invoice"),
    ];
    let (status, body) = world.post("/v1/subscriptions", &form).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("customer_tax_location_invalid")));
    assert_eq!(world.look("/v1/subscriptions").await["data"], json!([]));
    let draft = [("customer", customer.as_str()), ("automatic_tax[enabled]", "true")];
    let draft = world.make("/v1/invoices", &draft).await;
    assert_eq!(draft["automatic_tax"]["status"], "requires_location_inputs");
    let finalize = format!("/v1/invoices/{}/finalize", id(&draft));
    assert_eq!(world.post(&finalize, &[]).await.0, 400);
    let path = format!("/v1/customers/{customer}");
    world.make(&path, &[("address[country]", "DE")]).await;
    let subscription = world.make("/v1/subscriptions", &form).await;
    let invoice = &subscription["latest_invoice"];
    assert_eq!((&invoice["total"], &invoice["subtotal"]), (&json!(1190), &json!(1000)));
    assert_eq!(invoice["automatic_tax"]["status"], "complete");
    let tax = &invoice["total_taxes"][0];
    assert_eq!(
        (&tax["amount"], &tax["taxability_reason"]),
        (&json!(190), &json!("standard_rated"))
    );
    let rate = text(&tax["tax_rate_details"]["tax_rate"]);
    assert_eq!(world.look(&format!("/v1/tax_rates/{rate}")).await["country"], "DE");
    world.make(&path, &[("tax_exempt", "reverse")]).await;
    world.advance("period-end").await;
    let list = world.look(&format!("/v1/invoices?subscription={}", id(&subscription))).await;
    assert_eq!(list["data"][0]["total"], 1000);
    assert_eq!(list["data"][0]["total_taxes"][0]["taxability_reason"], "reverse_charge");
}

#[tokio::test]
async fn a_buyers_address_decides_the_automatic_tax_of_a_session() {
    let world = World::start().await;
    let price = world.price("1000", None).await;
    let session = world.session(&price, "payment", &[("automatic_tax[enabled]", "true")]).await;
    assert_eq!(session["automatic_tax"]["status"], "requires_location_inputs");
    assert_eq!(session["amount_total"], 1000);
    let path = format!("/_sandbox/checkout/{}/complete", id(&session));
    let (status, done) = world.post(&path, &[("address[country]", "FR")]).await;
    assert_eq!((status, &done["amount_total"]), (200, &json!(1200)), "{done}");
    assert_eq!(done["total_details"]["amount_tax"], 200);
    assert_eq!(done["customer_details"]["address"]["country"], "FR");
    let intent =
        world.look(&format!("/v1/payment_intents/{}", text(&done["payment_intent"]))).await;
    assert_eq!(intent["amount_received"], 1200);
}

#[tokio::test]
async fn a_calculation_becomes_a_transaction_that_can_be_reversed() {
    let world = World::start().await;
    let form = [
        ("currency", "usd"),
        ("line_items[0][amount]", "1000"),
        ("line_items[0][reference]", "one"),
        ("line_items[1][amount]", "2000"),
        ("line_items[1][reference]", "two"),
        ("line_items[1][tax_code]", "txcd_00000000"),
        ("customer_details[address][country]", "US"),
        ("customer_details[address][state]", "CA"),
        ("customer_details[address_source]", "shipping"),
        ("expand[]", "line_items"),
    ];
    let calculation = world.make("/v1/tax/calculations", &form).await;
    assert_eq!(
        (&calculation["amount_total"], &calculation["tax_amount_exclusive"]),
        (&json!(3073), &json!(73))
    );
    assert_eq!(calculation["line_items"]["data"][1]["amount_tax"], 0);
    let form = [("calculation", text(&calculation["id"])), ("reference", "order-1".to_owned())];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let made = world.make("/v1/tax/transactions/create_from_calculation", &form).await;
    let (status, body) = world.post("/v1/tax/transactions/create_from_calculation", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("reference")));
    let original = id(&made);
    let base = |reference: &'static str, mode: &'static str| {
        vec![("mode", mode), ("original_transaction", original.as_str()), ("reference", reference)]
    };
    let mut part = base("refund-1", "partial");
    part.push(("flat_amount", "-1000"));
    let reversal = "/v1/tax/transactions/create_reversal";
    let some = world.make(reversal, &part).await;
    assert_eq!(some["reversal"]["original_transaction"], json!(original));
    let path = format!("/v1/tax/transactions/{}/line_items", id(&some));
    let lines = world.look(&path).await;
    let total: i64 = lines["data"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["amount"].as_i64().unwrap_or(0) + line["amount_tax"].as_i64().unwrap_or(0))
        .sum();
    assert_eq!(total, -1000);
    let rest = world.make(reversal, &base("refund-2", "full")).await;
    assert_eq!(rest["type"], "reversal");
    let (status, _) = world.post(reversal, &base("refund-3", "full")).await;
    assert_eq!(status, 400, "nothing is left");
    let (status, body) = world.post("/v1/tax/calculations", &[("currency", "usd")]).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("customer_details")));
}

#[tokio::test]
async fn the_accounts_tax_settings_and_codes() {
    let world = World::start().await;
    let settings = world.look("/v1/tax/settings").await;
    assert_eq!(settings["status"], "pending");
    let form = [("defaults[tax_code]", "txcd_10000000"), ("head_office[address][country]", "DE")];
    assert_eq!(world.make("/v1/tax/settings", &form).await["status"], "active");
    let codes = world.look("/v1/tax_codes").await;
    assert!(codes["data"].as_array().is_some_and(|codes| 3 < codes.len()));
    assert_eq!(world.look("/v1/tax_codes/txcd_00000000").await["object"], "tax_code");
    assert_eq!(world.get("/v1/tax_codes/txcd_nothing").await.0, 404);
    let found: &Value = &codes["has_more"];
    assert_eq!(found, false);
}
