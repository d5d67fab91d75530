//! A subscription as the provider describes it, and what follows: trial, access, end.

use super::owners::Owner;
use super::{Stop, Told, Trust};
use crate::allowances::trial_period;
use crate::clock::random;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::entitlements::Entitlement;
use domain::ids::{EntitlementId, SubscriptionId};
use domain::subscriptions::{AccessFacts, Known, News, Status, access, news, outranks};
use domain::time::Timestamp;
use providers::facts::{self, BillingReason};
use store::Tx;
use store::payments::PaymentStatus;
use store::prices::Price;
use store::subscriptions::Subscription;

impl Engine {
    /// Applies what the provider answered to a call of ours; `false` where the row has changed
    /// since `held` was read, so that the provider has to be asked again. The answer carries no
    /// time of the provider's: the row stays as old as the newest event told.
    pub(crate) async fn subscription_told(
        &self,
        tx: &mut Tx,
        held: &Subscription,
        told: facts::Subscription,
    ) -> Result<bool, Failure> {
        let session = tx.checkout_sessions_by_subscription(&told.id).await?;
        let owner = Owner { customer: held.customer_id.clone(), session };
        let trust = Trust::Truth { revision: Some(held.revision) };
        let told = Told { subscription: told, trust };
        match self.subscription_apply(tx, &owner, &told, held.as_of).await {
            Ok(()) | Err(Stop::Ignored(_)) => Ok(true),
            Err(Stop::Changed) => Ok(false),
            Err(Stop::Failed(failure)) => Err(failure),
            Err(Stop::Parked(why)) => {
                Err(Failure::refused(domain::codes::Code::ProviderRefused, why))
            }
        }
    }

    pub(super) async fn subscription_apply(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        told: &Told,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let subscription = &told.subscription;
        let held = tx.subscriptions_find(PROVIDER, &subscription.id).await?;
        let status = subscription.status.clone().unwrap_or(Status::Other("unknown".to_owned()));
        if !is_news(held.as_ref(), &status, told.trust, at)? {
            return Ok(());
        }
        let id = match &held {
            Some(held) => held.id.clone(),
            None => SubscriptionId::new(self.clock().wall(), random()),
        };
        let (item, price) = self.known_item(tx, subscription).await?;
        let period_end = item.period_end.or(subscription.period_end);
        let session = owner.session.as_ref().filter(|session| session.price_id == price.id);
        let grants = session.map_or(&price.grants, |session| &session.grants);
        let now = self.clock().now();
        let held_since = held.as_ref().and_then(|held| held.past_due_since);
        let past_due_since = (status == Status::PastDue).then(|| held_since.unwrap_or(at));
        let ended_at = ended_at(subscription, &status, at);
        let row = Subscription {
            id,
            customer_id: owner.customer.clone(),
            provider: PROVIDER.to_owned(),
            provider_subscription_id: subscription.id.clone(),
            status,
            price_id: Some(price.id.clone()),
            product_id: Some(price.product_id.clone()),
            quantity: item.quantity.unwrap_or(1),
            period_start: item.period_start.or(subscription.period_start),
            period_end,
            cancel_at: subscription.cancel_at.or(match subscription.cancel_at_period_end {
                true => period_end,
                false => None,
            }),
            cancel_at_period_end: subscription.cancel_at_period_end,
            canceled_at: subscription.canceled_at,
            ended_at,
            trial_start: subscription.trial_start,
            trial_end: subscription.trial_end,
            past_due_since,
            // The provider's clock may run ahead of ours.
            started_at: held
                .as_ref()
                .map_or(subscription.created_at.unwrap_or(at).min(now), |held| held.started_at),
            grants: grants.clone(),
            as_of: held.as_ref().map_or(at, |held| held.as_of.max(at)),
            revision: held.as_ref().map_or(0, |held| held.revision + 1),
            created_at: held.as_ref().map_or(now, |held| held.created_at),
            updated_at: now,
        };
        match held {
            Some(_) => tx.subscriptions_update(&row).await?,
            None => tx.subscriptions_insert(&row).await?,
        }
        self.subscription_settle(tx, &row).await
    }

