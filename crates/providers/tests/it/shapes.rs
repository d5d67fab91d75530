//! One business fact in the shapes of different API versions is one fact (pitfalls 35 to 43).

use domain::time::Timestamp;
use providers::facts::{BillingReason, Fact, Invoice, InvoiceStatus, Subscription};
use providers::stripe::events::parse;
use serde_json::{Value, json};

fn fact(kind: &str, object: &Value) -> Fact {
    let event = json!({
        "id": "evt_1", "object": "event", "type": kind, "created": 1_800_000_000,
        "data": {"object": object},
    });
    parse(event.to_string().as_bytes()).expect("the event is readable").fact
}

fn invoice(object: &Value) -> Invoice {
    match fact("invoice.paid", object) {
        Fact::Invoice(invoice) => *invoice,
        other => unreachable!("an invoice event is read as {other:?}"),
    }
}

fn subscription(object: &Value) -> Subscription {
    match fact("customer.subscription.updated", object) {
        Fact::Subscription(subscription) => *subscription,
        other => unreachable!("a subscription event is read as {other:?}"),
    }
}

fn common_invoice() -> Value {
    json!({
        "id": "in_1", "object": "invoice", "customer": "cus_1", "status": "paid",
        "billing_reason": "subscription_cycle", "currency": "usd", "total": 2999,
        "amount_paid": 2999, "amount_due": 2999, "attempt_count": 1, "number": "A-1",
        "created": 1_799_000_000, "status_transitions": {"paid_at": 1_799_003_600},
        "period_start": 1_796_000_000, "period_end": 1_798_600_000, "metadata": {},
        "hosted_invoice_url": "http://127.0.0.1/i/1", "invoice_pdf": null,
    })
}

fn with(mut object: Value, more: Value) -> Value {
    let Value::Object(more) = more else { unreachable!("more is an object") };
    object.as_object_mut().expect("an object").extend(more);
    object
}

/// Links on the invoice itself, prices and plans on the lines.
fn invoice_before_basil() -> Value {
    with(
        common_invoice(),
        json!({
            "subscription": "sub_1", "payment_intent": "pi_1", "charge": "ch_1", "paid": true,
            "subscription_details": {"metadata": {"tollgate_price": "price_9"}},
            "lines": {"object": "list", "has_more": false, "data": [{
                "id": "il_1", "object": "line_item", "amount": 2999, "quantity": 1,
                "type": "subscription", "proration": false, "subscription": "sub_1",
                "subscription_item": "si_1", "plan": {"id": "price_pro", "product": "prod_1"},
                "price": {"id": "price_pro", "product": "prod_1"},
                "period": {"start": 1_798_600_000, "end": 1_801_200_000},
            }]},
        }),
    )
}

/// Links under `parent`, payments in a list, prices under `pricing`.
fn invoice_since_basil() -> Value {
    with(
        common_invoice(),
        json!({
            "parent": {"type": "subscription_details", "subscription_details": {
                "subscription": "sub_1", "metadata": {"tollgate_price": "price_9"},
            }},
            "payments": {"object": "list", "has_more": false, "data": [
                {"id": "inpay_0", "status": "canceled", "is_default": true,
                 "payment": {"type": "payment_intent", "payment_intent": "pi_0"}},
                {"id": "inpay_1", "status": "paid", "is_default": false,
                 "payment": {"type": "payment_intent", "payment_intent": {"id": "pi_1"},
                             "charge": "ch_1"}},
            ]},
            "lines": {"object": "list", "has_more": false, "data": [{
                "id": "il_1", "object": "line_item", "amount": 2999, "quantity": 1,
                "parent": {"type": "subscription_item_details", "subscription_item_details": {
                    "subscription": "sub_1", "subscription_item": "si_1", "proration": false,
                }},
                "pricing": {"type": "price_details",
                            "price_details": {"price": "price_pro", "product": "prod_1"}},
                "period": {"start": 1_798_600_000, "end": 1_801_200_000},
            }]},
        }),
    )
}

#[test]
fn pitfalls_38_39_42_an_invoice_is_the_same_in_every_version() {
    let old = invoice(&invoice_before_basil());
    assert_eq!(old, invoice(&invoice_since_basil()));
    assert_eq!(old.subscription.as_deref(), Some("sub_1"));
    assert_eq!(old.payment_intent.as_deref(), Some("pi_1"));
    assert_eq!(old.charge.as_deref(), Some("ch_1"));
    assert_eq!(old.reason, BillingReason::SubscriptionCycle);
    assert_eq!(old.lines[0].price.as_deref(), Some("price_pro"));
    assert_eq!(old.lines[0].period_end, Some(Timestamp::from_seconds(1_801_200_000)));
    assert_eq!(old.subscription_metadata["tollgate_price"], "price_9");
}

