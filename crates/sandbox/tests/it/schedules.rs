//! Subscription schedules: phases that begin and end by the clock.

use serde_json::{Value, json};

use crate::world::{World, id, text};

async fn subscribe(world: &World, customer: &str, price: &str) -> Value {
    let form = [("customer", customer), ("items[0][price]", price)];
    world.make("/v1/subscriptions", &form).await
}

async fn subscription(world: &World, id: &str) -> Value {
    world.look(&format!("/v1/subscriptions/{id}?expand[]=latest_invoice")).await
}

async fn moved(world: &World, span: &str) {
    let (status, body) = world.advance(span).await;
    assert_eq!(status, 200, "{span}: {body}");
}

fn prices(subscription: &Value) -> Vec<(Value, Value)> {
    let items = subscription["items"]["data"].as_array().expect("items");
    items.iter().map(|item| (item["price"]["id"].clone(), item["quantity"].clone())).collect()
}

#[tokio::test]
async fn a_second_phase_begins_with_the_next_period() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let cheaper = world.price("600", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = id(&subscribe(&world, &customer, &price).await);
    let schedule =
        world.make("/v1/subscription_schedules", &[("from_subscription", row.as_str())]).await;
    assert_eq!((&schedule["status"], &schedule["subscription"]), (&json!("active"), &json!(row)));
    let period = &subscription(&world, &row).await["items"]["data"][0];
    assert_eq!(schedule["phases"][0]["start_date"], period["current_period_start"]);
    assert_eq!(schedule["current_phase"]["end_date"], period["current_period_end"]);
    let path = format!("/v1/subscription_schedules/{}", id(&schedule));
    let start = schedule["phases"][0]["start_date"].to_string();
    let end = schedule["phases"][0]["end_date"].to_string();
    let form = [
        ("phases[0][items][0][price]", price.as_str()),
        ("phases[0][start_date]", start.as_str()),
        ("phases[0][end_date]", end.as_str()),
        ("phases[1][items][0][price]", cheaper.as_str()),
        ("phases[1][items][0][quantity]", "2"),
        ("phases[1][duration][interval]", "month"),
        ("phases[1][metadata][tier]", "low"),
    ];
    let updated = world.make(&path, &form).await;
    assert_eq!(updated["phases"].as_array().map(Vec::len), Some(2));
    assert_eq!(updated["phases"][1]["start_date"], updated["phases"][0]["end_date"]);
    let now = subscription(&world, &row).await;
    assert_eq!(now["schedule"], schedule["id"]);
    assert_eq!(prices(&now), [(json!(price), json!(1))], "nothing changes before its time");
    moved(&world, "period-end").await;
    let changed = subscription(&world, &row).await;
    assert_eq!(prices(&changed), [(json!(cheaper), json!(2))]);
    assert_eq!(changed["latest_invoice"]["total"], 1200, "no proration at the boundary");
    assert_eq!(changed["metadata"]["tier"], "low");
    let list = world.look(&format!("/v1/invoices?subscription={row}")).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
    moved(&world, "period-end").await;
    let done = world.look(&path).await;
    assert_eq!((&done["status"], &done["subscription"]), (&json!("completed"), &json!(null)));
    assert_eq!(done["released_subscription"], json!(row));
    let free = subscription(&world, &row).await;
    assert_eq!((&free["schedule"], &free["status"]), (&json!(null), &json!("active")));
    assert_eq!(free["latest_invoice"]["total"], 1200, "it goes on as it was");
    let kinds = world.events().await;
    let seen = |kind: &str| kinds.iter().filter(|seen| *seen == kind).count();
    assert_eq!(seen("subscription_schedule.created"), 1);
    assert_eq!(seen("subscription_schedule.updated"), 2, "the change and the transition");
    assert_eq!(seen("subscription_schedule.expiring"), 1);
    assert_eq!(seen("subscription_schedule.completed"), 1);
}

