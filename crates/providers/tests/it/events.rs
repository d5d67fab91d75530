//! Recorded events of ten API versions become facts.

use domain::subscriptions::Status;
use providers::errors::ParseError;
use providers::facts::{Event, Fact, InvoiceStatus, SessionStatus};
use providers::stripe::events::parse;
use serde_json::{Value, json};

fn parse_value(event: &Value) -> Result<Event, ParseError> {
    parse(event.to_string().as_bytes())
}

fn event(kind: &str, object: Value) -> Value {
    json!({
        "id": "evt_1", "object": "event", "type": kind, "created": 1_800_000_000,
        "livemode": false, "api_version": "2026-10-28.endive", "data": {"object": object},
    })
}

/// What a fact must be given the type of its event.
fn is_sensible(event: &Event) -> bool {
    match (&event.fact, event.kind.as_str()) {
        (Fact::CheckoutSession(session), kind) => {
            kind.starts_with("checkout.session.") && !session.id.is_empty()
        }
        (Fact::Invoice(invoice), kind) => kind.starts_with("invoice.") && !invoice.id.is_empty(),
        (Fact::Subscription(subscription), kind) => {
            kind.starts_with("customer.subscription.")
                && subscription.status.is_some()
                && !subscription.items.is_empty()
        }
        (Fact::Charge(charge), kind) => kind.starts_with("charge.") && 0 < charge.amount,
        (Fact::Schedule(_), kind) => kind.starts_with("subscription_schedule."),
        (Fact::PaymentIntent(intent), kind) => {
            kind.starts_with("payment_intent.") && 0 < intent.amount
        }
        (Fact::Refund(refund), kind) => kind.contains("refund") && 0 < refund.amount,
        (Fact::Dispute(dispute), kind) => kind.starts_with("charge.dispute.") && 0 < dispute.amount,
        (Fact::CreditNote(note), kind) => kind.starts_with("credit_note.") && 0 < note.amount,
        (Fact::InvoicePayment(_), kind) => kind == "invoice_payment.paid",
        (Fact::CustomerDeleted { .. }, kind) => kind == "customer.deleted",
        (Fact::EventsMissing, kind) => kind.starts_with("v2.core.health."),
        (Fact::Thin { .. }, kind) => kind.starts_with("v1."),
        (Fact::Unhandled, kind) => {
            let handled = ["checkout.session.", "invoice.", "customer.subscription.", "charge."];
            kind == "invoice.upcoming" || !handled.iter().any(|h| kind.starts_with(h))
        }
    }
}

#[test]
fn row_72_every_recorded_event_is_read() {
    let samples = crate::samples::samples();
    let mut handled = 0;
    for (name, sample) in &samples {
        let event = parse_value(sample).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_sensible(&event), "{name}: {event:?}");
        assert_eq!(event.kind, sample["type"].as_str().unwrap(), "{name}");
        handled += usize::from(event.fact != Fact::Unhandled);
    }
    println!("{} events, {handled} of them handled", samples.len());
    assert!(samples.is_empty() || 70 < handled, "{handled}");
}

#[test]
fn recorded_renewals_carry_what_a_grant_needs() {
    for (name, sample) in crate::samples::samples() {
        // Sample objects of the schema are sparse; recordings are whole.
        if !name.contains("derived-events") {
            continue;
        }
        match parse_value(&sample).unwrap().fact {
            Fact::Invoice(invoice) if sample["type"] == "invoice.paid" => {
                assert_eq!(invoice.status, InvoiceStatus::Paid, "{name}");
                assert!(invoice.customer.is_some() && invoice.paid_at.is_some(), "{name}");
                assert!(invoice.lines_complete && !invoice.lines.is_empty(), "{name}");
                for line in &invoice.lines {
                    assert!(line.period_start.is_some() && line.price.is_some(), "{name}");
                    assert_eq!(line.subscription, invoice.subscription, "{name}");
                    assert_eq!(line.subscription_item.is_some(), line.subscription.is_some());
                }
            }
            Fact::Subscription(subscription) => {
                assert!(subscription.customer.is_some(), "{name}");
                let item = &subscription.items[0];
                assert!(item.price.is_some() && item.product.is_some(), "{name}");
                assert!(item.period_end.is_some() && item.period_start < item.period_end, "{name}");
            }
            _ => {}
        }
    }
}

#[test]
fn thin_events_name_their_object() {
    let thin = json!({
        "id": "evt_t", "object": "v2.core.event", "type": "v1.customer.subscription.updated",
        "created": "2026-10-01T09:00:00.500Z", "livemode": true, "context": "acct_9",
        "related_object": {"id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1"},
    });
    let event = parse_value(&thin).unwrap();
    let expected =
        Fact::Thin { object_id: "sub_1".to_owned(), object_type: "subscription".to_owned() };
    assert_eq!(event.fact, expected);
    assert_eq!(event.created_at.to_string(), "2026-10-01T09:00:00.5Z");
    assert_eq!((event.livemode, event.account.as_deref()), (true, Some("acct_9")));
    let mut without = thin;
    without.as_object_mut().unwrap().remove("related_object");
    assert_eq!(parse_value(&without).unwrap().fact, Fact::Unhandled);
}

