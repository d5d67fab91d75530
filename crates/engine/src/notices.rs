//! What each notification says: one function per noun, called where its row is written.
//!
//! What is told follows from the row before and after, never from a provider's event alone: an
//! update that changes nothing tells nothing, and news that is skipped over is not told late. Data
//! is language-neutral: our ids, words of our vocabulary, minor units and instants.

use crate::failures::Failure;
use crate::outbox::{Kind, News};
use crate::{Engine, PROVIDER};
use domain::ids::CustomerId;
use domain::payments::dispute_is_over;
use domain::subscriptions::Status;
use domain::time::Timestamp;
use providers::facts::InvoiceStatus;
use serde_json::{Value, json};
use store::Tx;
use store::checkout_sessions::CheckoutSession;
use store::credits::Grant;
use store::disputes::Dispute;
use store::invoices::Invoice;
use store::payments::Payment;
use store::subscriptions::Subscription;

/// How long before its end a trial is told of: three days, and an hour for clocks that differ.
const TRIAL_NOTICE_SECONDS: i64 = 3 * 86_400 + 3_600;
/// The provider's words for what an invoice's row does not tell.
const PAYMENT_FAILED: &str = "invoice.payment_failed";
const ACTION_REQUIRED: &str = "invoice.payment_action_required";

fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn subscription_data(row: &Subscription) -> Value {
    json!({
        "status": row.status.as_str(),
        "price": row.price_id.as_ref().map(|id| id.as_str()),
        "product": row.product_id.as_ref().map(|id| id.as_str()),
        "quantity": row.quantity,
        "period_start": text(row.period_start),
        "period_end": text(row.period_end),
        "cancel_at": text(row.cancel_at),
        "ended_at": text(row.ended_at),
        "trial_end": text(row.trial_end),
    })
}

fn invoice_data(row: &Invoice) -> Value {
    json!({
        "status": row.status,
        "reason": row.reason,
        "number": row.number,
        "total": row.total.minor(),
        "currency": row.total.currency().to_string(),
        "amount_due": row.amount_due,
        "amount_paid": row.amount_paid,
        "attempt": row.attempt_count,
        "hosted_url": row.hosted_url,
        "pdf_url": row.pdf_url,
        "paid_at": text(row.paid_at),
    })
}

/// Whether nothing is collected for it, by its own state or by somebody's wish.
fn is_paused(row: &Subscription) -> bool {
    row.status == Status::Paused || row.pause_behavior.is_some()
}

fn is_behind(row: &Subscription) -> bool {
    matches!(row.status, Status::PastDue | Status::Unpaid)
}

/// Every change of a subscription that somebody wants to hear of, and what tells the same change
/// from another one of its kind.
fn changes(
    before: Option<&Subscription>,
    after: &Subscription,
    now: Timestamp,
) -> Vec<(Kind, String)> {
    let (id, revision) = (after.id.as_str(), after.revision);
    // Payment is late once in a period, however often its status flickers.
    let period = after.period_start.map_or(0, Timestamp::seconds);
    let once = id.to_owned();
    let this_time = format!("{id}:{revision}");
    let this_period = format!("{id}:{period}");
    let mut told = Vec::new();
    if after.status == Status::Canceled {
        told.push((Kind::SubscriptionCanceled, once));
        return told;
    }
    if matches!(after.status, Status::Active | Status::Trialing) {
        told.push((Kind::SubscriptionStarted, once));
    }
    if after.status == Status::Trialing
        && let Some(end) = after.trial_end
        && now < end
        && end <= now.plus_seconds(TRIAL_NOTICE_SECONDS)
    {
        told.push((Kind::SubscriptionTrialWillEnd, format!("{id}:{}", end.seconds())));
    }
    if is_behind(after) {
        told.push((Kind::SubscriptionPastDue, this_period.clone()));
    }
    let Some(before) = before else {
        return told;
    };
    if is_behind(before) && after.status == Status::Active {
        told.push((Kind::SubscriptionRecovered, this_period));
    }
    let ends = (before.cancel_at.is_some(), after.cancel_at.is_some());
    let changed = [
        (before.price_id != after.price_id, Kind::SubscriptionPlanChanged),
        (ends == (false, true), Kind::SubscriptionCancelScheduled),
        (ends == (true, false), Kind::SubscriptionCancelUndone),
        (!is_paused(before) && is_paused(after), Kind::SubscriptionPaused),
        (is_paused(before) && !is_paused(after), Kind::SubscriptionResumed),
    ];
    for (happened, kind) in changed {
        if happened {
            told.push((kind, this_time.clone()));
        }
    }
    told
}

/// The session is paid for, or needed no money.
pub(crate) fn checkout_completed<'a>(
    session: &'a CheckoutSession,
    customer: &'a CustomerId,
) -> News<'a> {
    let data = json!({
        "mode": session.mode.as_str(),
        "price": session.price_id.as_str(),
        "quantity": session.quantity,
        "amount": session.amount.minor(),
        "currency": session.amount.currency().to_string(),
    });
    News::of(Kind::CheckoutCompleted, customer, session.id.as_str(), data)
}