    /// The first item whose price we know: it names the plan.
    async fn known_item<'a>(
        &self,
        tx: &mut Tx,
        told: &'a facts::Subscription,
    ) -> Result<(&'a facts::SubscriptionItem, Price), Stop> {
        for item in &told.items {
            if let Some(id) = &item.price
                && let Some(price) = tx.prices_find(PROVIDER, id).await?
            {
                return Ok((item, price));
            }
        }
        Err(Stop::Parked("none of the subscription's prices is known".to_owned()))
    }

    /// What follows from a subscription's row: its trial, its access, its end.
    pub(super) async fn subscription_settle(
        &self,
        tx: &mut Tx,
        row: &Subscription,
    ) -> Result<(), Stop> {
        let started = !matches!(row.status, Status::Incomplete | Status::IncompleteExpired);
        if let Some(trial) = trial_period(row.trial_start, row.trial_end)
            && started
        {
            self.grant_trial(tx, row, trial).await?;
        }
        if row.status != Status::Trialing {
            self.withdraw_trial(tx, row).await?;
        }
        let facts = AccessFacts {
            status: row.status.clone(),
            started_at: row.started_at,
            cancel_at: row.cancel_at,
            ended_at: row.ended_at,
            past_due_since: row.past_due_since,
        };
        let paid_for = self.is_paid_for(tx, row).await?;
        let grace_seconds = self.settings().past_due_grace_seconds;
        let window = access(&facts, grace_seconds).filter(|_| paid_for);
        let now = self.clock().now();
        let source = format!("subscription:{}", row.id);
        let granted = tx.entitlements_of_source(&source).await?;
        let mut wanted: Vec<&str> =
            row.grants.features.iter().map(|grant| grant.feature.as_str()).collect();
        wanted.extend(granted.iter().map(|held| held.feature.as_str()));
        wanted.sort_unstable();
        wanted.dedup();
        for feature in wanted {
            let still = row.grants.features.iter().any(|grant| grant.feature == feature);
            let window = window.filter(|_| still);
            let entitlement = Entitlement {
                feature: feature.to_owned(),
                source: source.clone(),
                starts_at: window.map_or(row.started_at, |window| window.starts_at),
                ends_at: window.and_then(|window| window.ends_at),
                revoked_at: if window.is_none() { Some(row.as_of) } else { None },
            };
            let id = EntitlementId::new(self.clock().wall(), random());
            tx.entitlements_put(&id, &row.customer_id, &entitlement, now).await?;
        }
        if row.status.is_terminal() {
            self.withdraw_allowances(tx, row).await?;
        }
        Ok(())
    }

    /// Whether nothing we know says that there is no money (INV-MONEY): a bank debit can make a
    /// subscription active before its first invoice is paid, and the period that was paid for
    /// last can have been given back in full. Side invoices do not count, and a period that cost
    /// nothing was not given back.
    async fn is_paid_for(&self, tx: &mut Tx, row: &Subscription) -> Result<bool, Stop> {
        let id = &row.provider_subscription_id;
        let (first, next) = (BillingReason::SubscriptionCreate, BillingReason::SubscriptionCycle);
        let reasons = [first.as_str(), next.as_str()];
        let Some(invoice) = tx.invoices_newest_paid(PROVIDER, id, reasons).await? else {
            let unpaid = tx.invoices_unpaid_first(PROVIDER, id, first.as_str()).await?;
            return Ok(unpaid.is_none());
        };
        let payment = tx.payments_find(PROVIDER, &invoice.provider_invoice_id).await?;
        Ok(payment.is_none_or(|payment| payment.status != PaymentStatus::Refunded))
    }
}

/// Judges a description against what we hold, under the lock (INV-ORDER, INV-TERMINAL).
fn is_news(
    held: Option<&Subscription>,
    status: &Status,
    trust: Trust,
    at: Timestamp,
) -> Result<bool, Stop> {
    let known = held.map(|held| Known { status: held.status.clone(), as_of: held.as_of });
    let terminal = known.as_ref().is_some_and(|known| known.status.is_terminal());
    match (trust, news(known.as_ref(), at)) {
        (Trust::Truth { revision }, _) if revision == held.map(|held| held.revision) => {
            Ok(!terminal)
        }
        (Trust::Truth { .. }, _) => Err(Stop::Changed),
        (_, News::Stale) => Ok(false),
        (_, News::Apply) => Ok(true),
        (Trust::Orphaned, News::Doubt) => {
            Ok(known.is_none_or(|known| outranks(status, &known.status)))
        }
        // Another event of the same second was applied meanwhile: ask the provider.
        (Trust::Carried, News::Doubt) => Err(Stop::Changed),
    }
}

/// When it ended: a terminal state without a date of its own ended when we heard of it.
fn ended_at(told: &facts::Subscription, status: &Status, at: Timestamp) -> Option<Timestamp> {
    let latest = told.canceled_at.unwrap_or(at);
    told.ended_at.or(status.is_terminal().then_some(latest))
}
