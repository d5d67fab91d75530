//! Disputes: a buyer's bank asks for the money back, and somebody decides who keeps it.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::{CustomerId, DisputeId, PaymentId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    pub id: DisputeId,
    pub customer_id: CustomerId,
    pub payment_id: PaymentId,
    pub provider: String,
    pub provider_dispute_id: String,
    pub provider_charge_id: Option<String>,
    pub amount: Money,
    /// The provider's word, verbatim: it alone says who has the money.
    pub status: String,
    pub reason: Option<String>,
    pub evidence_due_at: Option<Timestamp>,
    /// How new the description is that this row was written from.
    pub as_of: Timestamp,
    /// Counts the writes, so that an answer fetched before one of them is not written over it.
    pub revision: i64,
    /// When it was opened at the provider.
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "disputes.insert":
        "INSERT INTO disputes (payment_id, provider_charge_id, amount, status, reason,
             evidence_due_at, as_of, revision, updated_at, provider, provider_dispute_id, id,
             customer_id, currency, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    UPDATE = "disputes.update":
        "UPDATE disputes SET payment_id = ?, provider_charge_id = ?, amount = ?, status = ?,
             reason = ?, evidence_due_at = ?, as_of = ?, revision = ?, updated_at = ?
         WHERE provider = ? AND provider_dispute_id = ?";
    FIND = "disputes.find":
        "SELECT * FROM disputes WHERE provider = ? AND provider_dispute_id = ?";
    OF_PAYMENT = "disputes.of_payment":
        "SELECT * FROM disputes WHERE payment_id = ? ORDER BY provider_dispute_id";
    OF_CUSTOMER = "disputes.of_customer":
        "SELECT * FROM disputes WHERE customer_id = ? ORDER BY id";
}

fn dispute(row: &Row) -> Result<Dispute, StoreError> {
    let currency = row.parsed("currency", |text| Currency::parse(text).ok())?;
    Ok(Dispute {
        id: id!(row, "id", DisputeId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        payment_id: id!(row, "payment_id", PaymentId)?,
        provider: row.text("provider")?,
        provider_dispute_id: row.text("provider_dispute_id")?,
        provider_charge_id: row.opt_text("provider_charge_id")?,
        amount: Money::new(row.int("amount")?, currency),
        status: row.text("status")?,
        reason: row.opt_text("reason")?,
        evidence_due_at: row.opt_time("evidence_due_at")?,
        as_of: row.time("as_of")?,
        revision: row.int("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// What both the insert and the update write, in their common order.
fn changing(row: &Dispute) -> Vec<crate::sql::Arg> {
    args![
        &row.payment_id,
        &row.provider_charge_id,
        row.amount.minor(),
        &row.status,
        &row.reason,
        row.evidence_due_at,
        row.as_of,
        row.revision,
        row.updated_at,
        &row.provider,
        &row.provider_dispute_id
    ]
}

impl Tx {
    pub async fn disputes_insert(&mut self, new: &Dispute) -> Result<(), StoreError> {
        let mut args = changing(new);
        let currency = new.amount.currency();
        args.extend(args![&new.id, &new.customer_id, currency.as_str(), new.created_at]);
        self.change_one(&INSERT, args).await
    }

    pub async fn disputes_update(&mut self, row: &Dispute) -> Result<(), StoreError> {
        self.change_one(&UPDATE, changing(row)).await
    }

    pub async fn disputes_find(
        &mut self,
        provider: &str,
        provider_dispute_id: &str,
    ) -> Result<Option<Dispute>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_dispute_id]).await?;
        row.as_ref().map(dispute).transpose()
    }

    pub async fn disputes_of_payment(
        &mut self,
        payment: &PaymentId,
    ) -> Result<Vec<Dispute>, StoreError> {
        self.all(&OF_PAYMENT, args![payment]).await?.iter().map(dispute).collect()
    }

    pub async fn disputes_of_customer(
        &mut self,
        customer: &CustomerId,
    ) -> Result<Vec<Dispute>, StoreError> {
        self.all(&OF_CUSTOMER, args![customer]).await?.iter().map(dispute).collect()
    }
}
