//! Prorations of discounted subscriptions: nobody gets back, or pays, what a discount has paid.

use serde_json::{Value, json};

use crate::world::{World, id, text};

/// Half of a week.
const HALF: &str = "84h";

async fn coupon(world: &World, form: &[(&str, &str)]) -> String {
    id(&world.make("/v1/coupons", form).await)
}

async fn subscribe(world: &World, customer: &str, price: &str, more: &[(&str, &str)]) -> Value {
    let mut form = vec![("customer", customer), ("items[0][price]", price)];
    form.extend_from_slice(more);
    world.make("/v1/subscriptions?expand[]=latest_invoice", &form).await
}

/// Changes the price of the first item and answers with the amounts of the prorations.
async fn change(
    world: &World,
    subscription: &Value,
    price: &str,
    more: &[(&str, &str)],
) -> Vec<i64> {
    let item = id(&subscription["items"]["data"][0]);
    let mut form = vec![
        ("items[0][id]", item.as_str()),
        ("items[0][price]", price),
        ("proration_behavior", "always_invoice"),
    ];
    form.extend_from_slice(more);
    let path = format!("/v1/subscriptions/{}?expand[]=latest_invoice", id(subscription));
    let changed = world.make(&path, &form).await;
    let lines = changed["latest_invoice"]["lines"]["data"].as_array().expect("lines").clone();
    assert!(lines.iter().all(|line| line["discountable"] == false), "{lines:?}");
    let mut amounts: Vec<i64> =
        lines.iter().map(|line| line["amount"].as_i64().expect("an amount")).collect();
    let total: i64 = amounts.iter().sum();
    assert_eq!(changed["latest_invoice"]["total"], total);
    amounts.sort_unstable();
    amounts
}

#[tokio::test]
async fn what_a_discount_paid_is_not_given_back() {
    let world = World::start().await;
    let price = world.price("3000", Some("week")).await;
    let free = coupon(&world, &[("percent_off", "100"), ("duration", "forever")]).await;
    let quarter = coupon(&world, &[("percent_off", "25"), ("duration", "once")]).await;
    for (coupon, balance) in [(&free, 0), (&quarter, -1125)] {
        let customer = world.payer("pm_card_visa").await;
        let made = subscribe(&world, &customer, &price, &[("discounts[0][coupon]", coupon)]).await;
        world.advance(HALF).await;
        let path = format!("/v1/subscriptions/{}?prorate=true&invoice_now=true", id(&made));
        assert_eq!(world.delete(&path).await.0, 200);
        let customer = world.look(&format!("/v1/customers/{customer}")).await;
        assert_eq!(customer["balance"], balance);
    }
}

#[tokio::test]
async fn a_change_of_plan_keeps_the_discount_on_both_sides() {
    let world = World::start().await;
    let cheap = world.price("1000", Some("week")).await;
    let dear = world.price("2000", Some("week")).await;
    let percent = [("percent_off", "25"), ("duration", "forever")];
    let once = [("percent_off", "25"), ("duration", "once")];
    let amount = [("amount_off", "200"), ("currency", "usd"), ("duration", "forever")];
    for (form, expected) in
        [(&percent[..], [-375, 750]), (&once[..], [-375, 750]), (&amount[..], [-400, 900])]
    {
        let coupon = coupon(&world, form).await;
        for place in ["discounts[0][coupon]", "items[0][discounts][0][coupon]"] {
            let customer = world.payer("pm_card_visa").await;
            let made = subscribe(&world, &customer, &cheap, &[(place, &coupon)]).await;
            world.advance(HALF).await;
            assert_eq!(change(&world, &made, &dear, &[]).await, expected, "{form:?} {place}");
        }
    }
    // The change back gives back what the first change cost.
    let coupon = coupon(&world, &percent).await;
    let customer = world.payer("pm_card_visa").await;
    let classic = [("discounts[0][coupon]", coupon.as_str()), ("billing_mode[type]", "classic")];
    let made = subscribe(&world, &customer, &cheap, &classic).await;
    assert_eq!(change(&world, &made, &dear, &[]).await, [-750, 1500]);
    assert_eq!(change(&world, &made, &cheap, &[]).await, [-1500, 750]);
}

