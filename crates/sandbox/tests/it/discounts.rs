//! Discounts on customers, subscriptions, invoices and Checkout pages, to the cent.

use serde_json::{Value, json};

use crate::world::{World, id, text};

async fn coupon(world: &World, form: &[(&str, &str)]) -> String {
    id(&world.make("/v1/coupons", form).await)
}

async fn code(world: &World, coupon: &str, more: &[(&str, &str)]) -> Value {
    let mut form = vec![("promotion[type]", "coupon"), ("promotion[coupon]", coupon)];
    form.extend_from_slice(more);
    world.make("/v1/promotion_codes", &form).await
}

/// Completes a session as its page would, with a code typed on it.
async fn complete(world: &World, session: &Value, code: Option<&str>) -> (u16, Value) {
    let path = format!("/_sandbox/checkout/{}/complete", text(&session["id"]));
    let mut form = vec![("payment_method", "pm_card_visa")];
    form.extend(code.map(|code| ("promotion_code", code)));
    world.post(&path, &form).await
}

async fn totals(world: &World, subscription: &str) -> Vec<i64> {
    let list = world.look(&format!("/v1/invoices?limit=100&subscription={subscription}")).await;
    let rows = list["data"].as_array().expect("a list").iter().rev();
    rows.map(|row| row["total"].as_i64().expect("an amount")).collect()
}

#[tokio::test]
async fn a_repeating_discount_ends_after_its_months() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let price = world.price("1999", Some("month")).await;
    let form = [("percent_off", "50"), ("duration", "repeating"), ("duration_in_months", "2")];
    let coupon = coupon(&world, &form).await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("discounts[0][coupon]", &coupon),
        ("expand[]", "discounts"),
        ("expand[]", "latest_invoice"),
    ];
    let subscription = world.make("/v1/subscriptions", &form).await;
    let discount = &subscription["discounts"][0];
    assert_eq!(discount["source"]["coupon"], json!(coupon));
    assert_eq!(discount["customer"], json!(customer));
    assert_eq!(discount["subscription"], subscription["id"]);
    let invoice = &subscription["latest_invoice"];
    assert_eq!((&invoice["subtotal"], &invoice["total"]), (&json!(1999), &json!(999)));
    let amounts = json!([{"amount": 1000, "discount": discount["id"]}]);
    assert_eq!(invoice["total_discount_amounts"], amounts);
    assert_eq!(invoice["lines"]["data"][0]["discount_amounts"], amounts);
    assert_eq!(invoice["amount_paid"], 999);
    for _ in 0..3 {
        assert_eq!(world.advance("period-end").await.0, 200);
    }
    let id = id(&subscription);
    assert_eq!(totals(&world, &id).await, [999, 999, 1999, 1999]);
    assert_eq!(world.look(&format!("/v1/subscriptions/{id}")).await["discounts"], json!([]));
    let kinds = world.events().await;
    let told = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!(told("customer.discount.created"), 1);
    assert_eq!(told("customer.discount.deleted"), 1);
    let coupon = world.look(&format!("/v1/coupons/{coupon}")).await;
    assert_eq!(coupon["times_redeemed"], 1);
}

#[tokio::test]
async fn a_discount_of_one_time_waits_for_a_trial_and_is_used_up_once() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let price = world.price("1000", Some("month")).await;
    let form = [("amount_off", "300"), ("currency", "usd")];
    let coupon = coupon(&world, &form).await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("trial_period_days", "7"),
        ("discounts[0][coupon]", &coupon),
    ];
    let subscription = id(&world.make("/v1/subscriptions", &form).await);
    for _ in 0..2 {
        world.advance("period-end").await;
    }
    assert_eq!(totals(&world, &subscription).await, [0, 700, 1000]);
}

