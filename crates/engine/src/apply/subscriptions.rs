//! A subscription as the provider describes it, and what follows: trial, access, end.

use super::owners::Owner;
use super::{Stop, Told, Trust};
use crate::clock::random;
use crate::lists::NEWEST;
use crate::subscriptions::SUBSCRIPTIONS_MAX;
use crate::{Engine, PROVIDER};
use domain::catalogue::Grants;
use domain::ids::{PriceId, SubscriptionId};
use domain::subscriptions::{Known, News, Status, news, outranks};
use domain::time::Timestamp;
use providers::facts;
use store::Tx;
use store::prices::Price;
use store::subscription_items::SubscriptionItem;
use store::subscriptions::Subscription;

/// What a subscription consists of, as far as the catalogue knows it.
struct Plan {
    items: Vec<SubscriptionItem>,
    /// Which of them is the plan, and its price.
    main: usize,
    price: Price,
}

impl Engine {
    pub(super) async fn subscription_apply(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        told: &Told<facts::Subscription>,
        schedule: Option<&facts::Schedule>,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let subscription = &told.object;
        let held = tx.subscriptions_find(PROVIDER, &subscription.id).await?;
        let status = subscription.status.clone().unwrap_or(Status::Other("unknown".to_owned()));
        if !is_news(held.as_ref(), &status, told.trust, at)? {
            return Ok(());
        }
        let id = match &held {
            Some(held) => held.id.clone(),
            None => SubscriptionId::new(self.clock().wall(), random()),
        };
        let plan = match self.plan_of(tx, owner, &id, held.as_ref(), subscription).await? {
            Some(plan) => plan,
            // What takes access away does not wait for the catalogue.
            None if let Some(held) = held.filter(|_| !opens(&status)) => {
                let before = held.clone();
                let closed = Subscription {
                    ended_at: ended_at(subscription, &status, at),
                    canceled_at: subscription.canceled_at.or(held.canceled_at),
                    as_of: held.as_of.max(told.as_of(at)),
                    status,
                    ..held
                };
                return self.subscription_write(tx, Some(&before), closed).await;
            }
            None => {
                return Err(Stop::Parked("none of the subscription's prices is known".to_owned()));
            }
        };
        let as_of = told.as_of(at);
        let row = Subscription {
            as_of: held.as_ref().map_or(as_of, |held| held.as_of.max(as_of)),
            status,
            ..self.described(owner, id, held.as_ref(), subscription, &plan, at)
        };
        let row = self.with_pending(tx, row, subscription, schedule).await?;
        let (id, items) = (row.id.clone(), plan.items);
        if held.is_none() {
            tx.subscriptions_insert(&row).await?;
        }
        tx.subscription_items_replace(&id, &items).await?;
        self.subscription_write(tx, held.as_ref(), row).await
    }

    /// The row as the provider's description makes it, but for its status and age.
    fn described(
        &self,
        owner: &Owner,
        id: SubscriptionId,
        held: Option<&Subscription>,
        told: &facts::Subscription,
        plan: &Plan,
        at: Timestamp,
    ) -> Subscription {
        let now = self.clock().now();
        let main = &plan.items[plan.main];
        let status = told.status.clone().unwrap_or(Status::Other("unknown".to_owned()));
        // What a schedule plans stays known until the schedule itself is read again.
        let planned = held.filter(|held| held.pending_at.is_some() && told.schedule.is_some());
        let at_period_end = main.period_end.filter(|_| told.cancel_at_period_end);
        Subscription {
            id,
            customer_id: owner.customer.clone(),
            provider: PROVIDER.to_owned(),
            provider_subscription_id: told.id.clone(),
            price_id: main.price_id.clone(),
            product_id: Some(plan.price.product_id.clone()),
            quantity: main.quantity,
            period_start: main.period_start,
            period_end: main.period_end,
            cancel_at: told.cancel_at.or(at_period_end),
            cancel_at_period_end: told.cancel_at_period_end,
            canceled_at: told.canceled_at,
            ended_at: ended_at(told, &status, at),
            trial_start: told.trial_start,
            trial_end: told.trial_end,
            past_due_since: held.and_then(|held| held.past_due_since),
            // The provider's clock may run ahead of ours.
            started_at: held.map_or(told.created_at.unwrap_or(at).min(now), |held| held.started_at),
            grants: main.grants.clone(),
            collection: told.collection.clone(),
            pause_behavior: told.pause_behavior.clone(),
            pause_resumes_at: told.pause_resumes_at,
            pending_price_id: planned.and_then(|held| held.pending_price_id.clone()),
            pending_at: planned.and_then(|held| held.pending_at),
            provider_schedule_id: told.schedule.clone(),
            paid_until: held.and_then(|held| held.paid_until),
            surplus_since: held.and_then(|held| held.surplus_since),
            status,
            as_of: at,
            revision: held.map_or(0, |held| held.revision),
            created_at: held.map_or(now, |held| held.created_at),
            updated_at: now,
        }
    }