#[tokio::test]
async fn a_discount_given_in_the_middle_counts_from_then_on() {
    let world = World::start().await;
    let cheap = world.price("1000", Some("week")).await;
    let dear = world.price("2000", Some("week")).await;
    let half = coupon(&world, &[("percent_off", "50"), ("duration", "forever")]).await;
    let customer = world.payer("pm_card_visa").await;
    let made = subscribe(&world, &customer, &cheap, &[]).await;
    world.advance(HALF).await;
    let given = [("discounts[0][coupon]", half.as_str())];
    assert_eq!(change(&world, &made, &dear, &given).await, [-500, 500]);
}

#[tokio::test]
async fn a_change_that_waits_for_its_payment_remembers_what_it_cost() {
    let world = World::start().await;
    let weekly = world.price("1000", Some("week")).await;
    let monthly = world.price("8000", Some("month")).await;
    let half = coupon(&world, &[("percent_off", "50"), ("duration", "forever")]).await;
    let customer = world.payer("pm_card_visa").await;
    let given = [("discounts[0][coupon]", half.as_str())];
    let made = subscribe(&world, &customer, &weekly, &given).await;
    let form = [
        ("items[0][id]", id(&made["items"]["data"][0])),
        ("items[0][price]", monthly),
        ("proration_behavior", "none".to_owned()),
        ("payment_behavior", "pending_if_incomplete".to_owned()),
    ];
    let form: Vec<(&str, &str)> = form.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let path = format!("/v1/subscriptions/{}", id(&made));
    let changed = world.make(&format!("{path}?expand[]=latest_invoice"), &form).await;
    assert_eq!(changed["latest_invoice"]["total"], 4000);
    assert_eq!(world.delete(&format!("{path}?prorate=true&invoice_now=true")).await.0, 200);
    let customer = world.look(&format!("/v1/customers/{customer}")).await;
    assert_eq!(customer["balance"], -4000);
}

#[tokio::test]
async fn a_first_period_of_less_is_discounted_like_any_other() {
    let world = World::start().await;
    let price = world.price("1000", Some("week")).await;
    let half = coupon(&world, &[("percent_off", "50"), ("duration", "once")]).await;
    let customer = world.payer("pm_card_visa").await;
    let now = world.look("/_sandbox/clock").await["now"].as_i64().expect("a time");
    let anchor = (now + 302_400).to_string();
    let more = [("discounts[0][coupon]", half.as_str()), ("billing_cycle_anchor", anchor.as_str())];
    let made = subscribe(&world, &customer, &price, &more).await;
    let invoice = &made["latest_invoice"];
    assert_eq!((&invoice["subtotal"], &invoice["total"]), (&json!(500), &json!(250)));
    world.advance("period-end").await;
    let path = format!("/v1/subscriptions/{}?expand[]=latest_invoice", id(&made));
    let renewed = world.look(&path).await;
    assert_eq!(renewed["latest_invoice"]["total"], 1000);
    assert_ne!(text(&renewed["latest_invoice"]["id"]), text(&invoice["id"]));
}

#[tokio::test]
async fn a_subscription_that_ends_within_a_period_pays_for_its_part() {
    let world = World::start().await;
    let price = world.price("1000", Some("week")).await;
    let now = world.look("/_sandbox/clock").await["now"].as_i64().expect("a time");
    for (after, totals) in [(302_400, vec![500]), (604_800 + 302_400, vec![500, 1000])] {
        let customer = world.payer("pm_card_visa").await;
        let end = (world.look("/_sandbox/clock").await["now"].as_i64().expect("a time") + after)
            .to_string();
        let made = subscribe(&world, &customer, &price, &[("cancel_at", &end)]).await;
        assert_eq!(made["cancel_at"].to_string(), end);
        world.advance("15d").await;
        let path = format!("/v1/subscriptions/{}", id(&made));
        assert_eq!(world.look(&path).await["status"], "canceled");
        let list = world.look(&format!("/v1/invoices?subscription={}", id(&made))).await;
        let list = list["data"].as_array().expect("a list");
        let found: Vec<i64> = list.iter().filter_map(|row| row["total"].as_i64()).collect();
        assert_eq!(found, totals, "newest first, from {now}");
        let customer = world.look(&format!("/v1/customers/{customer}")).await;
        assert_eq!(customer["balance"], 0);
    }
}