#[test]
fn expanded_objects_are_the_same_as_their_ids() {
    let mut whole = invoice_before_basil();
    whole["customer"] = json!({"id": "cus_1", "object": "customer", "email": null});
    whole["subscription"] = json!({"id": "sub_1", "object": "subscription"});
    whole["payment_intent"] = json!({"id": "pi_1", "latest_charge": {"id": "ch_1"}});
    whole["charge"] = json!({"id": "ch_1"});
    whole["lines"]["data"][0]["price"]["product"] = json!({"id": "prod_1", "name": "Pro"});
    assert_eq!(invoice(&whole), invoice(&invoice_before_basil()));
    let mut whole = invoice_since_basil();
    let parent = &mut whole["parent"]["subscription_details"];
    parent["subscription"] = json!({"id": "sub_1", "object": "subscription"});
    let price = &mut whole["lines"]["data"][0]["pricing"]["price_details"];
    *price = json!({"price": {"id": "price_pro", "product": "prod_1"}});
    assert_eq!(invoice(&whole), invoice(&invoice_since_basil()));
}

#[test]
fn pitfall_038_an_invoice_without_parent_has_no_subscription() {
    let single = with(common_invoice(), json!({"parent": null, "billing_reason": "manual"}));
    let single = invoice(&single);
    assert_eq!((single.subscription, single.reason), (None, BillingReason::Manual));
    assert!(!single.lines_complete, "absent lines are not known to be none");
}

#[test]
fn pitfall_039_paid_is_read_from_the_status() {
    let mut shape = invoice_before_basil();
    shape["status"] = json!("open");
    assert_eq!(invoice(&shape).status, InvoiceStatus::Open);
    shape.as_object_mut().unwrap().remove("status");
    assert_eq!(invoice(&shape).status, InvoiceStatus::Paid);
    shape["paid"] = json!(false);
    assert_eq!(invoice(&shape).status, InvoiceStatus::Other(String::new()));
}

#[test]
fn pitfall_041_what_was_refunded_needs_no_list_of_refunds() {
    let whole = json!({
        "id": "ch_1", "object": "charge", "amount": 1000, "amount_refunded": 300,
        "refunded": false, "currency": "usd", "payment_intent": "pi_1",
    });
    let bare = fact("charge.refunded", &whole);
    let Fact::Charge(charge) = &bare else { panic!("{bare:?}") };
    assert_eq!((charge.amount_refunded, charge.refunded), (300, false));
    for refunds in [Value::Null, json!({"object": "list", "data": [], "has_more": false})] {
        let shape = with(whole.clone(), json!({"refunds": refunds}));
        assert_eq!(fact("charge.refunded", &shape), bare);
    }
}

#[test]
fn pitfall_043_discounts_of_any_shape_disturb_nothing() {
    let coupon = json!({"id": "half", "object": "coupon", "percent_off": 50});
    let shapes = [
        json!({"discounts": null}),
        json!({"discounts": []}),
        json!({"discounts": ["di_1"]}),
        json!({"discounts": [{"id": "di_1", "coupon": coupon.clone()}]}),
        json!({"discounts": [{"id": "di_1", "source": {"type": "coupon", "coupon": "half"}}]}),
        json!({"discount": {"id": "di_1", "coupon": coupon.clone()}, "coupon": null}),
        json!({"discounts": [{"promotion_code": {"promotion": {"coupon": coupon}}}]}),
    ];
    for invoice_shape in [invoice_before_basil(), invoice_since_basil()] {
        for discounts in &shapes {
            let told = invoice(&with(invoice_shape.clone(), discounts.clone()));
            assert_eq!(told, invoice(&invoice_shape), "{discounts}");
        }
    }
    let plain = json!({"id": "sub_1", "status": "active", "items": {"data": [{"id": "si_1"}]}});
    for discounts in shapes {
        let told = subscription(&with(plain.clone(), discounts.clone()));
        assert_eq!(told, subscription(&plain), "{discounts}");
    }
}

