//! What money that goes back takes with it, and what comes again with it.
//!
//! Nothing here adds or subtracts what an event said. The lots of a payment are brought to what the
//! rows of its charges, disputes and credit notes say together, so that the order in which those
//! were told does not matter, and telling them again changes nothing.

use crate::credits::Why;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::credits::{Draw, withdrawn_by_refund};
use domain::ids::PaymentId;
use domain::money::Money;
use domain::payments::{GivenBack, dispute_takes, refund_takes, share_of};
use domain::time::Timestamp;
use store::credits::{Account, EntryKind, Grant};
use store::payments::Payment;
use store::{StoreError, Tx};

/// An amount in the payment's own currency; `whole` is what it is a part of.
fn in_currency_of(payment: &Payment, part: i64, whole: Money) -> i64 {
    match whole.currency() == payment.amount.currency() {
        true => part.max(0),
        false => share_of(payment.amount.minor(), part, whole.minor()),
    }
}

impl Engine {
    /// What went back of a payment, from everything that is known of it.
    pub(crate) async fn given_back(
        &self,
        tx: &mut Tx,
        payment: &Payment,
    ) -> Result<GivenBack, StoreError> {
        let charges = tx.charges_of_payment(&payment.id).await?;
        let mut refunded = 0_i64;
        for charge in &charges {
            let captured = Money::new(charge.amount_captured, charge.amount.currency());
            let part = in_currency_of(payment, charge.amount_refunded, captured);
            refunded = refunded.saturating_add(part);
        }
        if charges.is_empty() {
            // A payment from before charges were kept knows its total alone.
            refunded = payment.amount_refunded;
        }
        let mut disputed = 0_i64;
        for dispute in tx.disputes_of_payment(&payment.id).await? {
            if dispute_takes(&dispute.status) {
                let part = in_currency_of(payment, dispute.amount.minor(), dispute.amount);
                disputed = disputed.saturating_add(part);
            }
        }
        let mut credited = 0_i64;
        for note in tx.credit_notes_of_payment(&payment.id).await? {
            if note.status != "void" {
                let part = in_currency_of(payment, note.amount_given_back, note.amount);
                credited = credited.saturating_add(part);
            }
        }
        Ok(GivenBack { amount: payment.amount.minor(), refunded, disputed, credited })
    }

    /// When the first of the money that is gone began to go.
    async fn given_back_since(
        &self,
        tx: &mut Tx,
        payment: &Payment,
    ) -> Result<Option<Timestamp>, StoreError> {
        let refunds = tx.refunds_of_payment(&payment.id).await?;
        let refunds = refunds.into_iter().filter(|row| refund_takes(&row.status));
        let mut times: Vec<Timestamp> = refunds.map(|row| row.created_at).collect();
        let disputes = tx.disputes_of_payment(&payment.id).await?;
        let disputes = disputes.into_iter().filter(|row| dispute_takes(&row.status));
        times.extend(disputes.map(|row| row.created_at));
        let notes = tx.credit_notes_of_payment(&payment.id).await?;
        let notes = notes.into_iter().filter(|row| row.status != "void");
        times.extend(notes.map(|row| row.created_at));
        Ok(times.into_iter().min())
    }

