//! The business clock: trials, renewals, retries, cancellation, expiry, month ends.

use serde_json::{Value, json};

use crate::world::{Shop, World, id, text};

const DAY: i64 = 86_400;

async fn subscribe(world: &World, customer: &str, price: &str, more: &[(&str, &str)]) -> String {
    let mut form = vec![("customer", customer), ("items[0][price]", price)];
    form.extend_from_slice(more);
    id(&world.make("/v1/subscriptions", &form).await)
}

async fn subscription(world: &World, id: &str) -> Value {
    world.look(&format!("/v1/subscriptions/{id}?expand[]=latest_invoice")).await
}

async fn moved(world: &World, span: &str) -> Value {
    let (status, body) = world.advance(span).await;
    assert_eq!(status, 200, "{span}: {body}");
    body
}

#[tokio::test]
async fn renewals_follow_the_calendar() {
    let world = World::start().await;
    let shop = Shop::open(&[]).await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    shop.subscribe(&world, &["*"]).await;
    let row = subscribe(&world, &customer, &price, &[]).await;
    let first = subscription(&world, &row).await;
    let end = first["items"]["data"][0]["current_period_end"].as_i64().expect("a time");
    let report = moved(&world, "period-end").await;
    assert!(end <= report["now"].as_i64().expect("a time"));
    let renewed = subscription(&world, &row).await;
    assert_eq!(renewed["items"]["data"][0]["current_period_start"], end);
    let invoice = &renewed["latest_invoice"];
    assert_eq!((&invoice["status"], &invoice["amount_paid"]), (&json!("paid"), &json!(2999)));
    assert_eq!(invoice["billing_reason"], "subscription_cycle");
    let line = &invoice["lines"]["data"][0];
    assert_eq!(line["parent"]["subscription_item_details"]["subscription"], json!(row));
    assert_eq!(line["pricing"]["price_details"]["price"], json!(price));
    assert_eq!(invoice["parent"]["subscription_details"]["subscription"], json!(row));
    let kinds = shop.kinds();
    let updated = kinds.iter().position(|kind| kind == "customer.subscription.updated");
    assert_eq!(
        kinds[updated.expect("an update")..],
        [
            "customer.subscription.updated",
            "invoice.created",
            "invoice.finalized",
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "invoice.paid",
            "invoice.payment_succeeded",
            "invoice_payment.paid",
        ],
        "all webhooks are delivered when the advance answers"
    );
    let list = world.look(&format!("/v1/invoices?subscription={row}")).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
    moved(&world, "1y").await;
    let list = world.look(&format!("/v1/invoices?subscription={row}&limit=100")).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(14));
}

#[tokio::test]
async fn a_trial_ends_in_a_payment() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = subscribe(&world, &customer, &price, &[("trial_period_days", "14")]).await;
    assert_eq!(subscription(&world, &row).await["status"], "trialing");
    moved(&world, "12d").await;
    assert!(world.events().await.contains(&"customer.subscription.trial_will_end".to_owned()));
    assert_eq!(subscription(&world, &row).await["status"], "trialing");
    moved(&world, "2d").await;
    let paid = subscription(&world, &row).await;
    assert_eq!(paid["status"], "active");
    assert_eq!(paid["latest_invoice"]["amount_paid"], 2999);
}

#[tokio::test]
async fn a_trial_without_a_card_ends_as_chosen() {
    for (choice, status) in
        [("cancel", "canceled"), ("pause", "paused"), ("create_invoice", "past_due")]
    {
        let world = World::start().await;
        let price = world.price("2999", Some("month")).await;
        let customer = id(&world.make("/v1/customers", &[]).await);
        let more = [
            ("trial_period_days", "7"),
            ("trial_settings[end_behavior][missing_payment_method]", choice),
        ];
        let row = subscribe(&world, &customer, &price, &more).await;
        moved(&world, "8d").await;
        assert_eq!(subscription(&world, &row).await["status"], status, "{choice}");
    }
}