#[test]
fn pitfall_010_and_011_other_events_are_not_handled() {
    let invoice = json!({"id": "in_1", "object": "invoice"});
    let forecast = json!({"object": "invoice", "customer": "cus_1"});
    for (kind, object) in [
        ("foo.bar.baz", json!({"id": "x", "object": "y"})),
        ("invoice.upcoming", forecast.clone()),
        ("invoice.upcoming", json!({"id": "upcoming_in_1", "object": "invoice"})),
        ("invoice.invented_later", json!({"id": "ip_1", "object": "invoice_payment"})),
        ("invoiceitem.created", invoice.clone()),
        ("invoice_payment.paid", invoice.clone()),
        ("payment_intent.created", json!({"id": "pi_1", "object": "payment_intent"})),
        ("balance.available", Value::Null),
    ] {
        assert_eq!(parse_value(&event(kind, object)).unwrap().fact, Fact::Unhandled, "{kind}");
    }
    for kind in ["invoice.will_be_due", "invoice.overpaid", "invoice.voided"] {
        let fact = parse_value(&event(kind, invoice.clone())).unwrap().fact;
        assert!(matches!(fact, Fact::Invoice(_)), "{kind}");
    }
    let event = parse_value(&event("invoice.upcoming", forecast)).unwrap();
    assert_eq!((event.object_id, event.customer.as_deref()), (None, Some("cus_1")));
}

#[test]
fn money_events_that_cannot_be_read_are_errors() {
    let cases = [
        ("invoice.paid", json!({"object": "invoice"})),
        ("invoice.payment_failed", json!({"id": 5, "object": "invoice"})),
        ("invoice.payment_succeeded", json!({"id": "ch_1", "object": "charge"})),
        ("checkout.session.completed", json!({"id": null})),
        ("customer.subscription.deleted", json!("sub_1")),
        ("charge.refunded", Value::Null),
    ];
    for (kind, object) in cases {
        assert!(parse_value(&event(kind, object)).is_err(), "{kind}");
    }
}

#[test]
fn what_is_no_event_is_named() {
    let missing = |name: &str| {
        let mut event = event("foo", json!({}));
        event.as_object_mut().unwrap().remove(name);
        parse_value(&event)
    };
    assert_eq!(missing("id"), Err(ParseError::Missing("id")));
    assert_eq!(missing("type"), Err(ParseError::Missing("type")));
    assert_eq!(missing("created"), Err(ParseError::Missing("created")));
    assert!(missing("data").is_ok() && missing("livemode").is_ok());
    let deep = "[".repeat(100_000);
    for payload in [&b""[..], b"{", b"\xff\xfe", b"null", b"[1]", b"{\"id\":1}", deep.as_bytes()] {
        assert!(parse(payload).is_err());
    }
}

#[test]
fn events_name_the_customer_they_are_about() {
    let customer = json!({"id": "cus_1", "object": "customer"});
    let cases = [
        ("customer.created", customer.clone(), Some("cus_1")),
        ("payment_intent.succeeded", json!({"id": "pi_1", "customer": "cus_2"}), Some("cus_2")),
        ("payment_intent.succeeded", json!({"id": "pi_1", "customer": customer}), Some("cus_1")),
        ("price.created", json!({"id": "price_1", "customer": null}), None),
    ];
    for (kind, object, expected) in cases {
        let event = parse_value(&event(kind, object)).unwrap();
        assert_eq!(event.customer.as_deref(), expected, "{kind}");
    }
}

#[test]
fn pitfall_044_new_words_are_kept_verbatim() {
    let subscription = json!({"id": "sub_1", "object": "subscription", "status": "hibernating"});
    let fact = parse_value(&event("customer.subscription.updated", subscription)).unwrap().fact;
    let Fact::Subscription(subscription) = fact else { panic!("{fact:?}") };
    assert_eq!(subscription.status, Some(Status::Other("hibernating".to_owned())));
    let invoice = json!({"id": "in_1", "billing_reason": "zap", "status": "frozen"});
    let fact = parse_value(&event("invoice.paid", invoice)).unwrap().fact;
    let Fact::Invoice(invoice) = fact else { panic!("{fact:?}") };
    assert_eq!((invoice.reason.as_str(), invoice.status.as_str()), ("zap", "frozen"));
}

#[test]
fn old_events_tell_what_their_objects_do_not() {
    let session = json!({"id": "cs_1", "object": "checkout.session", "payment_status": "paid"});
    let fact = parse_value(&event("checkout.session.completed", session)).unwrap().fact;
    let Fact::CheckoutSession(session) = fact else { panic!("{fact:?}") };
    assert_eq!(session.status, SessionStatus::Complete);
    let gone = json!({"id": "sub_1", "object": "subscription"});
    let fact = parse_value(&event("customer.subscription.deleted", gone)).unwrap().fact;
    let Fact::Subscription(subscription) = fact else { panic!("{fact:?}") };
    assert_eq!(subscription.status, Some(Status::Canceled));
}
