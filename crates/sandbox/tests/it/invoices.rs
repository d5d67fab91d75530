//! Invoices: previews, lines of drafts, due dates, attached payments, revisions.

use serde_json::{Value, json};

use crate::world::{World, id, text};

async fn draft(world: &World, customer: &str, amount: &str, more: &[(&str, &str)]) -> Value {
    let form = [&[("customer", customer)], more].concat();
    let invoice = id(&world.make("/v1/invoices", &form).await);
    let item = [("customer", customer), ("invoice", &invoice), ("amount", amount)];
    world.make("/v1/invoiceitems", &item).await;
    world.look(&format!("/v1/invoices/{invoice}")).await
}

async fn active(world: &World, price: &str) -> Value {
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price)];
    world.make("/v1/subscriptions", &form).await
}

/// How many objects of the kinds that a preview works with there are.
async fn counts(world: &World) -> Vec<usize> {
    let mut counts = Vec::new();
    for kind in ["invoices", "invoiceitems", "subscriptions", "payment_intents", "events"] {
        let list = world.look(&format!("/v1/{kind}?limit=100")).await;
        counts.push(list["data"].as_array().map_or(0, Vec::len));
    }
    counts
}

#[tokio::test]
async fn a_change_is_previewed_and_nothing_is_left_of_it() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let dearer = world.price("3000", Some("month")).await;
    let subscription = active(&world, &price).await;
    let item = text(&subscription["items"]["data"][0]["id"]);
    let id_of = id(&subscription);
    let before = counts(&world).await;
    let form = [
        ("subscription", id_of.as_str()),
        ("subscription_details[items][0][id]", &item),
        ("subscription_details[items][0][price]", &dearer),
        ("subscription_details[proration_behavior]", "always_invoice"),
    ];
    let now = world.make("/v1/invoices/create_preview", &form).await;
    assert_eq!((&now["total"], &now["status"]), (&json!(2_000), &json!("draft")));
    assert_eq!((&now["number"], &now["billing_reason"]), (&Value::Null, &json!("upcoming")));
    assert!(text(&now["id"]).starts_with("upcoming_in_"));
    let later = world.make("/v1/invoices/create_preview", &form[..3]).await;
    assert_eq!(later["total"], 5_000, "the proration and the next month");
    let plain = world.make("/v1/invoices/create_preview", &form[..1]).await;
    assert_eq!(plain["total"], 1_000);
    let end = &subscription["items"]["data"][0]["current_period_end"];
    assert_eq!(&plain["lines"]["data"][0]["period"]["start"], end);
    let recurring = [&form[..3], &[("preview_mode", "recurring")]].concat();
    let recurring = world.make("/v1/invoices/create_preview", &recurring).await;
    assert_eq!(recurring["total"], 3_000);
    assert_eq!(counts(&world).await, before, "nothing is left");
    let same = world.look(&format!("/v1/subscriptions/{id_of}")).await;
    assert_eq!(same["items"], subscription["items"]);
}

#[tokio::test]
async fn a_subscription_that_does_not_exist_is_previewed() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = id(&world.make("/v1/customers", &[("balance", "-400")]).await);
    let before = counts(&world).await;
    let form = [
        ("customer", customer.as_str()),
        ("subscription_details[items][0][price]", &price),
        ("subscription_details[items][0][quantity]", "3"),
        ("invoice_items[0][amount]", "250"),
        ("invoice_items[0][currency]", "usd"),
        ("invoice_items[0][description]", "setup"),
    ];
    let preview = world.make("/v1/invoices/create_preview", &form[..3]).await;
    let amounts = (&preview["total"], &preview["amount_due"], &preview["starting_balance"]);
    assert_eq!(amounts, (&json!(3_000), &json!(2_600), &json!(-400)));
    let nobody = [("customer_details[address][country]", "DE"), form[1]];
    let preview = world.make("/v1/invoices/create_preview", &nobody).await;
    assert_eq!(preview["total"], 1_000);
    let (status, body) = world.post("/v1/invoices/create_preview", &form[..1]).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("invoice_upcoming_none")));
    let bad = [form[0], ("subscription_details[items][0][price]", "price_none")];
    let (status, body) = world.post("/v1/invoices/create_preview", &bad).await;
    let param = json!("subscription_details[items][0][price]");
    assert_eq!((status, &body["error"]["param"]), (400, &param));
    assert_eq!(counts(&world).await, before, "nothing is left");
}

