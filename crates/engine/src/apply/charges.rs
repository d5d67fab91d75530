//! What events about money say: payment intents, charges, refunds, disputes and credit notes.

use super::Gathered;
use super::gather::known;
use crate::Engine;
use crate::failures::Failure;
use providers::facts::{self, PaymentIntentStatus};

impl Engine {
    /// A charge leads to its invoice, else to the payment page it came of.
    pub(super) async fn gather_charge(
        &self,
        gathered: &mut Gathered,
        charge: facts::Charge,
    ) -> Result<(), Failure> {
        gathered.charge_invoice = match (&charge.invoice, &charge.payment_intent) {
            (Some(invoice), _) => Some(invoice.clone()),
            (None, Some(intent)) => self.fetch_invoice_of(intent).await?,
            (None, None) => None,
        };
        if 0 < charge.amount_refunded || charge.refunded {
            gathered.charge = Some(charge);
            return Ok(());
        }
        let paid = charge.captured && charge.status.as_deref() == Some("succeeded");
        if let (true, Some(intent)) = (paid, &charge.payment_intent) {
            self.gather_purchase(gathered, intent).await?;
        }
        Ok(())
    }

    pub(super) async fn gather_intent(
        &self,
        gathered: &mut Gathered,
        intent: &facts::PaymentIntent,
    ) -> Result<(), Failure> {
        if intent.status != PaymentIntentStatus::Succeeded {
            return Ok(());
        }
        gathered.charge_invoice = match &intent.invoice {
            Some(invoice) => Some(invoice.clone()),
            None => self.fetch_invoice_of(&intent.id).await?,
        };
        self.gather_purchase(gathered, &intent.id).await
    }

    /// What was bought with a payment: the invoice it settled, else the page it was made on.
    async fn gather_purchase(&self, gathered: &mut Gathered, intent: &str) -> Result<(), Failure> {
        if let Some(id) = &gathered.charge_invoice {
            gathered.invoices.extend(self.fetch_invoice(id).await?);
            return Ok(());
        }
        let session = self.provider()?.checkout_session_of_payment_intent(intent).await;
        gathered.session = known(session)?.flatten();
        Ok(())
    }

    pub(super) async fn gather_refund(
        &self,
        gathered: &mut Gathered,
        refund: &facts::Refund,
    ) -> Result<(), Failure> {
        if let Some(id) = &refund.charge
            && let Some(charge) = known(self.provider()?.charge(id).await)?
        {
            self.gather_charge(gathered, charge).await?;
        }
        Ok(())
    }

    pub(super) async fn gather_dispute(
        &self,
        gathered: &mut Gathered,
        dispute: &facts::Dispute,
    ) -> Result<(), Failure> {
        if let Some(id) = &dispute.charge
            && let Some(charge) = known(self.provider()?.charge(id).await)?
        {
            self.gather_charge(gathered, charge).await?;
        }
        Ok(())
    }

    pub(super) async fn gather_credit_note(
        &self,
        gathered: &mut Gathered,
        note: &facts::CreditNote,
    ) -> Result<(), Failure> {
        if let Some(id) = &note.invoice {
            gathered.invoices.extend(self.fetch_invoice(id).await?);
        }
        Ok(())
    }
}
