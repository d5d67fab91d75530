//! The access that a subscription gives: what was paid for, for as long as it was.

use super::Stop;
use crate::clock::random;
use crate::{Engine, PROVIDER};
use domain::entitlements::Entitlement;
use domain::ids::EntitlementId;
use domain::subscriptions::{AccessFacts, Status, access};
use domain::time::Timestamp;
use providers::facts::{BillingReason, InvoiceStatus};
use store::Tx;
use store::invoices::Invoice;
use store::subscriptions::Subscription;

/// What a subscription's invoices say of it.
pub(super) struct SubscriptionMoney {
    pub is_paid_for: bool,
    pub paid_until: Option<Timestamp>,
    pub past_due_since: Option<Timestamp>,
}

impl Engine {
    /// Read from the invoices that we know, whatever order they became known in.
    pub(super) async fn subscription_money(
        &self,
        tx: &mut Tx,
        row: &Subscription,
    ) -> Result<SubscriptionMoney, Stop> {
        let id = &row.provider_subscription_id;
        let invoices = tx.invoices_of_subscription(PROVIDER, id).await?;
        let is_owed = |invoice: &&Invoice| {
            let word = invoice.status.as_str();
            let owed = word == InvoiceStatus::Open.as_str()
                || word == InvoiceStatus::Uncollectible.as_str();
            owed && 0 < invoice.amount_due
        };
        // What was given up before a later period was paid is not what is owed now.
        let settled = invoices.iter().rposition(paid_for_a_period).map_or(0, |at| at + 1);
        let oldest = invoices.iter().skip(settled).find(is_owed);
        let owed_since = oldest.and_then(|invoice| invoice.due_at.or(invoice.issued_at));
        let paid = InvoiceStatus::Paid.as_str();
        let mut paid_until = None;
        for invoice in invoices.iter().filter(|invoice| invoice.status == paid) {
            if !self.is_given_back(tx, invoice).await? {
                paid_until = paid_until.max(invoice.covers_until);
            }
        }
        Ok(SubscriptionMoney {
            is_paid_for: self.is_paid_for(tx, &invoices).await?,
            paid_until,
            past_due_since: (row.status == Status::PastDue)
                .then(|| owed_since.or(row.period_start).unwrap_or(row.as_of)),
        })
    }

    /// Whether nothing we know says that there is no money (INV-MONEY): a bank debit can make a
    /// subscription active before its first invoice is paid, and the period that was paid for
    /// last can have been given back in full. Side invoices do not count, and a period that cost
    /// nothing was not given back.
    async fn is_paid_for(&self, tx: &mut Tx, invoices: &[Invoice]) -> Result<bool, Stop> {
        let Some(newest) = invoices.iter().rev().find(|invoice| paid_for_a_period(invoice)) else {
            return Ok(!invoices.iter().any(|it| bills_a_period(it) && 0 < it.amount_due));
        };
        Ok(!self.is_given_back(tx, newest).await?)
    }

    /// Whether all the money of an invoice went back.
    async fn is_given_back(&self, tx: &mut Tx, invoice: &Invoice) -> Result<bool, Stop> {
        match tx.payments_find(PROVIDER, &invoice.provider_invoice_id).await? {
            Some(payment) => Ok(self.given_back(tx, &payment).await?.is_whole()),
            None => Ok(false),
        }
    }

    /// Opens, moves and closes the features of a subscription's items.
    pub(super) async fn subscription_unlocks(
        &self,
        tx: &mut Tx,
        row: &Subscription,
        is_paid_for: bool,
    ) -> Result<(), Stop> {
        let facts = AccessFacts {
            status: row.status.clone(),
            started_at: row.started_at,
            cancel_at: row.cancel_at,
            ended_at: row.ended_at,
            past_due_since: row.past_due_since,
            paused_at: row
                .pause_behavior
                .as_ref()
                .map(|_| row.paid_until.max(row.trial_end).unwrap_or(row.started_at)),
        };
        let grace_seconds = self.settings().past_due_grace_seconds;
        let window = access(&facts, grace_seconds).filter(|_| is_paid_for);
        let source = format!("subscription:{}", row.id);
        let items = tx.subscription_items_of(&row.id).await?;
        let unlocked: Vec<&str> = items
            .iter()
            .flat_map(|item| item.grants.features.iter().map(|grant| grant.feature.as_str()))
            .collect();
        let granted = tx.entitlements_of_source(&source).await?;
        let mut wanted = unlocked.clone();
        wanted.extend(granted.iter().map(|held| held.feature.as_str()));
        wanted.sort_unstable();
        wanted.dedup();
        let now = self.clock().now();
        for feature in wanted {
            let window = window.filter(|_| unlocked.contains(&feature));
            let entitlement = Entitlement {
                feature: feature.to_owned(),
                source: source.clone(),
                starts_at: window.map_or(row.started_at, |window| window.starts_at),
                ends_at: window.and_then(|window| window.ends_at),
                revoked_at: if window.is_none() { Some(row.as_of) } else { None },
            };
            let id = EntitlementId::new(self.clock().wall(), random());
            tx.entitlements_put(&id, &row.customer_id, &entitlement, now).await?;
        }
        Ok(())
    }
}

/// Whether an invoice asks for a period of a plan: the first, the next, or one that a change began.
fn bills_a_period(invoice: &Invoice) -> bool {
    let first = BillingReason::SubscriptionCreate;
    let next = BillingReason::SubscriptionCycle;
    let usual = invoice.reason == first.as_str() || invoice.reason == next.as_str();
    usual || invoice.covers_until.is_some()
}

fn paid_for_a_period(invoice: &Invoice) -> bool {
    invoice.status == InvoiceStatus::Paid.as_str() && bills_a_period(invoice)
}