#[tokio::test]
async fn a_subscription_that_ends_has_no_next_invoice() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let subscription = id(&active(&world, &price).await);
    let form = [
        ("subscription", subscription.as_str()),
        ("subscription_details[cancel_at_period_end]", "true"),
    ];
    let (status, body) = world.post("/v1/invoices/create_preview", &form).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("invoice_upcoming_none")));
    let form = [form[0], ("subscription_details[cancel_now]", "true")];
    let last = world.make("/v1/invoices/create_preview", &form).await;
    assert_eq!(last["total"], -1_000, "what is not used comes back");
}

#[tokio::test]
async fn lines_of_drafts_are_added_changed_and_removed() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let invoice = draft(&world, &customer, "500", &[]).await;
    let line = text(&invoice["lines"]["data"][0]["id"]);
    let path = format!("/v1/invoices/{}", id(&invoice));
    let form = [("lines[0][amount]", "700"), ("lines[0][description]", "work")];
    let more = world.make(&format!("{path}/add_lines"), &form).await;
    assert_eq!(more["total"], 1_200);
    let changed = world.make(&format!("{path}/lines/{line}"), &[("amount", "600")]).await;
    assert_eq!((&changed["amount"], &changed["object"]), (&json!(600), &json!("line_item")));
    let form = [
        ("lines[0][id]", line.as_str()),
        ("lines[0][description]", "hours"),
        ("invoice_metadata[po]", "7"),
    ];
    let updated = world.make(&format!("{path}/update_lines"), &form).await;
    assert_eq!(updated["lines"]["data"][0]["description"], "hours");
    assert_eq!((&updated["total"], &updated["metadata"]["po"]), (&json!(1_300), &json!("7")));
    let form = [("lines[0][id]", line.as_str()), ("lines[0][behavior]", "unassign")];
    let fewer = world.make(&format!("{path}/remove_lines"), &form).await;
    assert_eq!(fewer["total"], 700);
    let waiting = world.look(&format!("/v1/invoiceitems?customer={customer}&pending=true")).await;
    let item = text(&waiting["data"][0]["id"]);
    let item = world.make(&format!("/v1/invoiceitems/{item}"), &[("amount", "650")]).await;
    assert_eq!((&item["amount"], &item["invoice"]), (&json!(650), &Value::Null));
    world.make(&format!("{path}/finalize"), &[]).await;
    for action in ["add_lines", "update_lines", "remove_lines"] {
        let (status, body) = world.post(&format!("{path}/{action}"), &form).await;
        let error = &body["error"];
        assert_eq!((status, &error["code"]), (400, &json!("invoice_not_editable")), "{action}");
    }
}

#[tokio::test]
async fn invoices_are_sent_announced_and_overdue() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let way = [("collection_method", "send_invoice"), ("days_until_due", "30")];
    let invoice = id(&draft(&world, &customer, "500", &way).await);
    let sent = world.make(&format!("/v1/invoices/{invoice}/send"), &[]).await;
    assert_eq!(sent["status"], "open");
    let page = text(&sent["hosted_invoice_url"]);
    assert_eq!(world.client.get(page).send().await.expect("a page").status(), 200);
    let (status, body) = world.post("/v1/invoices", &[("customer", &customer), way[0]]).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("days_until_due")));
    assert!(!world.events().await.contains(&"invoice.will_be_due".to_owned()));
    world.advance("24d").await;
    assert!(world.events().await.contains(&"invoice.will_be_due".to_owned()));
    world.advance("7d").await;
    let kinds = world.events().await;
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    let seen = ["invoice.sent", "invoice.will_be_due", "invoice.overdue"].map(count);
    assert_eq!(seen, [1, 1, 1]);
    world.make(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
}

