//! Subscriptions: items of their own, mixed intervals, pending updates, pauses, anchors, retries.

use serde_json::{Value, json};

use crate::world::{World, id, text};

const DAY: i64 = 86_400;

async fn subscribe(world: &World, customer: &str, price: &str, more: &[(&str, &str)]) -> Value {
    let mut form = vec![("customer", customer), ("items[0][price]", price)];
    form.extend_from_slice(more);
    world.make("/v1/subscriptions?expand[]=latest_invoice", &form).await
}

async fn subscription(world: &World, id: &str) -> Value {
    world.look(&format!("/v1/subscriptions/{id}?expand[]=latest_invoice")).await
}

async fn moved(world: &World, span: &str) {
    let (status, body) = world.advance(span).await;
    assert_eq!(status, 200, "{span}: {body}");
}

async fn settings(world: &World, body: Value) -> (u16, Value) {
    let request = world.request("POST", "/_sandbox/settings").json(&body);
    world.send(request).await
}

async fn now(world: &World) -> i64 {
    world.look("/_sandbox/clock").await["now"].as_i64().expect("a time")
}

fn check_refused(answer: (u16, Value), param: Option<&str>) {
    let (status, body) = answer;
    assert_eq!(status, 400, "{body}");
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert_eq!(body["error"]["param"].as_str(), param, "{body}");
}

async fn invoices(world: &World, subscription: &str) -> Vec<Value> {
    let list = world.look(&format!("/v1/invoices?subscription={subscription}&limit=100")).await;
    list["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn items_come_change_and_go() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let seats = world.price("500", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = id(&subscribe(&world, &customer, &price, &[]).await);
    let form = [
        ("subscription", row.as_str()),
        ("price", seats.as_str()),
        ("quantity", "2"),
        ("proration_behavior", "always_invoice"),
        ("metadata[kind]", "seats"),
    ];
    let item = world.make("/v1/subscription_items", &form).await;
    assert_eq!((&item["quantity"], &item["subscription"]), (&json!(2), &json!(row)));
    let billed = subscription(&world, &row).await;
    assert_eq!(billed["latest_invoice"]["billing_reason"], "subscription_update");
    assert_eq!(billed["latest_invoice"]["total"], 1000, "two seats for the whole period");
    let path = format!("/v1/subscription_items/{}", id(&item));
    let changed = world.make(&path, &[("quantity", "5")]).await;
    assert_eq!((&changed["quantity"], &changed["metadata"]["kind"]), (&json!(5), &json!("seats")));
    let waiting = world.look("/v1/invoiceitems?pending=true").await;
    let amounts = waiting["data"].as_array().expect("a list").iter().map(|row| &row["amount"]);
    assert_eq!(amounts.collect::<Vec<_>>(), [&json!(2500), &json!(-1000)]);
    let list = world.look(&format!("/v1/subscription_items?subscription={row}")).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(world.look(&path).await["id"], item["id"]);
    let (status, gone) = world.delete(&format!("{path}?proration_behavior=none")).await;
    assert_eq!((status, &gone["deleted"]), (200, &json!(true)));
    assert_eq!(world.get(&path).await.0, 404);
    moved(&world, "period-end").await;
    let renewed = subscription(&world, &row).await;
    assert_eq!(renewed["latest_invoice"]["total"], 2500, "1000 and what waited");
    let last = id(&renewed["items"]["data"][0]);
    let (status, _) = world.delete(&format!("/v1/subscription_items/{last}")).await;
    assert_eq!(status, 400, "a subscription keeps one item");
    let twice = [("subscription", row.as_str()), ("price", price.as_str())];
    check_refused(world.post("/v1/subscription_items", &twice).await, Some("price"));
    let missing = [("subscription", "sub_no"), ("price", price.as_str())];
    check_refused(world.post("/v1/subscription_items", &missing).await, Some("subscription"));
}

#[tokio::test]
async fn a_price_can_be_made_with_its_item() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let product = id(&world.make("/v1/products", &[("name", "Extra")]).await);
    let customer = world.payer("pm_card_visa").await;
    let data = [
        ("items[1][price_data][product]", product.as_str()),
        ("items[1][price_data][currency]", "usd"),
        ("items[1][price_data][unit_amount]", "250"),
        ("items[1][price_data][recurring][interval]", "month"),
        ("add_invoice_items[0][price_data][product]", product.as_str()),
        ("add_invoice_items[0][price_data][currency]", "usd"),
        ("add_invoice_items[0][price_data][unit_amount]", "4000"),
    ];
    let made = subscribe(&world, &customer, &price, &data).await;
    assert_eq!(made["latest_invoice"]["total"], 5250, "the set-up is sold once");
    assert_eq!(made["items"]["data"][1]["price"]["product"], json!(product));
    moved(&world, "period-end").await;
    assert_eq!(subscription(&world, &id(&made)).await["latest_invoice"]["total"], 1250);
    let recurring = [("add_invoice_items[0][price]", price.as_str())];
    let path = format!("/v1/subscriptions/{}", id(&made));
    check_refused(world.post(&path, &recurring).await, Some("add_invoice_items[0][price]"));
}