    /// Brings the credits that a payment brought to what is left of its money.
    pub(crate) async fn settle_lots(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Failure> {
        let back = self.given_back(tx, payment).await?;
        let lots = tx.credits_of_payment(&payment.id).await?;
        let target =
            |lot: &Grant| withdrawn_by_refund(lot.numbers.granted, back.total(), back.amount);
        // Of what had all been spent nothing was withdrawn: it was owed.
        let owing = !tx.debts_of_payment(&payment.id).await?.is_empty();
        let comes_again =
            owing || lots.is_empty() || lots.iter().any(|lot| target(lot) < lot.withdrawn);
        if comes_again && !back.is_whole() {
            // What was owed is owed no more before a refill could pay it.
            self.lots_follow(tx, payment).await?;
            // Refills waited while all of the money was gone.
            for schedule in tx.allowance_schedules_waiting(&payment.id).await? {
                self.refill_begun(tx, &schedule, schedule.covered.start).await?;
            }
        }
        self.lots_follow(tx, payment).await
    }

    /// The same for the lots that are there.
    pub(crate) async fn lots_follow(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Failure> {
        let back = self.given_back(tx, payment).await?;
        let since = self.given_back_since(tx, payment).await?;
        let owing = tx.debts_of_payment(&payment.id).await?;
        for lot in tx.credits_of_payment(&payment.id).await? {
            let target = withdrawn_by_refund(lot.numbers.granted, back.total(), back.amount);
            // Nothing went and nothing is to go: most lots, and their account stays closed.
            if target != 0 || lot.withdrawn != 0 || owing.contains(&lot.id) {
                self.withdraw_to(tx, lot, target, since).await?;
            }
        }
        Ok(())
    }

    /// Withdraws or restores until `target` of the lot is gone, as far as it is there; what was
    /// spent of it becomes a debt.
    async fn withdraw_to(
        &self,
        tx: &mut Tx,
        seen: Grant,
        target: i64,
        since: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let mut account = tx.credits_open(&seen.customer_id, &seen.unit).await?;
        let lot = tx.credits_get(&seen.id).await?.unwrap_or(seen);
        let mut numbers = lot.numbers;
        let excess = (lot.withdrawn - target).clamp(0, numbers.revoked);
        let missing = (target - numbers.revoked).clamp(0, numbers.available());
        if 0 < excess {
            self.restore(tx, &mut account, &lot, excess).await?;
            numbers.revoked -= excess;
        } else if 0 < missing {
            let draw = Draw { lot: lot.id.clone(), amount: missing };
            let why = Why::now(self, "money given back");
            self.post(tx, &mut account, EntryKind::Revoke, &draw, why).await?;
            numbers.revoked += missing;
        }
        let withdrawn = target.min(numbers.revoked);
        if withdrawn != lot.withdrawn {
            tx.credits_withdrawn(&lot.id, withdrawn).await?;
        }
        let owed = (target - numbers.revoked).clamp(0, numbers.spent + numbers.held);
        self.owe(tx, &mut account, &lot, owed, since).await?;
        tx.credits_close(account).await?;
        if 0 < excess {
            self.withdraw_again(tx, &lot).await?;
        }
        Ok(())
    }

    /// Gives credits back to their lot; if its time is over meanwhile, they expire at once.
    async fn restore(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        lot: &Grant,
        amount: i64,
    ) -> Result<(), Failure> {
        let draw = Draw { lot: lot.id.clone(), amount };
        let why = Why::now(self, "money came again");
        self.post(tx, account, EntryKind::Restore, &draw, why).await?;
        // A lot that had nothing left was not among the account's.
        account.grants = tx.credits_live(&account.customer_id, &account.unit).await?;
        self.write_off_expired(tx, account, Some(self.clock().now())).await
    }

    /// Credits that come again may be due to go for another reason.
    pub(crate) async fn withdraw_again(&self, tx: &mut Tx, lot: &Grant) -> Result<(), Failure> {
        if let Some(id) = &lot.provider_subscription_id
            && let Some(row) = tx.subscriptions_find(PROVIDER, id).await?
        {
            if row.status.is_terminal() {
                self.withdraw_allowances(tx, &row).await?;
            }
            self.withdraw_trial(tx, &row).await?;
        }
        Ok(())
    }

    /// What a hold gave back may belong to a payment or a subscription that has gone meanwhile.
    pub(crate) async fn withdraw_given_back(
        &self,
        tx: &mut Tx,
        draws: &[Draw],
    ) -> Result<(), Failure> {
        let mut settled: Option<PaymentId> = None;
        for draw in draws {
            let Some(lot) = tx.credits_get(&draw.lot).await? else {
                continue;
            };
            if let Some(id) = &lot.payment_id
                && settled.as_ref() != Some(id)
                && let Some(payment) = tx.payments_get(id).await?
            {
                if 0 < self.given_back(tx, &payment).await?.total() {
                    self.settle_lots(tx, &payment).await?;
                }
                settled = Some(payment.id);
            }
            self.withdraw_again(tx, &lot).await?;
        }
        Ok(())
    }
}