#[tokio::test]
async fn drafts_that_advance_become_final_and_are_charged_after_an_hour() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let waiting = draft(&world, &customer, "500", &[]).await;
    let advancing = draft(&world, &customer, "500", &[("auto_advance", "true")]).await;
    assert_eq!(waiting["automatically_finalizes_at"], Value::Null);
    assert!(advancing["automatically_finalizes_at"].is_i64());
    world.advance("2h").await;
    let status = async |invoice: &Value| {
        let path = format!("/v1/invoices/{}", id(invoice));
        text(&world.look(&path).await["status"])
    };
    assert_eq!((status(&waiting).await, status(&advancing).await), ("draft".into(), "paid".into()));
}

#[tokio::test]
async fn attached_payments_pay_in_part_and_in_whole() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let invoice = id(&draft(&world, &customer, "1000", &[]).await);
    let path = format!("/v1/invoices/{invoice}");
    world.make(&format!("{path}/finalize"), &[]).await;
    let pay = async |amount: &str| {
        let form = [
            ("amount", amount),
            ("currency", "usd"),
            ("customer", customer.as_str()),
            ("payment_method", "pm_card_visa"),
            ("payment_method_types[0]", "card"),
            ("confirm", "true"),
        ];
        id(&world.make("/v1/payment_intents", &form).await)
    };
    let first = pay("400").await;
    let attach = format!("{path}/attach_payment");
    let part = world.make(&attach, &[("payment_intent", &first)]).await;
    let amounts = (&part["status"], &part["amount_paid"], &part["amount_remaining"]);
    assert_eq!(amounts, (&json!("open"), &json!(400), &json!(600)));
    let (status, body) = world.post(&attach, &[("payment_intent", &first)]).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("payment_intent")));
    let second = pay("700").await;
    let paid = world.make(&attach, &[("payment_intent", &second)]).await;
    let amounts = (&paid["status"], &paid["amount_paid"], &paid["amount_overpaid"]);
    assert_eq!(amounts, (&json!("paid"), &json!(1_000), &json!(100)));
    let balance = world.look(&format!("/v1/customers/{customer}")).await;
    assert_eq!(balance["balance"], -100);
    let payments = world.look(&format!("/v1/invoice_payments?invoice={invoice}")).await;
    let payments = payments["data"].as_array().expect("a list").clone();
    let statuses: Vec<&Value> = payments.iter().map(|payment| &payment["status"]).collect();
    assert_eq!(statuses, ["paid", "paid", "canceled"]);
}

#[tokio::test]
async fn a_revision_replaces_an_open_invoice() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let old = id(&draft(&world, &customer, "1000", &[("footer", "Thanks")]).await);
    world.make(&format!("/v1/invoices/{old}/finalize"), &[]).await;
    let form = [("from_invoice[action]", "revision"), ("from_invoice[invoice]", old.as_str())];
    let new = world.make("/v1/invoices", &form).await;
    assert_eq!((&new["total"], &new["footer"]), (&json!(1_000), &json!("Thanks")));
    assert_eq!(new["from_invoice"], json!({"action": "revision", "invoice": old}));
    world.make(&format!("/v1/invoices/{}/finalize", id(&new)), &[]).await;
    let replaced = world.look(&format!("/v1/invoices/{old}")).await;
    assert_eq!((&replaced["status"], &replaced["latest_revision"]), (&json!("void"), &new["id"]));
    let (status, body) = world.post("/v1/invoices", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("from_invoice[invoice]")));
}