#[test]
fn pitfall_047_decimals_are_never_read_as_floats() {
    let mut shape = invoice_since_basil();
    let line = &mut shape["lines"]["data"][0];
    line["pricing"]["unit_amount_decimal"] = json!("0.5");
    line["quantity_decimal"] = json!("3.000000000001");
    assert_eq!(invoice(&shape), invoice(&invoice_since_basil()), "texts stay texts");
    for amount in [json!(29.99), json!("29.99"), json!(0.1 + 0.2), json!(1e300)] {
        let mut shape = invoice_since_basil();
        shape["amount_paid"] = amount.clone();
        shape["total"] = amount.clone();
        let told = invoice(&shape);
        assert_eq!((told.amount_paid, told.total), (0, 0), "{amount} is not rounded to money");
    }
}

#[test]
fn pitfall_042_proration_is_seen_in_every_shape() {
    for line in [
        json!({"id": "il_1", "proration": true}),
        json!({"id": "il_1", "parent": {"subscription_item_details": {"proration": true}}}),
        json!({"id": "il_1", "parent": {"invoice_item_details": {"proration": true}}}),
    ] {
        let lines = json!({"lines": {"data": [line], "has_more": false}});
        assert!(invoice(&with(common_invoice(), lines)).lines[0].proration);
    }
}

#[test]
fn pitfall_048_cut_lists_say_so() {
    let mut shape = invoice_since_basil();
    shape["lines"]["has_more"] = json!(true);
    assert!(!invoice(&shape).lines_complete);
    let cut = json!({"id": "sub_1", "items": {"data": [{"id": "si_1"}], "has_more": true}});
    assert!(!subscription(&cut).items_complete);
}

#[test]
fn pitfall_036_periods_are_read_from_both_places() {
    let on_top = json!({
        "id": "sub_1", "current_period_start": 10, "current_period_end": 20,
        "items": {"data": [{"id": "si_1", "plan": "small-monthly", "quantity": null}]},
    });
    let on_items = json!({"id": "sub_1", "items": {"data": [{
        "id": "si_1", "price": {"id": "small-monthly", "product": "prod_1"},
        "current_period_start": 10, "current_period_end": 20,
    }]}});
    let (old, new) = (subscription(&on_top), subscription(&on_items));
    assert_eq!(old.period_end, Some(Timestamp::from_seconds(20)));
    assert_eq!((old.items[0].period_end, old.items[0].quantity), (None, None));
    assert_eq!((new.period_end, new.items[0].period_end), (None, old.period_end));
    assert_eq!(old.items[0].price, new.items[0].price);
    let nowhere = subscription(&json!({"id": "sub_1", "items": {"data": [{"id": "si_1"}]}}));
    assert_eq!((nowhere.period_end, nowhere.items[0].period_end), (None, None));
}

#[test]
fn pitfalls_57_to_59_all_dates_of_an_end_are_kept_apart() {
    let asked = json!({
        "id": "sub_1", "status": "active", "cancel_at": 500, "cancel_at_period_end": false,
        "canceled_at": 100, "ended_at": null, "items": {"data": []},
    });
    let asked = subscription(&asked);
    assert_eq!(asked.cancel_at, Some(Timestamp::from_seconds(500)));
    assert_eq!(asked.canceled_at, Some(Timestamp::from_seconds(100)));
    assert_eq!((asked.cancel_at_period_end, asked.ended_at), (false, None));
}

#[test]
fn pitfall_045_ids_need_no_prefix() {
    let charge = json!({
        "id": "py_1", "object": "charge", "amount": 1000, "amount_refunded": 300,
        "refunded": false, "currency": "usd", "payment_intent": null, "invoice": "gold",
    });
    let Fact::Charge(charge) = fact("charge.refunded", &charge) else { panic!("no charge") };
    assert_eq!((charge.id.as_str(), charge.amount_refunded), ("py_1", 300));
    assert_eq!((charge.payment_intent, charge.invoice.as_deref()), (None, Some("gold")));
}

#[test]
fn sessions_know_their_buyer() {
    let session = json!({
        "id": "cs_1", "object": "checkout.session", "status": "complete", "mode": "payment",
        "payment_status": "no_payment_required", "payment_intent": null, "amount_total": 0,
        "customer": {"id": "cus_1", "deleted": true}, "customer_email": "before@example.test",
        "customer_details": {"email": "typed@example.test", "name": "N"},
        "client_reference_id": "chk_1", "metadata": {"tollgate_customer": "cus_9", "n": 5},
    });
    let fact = fact("checkout.session.completed", &session);
    let Fact::CheckoutSession(session) = fact else { panic!("{fact:?}") };
    assert_eq!(session.email.as_deref(), Some("typed@example.test"));
    assert_eq!(session.customer.as_deref(), Some("cus_1"));
    assert_eq!(session.payment.as_str(), "no_payment_required");
    assert_eq!(session.metadata.len(), 1);
}
