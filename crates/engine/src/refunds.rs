//! Refunds the merchant asks for. What they take back is applied as events about them are.

use crate::audits::Act;
use crate::failures::Failure;
use crate::limits::check_text;
use crate::lists::{Listed, Page};
use crate::provider_calls::{Outcome, Wish, unsettled};
use crate::{Engine, PROVIDER, Subject};
use domain::codes::Code;
use domain::ids::PaymentId;
use providers::facts::Fact;
use store::Tx;
use store::payments::{Payment, PaymentStatus};
use store::refunds::Refund;

/// The provider's own words.
const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

#[derive(Debug, Clone)]
pub struct RefundRequest {
    pub payment: String,
    /// None gives back what is left.
    pub amount: Option<i64>,
    pub reason: Option<String>,
    /// One key, one refund: without it a repeated request would be another one.
    pub idempotency_key: String,
}

fn not_found() -> Failure {
    Failure::refused(Code::PaymentNotFound, "no such payment")
}

impl RefundRequest {
    fn check(&self) -> Result<(), Failure> {
        check_text("Idempotency-Key", Some(&self.idempotency_key))?;
        if self.amount.is_some_and(|amount| amount < 1) {
            return Err(Failure::Refused {
                code: Code::InvalidAmount,
                detail: "amount must be positive".to_owned(),
                param: Some("amount"),
            });
        }
        match &self.reason {
            Some(reason) if !REASONS.contains(&reason.as_str()) => {
                let detail = format!("reason must be one of {}", REASONS.join(", "));
                Err(Failure::invalid("reason", detail))
            }
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// Gives a payment back, once for each key.
    pub async fn refunds_create(
        &self,
        request: &RefundRequest,
        act: &Act,
    ) -> Result<Refund, Failure> {
        self.provider()?;
        request.check()?;
        let mut tx = self.store().begin("refunds.create").await?;
        let id = PaymentId::parse(&request.payment).map_err(|_| not_found())?;
        let payment = tx.payments_get(&id).await?.ok_or_else(not_found)?;
        tx.customers_lock(&payment.customer_id).await?;
        // Read again: the lock may have waited for a refund.
        let payment = tx.payments_get(&id).await?.ok_or_else(not_found)?;
        // The key alone: with another payment it is another request under a used key.
        let fact = format!("refund:{}", request.idempotency_key);
        let wish = wish(&mut tx, &payment, request).await?;
        let call = match tx.provider_calls_find(&fact).await? {
            Some(earlier) if wish.is_of(&earlier)? => earlier,
            Some(_) => return Err(Failure::key_conflict()),
            None => {
                check_refundable(&payment, request)?;
                let customer = &payment.customer_id;
                let amount = request.amount.map_or("all".to_owned(), |amount| amount.to_string());
                let note = format!("amount {amount}, {}", payment.amount.currency());
                self.audit(&mut tx, act, "refund.create", id.as_str(), Some(&note)).await?;
                self.call_intend_named(&mut tx, &wish, customer, id.as_str(), fact).await?
            }
        };
        tx.commit().await?;
        let done = self.call_finish(&call.id).await?;
        let made = Outcome::read(&done).object.ok_or_else(unsettled)?;
        let mut tx = self.store().read("refunds.created").await?;
        if let Some(refund) = tx.refunds_find(PROVIDER, &made).await? {
            return Ok(refund);
        }
        drop(tx);
        self.refund_retold(&made).await
    }

    /// A refund that was made and could not be applied then: the cause may be mended by now.
    async fn refund_retold(&self, id: &str) -> Result<Refund, Failure> {
        let thin = Fact::Thin { object_id: id.to_owned(), object_type: "refund".to_owned() };
        let outcome = self.apply_fetched(id, thin).await?;
        let mut tx = self.store().read("refunds.retold").await?;
        let found = tx.refunds_find(PROVIDER, id).await?;
        found.ok_or_else(|| {
            tracing::error!(refund.id = id, ?outcome, "a refund that was made cannot be applied");
            let detail = format!(
                "the money has gone back as {id}, which could not be applied here: see the parked \
                 events, then repeat the request"
            );
            Failure::Provider { code: Code::OutcomeUnknown, detail }
        })
    }

    pub async fn refunds_list(
        &self,
        subject: &Subject,
        page: Page,
    ) -> Result<Listed<Refund>, Failure> {
        let mut tx = self.store().read("refunds.list").await?;
        let rows = match self.customer(&mut tx, subject).await? {
            Some(customer) => tx.refunds_list(&customer.id, page.cursor(), page.fetch()).await?,
            None => Vec::new(),
        };
        Ok(page.cut(rows, |row| row.id.to_string()))
    }
}

async fn wish(tx: &mut Tx, payment: &Payment, request: &RefundRequest) -> Result<Wish, Failure> {
    let intent = match &payment.provider_payment_intent_id {
        Some(intent) => Some(intent.clone()),
        None => {
            let charges = tx.charges_of_payment(&payment.id).await?;
            charges.into_iter().find_map(|charge| charge.provider_payment_intent_id)
        }
    };
    let payment_intent = intent.ok_or_else(|| {
        let detail = "the provider moved no money for this payment";
        Failure::refused(Code::PaymentNotRefundable, detail)
    })?;
    let reason = request.reason.clone();
    Ok(Wish::RefundCreate { payment_intent, amount: request.amount, reason })
}

fn check_refundable(payment: &Payment, request: &RefundRequest) -> Result<(), Failure> {
    let refused = |detail: String| Err(Failure::refused(Code::PaymentNotRefundable, detail));
    let left = payment.amount.minor() - payment.amount_refunded;
    match payment.status {
        PaymentStatus::Paid | PaymentStatus::PartiallyRefunded => {}
        status => return refused(format!("the payment is {}", status.as_str())),
    }
    match request.amount {
        _ if left <= 0 => refused("nothing is left of the payment".to_owned()),
        Some(amount) if left < amount => refused(format!("{left} is left of the payment")),
        _ => Ok(()),
    }
}
