//! Charges: the movements of money that a payment consists of, and what went back of each.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::{CustomerId, PaymentId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub provider: String,
    pub provider_charge_id: String,
    pub customer_id: CustomerId,
    pub payment_id: PaymentId,
    pub provider_payment_intent_id: Option<String>,
    pub status: String,
    /// What was authorized.
    pub amount: Money,
    pub amount_captured: i64,
    /// Of what was captured: the total so far, which falls when a refund fails.
    pub amount_refunded: i64,
    /// How new the description is that this row was written from.
    pub as_of: Timestamp,
    /// Counts the writes, so that an answer fetched before one of them is not written over it.
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "charges.insert":
        "INSERT INTO charges (payment_id, provider_payment_intent_id, status, amount,
             amount_captured, amount_refunded, as_of, revision, updated_at, provider,
             provider_charge_id, customer_id, currency, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    UPDATE = "charges.update":
        "UPDATE charges SET payment_id = ?, provider_payment_intent_id = ?, status = ?, amount = ?,
             amount_captured = ?, amount_refunded = ?, as_of = ?, revision = ?, updated_at = ?
         WHERE provider = ? AND provider_charge_id = ?";
    FIND = "charges.find": "SELECT * FROM charges WHERE provider = ? AND provider_charge_id = ?";
    OF_PAYMENT = "charges.of_payment":
        "SELECT * FROM charges WHERE payment_id = ? ORDER BY provider_charge_id";
}

fn charge(row: &Row) -> Result<Charge, StoreError> {
    let currency = row.parsed("currency", |text| Currency::parse(text).ok())?;
    Ok(Charge {
        provider: row.text("provider")?,
        provider_charge_id: row.text("provider_charge_id")?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        payment_id: id!(row, "payment_id", PaymentId)?,
        provider_payment_intent_id: row.opt_text("provider_payment_intent_id")?,
        status: row.text("status")?,
        amount: Money::new(row.int("amount")?, currency),
        amount_captured: row.int("amount_captured")?,
        amount_refunded: row.int("amount_refunded")?,
        as_of: row.time("as_of")?,
        revision: row.int("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// What both the insert and the update write, in their common order.
fn changing(row: &Charge) -> Vec<crate::sql::Arg> {
    args![
        &row.payment_id,
        &row.provider_payment_intent_id,
        &row.status,
        row.amount.minor(),
        row.amount_captured,
        row.amount_refunded,
        row.as_of,
        row.revision,
        row.updated_at,
        &row.provider,
        &row.provider_charge_id
    ]
}

impl Tx {
    pub async fn charges_insert(&mut self, new: &Charge) -> Result<(), StoreError> {
        let mut args = changing(new);
        let currency = new.amount.currency();
        args.extend(args![&new.customer_id, currency.as_str(), new.created_at]);
        self.change_one(&INSERT, args).await
    }

    pub async fn charges_update(&mut self, row: &Charge) -> Result<(), StoreError> {
        self.change_one(&UPDATE, changing(row)).await
    }

    pub async fn charges_find(
        &mut self,
        provider: &str,
        provider_charge_id: &str,
    ) -> Result<Option<Charge>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_charge_id]).await?;
        row.as_ref().map(charge).transpose()
    }

    pub async fn charges_of_payment(
        &mut self,
        payment: &PaymentId,
    ) -> Result<Vec<Charge>, StoreError> {
        self.all(&OF_PAYMENT, args![payment]).await?.iter().map(charge).collect()
    }
}
