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