#[tokio::test]
async fn a_schedule_makes_its_subscription_when_it_starts() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let now = world.look("/_sandbox/clock").await["now"].as_i64().expect("a time");
    let start = (now + 5 * 86_400).to_string();
    let form = [
        ("customer", customer.as_str()),
        ("start_date", start.as_str()),
        ("end_behavior", "cancel"),
        ("phases[0][items][0][price]", price.as_str()),
        ("phases[0][iterations]", "2"),
        ("phases[0][trial_end]", &(now + 10 * 86_400).to_string()),
        ("default_settings[collection_method]", "charge_automatically"),
    ];
    let schedule = world.make("/v1/subscription_schedules", &form).await;
    assert_eq!(schedule["status"], "not_started");
    assert_eq!(
        (&schedule["subscription"], &schedule["current_phase"]),
        (&json!(null), &json!(null))
    );
    let path = format!("/v1/subscription_schedules/{}", id(&schedule));
    moved(&world, "6d").await;
    let started = world.look(&format!("{path}?expand[]=subscription")).await;
    assert_eq!(started["status"], "active");
    let row = &started["subscription"];
    assert_eq!((&row["status"], &row["schedule"]), (&json!("trialing"), &schedule["id"]));
    assert_eq!(row["cancel_at"], schedule["phases"][0]["end_date"]);
    let row = id(row);
    moved(&world, "5d").await;
    let paid = subscription(&world, &row).await;
    assert_eq!(
        (&paid["status"], &paid["latest_invoice"]["total"]),
        (&json!("active"), &json!(1000))
    );
    moved(&world, "60d").await;
    assert_eq!(subscription(&world, &row).await["status"], "canceled");
    assert_eq!(world.look(&path).await["status"], "completed");
}

#[tokio::test]
async fn a_phase_that_ends_within_a_period_is_prorated() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let dearer = world.price("3000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let now = world.look("/_sandbox/clock").await["now"].as_i64().expect("a time");
    let form = [
        ("customer", customer.as_str()),
        ("start_date", "now"),
        ("phases[0][items][0][price]", price.as_str()),
        ("phases[0][end_date]", &(now + 5 * 86_400).to_string()),
        ("phases[1][items][0][price]", dearer.as_str()),
        ("phases[1][proration_behavior]", "always_invoice"),
    ];
    let schedule = world.make("/v1/subscription_schedules", &form).await;
    let row = text(&schedule["subscription"]);
    assert_eq!(subscription(&world, &row).await["latest_invoice"]["total"], 1000);
    moved(&world, "6d").await;
    let changed = subscription(&world, &row).await;
    assert_eq!(prices(&changed), [(json!(dearer), json!(1))]);
    assert_eq!(changed["latest_invoice"]["billing_reason"], "subscription_update");
    let total = changed["latest_invoice"]["total"].as_i64().expect("a number");
    assert!((1600..1700).contains(&total), "5 of 28 to 31 days are over: {total}");
}

#[tokio::test]
async fn release_and_cancel_end_a_schedule() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    for (verb, subscription_status) in [("release", "active"), ("cancel", "canceled")] {
        let row = id(&subscribe(&world, &customer, &price).await);
        let form = [("from_subscription", row.as_str())];
        let schedule = world.make("/v1/subscription_schedules", &form).await;
        let path = format!("/v1/subscription_schedules/{}", id(&schedule));
        let ended = world.make(&format!("{path}/{verb}"), &[]).await;
        assert_eq!(ended["status"], format!("{verb}{}", if verb == "cancel" { "ed" } else { "d" }));
        let after = subscription(&world, &row).await;
        assert_eq!(after["status"], subscription_status, "{verb}");
        let (status, body) = world.post(&format!("{path}/{verb}"), &[]).await;
        assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")));
        let (status, _) = world.post(&path, &[("end_behavior", "cancel")]).await;
        assert_eq!(status, 400);
    }
    let row = id(&subscribe(&world, &customer, &price).await);
    let form = [("from_subscription", row.as_str())];
    let schedule = world.make("/v1/subscription_schedules", &form).await;
    assert_eq!(world.delete(&format!("/v1/subscriptions/{row}")).await.0, 200);
    let ended = world.look(&format!("/v1/subscription_schedules/{}", id(&schedule))).await;
    assert_eq!(ended["status"], "canceled", "a schedule ends with its subscription");
}

#[tokio::test]
async fn a_phase_sells_something_along() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let setup = world.price("5000", None).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [
        ("customer", customer.as_str()),
        ("start_date", "now"),
        ("phases[0][items][0][price]", price.as_str()),
        ("phases[0][add_invoice_items][0][price]", setup.as_str()),
        ("phases[1][items][0][price]", price.as_str()),
        ("phases[1][items][0][quantity]", "3"),
        ("phases[1][add_invoice_items][0][price]", setup.as_str()),
        ("phases[1][add_invoice_items][0][quantity]", "2"),
    ];
    let schedule = world.make("/v1/subscription_schedules", &form).await;
    assert_eq!(schedule["phases"][1]["add_invoice_items"][0]["quantity"], 2);
    let row = text(&schedule["subscription"]);
    assert_eq!(subscription(&world, &row).await["latest_invoice"]["total"], 6000);
    moved(&world, "period-end").await;
    assert_eq!(subscription(&world, &row).await["latest_invoice"]["total"], 13_000);
    let path = format!("/v1/subscription_schedules/{}/cancel", id(&schedule));
    world.make(&path, &[]).await;
    let ended = subscription(&world, &row).await;
    assert_eq!(ended["status"], "canceled");
    assert_eq!(ended["latest_invoice"]["total"], -3000, "nothing of the period was used");
    let balance = world.look(&format!("/v1/customers/{customer}")).await["balance"].clone();
    assert_eq!(balance, -3000, "it is given back once");
    let recurring = [
        ("customer", customer.as_str()),
        ("start_date", "now"),
        ("phases[0][items][0][price]", price.as_str()),
        ("phases[0][add_invoice_items][0][price]", price.as_str()),
    ];
    let (status, body) = world.post("/v1/subscription_schedules", &recurring).await;
    let param = "phases[0][add_invoice_items][0][price]";
    assert_eq!((status, &body["error"]["param"]), (400, &json!(param)));
}