#[tokio::test]
async fn discounts_of_items_come_before_those_of_the_subscription() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let first = world.price("1000", Some("month")).await;
    let second = world.price("3333", Some("month")).await;
    let tenth = coupon(&world, &[("percent_off", "10"), ("duration", "forever")]).await;
    let amount = [("amount_off", "100"), ("currency", "usd"), ("duration", "forever")];
    let amount = coupon(&world, &amount).await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &first),
        ("items[0][discounts][0][coupon]", &tenth),
        ("items[1][price]", &second),
        ("discounts[0][coupon]", &amount),
        ("discounts[1][coupon]", &tenth),
        ("expand[]", "latest_invoice"),
    ];
    let subscription = world.make("/v1/subscriptions", &form).await;
    let invoice = &subscription["latest_invoice"];
    // 1000 - 100 of the item, then 100 of all, then a tenth of the remaining 4133.
    assert_eq!((&invoice["subtotal"], &invoice["total"]), (&json!(4233), &json!(3720)));
    let lines = invoice["lines"]["data"].as_array().expect("lines");
    let off: i64 = lines
        .iter()
        .flat_map(|line| line["discount_amounts"].as_array().expect("amounts"))
        .map(|found| found["amount"].as_i64().expect("an amount"))
        .sum();
    assert_eq!(off, 4333 - 3720);
    assert_eq!(lines[0]["discounts"].as_array().map(Vec::len), Some(1));
    assert_eq!(lines[0]["discounts"], subscription["items"]["data"][0]["discounts"]);
    // An update replaces the list; the empty one clears it.
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let kept = text(&subscription["discounts"][1]);
    let updated = world.make(&path, &[("discounts[0][discount]", &kept)]).await;
    assert_eq!(updated["discounts"], json!([kept]));
    let updated = world.make(&path, &[("discounts", "")]).await;
    assert_eq!(updated["discounts"], json!([]));
    let (status, body) = world.post(&path, &[("discounts[0][discount]", &kept)]).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("resource_missing")));
}

#[tokio::test]
async fn a_customers_discount_is_inherited_replaced_and_deleted() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let path = format!("/v1/customers/{customer}");
    let (status, _) = world.delete(&format!("{path}/discount")).await;
    assert_eq!(status, 404);
    let quarter = coupon(&world, &[("percent_off", "25"), ("duration", "forever")]).await;
    let half = coupon(&world, &[("percent_off", "50"), ("duration", "forever")]).await;
    world.make(&path, &[("coupon", &half)]).await;
    let shown = world.make(&path, &[("coupon", &quarter)]).await;
    assert_eq!(shown["discount"]["source"]["coupon"], json!(quarter));
    let form = [("customer", customer.as_str()), ("amount", "999"), ("currency", "usd")];
    world.make("/v1/invoiceitems", &form).await;
    let form = [("customer", customer.as_str()), ("pending_invoice_items_behavior", "include")];
    let invoice = world.make("/v1/invoices", &form).await;
    assert_eq!((&invoice["subtotal"], &invoice["total"]), (&json!(999), &json!(749)));
    let form = [("discounts[0][coupon]", half.as_str())];
    let invoice = world.make(&format!("/v1/invoices/{}", id(&invoice)), &form).await;
    assert_eq!(invoice["total"], 499);
    let invoice = world.make(&format!("/v1/invoices/{}/pay", id(&invoice)), &[]).await;
    assert_eq!((&invoice["status"], &invoice["amount_paid"]), (&json!("paid"), &json!(499)));
    let (status, deleted) = world.delete(&format!("{path}/discount")).await;
    assert_eq!((status, &deleted["deleted"]), (200, &json!(true)), "{deleted}");
    assert_eq!(world.look(&path).await["discount"], Value::Null);
    let kinds = world.events().await;
    for kind in ["created", "updated", "deleted"] {
        assert!(kinds.contains(&format!("customer.discount.{kind}")), "{kind}");
    }
    let shown = world.look(&format!("/v1/invoices/{}", id(&invoice))).await;
    assert_eq!(shown["total"], 499, "a final invoice stays as it was");
}