    /// The items with what each of them grants. The plan is the item that was bought on our page,
    /// else the one that was the plan, else the first whose price grants anything.
    async fn plan_of(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        id: &SubscriptionId,
        held: Option<&Subscription>,
        told: &facts::Subscription,
    ) -> Result<Option<Plan>, Stop> {
        let before = match held {
            Some(held) => tx.subscription_items_of(&held.id).await?,
            None => Vec::new(),
        };
        let mut items = Vec::new();
        let mut known: Vec<(usize, Price)> = Vec::new();
        for (position, item) in (0_u32..).zip(&told.items) {
            let price = match &item.price {
                Some(id) => tx.prices_find(PROVIDER, id).await?,
                None => None,
            };
            let grants = price.as_ref().map_or(Grants::default(), |price| {
                let session = owner.session.as_ref().filter(|bought| bought.price_id == price.id);
                let same = |old: &&SubscriptionItem| old.price_id.as_ref() == Some(&price.id);
                let kept = before.iter().find(same).map(|old| old.grants.clone());
                let bought = session.map(|session| session.grants.clone());
                bought.or(kept).unwrap_or_else(|| price.grants.clone())
            });
            // A description without any period does not take away the one that is known.
            let old = before.iter().find(|old| old.provider_item_id == item.id);
            let known_start = old.and_then(|old| old.period_start);
            let known_end = old.and_then(|old| old.period_end);
            items.push(SubscriptionItem {
                provider: PROVIDER.to_owned(),
                provider_item_id: item.id.clone(),
                subscription_id: id.clone(),
                customer_id: owner.customer.clone(),
                position,
                provider_price_id: item.price.clone(),
                price_id: price.as_ref().map(|price| price.id.clone()),
                quantity: item.quantity.unwrap_or(1),
                period_start: item.period_start.or(told.period_start).or(known_start),
                period_end: item.period_end.or(told.period_end).or(known_end),
                grants,
            });
            known.extend(price.map(|price| (items.len() - 1, price)));
        }
        let bought = owner.session.as_ref().map(|session| &session.price_id);
        let was = held.and_then(|held| held.price_id.as_ref());
        let is =
            |wanted: Option<&PriceId>| known.iter().find(|(_, price)| Some(&price.id) == wanted);
        let grants = |(at, _): &&(usize, Price)| items[*at].grants != Grants::default();
        let main = is(bought)
            .or_else(|| is(was))
            .or_else(|| known.iter().find(grants))
            .or_else(|| known.first());
        let Some((main, price)) = main.cloned() else {
            return Ok(None);
        };
        Ok(Some(Plan { items, main, price }))
    }

    /// The plan that waits: for its payment, or for the day its schedule names.
    async fn with_pending(
        &self,
        tx: &mut Tx,
        mut row: Subscription,
        told: &facts::Subscription,
        schedule: Option<&facts::Schedule>,
    ) -> Result<Subscription, Stop> {
        let mut waiting: Vec<(&String, Option<Timestamp>)> = Vec::new();
        waiting.extend(told.pending_prices.iter().map(|price| (price, None)));
        let schedule = schedule.filter(|it| told.schedule.as_ref() == Some(&it.id));
        if schedule.is_some() {
            row.pending_price_id = None;
            row.pending_at = None;
        }
        let schedule = schedule.filter(|schedule| schedule.is_active);
        let now = self.clock().now();
        for phase in schedule.iter().flat_map(|schedule| &schedule.phases) {
            if phase.start.is_some_and(|start| now < start) {
                waiting.extend(phase.prices.iter().map(|price| (price, phase.start)));
            }
        }
        for (price, at) in waiting {
            if let Some(price) = tx.prices_find(PROVIDER, price).await?
                && Some(&price.id) != row.price_id.as_ref()
            {
                row.pending_price_id = Some(price.id);
                row.pending_at = at;
                break;
            }
        }
        Ok(row)
    }

