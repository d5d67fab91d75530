//! Mails: what a person should hear of, handed to the merchant's own sender of mails.
//!
//! We write no mail and hold no mail server's password: the sender gets an address, the name of a
//! template and data without words in any language.

use crate::Engine;
use crate::deliveries::{MailHook, Parcel};
use crate::outbox::Kind;
use domain::time::Timestamp;
use providers::receivers::Reach;
use serde_json::{Value, json};
use store::customers::Customer;
use store::outbox::OutboxEvent;

/// What we learn late, from a comparison with the provider for example, is told to servers; people
/// are not written to about last month.
const STALE_AFTER_SECONDS: i64 = 7 * 86_400;

/// Whether a person should hear of it now.
pub(crate) fn is_wanted(event: &OutboxEvent, now: Timestamp) -> bool {
    now <= event.created_at.plus_seconds(STALE_AFTER_SECONDS) && template(event).is_some()
}

/// The template for an event, where a person should hear of it.
fn template(event: &OutboxEvent) -> Option<&'static str> {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    Some(match Kind::parse(&event.kind)? {
        // A plan's receipt is that of its invoice.
        Kind::CheckoutCompleted if data["mode"] == "payment" => "receipt",
        Kind::InvoicePaid => "receipt",
        Kind::InvoicePaymentFailed => "payment_failed",
        Kind::InvoiceActionRequired => "action_required",
        Kind::SubscriptionTrialWillEnd => "trial_will_end",
        Kind::SubscriptionCanceled => "subscription_canceled",
        _ => return None,
    })
}

/// What the sender of mails is asked to send, or why it cannot be asked.
pub(crate) fn parcel(
    hook: Option<&MailHook>,
    engine: &Engine,
    event: &OutboxEvent,
    customer: Option<&Customer>,
) -> Result<Parcel, &'static str> {
    let hook = hook.ok_or("no mail hook is configured")?;
    let template = template(event).ok_or("there is no template for this event")?;
    let customer = customer.ok_or("the event is about no customer")?;
    let to = customer.email.as_deref().ok_or("the customer has no e-mail address")?;
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let body = json!({
        "id": event.id.as_str(),
        "to": to,
        "name": customer.name,
        "template": template,
        "customer": customer.id.as_str(),
        "external_id": customer.external_id,
        "livemode": engine.settings().livemode,
        "created_at": event.created_at.to_string(),
        "data": data,
    });
    Ok(Parcel {
        url: hook.url.to_string(),
        // Only the operator sets this address, and mail senders live in private networks.
        reach: Reach::Anywhere,
        body: body.to_string().into_bytes(),
        secrets: vec![hook.secret.clone()],
    })
}
