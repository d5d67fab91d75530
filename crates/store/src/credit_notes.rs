//! Credit notes on paid invoices: money that went to the customer's balance, or back elsewhere.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::{CreditNoteId, CustomerId, PaymentId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditNote {
    pub id: CreditNoteId,
    pub customer_id: CustomerId,
    pub payment_id: PaymentId,
    pub provider: String,
    pub provider_credit_note_id: String,
    pub amount: Money,
    /// What was given back otherwise than by a refund.
    pub amount_given_back: i64,
    pub status: String,
    /// How new the description is that this row was written from.
    pub as_of: Timestamp,
    /// When it was issued at the provider.
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "credit_notes.insert":
        "INSERT INTO credit_notes (payment_id, amount, amount_given_back, status, as_of, updated_at,
             provider, provider_credit_note_id, id, customer_id, currency, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    UPDATE = "credit_notes.update":
        "UPDATE credit_notes SET payment_id = ?, amount = ?, amount_given_back = ?, status = ?,
             as_of = ?, updated_at = ?
         WHERE provider = ? AND provider_credit_note_id = ?";
    FIND = "credit_notes.find":
        "SELECT * FROM credit_notes WHERE provider = ? AND provider_credit_note_id = ?";
    OF_PAYMENT = "credit_notes.of_payment":
        "SELECT * FROM credit_notes WHERE payment_id = ? ORDER BY provider_credit_note_id";
}

fn credit_note(row: &Row) -> Result<CreditNote, StoreError> {
    let currency = row.parsed("currency", |text| Currency::parse(text).ok())?;
    Ok(CreditNote {
        id: id!(row, "id", CreditNoteId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        payment_id: id!(row, "payment_id", PaymentId)?,
        provider: row.text("provider")?,
        provider_credit_note_id: row.text("provider_credit_note_id")?,
        amount: Money::new(row.int("amount")?, currency),
        amount_given_back: row.int("amount_given_back")?,
        status: row.text("status")?,
        as_of: row.time("as_of")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// What both the insert and the update write, in their common order.
fn changing(row: &CreditNote) -> Vec<crate::sql::Arg> {
    args![
        &row.payment_id,
        row.amount.minor(),
        row.amount_given_back,
        &row.status,
        row.as_of,
        row.updated_at,
        &row.provider,
        &row.provider_credit_note_id
    ]
}

impl Tx {
    /// Adds a credit note, or replaces what is known of it.
    pub async fn credit_notes_put(&mut self, row: &CreditNote) -> Result<(), StoreError> {
        let mut args = changing(row);
        let currency = row.amount.currency();
        args.extend(args![&row.id, &row.customer_id, currency.as_str(), row.created_at]);
        if self.change_if(&INSERT, args).await? {
            return Ok(());
        }
        self.change_one(&UPDATE, changing(row)).await
    }

    pub async fn credit_notes_find(
        &mut self,
        provider: &str,
        provider_credit_note_id: &str,
    ) -> Result<Option<CreditNote>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_credit_note_id]).await?;
        row.as_ref().map(credit_note).transpose()
    }

    pub async fn credit_notes_of_payment(
        &mut self,
        payment: &PaymentId,
    ) -> Result<Vec<CreditNote>, StoreError> {
        self.all(&OF_PAYMENT, args![payment]).await?.iter().map(credit_note).collect()
    }
}
