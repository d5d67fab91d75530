//! Credits that a trial brings: once per person and product, and for as long as the trial lasts.

use crate::Engine;
use crate::allowances::times;
use crate::credits::Why;
use crate::failures::Failure;
use crate::lists::NEWEST;
use crate::subscriptions::SUBSCRIPTIONS_MAX;
use domain::credits::{Class, Credits, Draw};
use domain::subscriptions::Status;
use domain::time::Period;
use store::Tx;
use store::credits::{EntryKind, Grant};
use store::subscriptions::Subscription;

/// The trial of a subscription that has begun at all.
fn trial_of(row: &Subscription) -> Option<Period> {
    let begun = !matches!(row.status, Status::Incomplete | Status::IncompleteExpired);
    match (row.trial_start, row.trial_end) {
        (Some(start), Some(end)) if begun && start < end => Some(Period { start, end }),
        _ => None,
    }
}

impl Engine {
    /// Gives what the trial starts with, and takes the rest when it is over.
    pub(crate) async fn settle_trial(
        &self,
        tx: &mut Tx,
        row: &Subscription,
    ) -> Result<(), Failure> {
        if trial_of(row).is_some()
            && let Some((trial, holder)) = self.first_trial(tx, row).await?
        {
            self.grant_trial(tx, &holder, trial).await?;
            if holder.id != row.id {
                self.withdraw_trial(tx, &holder).await?;
            }
        }
        self.withdraw_trial(tx, row).await
    }

    /// Of several trials of one product the first is the one that counts, whichever we heard of
    /// first.
    async fn first_trial(
        &self,
        tx: &mut Tx,
        row: &Subscription,
    ) -> Result<Option<(Period, Subscription)>, Failure> {
        let held = tx.subscriptions_list(&row.customer_id, NEWEST, SUBSCRIPTIONS_MAX).await?;
        let same = held.into_iter().filter(|held| held.product_id == row.product_id);
        let trials = same.filter_map(|held| trial_of(&held).map(|trial| (trial, held)));
        Ok(trials.min_by(|(a, one), (b, other)| {
            let ids = (&one.provider_subscription_id, &other.provider_subscription_id);
            (a.start, ids.0).cmp(&(b.start, ids.1))
        }))
    }

    /// What a trial starts with, until it ends; a lot that is there already moves with its trial.
    async fn grant_trial(
        &self,
        tx: &mut Tx,
        holder: &Subscription,
        trial: Period,
    ) -> Result<(), Failure> {
        let product = holder.product_id.as_ref().map_or("none", |id| id.as_str());
        for (position, grant) in holder.grants.credits.iter().enumerate() {
            let amount = grant.trial_amount.unwrap_or(grant.amount.get());
            let Ok(amount) = Credits::new(amount) else {
                continue;
            };
            let amount = times(amount, holder.quantity);
            let lot = Grant {
                fact: format!("trial:{}:{product}:{position}", holder.customer_id),
                class: Class::Trial,
                provider_subscription_id: Some(holder.provider_subscription_id.clone()),
                reason: "trial".to_owned(),
                starts_at: trial.start,
                expires_at: Some(trial.end),
                ..self.lot(&holder.customer_id, &grant.unit, amount)
            };
            match tx.credits_find(&lot.fact).await? {
                Some(held) => self.move_trial(tx, &held, &lot).await?,
                None => self.lot_open_and_add(tx, &lot).await?,
            }
        }
        Ok(())
    }

    /// A trial that lasts longer, or that turns out to be another subscription's, brings back what
    /// went with its earlier end.
    async fn move_trial(&self, tx: &mut Tx, seen: &Grant, wanted: &Grant) -> Result<(), Failure> {
        let place =
            |lot: &Grant| (lot.provider_subscription_id.clone(), lot.starts_at, lot.expires_at);
        if place(seen) == place(wanted) {
            return Ok(());
        }
        let mut account = tx.credits_open(&seen.customer_id, &seen.unit).await?;
        let lot = tx.credits_get(&seen.id).await?.unwrap_or_else(|| seen.clone());
        tx.credits_move(&lot.id, wanted).await?;
        if Some(self.clock().now()) < wanted.expires_at {
            let back = [
                (EntryKind::Restore, lot.numbers.revoked),
                (EntryKind::Extend, lot.numbers.expired),
            ];
            for (kind, amount) in back.into_iter().filter(|(_, amount)| 0 < *amount) {
                let draw = Draw { lot: lot.id.clone(), amount };
                self.post(tx, &mut account, kind, &draw, Why::now(self, "trial moved")).await?;
            }
        }
        account.grants = tx.credits_live(&account.customer_id, &account.unit).await?;
        self.write_off_expired(tx, &mut account, None).await?;
        Ok(tx.credits_close(account).await?)
    }

    /// A trial that is over, early or not, leaves none of its credits; and one subscription has no
    /// trial of two products.
    pub(crate) async fn withdraw_trial(
        &self,
        tx: &mut Tx,
        row: &Subscription,
    ) -> Result<(), Failure> {
        let product = row.product_id.as_ref().map_or("none", |id| id.as_str());
        let own = format!("trial:{}:{product}:", row.customer_id);
        for lot in tx.credits_of_subscription(&row.provider_subscription_id).await? {
            let runs = row.status == Status::Trialing && lot.fact.starts_with(&own);
            if lot.class == Class::Trial && !runs {
                self.withdraw(tx, &lot, |lot| lot.available(), "trial ended").await?;
            }
        }
        Ok(())
    }
}