#[tokio::test]
async fn items_renew_each_in_its_own_interval() {
    let world = World::start().await;
    let monthly = world.price("1000", Some("month")).await;
    let yearly = world.price("12000", Some("year")).await;
    let customer = world.payer("pm_card_visa").await;
    let more = [("items[1][price]", yearly.as_str())];
    let made = subscribe(&world, &customer, &monthly, &more).await;
    let row = id(&made);
    assert_eq!(made["latest_invoice"]["total"], 13_000);
    let ends: Vec<i64> = made["items"]["data"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["current_period_end"].as_i64().expect("a time"))
        .collect();
    assert!(ends[0] < ends[1] && 365 * DAY <= ends[1] - now(&world).await, "{ends:?}");
    moved(&world, "period-end").await;
    let renewed = subscription(&world, &row).await;
    assert_eq!(renewed["latest_invoice"]["total"], 1000, "the year goes on");
    assert_eq!(renewed["items"]["data"][1]["current_period_end"], ends[1]);
    moved(&world, "11mo").await;
    moved(&world, "1d").await;
    let list = invoices(&world, &row).await;
    assert_eq!(list.len(), 13);
    assert_eq!(list[0]["total"], 13_000, "what falls together is one invoice");
    let classic = [("billing_mode[type]", "classic"), ("items[1][price]", yearly.as_str())];
    let mut form = vec![("customer", customer.as_str()), ("items[0][price]", monthly.as_str())];
    form.extend_from_slice(&classic);
    check_refused(world.post("/v1/subscriptions", &form).await, Some("items"));
}

#[tokio::test]
async fn classic_billing_can_be_left() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = subscribe(&world, &customer, &price, &[("billing_mode[type]", "classic")]).await;
    assert_eq!(row["billing_mode"]["type"], "classic");
    let path = format!("/v1/subscriptions/{}/migrate", id(&row));
    let form = [("billing_mode[type]", "flexible")];
    let migrated = world.make(&path, &form).await;
    assert_eq!(migrated["billing_mode"]["type"], "flexible");
    assert!(migrated["billing_mode"]["updated_at"].is_i64());
    check_refused(world.post(&path, &form).await, Some("billing_mode"));
}

#[tokio::test]
async fn a_pending_update_waits_for_its_payment() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let dearer = world.price("3000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let made = subscribe(&world, &customer, &price, &[]).await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let item = id(&made["items"]["data"][0]);
    let form = [
        ("items[0][id]", item.as_str()),
        ("items[0][price]", dearer.as_str()),
        ("payment_behavior", "pending_if_incomplete"),
        ("proration_behavior", "always_invoice"),
    ];
    let mut more = form.to_vec();
    more.push(("metadata[a]", "b"));
    check_refused(world.post(&path, &more).await, Some("payment_behavior"));
    world.give_card(&customer, "pm_card_chargeCustomerFail").await;
    let pending = world.make(&path, &form).await;
    assert_eq!(pending["status"], "active");
    assert_eq!(pending["items"]["data"][0]["price"]["id"], json!(price), "nothing has changed");
    let update = &pending["pending_update"];
    assert_eq!(update["subscription_items"][0]["price"]["id"], json!(dearer));
    let invoice = text(&pending["latest_invoice"]);
    let form_pay = [("payment_method", "pm_card_visa")];
    world.make(&format!("/v1/invoices/{invoice}/pay"), &form_pay).await;
    let applied = subscription(&world, &id(&made)).await;
    assert_eq!(applied["items"]["data"][0]["price"]["id"], json!(dearer));
    assert_eq!(applied["pending_update"], json!(null));
    assert_eq!(applied["latest_invoice"]["total"], 2000);
    let kinds = world.events().await;
    assert!(kinds.contains(&"customer.subscription.pending_update_applied".to_owned()));
    let back = [("items[0][id]", item.as_str()), ("items[0][quantity]", "2"), form[2], form[3]];
    let pending = world.make(&path, &back).await;
    assert!(pending["pending_update"].is_object(), "{pending}");
    moved(&world, "1d").await;
    let expired = subscription(&world, &id(&made)).await;
    assert_eq!((&expired["pending_update"], &expired["status"]), (&json!(null), &json!("active")));
    assert_eq!(expired["items"]["data"][0]["quantity"], 1);
    assert_eq!(expired["latest_invoice"]["status"], "void");
    let kinds = world.events().await;
    assert!(kinds.contains(&"customer.subscription.pending_update_expired".to_owned()));
    world.give_card(&customer, "pm_card_visa").await;
    let paid = world.make(&path, &back).await;
    assert_eq!(paid["items"]["data"][0]["quantity"], 2, "paid at once, made at once");
    assert_eq!(paid["pending_update"], json!(null));
}

