//! Credit notes: on open and paid invoices, by amount and by line, refused, previewed, voided.

use serde_json::{Value, json};

use crate::world::{World, id, text};

/// A final invoice over 10.00 and 5.00 for a customer with a card.
async fn open_invoice(world: &World) -> Value {
    let customer = world.payer("pm_card_visa").await;
    let invoice = id(&world.make("/v1/invoices", &[("customer", &customer)]).await);
    for amount in ["1000", "500"] {
        let item = [("customer", customer.as_str()), ("invoice", &invoice), ("amount", amount)];
        world.make("/v1/invoiceitems", &item).await;
    }
    world.make(&format!("/v1/invoices/{invoice}/finalize"), &[]).await
}

async fn paid_invoice(world: &World) -> Value {
    let invoice = id(&open_invoice(world).await);
    world.make(&format!("/v1/invoices/{invoice}/pay"), &[]).await
}

async fn refused(world: &World, form: &[(&str, &str)]) -> Value {
    let (status, body) = world.post("/v1/credit_notes", form).await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (400, &json!("invalid_request_error")),
        "{form:?}"
    );
    body["error"].clone()
}

#[tokio::test]
async fn a_note_on_an_open_invoice_lowers_what_is_due() {
    let world = World::start().await;
    let invoice = open_invoice(&world).await;
    let invoice_id = id(&invoice);
    let form = [("invoice", invoice_id.as_str()), ("amount", "400"), ("memo", "sorry")];
    let note = world.make("/v1/credit_notes", &form).await;
    let number = format!("{}-CN-01", text(&invoice["number"]));
    assert_eq!((&note["number"], &note["type"]), (&json!(&number), &json!("pre_payment")));
    assert_eq!((&note["pre_payment_amount"], &note["status"]), (&json!(400), &json!("issued")));
    let path = format!("/v1/invoices/{invoice_id}?expand[]=payments.data.payment.payment_intent");
    let after = world.look(&path).await;
    let amounts = (&after["total"], &after["amount_due"], &after["amount_remaining"]);
    assert_eq!(amounts, (&json!(1_500), &json!(1_100), &json!(1_100)));
    assert_eq!(after["pre_payment_credit_notes_amount"], 400);
    for link in [&note["pdf"], &after["hosted_invoice_url"], &after["invoice_pdf"]] {
        let page = world.client.get(text(link)).send().await.expect("a page");
        assert_eq!(page.status(), 200, "{link}");
        assert!(page.text().await.expect("a body").contains(&number), "{link} shows the note");
    }
    assert_eq!(after["payments"]["data"][0]["payment"]["payment_intent"]["amount"], 1_100);
    let void = world.make(&format!("/v1/credit_notes/{}/void", id(&note)), &[]).await;
    assert_eq!(void["status"], "void");
    let restored = world.look(&format!("/v1/invoices/{invoice_id}")).await;
    assert_eq!(restored["amount_due"], 1_500);
    let paid = world.make(&format!("/v1/invoices/{invoice_id}/pay"), &[]).await;
    assert_eq!((&paid["amount_paid"], &paid["amount_remaining"]), (&json!(1_500), &json!(0)));
    let kinds = world.events().await;
    for kind in ["credit_note.created", "credit_note.voided", "invoice.updated"] {
        assert!(kinds.contains(&kind.to_owned()), "{kind}");
    }
}

#[tokio::test]
async fn an_invoice_credited_whole_is_paid() {
    let world = World::start().await;
    let invoice = open_invoice(&world).await;
    let line = text(&invoice["lines"]["data"][0]["id"]);
    let other = text(&invoice["lines"]["data"][1]["id"]);
    let invoice = id(&invoice);
    let form = [
        ("invoice", invoice.as_str()),
        ("lines[0][type]", "invoice_line_item"),
        ("lines[0][invoice_line_item]", &line),
        ("lines[0][quantity]", "1"),
        ("lines[1][type]", "invoice_line_item"),
        ("lines[1][invoice_line_item]", &other),
        ("lines[1][amount]", "500"),
    ];
    let note = world.make("/v1/credit_notes", &form).await;
    assert_eq!(
        (&note["amount"], &note["lines"]["data"][0]["amount"]),
        (&json!(1_500), &json!(1_000))
    );
    let after = world.look(&format!("/v1/invoices/{invoice}")).await;
    assert_eq!((&after["status"], &after["amount_paid"]), (&json!("paid"), &json!(0)));
    assert_eq!(after["amount_remaining"], 0);
    let payments = world.look(&format!("/v1/invoice_payments?invoice={invoice}")).await;
    assert_eq!(payments["data"][0]["status"], "canceled");
    assert!(world.events().await.contains(&"invoice.paid".to_owned()));
    let error = refused(&world, &[("invoice", &invoice), ("amount", "1")]).await;
    assert_eq!(error["param"], "amount");
}