    /// Writes the row, what follows from it, and the news in it.
    pub(super) async fn subscription_write(
        &self,
        tx: &mut Tx,
        before: Option<&Subscription>,
        mut row: Subscription,
    ) -> Result<(), Stop> {
        row.revision += 1;
        row.updated_at = self.clock().now();
        tx.subscriptions_update(&row).await?;
        self.tell_subscription(tx, before, &row).await?;
        self.end_heard(tx, &row).await?;
        self.subscription_settle(tx, &row).await
    }

    /// What follows from a subscription's row and its invoices: its trial, its access, its end.
    /// Everything is judged anew from what is known now, so that it does not matter in which order
    /// it became known.
    pub(super) async fn subscription_settle(
        &self,
        tx: &mut Tx,
        row: &Subscription,
    ) -> Result<(), Stop> {
        let mut row = row.clone();
        let money = self.subscription_money(tx, &row).await?;
        if (row.past_due_since, row.paid_until) != (money.past_due_since, money.paid_until) {
            row.past_due_since = money.past_due_since;
            row.paid_until = money.paid_until;
            row.revision += 1;
            tx.subscriptions_update(&row).await?;
        }
        self.settle_trial(tx, &row).await?;
        self.subscription_unlocks(tx, &row, money.is_paid_for).await?;
        if row.status.is_terminal() {
            self.withdraw_allowances(tx, &row).await?;
        }
        self.mark_surplus(tx, &row).await
    }

    /// Of several paid subscriptions that live at the same time all but the oldest are one too
    /// many. One that is going to end anyway is in nobody's way.
    async fn mark_surplus(&self, tx: &mut Tx, row: &Subscription) -> Result<(), Stop> {
        let mut living = Vec::new();
        for held in tx.subscriptions_list(&row.customer_id, NEWEST, SUBSCRIPTIONS_MAX).await? {
            let price = match &held.price_id {
                Some(id) => tx.prices_get(id).await?,
                None => None,
            };
            let is_free = price.is_some_and(|price| price.amount.minor() == 0);
            if held.status.is_live() && !is_free && held.cancel_at.is_none() {
                living.push(held);
            } else if held.surplus_since.is_some() {
                tx.subscriptions_update(&Subscription { surplus_since: None, ..held }).await?;
            }
        }
        living.sort_by(|a, b| {
            let key = |it: &Subscription| (it.started_at, it.provider_subscription_id.clone());
            key(a).cmp(&key(b))
        });
        for (place, held) in living.into_iter().enumerate() {
            let is_surplus = 0 < place;
            if held.surplus_since.is_some() != is_surplus {
                let surplus_since = is_surplus.then_some(held.started_at);
                let marked = Subscription { surplus_since, ..held };
                tx.subscriptions_update(&marked).await?;
                if is_surplus {
                    self.surplus_found(tx, &marked).await?;
                    self.tell_duplicate(tx, &marked).await?;
                }
            }
        }
        Ok(())
    }
}

/// Judges a description against what we hold, under the lock (INV-ORDER, INV-TERMINAL).
fn is_news(
    held: Option<&Subscription>,
    status: &Status,
    trust: Trust,
    at: Timestamp,
) -> Result<bool, Stop> {
    let known = held.map(Subscription::known);
    let news = news(known.as_ref(), at);
    if trust.is_truth(held.map(|held| held.revision))? {
        return Ok(news != News::Stale);
    }
    match (news, known) {
        (News::Stale, _) => Ok(false),
        (_, Some(known)) if trust == Trust::Orphaned => {
            Ok(outranks(&Known { status: status.clone(), as_of: at }, &known))
        }
        // Something newer was applied meanwhile: ask the provider.
        (News::Doubt, _) => Err(Stop::Changed),
        (News::Apply, _) => Ok(true),
    }
}

/// When it ended: a terminal state without a date of its own ended when we heard of it.
fn ended_at(told: &facts::Subscription, status: &Status, at: Timestamp) -> Option<Timestamp> {
    let latest = told.canceled_at.unwrap_or(at);
    told.ended_at.or(status.is_terminal().then_some(latest))
}

fn opens(status: &Status) -> bool {
    matches!(status, Status::Active | Status::Trialing)
}
