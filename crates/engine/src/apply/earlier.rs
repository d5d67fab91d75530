//! What was paid before a change of plan: the change goes on where that ends.

use super::{Gathered, Told, Trust};
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use providers::facts::{BillingReason, Invoice, InvoiceStatus};
use providers::stripe::lists::Filter;

/// Nobody has paid more invoices than fit on so many pages before a change was told.
const PAGES_MAX: u32 = 5;

/// Whether an invoice pays for a new period in the middle of another one.
fn changes_period(invoice: &Invoice) -> bool {
    let begins = invoice.lines.iter().any(|line| !line.proration && 0 < line.amount);
    invoice.reason == BillingReason::SubscriptionUpdate
        && invoice.status == InvoiceStatus::Paid
        && begins
}

impl Engine {
    /// Puts the paid invoices that we do not know yet before the change that came after them.
    pub(super) async fn gather_before(&self, gathered: &mut Gathered) -> Result<(), Failure> {
        let Some(told) = gathered.invoices.iter().find(|told| changes_period(&told.object)) else {
            return Ok(());
        };
        let (change, customer) = (told.object.clone(), told.object.customer.clone());
        let (Some(_), Some(customer)) = (&change.subscription, customer) else {
            return Ok(());
        };
        let filter = Filter { customer: Some(customer), ..Filter::default() };
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let asked_at = self.clock().now();
            let page = self.provider()?.invoices_page(&filter, after.as_deref()).await?;
            for invoice in page.rows {
                let is_earlier = invoice.subscription == change.subscription
                    && invoice.status == InvoiceStatus::Paid
                    && invoice.id != change.id
                    && invoice.created_at < change.created_at;
                if !is_earlier || self.is_known_paid(&invoice.id).await? {
                    continue;
                }
                let trust = Trust::Truth { revision: None, asked_at };
                match invoice.lines_complete {
                    true => gathered.invoices.push(Told { object: invoice, trust }),
                    false => gathered.invoices.extend(self.fetch_invoice(&invoice.id).await?),
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        gathered.invoices.sort_by_key(|told| told.object.created_at);
        Ok(())
    }

    async fn is_known_paid(&self, id: &str) -> Result<bool, Failure> {
        let mut tx = self.store().read("apply.known").await?;
        let held = tx.invoices_find(PROVIDER, id).await?;
        Ok(held.is_some_and(|held| held.status == InvoiceStatus::Paid.as_str()))
    }
}