#[tokio::test]
async fn a_change_that_is_not_paid_ends_as_chosen() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let made = subscribe(&world, &customer, &price, &[]).await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let item = id(&made["items"]["data"][0]);
    world.give_card(&customer, "pm_card_chargeCustomerFail").await;
    let form = |behavior: &'static str| {
        [
            ("items[0][id]", item.clone()),
            ("items[0][quantity]", "3".to_owned()),
            ("payment_behavior", behavior.to_owned()),
            ("proration_behavior", "always_invoice".to_owned()),
        ]
    };
    let strict = form("error_if_incomplete");
    let strict: Vec<(&str, &str)> = strict.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let (status, body) = world.post(&path, &strict).await;
    assert_eq!((status, &body["error"]["code"]), (402, &json!("card_declined")));
    let same = subscription(&world, &id(&made)).await;
    assert_eq!(same["items"]["data"][0]["quantity"], 1);
    assert_eq!(invoices(&world, &id(&made)).await.len(), 1, "nothing is half-done");
    let lenient = form("allow_incomplete");
    let lenient: Vec<(&str, &str)> = lenient.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let late = world.make(&path, &lenient).await;
    assert_eq!(late["status"], "past_due");
    assert_eq!(late["items"]["data"][0]["quantity"], 3);
}

#[tokio::test]
async fn a_paused_subscription_makes_no_invoices() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = id(&subscribe(&world, &customer, &price, &[]).await);
    let path = format!("/v1/subscriptions/{row}");
    let paused = world.make(&format!("{path}/pause"), &[("type", "subscription")]).await;
    assert_eq!(paused["status"], "paused");
    let reason = &paused["status_details"]["paused"]["subscription"]["type"];
    assert_eq!(reason, "pause_requested");
    check_refused(world.post(&format!("{path}/pause"), &[]).await, None);
    moved(&world, "70d").await;
    assert_eq!(invoices(&world, &row).await.len(), 1);
    let resumed = world.make(&format!("{path}/resume"), &[]).await;
    assert_eq!(resumed["status"], "active");
    assert!(resumed["status_details"].is_null());
    assert_eq!(invoices(&world, &row).await[0]["total"], 1000, "a new period is paid");
    let kinds = world.events().await;
    for kind in ["customer.subscription.paused", "customer.subscription.resumed"] {
        assert!(kinds.contains(&kind.to_owned()), "{kind}");
    }
    check_refused(world.post(&format!("{path}/resume"), &[]).await, None);
    world.make(&format!("{path}/pause"), &[]).await;
    world.give_card(&customer, "pm_card_chargeCustomerFail").await;
    let form = [("payment_behavior", "resume_on_payment_success")];
    let waiting = world.make(&format!("{path}/resume"), &form).await;
    assert_eq!(waiting["status"], "paused", "it waits for the payment");
    let invoice = text(&waiting["latest_invoice"]);
    let form = [("payment_method", "pm_card_visa")];
    world.make(&format!("/v1/invoices/{invoice}/pay"), &form).await;
    assert_eq!(subscription(&world, &row).await["status"], "active");
}

#[tokio::test]
async fn collection_resumes_by_itself() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = id(&subscribe(&world, &customer, &price, &[]).await);
    let at = (now(&world).await + 40 * DAY).to_string();
    let form =
        [("pause_collection[behavior]", "keep_as_draft"), ("pause_collection[resumes_at]", &at)];
    let paused = world.make(&format!("/v1/subscriptions/{row}"), &form).await;
    assert_eq!(paused["pause_collection"]["resumes_at"].to_string(), at);
    moved(&world, "41d").await;
    assert_eq!(subscription(&world, &row).await["pause_collection"], json!(null));
    assert_eq!(invoices(&world, &row).await[0]["status"], "draft");
    moved(&world, "period-end").await;
    assert_eq!(invoices(&world, &row).await[0]["status"], "paid");
    let past = [("pause_collection[behavior]", "void"), ("pause_collection[resumes_at]", "5")];
    let answer = world.post(&format!("/v1/subscriptions/{row}"), &past).await;
    check_refused(answer, Some("pause_collection[resumes_at]"));
}

