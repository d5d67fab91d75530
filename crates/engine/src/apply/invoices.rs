//! An invoice: its row, its payment, and the allowances that a paid period refills.

use super::Stop;
use super::owners::Owner;
use crate::allowances::PaidPeriod;
use crate::clock::random;
use crate::{Engine, PROVIDER};
use domain::ids::InvoiceId;
use domain::money::{Currency, Money};
use domain::time::{Period, Timestamp};
use providers::facts::{self, BillingReason, InvoiceStatus};
use store::Tx;
use store::allowance_schedules::ScheduleKind;
use store::invoices::Invoice;
use store::payments::{Payment, PaymentStatus};
use store::prices::Price;

/// From when on a paid period brings its allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refill {
    FromItsStart,
    /// A change of plan in the middle refills nothing now; a new period that it pays for, a year
    /// instead of a month for example, goes on where the running allowance ends.
    AfterTheRunningOne,
}

/// A line that pays for a period of an item, or for the rest of one, at a price of ours.
struct PaidLine<'a> {
    line: &'a facts::InvoiceLine,
    subscription: &'a str,
    item: &'a str,
    period: Period,
    price: Price,
}

/// What a paid invoice of this kind refills, and from when on.
fn refill_of(told: &facts::Invoice) -> Option<Refill> {
    match (&told.status, &told.reason) {
        (
            InvoiceStatus::Paid,
            BillingReason::SubscriptionCreate
            | BillingReason::SubscriptionCycle
            | BillingReason::QuoteAccept,
        ) => Some(Refill::FromItsStart),
        (InvoiceStatus::Paid, BillingReason::SubscriptionUpdate) => {
            Some(Refill::AfterTheRunningOne)
        }
        _ => None,
    }
}

impl Engine {
    pub(super) async fn invoice_told(
        &self,
        tx: &mut Tx,
        told: &facts::Invoice,
        at: Timestamp,
    ) -> Result<(), Stop> {
        // What can park this invoice comes before anything is written: a subscription that is told
        // together with it goes on without it, and must not leave half of it behind.
        let currency = Currency::parse(told.currency.as_deref().unwrap_or_default())
            .map_err(|error| Stop::Parked(error.to_string()))?;
        let refill = refill_of(told);
        let lines = match refill {
            Some(_) => self.paid_lines(tx, told).await?,
            None => Vec::new(),
        };
        let provider_customer = told.customer.as_deref();
        let metadata = &told.subscription_metadata;
        let subscription = told.subscription.as_deref();
        let owner = self.owner(tx, subscription, provider_customer, metadata).await?;
        tx.customers_lock(&owner.customer).await?;
        self.invoice_store(tx, &owner, told, currency, at).await?;
        if told.status != InvoiceStatus::Paid {
            return self.settle_subscription_of(tx, told).await;
        }
        let paid_at = told.paid_at.unwrap_or(at);
        let payment = match 0 < told.amount_paid {
            true => Some(self.invoice_payment(tx, &owner, told, currency, paid_at).await?),
            false => None,
        };
        for line in &lines {
            self.line_refills(tx, &owner, line, payment.as_ref(), refill, paid_at).await?;
        }
        if let Some(payment) = &payment {
            self.settle_lots(tx, payment).await?;
        }
        self.settle_subscription_of(tx, told).await
    }

    /// What an invoice says can open or close the access that its subscription gives.
    async fn settle_subscription_of(&self, tx: &mut Tx, told: &facts::Invoice) -> Result<(), Stop> {
        if let Some(id) = &told.subscription
            && let Some(row) = tx.subscriptions_find(PROVIDER, id).await?
        {
            self.subscription_settle(tx, &row).await?;
        }
        Ok(())
    }

    /// Keeps the furthest and newest description: an invoice only goes forward.
    pub(super) async fn invoice_store(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        told: &facts::Invoice,
        currency: Currency,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let held = tx.invoices_find(PROVIDER, &told.id).await?;
        let now = self.clock().now();
        let row = Invoice {
            id: match &held {
                Some(held) => held.id.clone(),
                None => InvoiceId::new(self.clock().wall(), random()),
            },
            customer_id: owner.customer.clone(),
            provider: PROVIDER.to_owned(),
            provider_invoice_id: told.id.clone(),
            provider_subscription_id: told.subscription.clone(),
            status: told.status.as_str().to_owned(),
            reason: told.reason.as_str().to_owned(),
            number: told.number.clone(),
            total: Money::new(told.total, currency),
            amount_due: told.amount_due,
            amount_paid: told.amount_paid,
            attempt_count: told.attempt_count,
            hosted_url: told.hosted_url.clone(),
            pdf_url: told.pdf_url.clone(),
            issued_at: told.created_at,
            paid_at: told.paid_at,
            due_at: told.due_at,
            covers_until: self.covers_until(tx, told).await?,
            as_of: at,
            created_at: held.as_ref().map_or(now, |held| held.created_at),
            updated_at: now,
        };
        match held {
            None => tx.invoices_insert(&row).await?,
            Some(held) if weight(&row) < weight(&held) => {}
            Some(_) => tx.invoices_update(&row).await?,
        }
        Ok(())
    }

