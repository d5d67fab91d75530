//! Credit notes: the part of a paid invoice that went back otherwise than to the card.

use super::{Stop, gather::known};
use crate::clock::random;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::ids::CreditNoteId;
use domain::money::{Currency, Money};
use domain::time::Timestamp;
use providers::facts::{self, InvoiceStatus};
use store::Tx;
use store::credit_notes::CreditNote;
use store::payments::Payment;

impl Engine {
    /// Asks for a note; what the event carried has to do where the provider has none. A note is
    /// issued once and may be voided once, so that two answers cannot contradict each other.
    pub(super) async fn fetch_credit_note(
        &self,
        carried: &facts::CreditNote,
    ) -> Result<facts::CreditNote, Failure> {
        let fetched = known(self.provider()?.credit_note(&carried.id).await)?;
        Ok(fetched.unwrap_or_else(|| carried.clone()))
    }

    /// What the customer's balance has paid is no payment here, so a note on it finds nothing to
    /// take back from. The merchant has to see that: credits and access stay.
    pub(super) async fn check_note_of_balance(
        &self,
        tx: &mut Tx,
        note: Option<&facts::CreditNote>,
    ) -> Result<(), Stop> {
        if let Some(note) = note
            && 0 < note.amount_given_back
            && note.status.as_deref() != Some("void")
            && let Some(id) = &note.invoice
            && let Some(invoice) = tx.invoices_find(PROVIDER, id).await?
            && invoice.status == InvoiceStatus::Paid.as_str()
        {
            let why = "the invoice was paid from the customer's balance: credits and access stay";
            return Err(Stop::Parked(why.to_owned()));
        }
        Ok(())
    }

    pub(super) async fn credit_note_apply(
        &self,
        tx: &mut Tx,
        payment: &Payment,
        told: &facts::CreditNote,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let held = tx.credit_notes_find(PROVIDER, &told.id).await?;
        let status = told.status.as_deref().unwrap_or("issued");
        if held.as_ref().is_some_and(|held| held.status == "void" && status != "void") {
            return Ok(());
        }
        let currency = match told.currency.as_deref().map(Currency::parse) {
            Some(Ok(currency)) => currency,
            _ => payment.amount.currency(),
        };
        let row = CreditNote {
            id: match &held {
                Some(held) => held.id.clone(),
                None => CreditNoteId::new(self.clock().wall(), random()),
            },
            customer_id: payment.customer_id.clone(),
            payment_id: payment.id.clone(),
            provider: PROVIDER.to_owned(),
            provider_credit_note_id: told.id.clone(),
            amount: Money::new(told.amount.max(0), currency),
            amount_given_back: told.amount_given_back.max(0),
            status: status.to_owned(),
            as_of: held.as_ref().map_or(at, |held| held.as_of.max(at)),
            created_at: told.created_at.unwrap_or(at),
            updated_at: self.clock().now(),
        };
        let unchanged = held.is_some_and(|held| {
            let updated_at = held.updated_at;
            held == CreditNote { updated_at, ..row.clone() }
        });
        match unchanged {
            true => Ok(()),
            false => Ok(tx.credit_notes_put(&row).await?),
        }
    }
}
