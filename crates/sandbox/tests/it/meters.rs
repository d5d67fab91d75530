//! Meters, meter events, their corrections and summaries.

use serde_json::{Value, json};

use crate::world::{World, id, text};

const MINUTE: i64 = 60;

/// Form, expected code and param.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);

async fn meter(world: &World, event_name: &str, formula: &str) -> Value {
    let form = [
        ("display_name", "API calls"),
        ("event_name", event_name),
        ("default_aggregation[formula]", formula),
    ];
    world.make("/v1/billing/meters", &form).await
}

async fn now(world: &World) -> i64 {
    let url = format!("{}/_sandbox/clock", world.base);
    let (_, clock) = world.send(world.client.get(url)).await;
    clock["now"].as_i64().expect("an instant")
}

async fn use_units(world: &World, event: &str, customer: &str, value: &str, at: i64, id: &str) {
    let at = at.to_string();
    let form = [
        ("event_name", event),
        ("payload[stripe_customer_id]", customer),
        ("payload[value]", value),
        ("timestamp", &at),
        ("identifier", id),
    ];
    world.make("/v1/billing/meter_events", &form).await;
}

#[tokio::test]
async fn a_meter_lives_and_rests() {
    let world = World::start().await;
    let made = meter(&world, "calls", "sum").await;
    assert_eq!(made["status"], "active");
    assert_eq!(made["customer_mapping"]["event_payload_key"], "stripe_customer_id");
    assert_eq!(made["value_settings"]["event_payload_key"], "value");
    let path = format!("/v1/billing/meters/{}", id(&made));
    let renamed = world.make(&path, &[("display_name", "Calls")]).await;
    assert_eq!(renamed["display_name"], "Calls");
    let rested = world.make(&format!("{path}/deactivate"), &[]).await;
    assert_eq!(rested["status"], "inactive");
    assert!(rested["status_transitions"]["deactivated_at"].is_i64());
    assert_eq!(world.post(&format!("{path}/deactivate"), &[]).await.0, 400);
    let list = world.look("/v1/billing/meters?status=active").await;
    assert_eq!(list["data"], json!([]));
    // While it rests, another may take the name; then it cannot come back.
    let other = meter(&world, "calls", "count").await;
    let (status, body) = world.post(&format!("{path}/reactivate"), &[]).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("event_name")));
    world.make(&format!("/v1/billing/meters/{}/deactivate", id(&other)), &[]).await;
    assert_eq!(world.make(&format!("{path}/reactivate"), &[]).await["status"], "active");
    let kinds = world.events().await;
    let expected = ["created", "updated", "deactivated", "created", "deactivated", "reactivated"];
    assert_eq!(kinds, expected.map(|kind| format!("billing.meter.{kind}")));
}

#[tokio::test]
async fn bad_meters_are_refused() {
    let world = World::start().await;
    meter(&world, "calls", "sum").await;
    let long = "x".repeat(101);
    let cases: [Case<'_>; 5] = [
        (
            &[("event_name", "a"), ("default_aggregation[formula]", "sum")],
            "parameter_missing",
            "display_name",
        ),
        (&[("event_name", "a"), ("display_name", "A")], "parameter_missing", "default_aggregation"),
        (
            &[("event_name", "a"), ("display_name", "A"), ("default_aggregation[formula]", "mean")],
            "",
            "default_aggregation[formula]",
        ),
        (
            &[
                ("event_name", "calls"),
                ("display_name", "A"),
                ("default_aggregation[formula]", "sum"),
            ],
            "",
            "event_name",
        ),
        (
            &[
                ("event_name", &long),
                ("display_name", "A"),
                ("default_aggregation[formula]", "sum"),
            ],
            "",
            "event_name",
        ),
    ];
    for (form, code, param) in cases {
        let (status, body) = world.post("/v1/billing/meters", form).await;
        let seen =
            (status, body["error"]["code"].as_str().unwrap_or(""), text(&body["error"]["param"]));
        assert_eq!(seen, (400, code, param.to_owned()), "{form:?}");
    }
    let list = world.look("/v1/billing/meters").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn events_are_counted_once_and_can_be_taken_back() {
    let world = World::start().await;
    let meter = meter(&world, "calls", "sum").await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    let at = now(&world).await;
    use_units(&world, "calls", &customer, "25", at, "one").await;
    use_units(&world, "calls", &customer, "-5", at, "two").await;
    let form = [
        ("event_name", "calls"),
        ("payload[stripe_customer_id]", customer.as_str()),
        ("payload[value]", "25"),
        ("identifier", "one"),
    ];
    let (status, body) = world.post("/v1/billing/meter_events", &form).await;
    assert_eq!((status, body["error"]["param"].as_str()), (400, Some("identifier")));
    let start = (at / MINUTE - 60) * MINUTE;
    let end = (at / MINUTE + 60) * MINUTE;
    let path = format!(
        "/v1/billing/meters/{}/event_summaries?customer={customer}&start_time={start}\
         &end_time={end}",
        id(&meter)
    );
    let list = world.look(&path).await;
    assert_eq!(list["data"][0]["aggregated_value"], 20);
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
    let form = [("event_name", "calls"), ("type", "cancel"), ("cancel[identifier]", "one")];
    let taken = world.make("/v1/billing/meter_event_adjustments", &form).await;
    assert_eq!(taken["cancel"]["identifier"], "one");
    assert_eq!(world.look(&path).await["data"][0]["aggregated_value"], -5);
    assert_eq!(world.post("/v1/billing/meter_event_adjustments", &form).await.0, 400, "twice");
    let form = [("event_name", "calls"), ("type", "cancel"), ("cancel[identifier]", "none")];
    let (status, body) = world.post("/v1/billing/meter_event_adjustments", &form).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("resource_missing")));
    // A day later the identifier is free, and the event can no longer be taken back.
    world.advance("25h").await;
    let form = [("event_name", "calls"), ("type", "cancel"), ("cancel[identifier]", "two")];
    assert_eq!(world.post("/v1/billing/meter_event_adjustments", &form).await.0, 400);
    use_units(&world, "calls", &customer, "1", now(&world).await, "one").await;
}