#[tokio::test]
async fn a_note_on_a_paid_invoice_gives_back() {
    let world = World::start().await;
    let invoice = paid_invoice(&world).await;
    let customer = text(&invoice["customer"]);
    let invoice = id(&invoice);
    let form = [
        ("invoice", invoice.as_str()),
        ("amount", "900"),
        ("refund_amount", "400"),
        ("credit_amount", "300"),
        ("out_of_band_amount", "200"),
        ("reason", "duplicate"),
        ("expand[0]", "refunds.refund"),
    ];
    let note = world.make("/v1/credit_notes", &form).await;
    assert_eq!(
        (&note["type"], &note["post_payment_amount"]),
        (&json!("post_payment"), &json!(900))
    );
    let refund = &note["refunds"][0]["refund"];
    assert_eq!((&refund["amount"], &refund["reason"]), (&json!(400), &json!("duplicate")));
    let moved = text(&note["customer_balance_transaction"]);
    let moved = world.look(&format!("/v1/customers/{customer}/balance_transactions/{moved}")).await;
    assert_eq!((&moved["amount"], &moved["type"]), (&json!(-300), &json!("credit_note")));
    assert_eq!(moved["credit_note"], note["id"]);
    let after = world.look(&format!("/v1/invoices/{invoice}")).await;
    let amounts = (&after["post_payment_credit_notes_amount"], &after["amount_paid"]);
    assert_eq!(amounts, (&json!(900), &json!(1_500)));
    let (status, _) = world.post(&format!("/v1/credit_notes/{}/void", id(&note)), &[]).await;
    assert_eq!(status, 400, "the money is gone");
    let list = world.look(&format!("/v1/credit_notes?customer={customer}")).await;
    assert_eq!(list["data"][0]["id"], note["id"]);
}

#[tokio::test]
async fn refunds_made_before_can_be_linked_once() {
    let world = World::start().await;
    let invoice = id(&paid_invoice(&world).await);
    let charge = id(&world.look("/v1/charges").await["data"][0]);
    let refund = id(&world.make("/v1/refunds", &[("charge", &charge), ("amount", "600")]).await);
    let form = [("invoice", invoice.as_str()), ("amount", "600"), ("refunds[0][refund]", &refund)];
    let note = world.make("/v1/credit_notes", &form).await;
    assert_eq!(note["refunds"][0]["amount_refunded"], 600);
    let error = refused(&world, &form).await;
    assert_eq!(error["param"], "refunds[0][refund]");
}

#[tokio::test]
async fn notes_that_do_not_add_up_are_refused_and_leave_nothing() {
    let world = World::start().await;
    let invoice = paid_invoice(&world).await;
    let line = text(&invoice["lines"]["data"][1]["id"]);
    let invoice = id(&invoice);
    let base = ("invoice", invoice.as_str());
    let by_line = |amount| {
        vec![
            base,
            ("lines[0][type]", "invoice_line_item"),
            ("lines[0][invoice_line_item]", line.as_str()),
            ("lines[0][amount]", amount),
            ("credit_amount", amount),
        ]
    };
    for (form, param) in [
        (vec![base], json!("amount")),
        (vec![base, ("amount", "100")], Value::Null),
        (vec![base, ("amount", "100"), ("refund_amount", "200")], Value::Null),
        (vec![base, ("amount", "1501"), ("refund_amount", "1501")], json!("amount")),
        (by_line("501"), json!("lines[0][amount]")),
        (vec![("invoice", "in_none"), ("amount", "1")], json!("invoice")),
    ] {
        let error = refused(&world, &form).await;
        assert_eq!(error.get("param").cloned().unwrap_or_default(), param, "{form:?}");
    }
    assert_eq!(world.look("/v1/credit_notes").await["data"], json!([]));
    assert_eq!(world.look("/v1/refunds").await["data"], json!([]));
}

#[tokio::test]
async fn previews_leave_nothing_behind() {
    let world = World::start().await;
    let invoice = id(&paid_invoice(&world).await);
    let query = format!("invoice={invoice}&amount=700&refund_amount=700");
    let note = world.look(&format!("/v1/credit_notes/preview?{query}")).await;
    assert_eq!((&note["amount"], &note["refunds"]), (&json!(700), &json!([])));
    let lines = world.look(&format!("/v1/credit_notes/preview/lines?{query}")).await;
    assert_eq!(lines["data"][0]["amount"], 700);
    assert_eq!(world.look("/v1/credit_notes").await["data"], json!([]));
    assert_eq!(world.look("/v1/refunds").await["data"], json!([]));
}

#[tokio::test]
async fn a_credited_line_takes_its_discount_with_it() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let coupon = [("percent_off", "20"), ("duration", "forever")];
    let coupon = id(&world.make("/v1/coupons", &coupon).await);
    let form = [("customer", customer.as_str()), ("discounts[0][coupon]", coupon.as_str())];
    let invoice = id(&world.make("/v1/invoices", &form).await);
    let item = [("customer", customer.as_str()), ("invoice", &invoice), ("amount", "1000")];
    world.make("/v1/invoiceitems", &item).await;
    let paid = world.make(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
    assert_eq!(paid["amount_paid"], 800);
    let line = text(&paid["lines"]["data"][0]["id"]);
    let form = [
        ("invoice", invoice.as_str()),
        ("lines[0][type]", "invoice_line_item"),
        ("lines[0][invoice_line_item]", &line),
        ("lines[0][amount]", "500"),
        ("refund_amount", "400"),
    ];
    let note = world.make("/v1/credit_notes", &form).await;
    let amounts = (&note["subtotal"], &note["discount_amount"], &note["total"]);
    assert_eq!(amounts, (&json!(500), &json!(100), &json!(400)));
    assert_eq!(note["refunds"][0]["amount_refunded"], 400);
}