#[tokio::test]
async fn a_failed_renewal_is_retried_and_then_given_up() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = subscribe(&world, &customer, &price, &[]).await;
    world.give_card(&customer, "pm_card_chargeCustomerFail").await;
    moved(&world, "period-end").await;
    let late = subscription(&world, &row).await;
    assert_eq!(late["status"], "past_due");
    let invoice = &late["latest_invoice"];
    assert_eq!((&invoice["status"], &invoice["attempt_count"]), (&json!("open"), &json!(1)));
    let next = invoice["next_payment_attempt"].as_i64().expect("a time");
    assert_eq!((next - invoice["created"].as_i64().expect("a time")) / DAY, 3);
    moved(&world, "3d").await;
    assert_eq!(subscription(&world, &row).await["latest_invoice"]["attempt_count"], 2);
    moved(&world, "13d").await;
    let ended = subscription(&world, &row).await;
    assert_eq!(ended["status"], "canceled");
    assert_eq!(ended["cancellation_details"]["reason"], "payment_failed");
    assert_eq!(ended["latest_invoice"]["attempt_count"], 4);
    let failures = world.look("/v1/events?type=invoice.payment_failed").await;
    assert_eq!(failures["data"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn a_new_card_recovers_a_late_subscription() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = subscribe(&world, &customer, &price, &[]).await;
    world.give_card(&customer, "pm_card_chargeCustomerFail").await;
    moved(&world, "period-end").await;
    world.give_card(&customer, "pm_card_visa").await;
    moved(&world, "3d").await;
    assert_eq!(subscription(&world, &row).await["status"], "active");
    world.give_card(&customer, "pm_card_chargeCustomerFail").await;
    moved(&world, "period-end").await;
    let late = subscription(&world, &row).await;
    let pay = format!("/v1/invoices/{}/pay", id(&late["latest_invoice"]));
    let (status, body) = world.post(&pay, &[]).await;
    assert_eq!((status, &body["error"]["code"]), (402, &json!("card_declined")));
    world.make(&pay, &[("payment_method", "pm_card_visa")]).await;
    assert_eq!(subscription(&world, &row).await["status"], "active");
}

#[tokio::test]
async fn cancel_at_period_end_and_change_of_mind() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = subscribe(&world, &customer, &price, &[]).await;
    let path = format!("/v1/subscriptions/{row}");
    let end = subscription(&world, &row).await["items"]["data"][0]["current_period_end"].clone();
    let marked = world.make(&path, &[("cancel_at_period_end", "true")]).await;
    assert_eq!((&marked["cancel_at"], &marked["status"]), (&end, &json!("active")));
    let event = world.look("/v1/events?type=customer.subscription.updated").await;
    let previous = &event["data"][0]["data"]["previous_attributes"];
    assert_eq!(previous["cancel_at_period_end"], false);
    assert_eq!(previous["cancel_at"], json!(null));
    let back = world.make(&path, &[("cancel_at_period_end", "false")]).await;
    assert_eq!((&back["cancel_at"], &back["canceled_at"]), (&json!(null), &json!(null)));
    world.make(&path, &[("cancel_at_period_end", "true")]).await;
    moved(&world, "29d").await;
    moved(&world, "3d").await;
    let ended = subscription(&world, &row).await;
    assert_eq!(ended["status"], "canceled");
    assert!(end.as_i64() <= ended["ended_at"].as_i64());
    let list = world.look(&format!("/v1/invoices?subscription={row}")).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "no renewal");
    assert!(world.events().await.contains(&"customer.subscription.deleted".to_owned()));
}

#[tokio::test]
async fn sessions_expire_by_the_clock() {
    let world = World::start().await;
    let price = world.price("1999", None).await;
    let session = world.session(&price, "payment", &[]).await;
    moved(&world, "23h").await;
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    assert_eq!(world.look(&path).await["status"], "open");
    moved(&world, "2h").await;
    let expired = world.look(&path).await;
    assert_eq!((&expired["status"], &expired["url"]), (&json!("expired"), &json!(null)));
    assert!(world.events().await.contains(&"checkout.session.expired".to_owned()));
    let page = world.client.get(text(&session["url"])).send().await.expect("a page");
    assert_eq!(page.status(), 410);
}

#[tokio::test]
async fn an_incomplete_subscription_expires() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_chargeCustomerFail").await;
    let row = subscribe(&world, &customer, &price, &[]).await;
    assert_eq!(subscription(&world, &row).await["status"], "incomplete");
    moved(&world, "1d").await;
    let expired = subscription(&world, &row).await;
    assert_eq!(expired["status"], "incomplete_expired");
    assert_eq!(expired["latest_invoice"]["status"], "void");
}