#[tokio::test]
async fn a_schedule_follows_the_test_clock_of_its_customer() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let form = [("frozen_time", "1577836800")];
    let clock = id(&world.make("/v1/test_helpers/test_clocks", &form).await);
    let customer = id(&world.make("/v1/customers", &[("test_clock", clock.as_str())]).await);
    let form = [
        ("customer", customer.as_str()),
        ("start_date", "1578000000"),
        ("phases[0][items][0][price]", price.as_str()),
    ];
    let schedule = world.make("/v1/subscription_schedules", &form).await;
    assert_eq!(
        (&schedule["status"], &schedule["test_clock"]),
        (&json!("not_started"), &json!(clock))
    );
    let path = format!("/v1/test_helpers/test_clocks/{clock}");
    world.make(&format!("{path}/advance"), &[("frozen_time", "1578000060")]).await;
    for _ in 0..100 {
        if world.look(&path).await["status"] == "ready" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let started = world.look(&format!("/v1/subscription_schedules/{}", id(&schedule))).await;
    assert_eq!(started["status"], "active");
    let row = subscription(&world, &text(&started["subscription"])).await;
    assert_eq!((&row["start_date"], &row["status"]), (&json!(1_578_000_000), &json!("past_due")));
    let customer = world.delete(&format!("/v1/customers/{customer}")).await;
    assert_eq!(customer.0, 200);
}

#[tokio::test]
async fn what_a_schedule_refuses() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let once = world.price("1000", None).await;
    let customer = world.payer("pm_card_visa").await;
    let row = id(&subscribe(&world, &customer, &price).await);
    let schedules = "/v1/subscription_schedules";
    let schedule = world.make(schedules, &[("from_subscription", row.as_str())]).await;
    let path = format!("{schedules}/{}", id(&schedule));
    let item = "phases[0][items][0][price]";
    type Refused<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: &[Refused<'_>] = &[
        (schedules, &[("from_subscription", &row)], "from_subscription"),
        (schedules, &[("from_subscription", "sub_no")], "from_subscription"),
        (schedules, &[("from_subscription", &row), ("metadata[a]", "b")], "metadata"),
        (schedules, &[("customer", &customer)], "start_date"),
        (schedules, &[("customer", &customer), ("start_date", "now")], "phases"),
        (schedules, &[("customer", "cus_no"), ("start_date", "now")], "customer"),
        (schedules, &[("customer", &customer), ("start_date", "now"), (item, &once)], item),
        (
            schedules,
            &[("customer", &customer), ("start_date", "now"), ("phases[0][trial]", "true")],
            "phases[0][items]",
        ),
        (
            schedules,
            &[
                ("customer", &customer),
                ("start_date", "now"),
                (item, &price),
                ("phases[0][iterations]", "1"),
                ("phases[0][end_date]", "7000000000"),
            ],
            "phases[0][end_date]",
        ),
        (&path, &[(item, &price)], "phases"),
        (&path, &[(item, &price), ("phases[0][start_date]", "1000")], "phases"),
    ];
    for (path, form, param) in cases {
        let (status, body) = world.post(path, form).await;
        assert_eq!(status, 400, "{form:?}: {body}");
        assert_eq!(body["error"]["type"], "invalid_request_error", "{form:?}");
        assert_eq!(body["error"]["param"], **param, "{form:?}: {body}");
    }
    let own = format!("/v1/subscriptions/{row}");
    let (status, body) = world.post(&own, &[("cancel_at_period_end", "true")]).await;
    assert_eq!(status, 400);
    let message = text(&body["error"]["message"]);
    assert!(message.contains(&id(&schedule)), "{message}");
    let list = world.look(&format!("{schedules}?customer={customer}")).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "nothing was half-created");
    let list = world.look(&format!("/v1/subscriptions?customer={customer}")).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
}