#[tokio::test]
async fn the_first_period_ends_at_the_anchor() {
    let world = World::start().await;
    let price = world.price("3000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let anchor = now(&world).await + 10 * DAY;
    let form = [("billing_cycle_anchor", anchor.to_string())];
    let form: Vec<(&str, &str)> = form.iter().map(|(key, at)| (*key, at.as_str())).collect();
    let made = subscribe(&world, &customer, &price, &form).await;
    assert_eq!(made["items"]["data"][0]["current_period_end"], anchor);
    let total = made["latest_invoice"]["total"].as_i64().expect("a number");
    assert!((960..=1072).contains(&total), "10 of 28 to 31 days: {total}");
    let mut free = form.clone();
    free.push(("proration_behavior", "none"));
    let made = subscribe(&world, &customer, &price, &free).await;
    assert_eq!(made["latest_invoice"]["total"], 0);
    let far = (now(&world).await + 60 * DAY).to_string();
    let mut form = vec![("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    form.push(("billing_cycle_anchor", &far));
    check_refused(world.post("/v1/subscriptions", &form).await, Some("billing_cycle_anchor"));
    let config = [("billing_cycle_anchor_config[day_of_month]", "31")];
    let made = subscribe(&world, &customer, &price, &config).await;
    assert_eq!(made["billing_cycle_anchor_config"]["day_of_month"], 31);
    assert_eq!(made["billing_cycle_anchor"], made["items"]["data"][0]["current_period_end"]);
}

#[tokio::test]
async fn a_backdated_start_is_paid_for() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let before = now(&world).await;
    moved(&world, "2mo").await;
    let start = before.to_string();
    let form = [("backdate_start_date", start.as_str())];
    let made = subscribe(&world, &customer, &price, &form).await;
    assert_eq!(made["start_date"], before);
    assert_eq!(made["billing_cycle_anchor"], before);
    assert_eq!(made["latest_invoice"]["total"], 3000, "two months and the one that runs");
    let free = [form[0], ("proration_behavior", "none")];
    let made = subscribe(&world, &customer, &price, &free).await;
    assert_eq!(made["latest_invoice"]["total"], 1000);
}

#[tokio::test]
async fn retries_and_what_follows_them_are_settings() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    for (choice, status) in [("unpaid", "unpaid"), ("past_due", "past_due"), ("cancel", "canceled")]
    {
        let chosen = json!({"retry_days": [1, 2], "after_retries": choice});
        let (code, answer) = settings(&world, chosen).await;
        assert_eq!((code, &answer["upcoming_days"]), (200, &json!(7)));
        let customer = world.payer("pm_card_visa").await;
        let row = id(&subscribe(&world, &customer, &price, &[]).await);
        world.give_card(&customer, "pm_card_chargeCustomerFail").await;
        moved(&world, "period-end").await;
        assert_eq!(subscription(&world, &row).await["status"], "past_due");
        moved(&world, "4d").await;
        let late = subscription(&world, &row).await;
        assert_eq!(late["status"], status, "{choice}");
        assert_eq!(late["latest_invoice"]["attempt_count"], 3);
        assert_eq!(late["latest_invoice"]["next_payment_attempt"], json!(null));
        if choice == "unpaid" {
            moved(&world, "30d").await;
            let draft = subscription(&world, &row).await;
            assert_eq!(draft["latest_invoice"]["status"], "draft", "not collected any more");
            let invoice = id(&draft["latest_invoice"]);
            let form = [("payment_method", "pm_card_visa")];
            world.make(&format!("/v1/invoices/{invoice}/pay"), &form).await;
            assert_eq!(subscription(&world, &row).await["status"], "active");
        }
        assert!(matches!(world.delete(&format!("/v1/subscriptions/{row}")).await.0, 200 | 404));
    }
    let (code, body) = settings(&world, json!({"retry_days": [0]})).await;
    assert_eq!((code, &body["error"]["code"]), (400, &json!("settings_invalid")));
    let shown = world.send(world.request("GET", "/_sandbox/settings")).await.1;
    assert_eq!(shown["retry_days"], json!([1, 2]));
}

#[tokio::test]
async fn a_renewal_is_told_before() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let row = id(&subscribe(&world, &customer, &price, &[]).await);
    let item = [("customer", customer.as_str()), ("amount", "300"), ("currency", "usd")];
    world.make("/v1/invoiceitems", &item).await;
    moved(&world, "25d").await;
    let list = world.look("/v1/events?type=invoice.upcoming").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
    let told = &list["data"][0]["data"]["object"];
    assert_eq!((&told["total"], &told["status"]), (&json!(1300), &json!("draft")));
    assert_eq!(told["billing_reason"], "upcoming");
    moved(&world, "period-end").await;
    assert_eq!(subscription(&world, &row).await["latest_invoice"]["total"], 1300);
    settings(&world, json!({"upcoming_days": 0})).await;
    moved(&world, "period-end").await;
    moved(&world, "30d").await;
    let list = world.look("/v1/events?type=invoice.upcoming").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "one was planned before");
}

