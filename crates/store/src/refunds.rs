//! Refunds: each order to give money back, and what became of it.
//!
//! What credits follow is the charge's total; these rows tell people and programs of its parts.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::{CustomerId, PaymentId, RefundId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    pub id: RefundId,
    pub customer_id: CustomerId,
    pub payment_id: PaymentId,
    pub provider: String,
    pub provider_refund_id: String,
    pub provider_charge_id: Option<String>,
    pub amount: Money,
    pub status: String,
    pub reason: Option<String>,
    /// How new the description is that this row was written from.
    pub as_of: Timestamp,
    /// When it was ordered at the provider.
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "refunds.insert":
        "INSERT INTO refunds (payment_id, provider_charge_id, amount, status, reason, as_of,
             updated_at, provider, provider_refund_id, id, customer_id, currency, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    UPDATE = "refunds.update":
        "UPDATE refunds SET payment_id = ?, provider_charge_id = ?, amount = ?, status = ?,
             reason = ?, as_of = ?, updated_at = ?
         WHERE provider = ? AND provider_refund_id = ?";
    GET = "refunds.get": "SELECT * FROM refunds WHERE id = ?";
    FIND = "refunds.find": "SELECT * FROM refunds WHERE provider = ? AND provider_refund_id = ?";
    OF_PAYMENT = "refunds.of_payment":
        "SELECT * FROM refunds WHERE payment_id = ? ORDER BY provider_refund_id";
    LIST = "refunds.list":
        "SELECT * FROM refunds WHERE customer_id = ? AND id < ? ORDER BY id DESC LIMIT ?";
}

fn refund(row: &Row) -> Result<Refund, StoreError> {
    let currency = row.parsed("currency", |text| Currency::parse(text).ok())?;
    Ok(Refund {
        id: id!(row, "id", RefundId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        payment_id: id!(row, "payment_id", PaymentId)?,
        provider: row.text("provider")?,
        provider_refund_id: row.text("provider_refund_id")?,
        provider_charge_id: row.opt_text("provider_charge_id")?,
        amount: Money::new(row.int("amount")?, currency),
        status: row.text("status")?,
        reason: row.opt_text("reason")?,
        as_of: row.time("as_of")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// What both the insert and the update write, in their common order.
fn changing(row: &Refund) -> Vec<crate::sql::Arg> {
    args![
        &row.payment_id,
        &row.provider_charge_id,
        row.amount.minor(),
        &row.status,
        &row.reason,
        row.as_of,
        row.updated_at,
        &row.provider,
        &row.provider_refund_id
    ]
}

impl Tx {
    /// Adds a refund, or replaces what is known of it.
    pub async fn refunds_put(&mut self, row: &Refund) -> Result<(), StoreError> {
        let mut args = changing(row);
        let currency = row.amount.currency();
        args.extend(args![&row.id, &row.customer_id, currency.as_str(), row.created_at]);
        if self.change_if(&INSERT, args).await? {
            return Ok(());
        }
        self.change_one(&UPDATE, changing(row)).await
    }

    pub async fn refunds_get(&mut self, id: &RefundId) -> Result<Option<Refund>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(refund).transpose()
    }

    pub async fn refunds_find(
        &mut self,
        provider: &str,
        provider_refund_id: &str,
    ) -> Result<Option<Refund>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_refund_id]).await?;
        row.as_ref().map(refund).transpose()
    }

    pub async fn refunds_of_payment(
        &mut self,
        payment: &PaymentId,
    ) -> Result<Vec<Refund>, StoreError> {
        self.all(&OF_PAYMENT, args![payment]).await?.iter().map(refund).collect()
    }

    /// Newest first, after `cursor`.
    pub async fn refunds_list(
        &mut self,
        customer: &CustomerId,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Refund>, StoreError> {
        self.all(&LIST, args![customer, cursor, limit]).await?.iter().map(refund).collect()
    }
}