#[tokio::test]
async fn an_end_that_moves_is_credited_and_charged_again() {
    let world = World::start().await;
    let price = world.price("1000", Some("week")).await;
    let quarter = coupon(&world, &[("percent_off", "25"), ("duration", "forever")]).await;
    let customer = world.payer("pm_card_visa").await;
    let given = [("discounts[0][coupon]", quarter.as_str())];
    let made = subscribe(&world, &customer, &price, &given).await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let start = made["items"]["data"][0]["current_period_start"].as_i64().expect("a time");
    let natural = made["items"]["data"][0]["current_period_end"].clone();
    let end = (start + 302_400).to_string();
    let moved = world.make(&path, &[("cancel_at", &end)]).await;
    assert_eq!(moved["items"]["data"][0]["current_period_end"].to_string(), end);
    let back = world.make(&path, &[("cancel_at", "")]).await;
    assert_eq!(back["items"]["data"][0]["current_period_end"], natural);
    let kept = [("cancel_at", end.as_str()), ("proration_behavior", "none")];
    let kept = world.make(&path, &kept).await;
    assert_eq!(kept["items"]["data"][0]["current_period_end"], natural);
    world.make(&path, &[("cancel_at", "")]).await;
    world.make(&path, &[("cancel_at", &end)]).await;
    let waiting = world.look("/v1/invoiceitems?pending=true").await;
    let waiting = waiting["data"].as_array().expect("a list");
    let amounts: Vec<i64> = waiting.iter().filter_map(|row| row["amount"].as_i64()).collect();
    assert_eq!(amounts, [-375, 375, -375]);
    world.advance("4d").await;
    assert_eq!(world.look(&path).await["status"], "canceled");
    let customer = world.look(&format!("/v1/customers/{customer}")).await;
    assert_eq!(customer["balance"], -375);
}

/// A subscription with an upgrade that waits for its payment.
async fn waiting(world: &World, customer: &str, price: &str) -> (String, String) {
    let made = subscribe(world, customer, price, &[]).await;
    world.give_card(customer, "pm_card_chargeCustomerFail").await;
    let item = id(&made["items"]["data"][0]);
    let form = [
        ("items[0][id]", item.as_str()),
        ("items[0][quantity]", "5"),
        ("payment_behavior", "pending_if_incomplete"),
        ("proration_behavior", "always_invoice"),
    ];
    let path = format!("/v1/subscriptions/{}", id(&made));
    let changed = world.make(&path, &form).await;
    assert!(changed["pending_update"].is_object(), "{changed}");
    (path, format!("/v1/invoices/{}", text(&changed["latest_invoice"])))
}

#[tokio::test]
async fn a_pending_update_ends_with_whatever_comes_first() {
    let world = World::start().await;
    let price = world.price("1000", Some("day")).await;
    for end in ["void", "change", "cancel", "renewal"] {
        let customer = world.payer("pm_card_visa").await;
        let (path, invoice) = waiting(&world, &customer, &price).await;
        match end {
            "void" => {
                world.make(&format!("{invoice}/void"), &[]).await;
            }
            "change" => {
                let item = id(&world.look(&path).await["items"]["data"][0]);
                let form = [("items[0][id]", item.as_str()), ("items[0][quantity]", "2")];
                world.make(&path, &form).await;
            }
            "cancel" => assert_eq!(world.delete(&path).await.0, 200),
            _ => {
                world.give_card(&customer, "pm_card_visa").await;
                world.advance("25h").await;
            }
        }
        let after = world.look(&path).await;
        assert_eq!(after["pending_update"], Value::Null, "{end}");
        assert_ne!(after["items"]["data"][0]["quantity"], 5, "{end}");
        assert_eq!(world.look(&invoice).await["status"], "void", "{end}");
        assert_eq!(world.post(&format!("{invoice}/pay"), &[]).await.0, 400, "{end}");
    }
}

#[tokio::test]
async fn cancel_at_period_end_follows_the_period() {
    let world = World::start().await;
    let week = world.price("1000", Some("week")).await;
    let year = world.price("9000", Some("year")).await;
    let customer = world.payer("pm_card_visa").await;
    let more = [("cancel_at_period_end", "true"), ("trial_period_days", "3")];
    let made = subscribe(&world, &customer, &week, &more).await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let paid = world.make(&path, &[("trial_end", "now")]).await;
    let item = &paid["items"]["data"][0];
    assert_eq!(paid["cancel_at"], item["current_period_end"]);
    let span = item["current_period_end"].as_i64().expect("a time")
        - item["current_period_start"].as_i64().expect("a time");
    assert_eq!(span, 604_800);
    let item = id(item);
    let form = [("items[0][id]", item.as_str()), ("items[0][price]", &year)];
    let yearly = world.make(&path, &form).await;
    assert_eq!(yearly["cancel_at"], yearly["items"]["data"][0]["current_period_end"]);
    assert_eq!(yearly["cancel_at_period_end"], true);
}