#[tokio::test]
async fn a_coupon_for_a_product_leaves_other_lines_alone() {
    let world = World::start().await;
    let covered = world.price("700", None).await;
    let other = world.price("900", None).await;
    let product = text(&world.look(&format!("/v1/prices/{covered}")).await["product"]);
    let form = [("percent_off", "100"), ("applies_to[products][]", product.as_str())];
    let coupon = coupon(&world, &form).await;
    let form = [
        ("line_items[1][price]", other.as_str()),
        ("line_items[1][quantity]", "1"),
        ("discounts[0][coupon]", &coupon),
    ];
    let session = world.session(&covered, "payment", &form).await;
    assert_eq!(
        (&session["amount_subtotal"], &session["amount_total"]),
        (&json!(1600), &json!(900))
    );
    let path = format!("/v1/checkout/sessions/{}/line_items", id(&session));
    let lines = world.look(&path).await;
    let off: Vec<&Value> = (0..2).map(|place| &lines["data"][place]["amount_discount"]).collect();
    assert_eq!(off, [&json!(700), &json!(0)]);
}

#[tokio::test]
async fn a_typed_code_pays_everything_and_no_card_is_needed() {
    let world = World::start().await;
    let price = world.price("2500", None).await;
    let coupon = coupon(&world, &[("percent_off", "100")]).await;
    let promotion = code(&world, &coupon, &[("code", "FREE"), ("max_redemptions", "1")]).await;
    let allow = [("allow_promotion_codes", "true")];
    let session = world.session(&price, "payment", &allow).await;
    let (status, done) = complete(&world, &session, Some(" free ")).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["payment_status"], "no_payment_required");
    assert_eq!((&done["amount_total"], &done["payment_intent"]), (&json!(0), &Value::Null));
    assert_eq!(done["total_details"]["amount_discount"], 2500);
    assert_eq!(done["discounts"][0]["promotion_code"], promotion["id"]);
    let path = format!("/v1/promotion_codes/{}", id(&promotion));
    let shown = world.look(&path).await;
    assert_eq!((&shown["times_redeemed"], &shown["active"]), (&json!(1), &json!(false)));
    // It is used up now.
    let session = world.session(&price, "payment", &allow).await;
    let (status, body) = complete(&world, &session, Some("FREE")).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("promotion_code")), "{body}");
}

#[tokio::test]
async fn codes_are_refused_with_their_reason_and_nothing_changes() {
    let world = World::start().await;
    let price = world.price("2500", None).await;
    let customer = world.payer("pm_card_visa").await;
    let coupon = coupon(&world, &[("percent_off", "20")]).await;
    let soon =
        (world.look("/_sandbox/clock").await["now"].as_i64().expect("a time") + 60).to_string();
    code(&world, &coupon, &[("code", "OLD"), ("expires_at", &soon)]).await;
    code(&world, &coupon, &[("code", "HERS"), ("customer", &customer)]).await;
    let least = [
        ("restrictions[minimum_amount]", "2501"),
        ("restrictions[minimum_amount_currency]", "usd"),
    ];
    code(&world, &coupon, &[&[("code", "BIG")], &least[..]].concat()).await;
    let first = ("restrictions[first_time_transaction]", "true");
    code(&world, &coupon, &[("code", "FIRST"), first]).await;
    world.advance("2m").await;
    let allow = ("allow_promotion_codes", "true");
    let session = world.session(&price, "payment", &[allow]).await;
    for (typed, reason) in
        [("OLD", "expired"), ("HERS", "this customer"), ("BIG", "25.01 USD"), ("NONE", "invalid")]
    {
        let (status, body) = complete(&world, &session, Some(typed)).await;
        let message = text(&body["error"]["message"]);
        assert_eq!(status, 400);
        assert!(message.contains(reason), "{typed}: {message}");
    }
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    let shown = world.look(&path).await;
    assert_eq!((&shown["discounts"], &shown["status"]), (&json!([]), &json!("open")));
    // Her own code works for her; the one for newcomers only once she has not paid yet.
    let hers = [allow, ("customer", customer.as_str())];
    let session = world.session(&price, "payment", &hers).await;
    let (_, done) = complete(&world, &session, Some("HERS")).await;
    assert_eq!((&done["amount_total"], &done["payment_status"]), (&json!(2000), &json!("paid")));
    let session = world.session(&price, "payment", &hers).await;
    let (status, body) = complete(&world, &session, Some("FIRST")).await;
    assert!(status == 400 && text(&body["error"]["message"]).contains("prior"), "{body}");
    let session = world.session(&price, "payment", &[]).await;
    assert_eq!(complete(&world, &session, Some("HERS")).await.0, 400, "no codes are taken here");
}