#[tokio::test]
async fn credits_are_shares_of_what_was_billed() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let dearer = world.price("3000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let made = subscribe(&world, &customer, &price, &[]).await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let item = &made["items"]["data"][0];
    let (start, end) = (
        item["current_period_start"].as_i64().expect("a time"),
        item["current_period_end"].as_i64().expect("a time"),
    );
    let item = id(item);
    let quiet = [
        ("items[0][id]", item.as_str()),
        ("items[0][price]", dearer.as_str()),
        ("proration_behavior", "none"),
    ];
    world.make(&path, &quiet).await;
    let middle = (start + (end - start) / 2).to_string();
    let form = [
        ("items[0][id]", item.as_str()),
        ("items[0][quantity]", "2"),
        ("proration_date", middle.as_str()),
    ];
    world.make(&path, &form).await;
    let waiting = world.look("/v1/invoiceitems?pending=true").await;
    let amounts = waiting["data"].as_array().expect("a list").iter().map(|row| &row["amount"]);
    assert_eq!(
        amounts.collect::<Vec<_>>(),
        [&json!(3000), &json!(-500)],
        "half of the 10.00 that were paid, not of the 30.00 that were not"
    );
    let outside = [("items[0][id]", item.as_str()), ("proration_date", "5")];
    check_refused(world.post(&path, &outside).await, Some("proration_date"));
}

#[tokio::test]
async fn a_cancellation_can_name_an_end() {
    let world = World::start().await;
    let monthly = world.price("1000", Some("month")).await;
    let yearly = world.price("12000", Some("year")).await;
    let customer = world.payer("pm_card_visa").await;
    let more = [("items[1][price]", yearly.as_str()), ("cancel_at", "max_period_end")];
    let made = subscribe(&world, &customer, &monthly, &more).await;
    assert_eq!(made["cancel_at"], made["items"]["data"][1]["current_period_end"]);
    let path = format!("/v1/subscriptions/{}", id(&made));
    let sooner = world.make(&path, &[("cancel_at", "min_period_end")]).await;
    assert_eq!(sooner["cancel_at"], made["items"]["data"][0]["current_period_end"]);
    check_refused(world.post(&path, &[("cancel_at", "5")]).await, Some("cancel_at"));
    let both = [("cancel_at", "min_period_end"), ("cancel_at_period_end", "true")];
    check_refused(world.post(&path, &both).await, Some("cancel_at"));
    let kept = world.make(&path, &[("cancel_at", "")]).await;
    assert_eq!(kept["cancel_at"], json!(null));
}

#[tokio::test]
async fn a_paid_subscription_can_get_a_trial() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let made = subscribe(&world, &customer, &price, &[]).await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let end = now(&world).await + 10 * DAY;
    let free = world.make(&path, &[("trial_end", &end.to_string())]).await;
    assert_eq!((&free["status"], &free["trial_end"]), (&json!("trialing"), &json!(end)));
    moved(&world, "11d").await;
    let paid = subscription(&world, &id(&made)).await;
    assert_eq!(paid["status"], "active");
    assert_eq!(paid["latest_invoice"]["total"], 0, "the month that was paid comes back");
    assert_eq!(paid["billing_cycle_anchor"], end);
    let early = world.make(&path, &[("trial_end", &(end + 20 * DAY).to_string())]).await;
    assert_eq!(early["status"], "trialing");
    let now_paid = world.make(&path, &[("trial_end", "now")]).await;
    assert_eq!(now_paid["status"], "active");
}