#[tokio::test]
async fn bad_events_are_refused() {
    let world = World::start().await;
    meter(&world, "calls", "sum").await;
    let resting = meter(&world, "rest", "sum").await;
    world.make(&format!("/v1/billing/meters/{}/deactivate", id(&resting)), &[]).await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    let now = now(&world).await;
    let (past, future) = ((now - 36 * 86_400).to_string(), (now + 360).to_string());
    let who = ("payload[stripe_customer_id]", customer.as_str());
    let what = ("payload[value]", "1");
    let name = ("event_name", "calls");
    let cases: [Case<'_>; 9] = [
        (&[who, what], "parameter_missing", "event_name"),
        (&[name], "parameter_missing", "payload"),
        (&[("event_name", "none"), who, what], "resource_missing", "event_name"),
        (&[("event_name", "rest"), who, what], "archived_meter", "event_name"),
        (&[name, what], "meter_event_no_customer_defined", "payload[stripe_customer_id]"),
        (
            &[name, what, ("payload[stripe_customer_id]", "cus_none")],
            "meter_event_customer_not_found",
            "payload[stripe_customer_id]",
        ),
        (&[name, who], "meter_event_value_not_found", "payload[value]"),
        (&[name, who, ("payload[value]", "1.5")], "meter_event_invalid_value", "payload[value]"),
        (&[name, who, what, ("timestamp", &past)], "timestamp_too_far_in_past", "timestamp"),
    ];
    for (form, code, param) in cases {
        let (status, body) = world.post("/v1/billing/meter_events", form).await;
        let seen = (status, text(&body["error"]["code"]), text(&body["error"]["param"]));
        assert_eq!(seen, (400, code.to_owned(), param.to_owned()), "{form:?}");
    }
    let form = [name, who, what, ("timestamp", &future)];
    let (_, body) = world.post("/v1/billing/meter_events", &form).await;
    assert_eq!(body["error"]["code"], "timestamp_in_future");
}

#[tokio::test]
async fn summaries_come_in_windows_and_pages() {
    let world = World::start().await;
    let meter = meter(&world, "seats", "last").await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    let hour = now(&world).await / 3_600 * 3_600;
    use_units(&world, "seats", &customer, "7", hour - 5 * 3_600 + 10, "a").await;
    use_units(&world, "seats", &customer, "3", hour - 5 * 3_600 + 20, "b").await;
    use_units(&world, "seats", &customer, "9", hour - 2 * 3_600, "c").await;
    let base = format!("/v1/billing/meters/{}/event_summaries?customer={customer}", id(&meter));
    let (start, end) = (hour - 6 * 3_600, hour);
    let range = format!("{base}&start_time={start}&end_time={end}&value_grouping_window=hour");
    let list = world.look(&range).await;
    let values: Vec<i64> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["aggregated_value"].as_i64().expect("a number"))
        .collect();
    assert_eq!(values, [9, 3], "newest first, silent hours left out");
    assert_eq!(list["data"][0]["start_time"], hour - 2 * 3_600);
    assert_eq!(list["data"][0]["end_time"], hour - 3_600);
    let first = world.look(&format!("{range}&limit=1")).await;
    assert_eq!(first["has_more"], true);
    let next = format!("{range}&limit=1&starting_after={}", id(&first["data"][0]));
    let next = world.look(&next).await;
    assert_eq!(
        (&next["data"][0]["aggregated_value"], &next["has_more"]),
        (&json!(3), &json!(false))
    );
    let crooked =
        format!("{base}&start_time={}&end_time={end}&value_grouping_window=hour", start + 60);
    let (status, body) = world.get(&crooked).await;
    assert_eq!((status, text(&body["error"]["param"])), (400, "start_time".to_owned()));
    let backwards = format!("{base}&start_time={end}&end_time={start}");
    assert_eq!(world.get(&backwards).await.0, 400);
}
