//! What went back of payments, on every backend.

use crate::backends::{self, Fresh};
use domain::ids::{CreditNoteId, CustomerId, DebtId, DisputeId, GrantId, PaymentId, RefundId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;
use store::charges::Charge;
use store::credit_notes::CreditNote;
use store::customers::Customer;
use store::debts::Debt;
use store::disputes::Dispute;
use store::payments::{Payment, PaymentStatus};
use store::refunds::Refund;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

async fn payment(fresh: &Fresh) -> anyhow::Result<(CustomerId, PaymentId)> {
    let customer = Customer {
        id: CustomerId::new(NOW, random()),
        external_id: None,
        email: None,
        name: None,
        metadata: Default::default(),
        created_at: NOW,
        updated_at: NOW,
    };
    let payment = Payment {
        id: PaymentId::new(NOW, random()),
        customer_id: customer.id.clone(),
        provider: "stripe".into(),
        fact: "pi_1".into(),
        provider_payment_intent_id: Some("pi_1".into()),
        provider_invoice_id: None,
        provider_session_id: None,
        price_id: None,
        amount: Money::new(1000, Currency::USD),
        amount_refunded: 0,
        status: PaymentStatus::Paid,
        description: None,
        paid_at: Some(NOW),
        created_at: NOW,
        updated_at: NOW,
    };
    let mut tx = fresh.store.begin("test").await?;
    assert!(tx.customers_insert(&customer).await?);
    tx.payments_insert(&payment).await?;
    tx.payments_rename(&payment.id, "in_1").await?;
    assert!(tx.payments_find("stripe", "pi_1").await?.is_none());
    assert_eq!(tx.payments_find("stripe", "in_1").await?.unwrap().id, payment.id);
    tx.commit().await?;
    Ok((customer.id, payment.id))
}

/// A charge, and everything that can take of it.
fn money(
    customer_id: &CustomerId,
    payment_id: &PaymentId,
) -> (Charge, Refund, Dispute, CreditNote) {
    let amount = Money::new(1000, Currency::USD);
    let charge = Charge {
        provider: "stripe".into(),
        provider_charge_id: "ch_1".into(),
        customer_id: customer_id.clone(),
        payment_id: payment_id.clone(),
        provider_payment_intent_id: Some("pi_1".into()),
        status: "succeeded".into(),
        amount,
        amount_captured: 1000,
        amount_refunded: 0,
        as_of: NOW,
        revision: 0,
        created_at: NOW,
        updated_at: NOW,
    };
    let refund = Refund {
        id: RefundId::new(NOW, random()),
        customer_id: customer_id.clone(),
        payment_id: payment_id.clone(),
        provider: "stripe".into(),
        provider_refund_id: "re_1".into(),
        provider_charge_id: Some("ch_1".into()),
        amount: Money::new(300, Currency::USD),
        status: "pending".into(),
        reason: None,
        as_of: NOW,
        created_at: NOW,
        updated_at: NOW,
    };
    let dispute = Dispute {
        id: DisputeId::new(NOW, random()),
        customer_id: customer_id.clone(),
        payment_id: payment_id.clone(),
        provider: "stripe".into(),
        provider_dispute_id: "du_1".into(),
        provider_charge_id: Some("ch_1".into()),
        amount,
        status: "needs_response".into(),
        reason: Some("fraudulent".into()),
        evidence_due_at: Some(NOW.plus_seconds(9)),
        as_of: NOW,
        revision: 0,
        created_at: NOW,
        updated_at: NOW,
    };
    let note = CreditNote {
        id: CreditNoteId::new(NOW, random()),
        customer_id: customer_id.clone(),
        payment_id: payment_id.clone(),
        provider: "stripe".into(),
        provider_credit_note_id: "cn_1".into(),
        amount,
        amount_given_back: 200,
        status: "issued".into(),
        as_of: NOW,
        created_at: NOW,
        updated_at: NOW,
    };
    (charge, refund, dispute, note)
}

#[tokio::test]
async fn money_that_goes_back_is_read_as_it_was_written() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let (customer_id, payment_id) = payment(&fresh).await?;
        let (mut charge, mut refund, mut dispute, mut note) = money(&customer_id, &payment_id);
        let mut tx = fresh.store.begin("test").await?;
        tx.charges_insert(&charge).await?;
        tx.refunds_put(&refund).await?;
        tx.disputes_insert(&dispute).await?;
        tx.credit_notes_put(&note).await?;
        charge.amount_refunded = 300;
        charge.revision = 1;
        refund.status = "failed".into();
        dispute.status = "won".into();
        dispute.revision = 1;
        note.status = "void".into();
        tx.charges_update(&charge).await?;
        tx.refunds_put(&refund).await?;
        tx.disputes_update(&dispute).await?;
        tx.credit_notes_put(&note).await?;
        tx.commit().await?;
        let mut tx = fresh.store.read("test").await?;
        assert_eq!(tx.charges_find("stripe", "ch_1").await?.as_ref(), Some(&charge));
        assert_eq!(tx.charges_of_payment(&payment_id).await?, [charge]);
        assert_eq!(tx.refunds_get(&refund.id).await?.as_ref(), Some(&refund));
        assert_eq!(tx.refunds_find("stripe", "re_1").await?.as_ref(), Some(&refund));
        assert_eq!(tx.refunds_of_payment(&payment_id).await?, std::slice::from_ref(&refund));
        assert_eq!(tx.refunds_list(&customer_id, "~", 9).await?, [refund]);
        assert_eq!(tx.disputes_find("stripe", "du_1").await?.as_ref(), Some(&dispute));
        assert_eq!(tx.disputes_of_payment(&payment_id).await?, std::slice::from_ref(&dispute));
        assert_eq!(tx.disputes_of_customer(&customer_id).await?, [dispute]);
        assert_eq!(tx.credit_notes_find("stripe", "cn_1").await?.as_ref(), Some(&note));
        assert_eq!(tx.credit_notes_of_payment(&payment_id).await?, [note]);
    }
    Ok(())
}

#[tokio::test]
async fn debts_are_open_until_they_are_settled() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let (customer_id, _) = payment(&fresh).await?;
        let mut debt = Debt {
            id: DebtId::new(NOW, random()),
            customer_id: customer_id.clone(),
            unit: "credits".into(),
            grant_id: GrantId::new(NOW, random()),
            amount: 60,
            settled: 0,
            created_at: NOW,
            updated_at: NOW,
        };
        let mut tx = fresh.store.begin("test").await?;
        tx.debts_insert(&debt).await?;
        assert_eq!(tx.debts_open(&customer_id, "credits").await?, std::slice::from_ref(&debt));
        assert_eq!(tx.debts_open(&customer_id, "tokens").await?, []);
        debt.settled = 60;
        tx.debts_update(&debt).await?;
        assert_eq!(tx.debts_open(&customer_id, "credits").await?, []);
        assert_eq!(tx.debts_of_grant(&debt.grant_id).await?.as_ref(), Some(&debt));
        assert_eq!(tx.debts_list(&customer_id, "~", 9).await?, [debt]);
        tx.commit().await?;
    }
    Ok(())
}