#[tokio::test]
async fn a_canceled_subscription_is_not_charged_any_more() {
    let world = World::start().await;
    let price = world.price("1000", Some("week")).await;
    let customer = world.payer("pm_card_visa").await;
    let made = subscribe(&world, &customer, &price, &[]).await;
    world.give_card(&customer, "pm_card_chargeCustomerFail").await;
    world.advance("period-end").await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let late = world.look(&path).await;
    assert_eq!(late["status"], "past_due");
    let first = format!("/v1/invoices/{}", text(&late["latest_invoice"]));
    for _ in 0..4 {
        assert_eq!(world.post(&format!("{first}/pay"), &[]).await.0, 402);
    }
    assert_eq!(world.look(&first).await["attempt_count"], 1, "by hand");
    let item = id(&late["items"]["data"][0]);
    let form = [
        ("items[0][id]", item.as_str()),
        ("items[0][quantity]", "3"),
        ("proration_behavior", "always_invoice"),
    ];
    let more = world.make(&path, &form).await;
    assert_ne!(more["latest_invoice"], late["latest_invoice"]);
    assert_eq!(world.delete(&path).await.0, 200);
    world.give_card(&customer, "pm_card_visa").await;
    world.advance("30d").await;
    for invoice in [late, more] {
        let invoice = format!("/v1/invoices/{}", text(&invoice["latest_invoice"]));
        assert_eq!(world.look(&invoice).await["status"], "open");
    }
}

#[tokio::test]
async fn a_pause_gives_back_once() {
    let world = World::start().await;
    let price = world.price("1000", Some("week")).await;
    let customer = world.payer("pm_card_visa").await;
    let made = subscribe(&world, &customer, &price, &[]).await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    world.advance(HALF).await;
    let back = [("bill_for[unused_time_from][type]", "now")];
    world.make(&format!("{path}/pause"), &back).await;
    let same = [("billing_cycle_anchor[type]", "unchanged")];
    world.make(&format!("{path}/resume"), &same).await;
    assert_eq!(world.delete(&format!("{path}?prorate=true&invoice_now=true")).await.0, 200);
    let customer = world.look(&format!("/v1/customers/{customer}")).await;
    assert_eq!(customer["balance"], -500);
}

#[tokio::test]
async fn a_trial_given_with_other_items_ends_when_it_says() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let made = subscribe(&world, &customer, &price, &[]).await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let item = id(&made["items"]["data"][0]);
    let now = world.look("/_sandbox/clock").await["now"].as_i64().expect("a time");
    let end = (now + 864_000).to_string();
    let form =
        [("trial_end", end.as_str()), ("items[0][id]", item.as_str()), ("items[0][quantity]", "2")];
    let trial = world.make(&path, &form).await;
    assert_eq!(trial["items"]["data"][0]["current_period_end"].to_string(), end);
    world.advance("11d").await;
    assert_eq!(world.look(&path).await["status"], "active");
}

#[tokio::test]
async fn a_credit_with_a_tax_in_it_is_shown_without_it() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let form = [("display_name", "VAT"), ("percentage", "25"), ("inclusive", "true")];
    let rate = id(&world.make("/v1/tax_rates", &form).await);
    for amount in ["2000", "-500"] {
        let form = [("customer", customer.as_str()), ("amount", amount), ("currency", "usd")];
        world.make("/v1/invoiceitems", &form).await;
    }
    let form = [
        ("customer", customer.as_str()),
        ("pending_invoice_items_behavior", "include"),
        ("default_tax_rates[0]", &rate),
    ];
    let invoice = world.make("/v1/invoices", &form).await;
    assert_eq!(invoice["subtotal"], 1500);
    assert_eq!(invoice["subtotal_excluding_tax"], 1200);
    assert_eq!(invoice["total_excluding_tax"], 1200);
}
