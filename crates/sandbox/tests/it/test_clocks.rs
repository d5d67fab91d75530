//! Test clocks: customers whose time is their own.

use std::time::Duration;

use serde_json::Value;

use crate::world::{World, id};

const START: i64 = 1_769_853_600; // 2026-01-31T10:00:00Z
const DAY: i64 = 86_400;

/// A customer with a card and a monthly subscription, on a clock that stands at `START`.
async fn subscriber(world: &World, card: &str) -> (String, String, String) {
    let start = START.to_string();
    let form = [("frozen_time", start.as_str()), ("name", "renewal")];
    let test_clock = id(&world.make("/v1/test_helpers/test_clocks", &form).await);
    let form = [("test_clock", test_clock.as_str()), ("payment_method", card)];
    let customer = world.make("/v1/customers", &form).await;
    assert_eq!(customer["created"], START);
    assert_eq!(customer["test_clock"], *test_clock);
    let customer = id(&customer);
    let methods = world.look(&format!("/v1/payment_methods?customer={customer}")).await;
    let method = methods["data"][0]["id"].as_str().expect("an attached method").to_owned();
    let settings = [("invoice_settings[default_payment_method]", method.as_str())];
    world.make(&format!("/v1/customers/{customer}"), &settings).await;
    let price = world.price("2000", Some("month")).await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    let subscription = id(&world.make("/v1/subscriptions", &form).await);
    (test_clock, customer, subscription)
}

async fn advance(world: &World, test_clock: &str, instant: i64) -> Value {
    let form = [("frozen_time", instant.to_string())];
    let path = format!("/v1/test_helpers/test_clocks/{test_clock}");
    let form: Vec<(&str, &str)> = form.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let moving = world.make(&format!("{path}/advance"), &form).await;
    assert_eq!(moving["status"], "advancing");
    assert_eq!(moving["status_details"]["advancing"]["target_frozen_time"], instant);
    let mut now = world.look(&path).await;
    for _ in 0..200 {
        if now["status"] == "ready" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        now = world.look(&path).await;
    }
    assert_eq!(now["status"], "ready", "the clock does not arrive");
    assert_eq!(now["frozen_time"], instant);
    now
}

#[tokio::test]
async fn a_clock_renews_its_customers_and_nobody_elses() {
    let world = World::start().await;
    let (test_clock, customer, subscription) = subscriber(&world, "pm_card_visa").await;
    advance(&world, &test_clock, START + 29 * DAY).await;
    let row = world.look(&format!("/v1/subscriptions/{subscription}")).await;
    assert_eq!(row["test_clock"], *test_clock);
    // 31 January -> 28 February.
    assert_eq!(row["items"]["data"][0]["current_period_start"], START + 28 * DAY);
    assert_eq!(row["items"]["data"][0]["current_period_end"], START + 59 * DAY);
    let invoices = world.look(&format!("/v1/invoices?customer={customer}")).await;
    let invoices = invoices["data"].as_array().expect("a list");
    assert_eq!(invoices.len(), 2);
    assert_eq!(invoices[0]["created"], START + 28 * DAY);
    assert_eq!(invoices[0]["status"], "paid");
    // The business clock moves on: what follows a test clock does not care.
    assert_eq!(world.advance("1y").await.0, 200);
    let after = world.look(&format!("/v1/subscriptions/{subscription}")).await;
    assert_eq!(after, row);
}

#[tokio::test]
async fn clocks_go_forward_and_not_too_far() {
    let world = World::start().await;
    let (test_clock, _, _) = subscriber(&world, "pm_card_visa").await;
    let path = format!("/v1/test_helpers/test_clocks/{test_clock}/advance");
    for instant in [START - 1, START, START + 70 * DAY] {
        let instant = instant.to_string();
        let (status, body) = world.post(&path, &[("frozen_time", &instant)]).await;
        assert_eq!((status, &body["error"]["param"]), (400, &Value::from("frozen_time")), "{body}");
    }
    let (status, body) = world.post(&path, &[]).await;
    assert_eq!((status, &body["error"]["code"]), (400, &Value::from("parameter_missing")));
    advance(&world, &test_clock, START + 59 * DAY).await;
}

#[tokio::test]
async fn a_deleted_clock_takes_its_customers_along() {
    let world = World::start().await;
    let (test_clock, customer, subscription) = subscriber(&world, "pm_card_visa").await;
    let listed = world.look("/v1/customers").await;
    assert_eq!(listed["data"], Value::Array(Vec::new()), "only its own list shows them");
    let listed = world.look(&format!("/v1/customers?test_clock={test_clock}")).await;
    assert_eq!(listed["data"][0]["id"], *customer);
    let (status, _) = world.delete(&format!("/v1/test_helpers/test_clocks/{test_clock}")).await;
    assert_eq!(status, 200);
    let row = world.look(&format!("/v1/customers/{customer}")).await;
    assert_eq!(row["deleted"], true);
    let row = world.look(&format!("/v1/subscriptions/{subscription}")).await;
    assert_eq!((&row["status"], &row["ended_at"]), (&"canceled".into(), &START.into()));
    let (status, _) = world.get(&format!("/v1/test_helpers/test_clocks/{test_clock}")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_clock_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::start_in(directory.path()).await;
    let (test_clock, _, subscription) = subscriber(&world, "pm_card_chargeCustomerFail").await;
    let row = world.look(&format!("/v1/subscriptions/{subscription}")).await;
    assert_eq!(row["status"], "incomplete");
    let path = format!("/v1/test_helpers/test_clocks/{test_clock}");
    let target = (START + DAY).to_string();
    world.make(&format!("{path}/advance"), &[("frozen_time", &target)]).await;
    world.kill().await;
    let world = World::start_in(directory.path()).await;
    for _ in 0..200 {
        if world.look(&path).await["status"] == "ready" {
            let row = world.look(&format!("/v1/subscriptions/{subscription}")).await;
            assert_eq!(row["status"], "incomplete_expired");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the clock does not arrive");
}