/// A lot was added to an account.
pub(crate) fn credits_granted(lot: &Grant) -> News<'_> {
    let data = json!({
        "amount": lot.numbers.granted,
        "unit": lot.unit,
        "class": lot.class.as_str(),
        "reason": lot.reason,
        "expires_at": text(lot.expires_at),
    });
    News::of(Kind::CreditsGranted, &lot.customer_id, lot.id.as_str(), data)
}

impl Engine {
    /// A subscription's row was written. `before` is what it was, where it was.
    pub(crate) async fn tell_subscription(
        &self,
        tx: &mut Tx,
        before: Option<&Subscription>,
        after: &Subscription,
    ) -> Result<(), Failure> {
        for (kind, fact) in changes(before, after, self.clock().now()) {
            let mut data = subscription_data(after);
            if kind == Kind::SubscriptionPlanChanged {
                let was = before.and_then(|before| before.price_id.as_ref());
                data["previous_price"] = json!(was.map(|id| id.as_str()));
            }
            let at = after.ended_at.filter(|_| kind == Kind::SubscriptionCanceled);
            let news = News::of(kind, &after.customer_id, after.id.as_str(), data);
            self.tell(tx, news.fact(&fact).at(at)).await?;
        }
        Ok(())
    }

    /// The customer had another one already.
    pub(crate) async fn tell_duplicate(
        &self,
        tx: &mut Tx,
        row: &Subscription,
    ) -> Result<(), Failure> {
        let (id, data) = (row.id.as_str(), subscription_data(row));
        self.tell(tx, News::of(Kind::SubscriptionDuplicate, &row.customer_id, id, data)).await
    }

    /// An invoice's row was written. `kind` is the provider's word for what it told of it, if it
    /// told anything: that an attempt has failed stands nowhere else, unless its subscription is
    /// behind.
    pub(crate) async fn tell_invoice(
        &self,
        tx: &mut Tx,
        provider_invoice: &str,
        kind: &str,
    ) -> Result<(), Failure> {
        let Some(row) = tx.invoices_find(PROVIDER, provider_invoice).await? else {
            return Ok(());
        };
        let (id, customer) = (row.id.as_str(), &row.customer_id);
        let attempt = format!("{id}:{}", row.attempt_count.max(1));
        let data = invoice_data(&row);
        match InvoiceStatus::parse(&row.status) {
            InvoiceStatus::Paid => {
                return self
                    .tell(tx, News::of(Kind::InvoicePaid, customer, id, data).at(row.paid_at))
                    .await;
            }
            InvoiceStatus::Open => {}
            _ => return Ok(()),
        }
        let subscription = match &row.provider_subscription_id {
            Some(id) => tx.subscriptions_find(PROVIDER, id).await?,
            None => None,
        };
        let behind = 0 < row.attempt_count && subscription.is_some_and(|row| is_behind(&row));
        if kind == PAYMENT_FAILED || behind {
            let failed = News::of(Kind::InvoicePaymentFailed, customer, id, data.clone());
            self.tell(tx, failed.fact(&attempt)).await?;
        }
        if kind == ACTION_REQUIRED {
            let required = News::of(Kind::InvoiceActionRequired, customer, id, data);
            self.tell(tx, required.fact(&attempt)).await?;
        }
        Ok(())
    }

    /// A payment's row was written: the total that went back so far is what is told.
    pub(crate) async fn tell_refunded(
        &self,
        tx: &mut Tx,
        payment: &Payment,
    ) -> Result<(), Failure> {
        if payment.amount_refunded <= 0 {
            return Ok(());
        }
        let id = payment.id.as_str();
        let fact = format!("{id}:{}", payment.amount_refunded);
        let data = json!({
            "amount": payment.amount.minor(),
            "amount_refunded": payment.amount_refunded,
            "currency": payment.amount.currency().to_string(),
            "status": payment.status.as_str(),
        });
        let refunded = News::of(Kind::PaymentRefunded, &payment.customer_id, id, data);
        self.tell(tx, refunded.fact(&fact)).await
    }

    /// A dispute's row was written. An inquiry is told of when it becomes a dispute.
    pub(crate) async fn tell_dispute(&self, tx: &mut Tx, row: &Dispute) -> Result<(), Failure> {
        let status = row.status.as_str();
        if status == "prevented" || status.starts_with("warning_") {
            return Ok(());
        }
        let (id, customer) = (row.id.as_str(), &row.customer_id);
        let data = json!({
            "payment": row.payment_id.as_str(),
            "amount": row.amount.minor(),
            "currency": row.amount.currency().to_string(),
            "status": status,
            "reason": row.reason,
            "evidence_due_at": text(row.evidence_due_at),
        });
        if dispute_is_over(status) {
            let closed = News::of(Kind::DisputeClosed, customer, id, data.clone());
            self.tell(tx, closed).await?;
        }
        self.tell(tx, News::of(Kind::PaymentDisputed, customer, id, data)).await
    }

    /// Credits of a lot were spent before their money went back.
    pub(crate) async fn tell_debt(
        &self,
        tx: &mut Tx,
        lot: &Grant,
        owed: i64,
    ) -> Result<(), Failure> {
        if owed <= 0 {
            return Ok(());
        }
        let id = lot.id.as_str();
        let fact = format!("{id}:{owed}");
        let data = json!({ "amount": owed, "unit": lot.unit });
        self.tell(tx, News::of(Kind::CreditsDebt, &lot.customer_id, id, data).fact(&fact)).await
    }
}
