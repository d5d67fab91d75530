//! Reading a proven payload into a fact. Whatever is not needed may be missing or odd.

use domain::subscriptions::Status;
use domain::time::Timestamp;
use serde_json::Value;

use super::{checkout_sessions, fields, invoices, payments, subscriptions};
use crate::errors::ParseError;
use crate::facts::{Event, Fact, SessionStatus};

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
    let (expected, fact) = match kind {
        "checkout.session.completed"
        | "checkout.session.async_payment_succeeded"
        | "checkout.session.async_payment_failed"
        | "checkout.session.expired" => ("checkout.session", session(kind, object)),
        "charge.refunded" => {
            ("charge", payments::read(object).map(|charge| Fact::Charge(Box::new(charge))))
        }
        _ if kind.starts_with("invoice.") => {
            ("invoice", invoices::read(object).map(|invoice| Fact::Invoice(Box::new(invoice))))
        }
        _ if kind.starts_with("customer.subscription.") => {
            ("subscription", subscription(kind, object))
        }
        _ => return Ok(Fact::Unhandled),
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

/// Events that must not be passed over when they cannot be read. The rest of their families may:
/// a forecast such as `invoice.upcoming` is no invoice and has no id.
fn moves_money(kind: &str) -> bool {
    match kind.rsplit_once('.') {
        Some(("invoice", verb)) => matches!(verb, "paid" | "payment_succeeded" | "payment_failed"),
        Some(("customer.subscription", verb)) => matches!(verb, "created" | "updated" | "deleted"),
        Some(("checkout.session" | "charge", _)) => true,
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
