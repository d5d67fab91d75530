//! Reading a proven payload into a fact. Whatever is not needed may be missing or odd.

use domain::subscriptions::Status;
use domain::time::Timestamp;
use serde_json::Value;

use super::{
    checkout_sessions, disputes, fields, invoices, payments, refunds, schedules, subscriptions,
};
use crate::errors::ParseError;
use crate::facts::{Event, Fact, SessionStatus};

/// The event of a page on which somebody has bought.
pub const PAGE_COMPLETED: &str = "checkout.session.completed";

/// Reads a snapshot event of any API version, or a thin one.
pub fn parse(payload: &[u8]) -> Result<Event, ParseError> {
    let event: Value =
        serde_json::from_slice(payload).map_err(|error| ParseError::NotJson(error.to_string()))?;
    let id = fields::text(&event, "/id").ok_or(ParseError::Missing("id"))?;
    let kind = fields::text(&event, "/type").ok_or(ParseError::Missing("type"))?;
    let created_at = created_at(&event).ok_or(ParseError::Missing("created"))?;
    let common = Event {
        id,
        kind,
        created_at,
        livemode: fields::flag(&event, "/livemode"),
        account: fields::text(&event, "/account").or_else(|| fields::text(&event, "/context")),
        api_version: fields::text(&event, "/api_version"),
        object_id: None,
        customer: None,
        fact: Fact::Unhandled,
    };
    if fields::text(&event, "/object").as_deref() == Some("v2.core.event") {
        return Ok(thin(common, &event));
    }
    let object = event.pointer("/data/object").unwrap_or(&Value::Null);
    let is_customer = fields::text(object, "/object").as_deref() == Some("customer");
    Ok(Event {
        object_id: fields::text(object, "/id"),
        customer: fields::reference(object, if is_customer { "/id" } else { "/customer" }),
        fact: fact(&common, object)?,
        ..common
    })
}

/// Seconds in snapshot events, RFC 3339 in thin ones.
fn created_at(event: &Value) -> Option<Timestamp> {
    if let Some(at) = fields::instant(event, "/created") {
        return Some(at);
    }
    let at: jiff::Timestamp = fields::text(event, "/created")?.parse().ok()?;
    Some(Timestamp::from_micros(at.as_microsecond()))
}

fn thin(common: Event, event: &Value) -> Event {
    if common.kind.starts_with("v2.core.health.event_generation_failure") {
        return Event { fact: Fact::EventsMissing, ..common };
    }
    let object_id = fields::text(event, "/related_object/id");
    let object_type = fields::text(event, "/related_object/type");
    let fact = match (object_id.clone(), object_type) {
        (Some(object_id), Some(object_type)) => Fact::Thin { object_id, object_type },
        _ => Fact::Unhandled,
    };
    Event { object_id, fact, ..common }
}

/// The event's type decides what its object is read as.
fn fact(event: &Event, object: &Value) -> Result<Fact, ParseError> {
    let kind = event.kind.as_str();
    let Some((expected, fact)) = reading(kind, object) else {
        return Ok(Fact::Unhandled);
    };
    let problem = match (fields::text(object, "/object"), fact) {
        (Some(found), _) if found != expected => {
            ParseError::OtherObject { event: event.id.clone(), expected, found }
        }
        (_, Some(fact)) => return Ok(fact),
        (_, None) => ParseError::ObjectWithoutId { event: event.id.clone() },
    };
    if moves_money(kind) { Err(problem) } else { Ok(Fact::Unhandled) }
}

/// What an event of this kind is about, and that object read; `None` where nothing follows from it.
fn reading(kind: &str, object: &Value) -> Option<(&'static str, Option<Fact>)> {
    let (family, verb) = kind.rsplit_once('.')?;
    Some(match (family, verb) {
        (
            "checkout.session",
            "completed" | "async_payment_succeeded" | "async_payment_failed" | "expired",
        ) => ("checkout.session", session(kind, object)),
        ("charge.dispute", _) => {
            ("dispute", disputes::read(object).map(|it| Fact::Dispute(Box::new(it))))
        }
        ("charge.refund" | "refund", _) => {
            ("refund", refunds::read(object).map(|it| Fact::Refund(Box::new(it))))
        }
        ("charge", _) => ("charge", payments::read(object).map(|it| Fact::Charge(Box::new(it)))),
        ("payment_intent", "succeeded" | "canceled" | "payment_failed" | "processing") => {
            let intent = payments::read_intent(object);
            ("payment_intent", intent.map(|it| Fact::PaymentIntent(Box::new(it))))
        }
        ("invoice_payment", "paid") => {
            let payment = payments::read_invoice_payment(object);
            ("invoice_payment", payment.map(|it| Fact::InvoicePayment(Box::new(it))))
        }
        ("credit_note", _) => {
            let note = refunds::read_credit_note(object);
            ("credit_note", note.map(|it| Fact::CreditNote(Box::new(it))))
        }
        // A forecast is no invoice, though newer shapes give it an id.
        ("invoice", "upcoming") => return None,
        ("invoice", _) => ("invoice", invoices::read(object).map(|it| Fact::Invoice(Box::new(it)))),
        ("customer.subscription", _) => ("subscription", subscription(kind, object)),
        ("subscription_schedule", _) => {
            let schedule = schedules::read(object);
            ("subscription_schedule", schedule.map(|it| Fact::Schedule(Box::new(it))))
        }
        ("customer", "deleted") => {
            let customer = fields::text(object, "/id");
            ("customer", customer.map(|customer| Fact::CustomerDeleted { customer }))
        }
        _ => return None,
    })
}

/// Events that must not be passed over when they cannot be read. The rest of their families may:
/// a forecast such as `invoice.upcoming` is no invoice and has no id.
fn moves_money(kind: &str) -> bool {
    match kind.rsplit_once('.') {
        Some(("invoice", verb)) => matches!(verb, "paid" | "payment_succeeded" | "payment_failed"),
        Some(("customer.subscription", verb)) => matches!(verb, "created" | "updated" | "deleted"),
        Some(("charge", verb)) => matches!(verb, "succeeded" | "refunded"),
        Some(("payment_intent", verb)) => verb == "succeeded",
        Some(("checkout.session" | "refund" | "credit_note", _)) => true,
        _ => false,
    }
}

/// Old sessions have no status of their own; the event's type tells it.
fn session(kind: &str, object: &Value) -> Option<Fact> {
    let mut session = checkout_sessions::read(object)?;
    if session.status == SessionStatus::Other(String::new()) {
        session.status = match kind {
            "checkout.session.expired" => SessionStatus::Expired,
            _ => SessionStatus::Complete,
        };
    }
    Some(Fact::CheckoutSession(Box::new(session)))
}

/// The end of a subscription is told by the event's type as well.
fn subscription(kind: &str, object: &Value) -> Option<Fact> {
    let mut subscription = subscriptions::read(object)?;
    if subscription.status.is_none() && kind == "customer.subscription.deleted" {
        subscription.status = Some(Status::Canceled);
    }
    Some(Fact::Subscription(Box::new(subscription)))
}