#[tokio::test]
async fn garbage_moves_nothing() {
    let world = World::start().await;
    for span in
        ["", "1", "-1d", "abc", "1mo1d", "0d", "99999999999999999999y", "100y", "period-end"]
    {
        let (status, body) = world.advance(span).await;
        assert_eq!(status, 400, "{span}: {body}");
    }
    for body in ["", "{}", "[]", "{\"advance\": 5}", "{\"advance\": \"1d\", \"x\": 1}", "\u{0}"] {
        let url = format!("{}/_sandbox/clock", world.base);
        assert_eq!(world.send(world.client.post(url).body(body)).await.0, 400, "{body}");
    }
    let url = format!("{}/_sandbox/clock", world.base);
    let foreign = world.client.post(url).header("origin", "http://elsewhere.test");
    let (status, _) = world.send(foreign.json(&json!({"advance": "1d"}))).await;
    assert_eq!(status, 403);
    let clock = world.look("/_sandbox/clock").await;
    assert_eq!(clock["offset_seconds"], 0);
    assert_eq!(world.offset.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_server_is_called_after_each_step() {
    let server = Shop::open(&[]).await;
    let after = sandbox::AfterAdvance { url: server.url.clone(), bearer: "key".to_owned() };
    let world = World::start_with(None, Some(after)).await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = subscribe(&world, &customer, &price, &[]).await;
    let end = subscription(&world, &row).await["items"]["data"][0]["current_period_end"].clone();
    let report = moved(&world, "40d").await;
    let calls = server.hooks();
    assert_eq!(calls.len(), 3, "the renewal is told before, and comes");
    assert_eq!(json!(calls.len()), report["steps"]);
    assert_eq!(calls[1].event["now"], end);
    assert!(calls.iter().all(|call| call.authorization == "Bearer key"));
}

#[tokio::test]
async fn a_server_that_fails_stops_the_clock() {
    let server = Shop::open(&[500]).await;
    let after = sandbox::AfterAdvance { url: server.url.clone(), bearer: "key".to_owned() };
    let world = World::start_with(None, Some(after)).await;
    let (status, body) = world.advance("1d").await;
    assert_eq!((status, &body["error"]["code"]), (504, &json!("after_advance_failed")));
    assert_eq!(world.advance("1d").await.0, 200);
}

#[tokio::test]
async fn one_advance_at_a_time() {
    let shop = Shop::open(&[]).await;
    let world = World::start().await;
    shop.subscribe(&world, &["*"]).await;
    shop.answer_after(std::time::Duration::from_secs(3));
    world.make("/v1/customers", &[]).await;
    let (first, second) = tokio::join!(world.advance("1h"), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        world.advance("1h").await
    });
    assert_eq!((first.0, second.0), (200, 409));
    let offset = world.look("/_sandbox/clock").await["offset_seconds"].as_i64();
    assert!(offset.is_some_and(|offset| (3_599..=3_600).contains(&offset)), "{offset:?}");
}

#[tokio::test]
async fn wall_time_alone_does_the_same_work() {
    let world = World::start().await;
    let price = world.price("1999", None).await;
    let session = world.session(&price, "payment", &[]).await;
    moved(&world, "23h").await;
    moved(&world, "59m").await;
    moved(&world, "58s").await;
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    for _ in 0..100 {
        if world.look(&path).await["status"] == "expired" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(world.look(&path).await["status"], "expired");
}

#[tokio::test]
async fn a_plan_change_is_prorated() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let dearer = world.price("3000", Some("month")).await;
    let yearly = world.price("12000", Some("year")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = subscribe(&world, &customer, &price, &[]).await;
    let item = id(&subscription(&world, &row).await["items"]["data"][0]);
    let path = format!("/v1/subscriptions/{row}");
    let form = [("items[0][id]", item.as_str()), ("items[0][price]", dearer.as_str())];
    world.make(&path, &form).await;
    let waiting = world.look("/v1/invoiceitems?pending=true").await;
    let amounts = waiting["data"].as_array().expect("a list").iter().map(|row| &row["amount"]);
    assert_eq!(amounts.collect::<Vec<_>>(), [&json!(3000), &json!(-1000)]);
    moved(&world, "period-end").await;
    let renewed = subscription(&world, &row).await;
    assert_eq!(renewed["latest_invoice"]["total"], 5000, "the new price and what waited");
    let form = [("items[0][id]", item.as_str()), ("items[0][price]", yearly.as_str())];
    world.make(&path, &form).await;
    let changed = subscription(&world, &row).await;
    assert_eq!(changed["latest_invoice"]["total"], 9000, "the rest of the month is given back");
    assert_eq!(changed["latest_invoice"]["billing_reason"], "subscription_update");
    let period = &changed["items"]["data"][0];
    let length = period["current_period_end"].as_i64().zip(period["current_period_start"].as_i64());
    assert!(length.is_some_and(|(end, start)| 365 * DAY <= end - start));
}