#[tokio::test]
async fn a_session_takes_discounts_or_codes_and_only_one() {
    let world = World::start().await;
    let price = world.price("2500", None).await;
    let half = coupon(&world, &[("percent_off", "50")]).await;
    let euros = coupon(&world, &[("amount_off", "50"), ("currency", "eur")]).await;
    let given = ("discounts[0][coupon]", half.as_str());
    for more in [
        vec![given, ("allow_promotion_codes", "true")],
        vec![given, ("discounts[1][coupon]", half.as_str())],
        vec![("discounts[0][coupon]", euros.as_str())],
        vec![("discounts[0][coupon]", "nothing")],
        vec![("discounts[0][promotion_code]", "promo_nothing")],
        vec![given, ("discounts[0][promotion_code]", "promo_nothing")],
    ] {
        let mut form = vec![
            ("mode", "payment"),
            ("line_items[0][price]", price.as_str()),
            ("line_items[0][quantity]", "1"),
            ("success_url", "http://shop.test/ok"),
        ];
        form.extend(more);
        let (status, body) = world.post("/v1/checkout/sessions", &form).await;
        assert_eq!(status, 400, "{form:?}: {body}");
    }
    assert_eq!(world.look("/v1/checkout/sessions").await["data"], json!([]));
}

#[tokio::test]
async fn a_subscription_bought_with_a_code_keeps_the_discount() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let once = world.price("333", None).await;
    let form = [("percent_off", "33.3"), ("duration", "forever")];
    let third = coupon(&world, &form).await;
    code(&world, &third, &[("code", "THIRD")]).await;
    let form = [
        ("allow_promotion_codes", "true"),
        ("line_items[1][price]", once.as_str()),
        ("line_items[1][quantity]", "1"),
    ];
    let session = world.session(&price, "subscription", &form).await;
    let (status, done) = complete(&world, &session, Some("THIRD")).await;
    assert_eq!(status, 200, "{done}");
    let invoice = world.look(&format!("/v1/invoices/{}", text(&done["invoice"]))).await;
    assert_eq!(done["amount_total"], 889);
    assert_eq!((&invoice["total"], &invoice["amount_paid"]), (&json!(889), &json!(889)));
    world.advance("period-end").await;
    assert_eq!(totals(&world, &text(&done["subscription"])).await, [889, 667]);
    let path = format!("/v1/subscriptions/{}/discount", text(&done["subscription"]));
    let (status, body) = world.delete(&path).await;
    assert_eq!((status, &body["object"]), (200, &json!("discount")), "{body}");
    world.advance("period-end").await;
    assert_eq!(totals(&world, &text(&done["subscription"])).await, [889, 667, 1000]);
    assert_eq!(world.delete(&path).await.0, 404);
}

#[tokio::test]
async fn yen_and_dinars_are_discounted_in_their_own_units() {
    let world = World::start().await;
    for (currency, amount, expected) in [("jpy", "1001", 501), ("kwd", "12345", 6173)] {
        let customer = world.payer("pm_card_visa").await;
        let half = coupon(&world, &[("percent_off", "50")]).await;
        let form = [
            ("customer", customer.as_str()),
            ("amount", amount),
            ("currency", currency),
            ("discounts[0][coupon]", &half),
        ];
        let item = world.make("/v1/invoiceitems", &form).await;
        assert_eq!(item["discounts"].as_array().map(Vec::len), Some(1));
        let form = [
            ("customer", customer.as_str()),
            ("currency", currency),
            ("pending_invoice_items_behavior", "include"),
        ];
        let invoice = world.make("/v1/invoices", &form).await;
        let whole: i64 = amount.parse().expect("a number");
        assert_eq!(invoice["total"], whole - expected, "{currency}");
        assert_eq!(invoice["subtotal"], whole - expected, "item discounts are off already");
    }
}