    /// The end of the latest period of a plan of ours that the invoice bills. A trial's free line
    /// bills nothing.
    async fn covers_until(
        &self,
        tx: &mut Tx,
        told: &facts::Invoice,
    ) -> Result<Option<Timestamp>, Stop> {
        let mut latest = None;
        for line in told.lines.iter().filter(|line| !line.proration) {
            if let Some(id) = &line.price
                && let Some(price) = tx.prices_find(PROVIDER, id).await?
                && (0 < line.amount || price.amount.minor() == 0)
            {
                latest = latest.max(line.period_end.filter(|end| line.period_start < Some(*end)));
            }
        }
        Ok(latest)
    }

    pub(super) async fn invoice_payment(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        told: &facts::Invoice,
        currency: Currency,
        paid_at: Timestamp,
    ) -> Result<Payment, Stop> {
        let amount = Money::new(told.amount_paid, currency);
        let names = [Some(told.id.as_str()), told.payment_intent.as_deref(), None];
        let (mut payment, seen) = self.payment_row(tx, &owner.customer, names, amount).await?;
        payment.amount = amount;
        payment.provider_invoice_id = Some(told.id.clone());
        let line = told.lines.iter().find(|line| 0 < line.amount).or(told.lines.first());
        if let Some(id) = line.and_then(|line| line.price.as_deref())
            && let Some(price) = tx.prices_find(PROVIDER, id).await?
        {
            payment.description = tx.prices_product_name(&price.id).await?;
            payment.price_id = Some(price.id);
        }
        payment.provider_payment_intent_id =
            told.payment_intent.clone().or(payment.provider_payment_intent_id);
        self.payment_settle(tx, &mut payment, seen, PaymentStatus::Paid, paid_at).await?;
        Ok(payment)
    }

    /// The lines that refill the allowance of their items: those that pay for a period, and those
    /// that pay for more inside one. The free line of a trial does not.
    async fn paid_lines<'a>(
        &self,
        tx: &mut Tx,
        told: &'a facts::Invoice,
    ) -> Result<Vec<PaidLine<'a>>, Stop> {
        let (mut found, mut known, mut unknown) = (Vec::new(), 0_usize, None);
        for line in &told.lines {
            let subscription = line.subscription.as_deref().or(told.subscription.as_deref());
            let (Some(subscription), Some(item), Some(price_id)) =
                (subscription, line.subscription_item.as_deref(), line.price.as_deref())
            else {
                continue;
            };
            let (Some(start), Some(end)) = (line.period_start, line.period_end) else {
                continue;
            };
            if end <= start {
                continue;
            }
            let Some(price) = tx.prices_find(PROVIDER, price_id).await? else {
                unknown = unknown.or(Some(price_id).filter(|_| !line.proration));
                continue;
            };
            known += usize::from(!line.proration);
            let is_trial = line.amount == 0 && 0 < price.amount.minor();
            // Where more is taken back than billed, nobody has paid for what is left.
            let takes_back = line.proration && (line.amount <= 0 || told.total < 0);
            if !is_trial && !takes_back {
                let period = Period { start, end };
                found.push(PaidLine { line, subscription, item, period, price });
            }
        }
        match unknown {
            // An add-on that is sold elsewhere must not hold back what is sold here.
            Some(price) if 0 < known => {
                tracing::warn!(invoice = %told.id, price, "a line's price is not known");
                Ok(found)
            }
            Some(price) => Err(Stop::Parked(format!("price {price} is not known"))),
            None => Ok(found),
        }
    }

    /// What one paid line refills. More that is paid for inside a period counts from when it was
    /// both held and paid.
    async fn line_refills(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        paid: &PaidLine<'_>,
        payment: Option<&Payment>,
        refill: Option<Refill>,
        paid_at: Timestamp,
    ) -> Result<(), Stop> {
        let Period { start, end } = paid.period;
        let (kind, from) = match refill {
            _ if paid.line.proration => (ScheduleKind::Change, start.max(paid_at)),
            Some(Refill::AfterTheRunningOne) => {
                let running = tx.credits_allowed_until(paid.subscription, start).await?;
                (ScheduleKind::Period, running.map_or(start, |until| until.max(start)))
            }
            _ => (ScheduleKind::Period, start),
        };
        if end <= from {
            return Ok(());
        }
        let price = &paid.price;
        let session = owner.session.as_ref().filter(|session| session.price_id == price.id);
        let paid = PaidPeriod {
            kind,
            customer: &owner.customer,
            subscription: paid.subscription,
            item: paid.item,
            price: &price.id,
            grants: session.map_or(&price.grants, |session| &session.grants),
            quantity: paid.line.quantity.unwrap_or(1),
            line_from: start,
            covered: Period { start: from, end },
            payment,
        };
        Ok(self.grant_period(tx, paid).await?)
    }
}

/// How far along an invoice is; of two descriptions alike the newer one counts, and of two of one
/// second the one with more attempts and more money.
fn weight(invoice: &Invoice) -> (u8, Timestamp, i64, i64) {
    let stage = match InvoiceStatus::parse(&invoice.status) {
        InvoiceStatus::Other(_) => 0,
        InvoiceStatus::Draft => 1,
        InvoiceStatus::Open => 2,
        InvoiceStatus::Uncollectible => 3,
        InvoiceStatus::Void => 4,
        InvoiceStatus::Paid => 5,
    };
    (stage, invoice.as_of, invoice.attempt_count, invoice.amount_paid)
}
