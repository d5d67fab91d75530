//! Credits that money brings: packs, and allowances that a paid period refills.
//!
//! Every lot is keyed by the business fact that caused it, so telling the fact again adds nothing.

use crate::clock::random;
use crate::credits::Why;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::catalogue::{CreditGrant, Grants};
use domain::credits::{Class, Credits, Draw};
use domain::ids::{AllowanceScheduleId, CustomerId, GrantId, PriceId, SubscriptionId};
use domain::invariants::LotNumbers;
use domain::time::{Period, Timestamp};
use store::Tx;
use store::allowance_schedules::{AllowanceSchedule, ScheduleKind};
use store::credits::{EntryKind, Grant};
use store::payments::Payment;
use store::subscriptions::Subscription;

/// A paid invoice line that covers a period of a subscription item, or the rest of one.
pub(crate) struct PaidPeriod<'a> {
    pub kind: ScheduleKind,
    pub customer: &'a CustomerId,
    pub subscription: &'a str,
    pub item: &'a str,
    pub price: &'a PriceId,
    pub grants: &'a Grants,
    pub quantity: i64,
    pub line_from: Timestamp,
    pub covered: Period,
    pub payment: Option<&'a Payment>,
}

/// A price's credits for `quantity` of it. Checkout refuses what does not fit; a subscription that
/// was made elsewhere is cut at the largest lot there is.
pub(crate) fn times(amount: Credits, quantity: i64) -> Credits {
    amount.times(quantity.max(1)).unwrap_or(Credits::MAX)
}

/// What so many of a price bring of a unit, in one place or in whichever has the unit.
fn brings(grants: &Grants, place: u32, unit: &str, quantity: i64) -> i64 {
    let place = usize::try_from(place).unwrap_or(usize::MAX);
    let same_place = grants.credits.get(place).filter(|grant| grant.unit == unit);
    let grant = same_place.or_else(|| grants.credits.iter().find(|grant| grant.unit == unit));
    match grant {
        Some(grant) if 0 < quantity => times(grant.amount, quantity).get(),
        _ => 0,
    }
}

/// The most that a refill brings: less follows at once, as the newest paid line tells it and as
/// what is held tells it, if that is no older. A line can be told before its subscription is.
fn most_of(lines: &[&AllowanceSchedule], held: Option<(i64, Timestamp)>) -> i64 {
    let Some(newest) = lines.last() else {
        return i64::MAX;
    };
    let held = held.filter(|(_, as_of)| newest.line_from <= *as_of);
    held.map_or(i64::MAX, |(most, _)| most).min(newest.amount.get())
}

impl Engine {
    /// The credits of a one-time purchase.
    pub(crate) async fn grant_pack(
        &self,
        tx: &mut Tx,
        payment: &Payment,
        grants: &Grants,
        quantity: i64,
    ) -> Result<(), Failure> {
        for lot in self.pack_lots(payment, grants, quantity) {
            self.lot_open_and_add(tx, &lot).await?;
        }
        Ok(())
    }

    pub(crate) fn pack_lots(
        &self,
        payment: &Payment,
        grants: &Grants,
        quantity: i64,
    ) -> Vec<Grant> {
        let now = self.clock().now();
        let lot = |(position, grant): (usize, &CreditGrant)| Grant {
            fact: format!("payment:{}:{position}", payment.id),
            class: Class::Purchased,
            payment_id: Some(payment.id.clone()),
            starts_at: payment.paid_at.map_or(now, |paid_at| paid_at.min(now)),
            ..self.lot(&payment.customer_id, &grant.unit, times(grant.amount, quantity))
        };
        grants.credits.iter().enumerate().map(lot).collect()
    }

    /// A period was paid for: its credits are due now and then at every refill inside it. Or more
    /// was paid for inside a period: the refills that begin from then on grow.
    pub(crate) async fn grant_period(
        &self,
        tx: &mut Tx,
        paid: PaidPeriod<'_>,
    ) -> Result<(), Failure> {
        for (position, grant) in (0_u32..).zip(&paid.grants.credits) {
            let schedule = AllowanceSchedule {
                id: AllowanceScheduleId::new(self.clock().wall(), random()),
                customer_id: paid.customer.clone(),
                provider: PROVIDER.to_owned(),
                provider_subscription_id: paid.subscription.to_owned(),
                provider_item_id: paid.item.to_owned(),
                payment_id: paid.payment.map(|payment| payment.id.clone()),
                price_id: paid.price.clone(),
                position,
                unit: grant.unit.clone(),
                amount: times(grant.amount, paid.quantity),
                every: grant.every,
                kind: paid.kind,
                line_from: paid.line_from,
                covered: paid.covered,
                next_at: (paid.kind == ScheduleKind::Period).then_some(paid.covered.start),
                created_at: self.clock().now(),
            };
            if !tx.allowance_schedules_insert(&schedule).await? {
                continue;
            }
            if paid.kind == ScheduleKind::Period {
                self.refill(tx, &schedule, paid.covered.start).await?;
                continue;
            }
            for period in tx.allowance_schedules_changed(&schedule).await? {
                self.refill(tx, &period, paid.covered.start).await?;
            }
        }
        Ok(())
    }

    /// Grants every period of the schedule that began between `from` and now, each once.
    async fn refill(
        &self,
        tx: &mut Tx,
        schedule: &AllowanceSchedule,
        from: Timestamp,
    ) -> Result<(), Failure> {
        self.refill_begun(tx, schedule, from).await?;
        if let Some(id) = &schedule.payment_id
            && let Some(payment) = tx.payments_get(id).await?
        {
            self.settle_lots(tx, &payment).await?;
        }
        Ok(())
    }

    /// The same without a look at the money of the period's own payment.
    pub(crate) async fn refill_begun(
        &self,
        tx: &mut Tx,
        schedule: &AllowanceSchedule,
        from: Timestamp,
    ) -> Result<(), Failure> {
        let now = self.clock().now();
        let provider_id = &schedule.provider_subscription_id;
        let row = tx.subscriptions_find(PROVIDER, provider_id).await?;
        let ended = row.as_ref().and_then(|row| row.ended_at);
        let superseded = tx.allowance_schedules_superseded(schedule).await?;
        let changes = tx.allowance_schedules_changes(schedule).await?;
        let held = match row {
            Some(row) => Some((self.most_held(tx, schedule, &row.id).await?, row.as_of)),
            None => None,
        };
        let mut begun = schedule.every.begun_within(schedule.covered, now);
        let before = begun.len();
        begun.retain(|period| ended.is_none_or(|ended| period.start < ended));
        for period in &begun {
            if period.start < from || superseded.is_some_and(|at| at <= period.start) {
                continue;
            }
            let paid = changes.iter().filter(|change| change.covered.start < period.start);
            let lines: Vec<&AllowanceSchedule> = std::iter::once(schedule).chain(paid).collect();
            // The period that has just been paid for, whatever is held by then.
            let is_first = period.start == schedule.line_from;
            let most = if is_first { i64::MAX } else { most_of(&lines, held) };
            self.refill_period(tx, &lines, *period, most).await?;
        }
        for id in changes.iter().filter_map(|change| change.payment_id.as_ref()) {
            if let Some(payment) = tx.payments_get(id).await? {
                self.lots_follow(tx, &payment).await?;
            }
        }
        let next = begun.last().map_or(schedule.covered.start, |period| period.end);
        let goes_on = begun.len() == before && next < schedule.covered.end;
        Ok(tx.allowance_schedules_next(&schedule.id, goes_on.then_some(next)).await?)
    }

    /// Each paid line adds what it brings beyond the lines before it, as a lot of its own payment,
    /// until `most` is reached; what is there already is counted.
    async fn refill_period(
        &self,
        tx: &mut Tx,
        lines: &[&AllowanceSchedule],
        period: Period,
        most: i64,
    ) -> Result<(), Failure> {
        let mut missing = Vec::new();
        let mut given = 0_i64;
        for line in lines {
            let (item, position) = (&line.provider_item_id, line.position);
            let start = period.start.micros();
            let mut fact = format!("allowance:{PROVIDER}:{item}:{position}:{start}");
            if line.kind == ScheduleKind::Change {
                fact = format!("{fact}:{}", line.line_from.micros());
            }
            match tx.credits_find(&fact).await? {
                Some(held) => given = given.saturating_add(held.numbers.granted),
                None => missing.push((line, fact)),
            }
        }
        for (line, fact) in missing {
            let Ok(amount) = Credits::new(line.amount.get().min(most).saturating_sub(given)) else {
                continue;
            };
            given = given.saturating_add(amount.get());
            let lot = Grant {
                fact,
                class: Class::Allowance,
                payment_id: line.payment_id.clone(),
                provider_subscription_id: Some(line.provider_subscription_id.clone()),
                reason: "allowance".to_owned(),
                starts_at: period.start,
                expires_at: Some(period.end),
                ..self.lot(&line.customer_id, &line.unit, amount)
            };
            self.lot_open_and_add(tx, &lot).await?;
        }
        Ok(())
    }

    /// The most that a refill brings of what is held now: nothing where a plan is held that is
    /// paid more or less often, which has invoices of its own.
    async fn most_held(
        &self,
        tx: &mut Tx,
        schedule: &AllowanceSchedule,
        subscription: &SubscriptionId,
    ) -> Result<i64, Failure> {
        let (place, unit) = (schedule.position, schedule.unit.as_str());
        let item = tx.subscription_items_find(PROVIDER, &schedule.provider_item_id).await?;
        let Some(item) = item else {
            let others = tx.subscription_items_of(subscription).await?;
            if others.is_empty() {
                return Ok(i64::MAX);
            }
            // It was given up, or swapped for an item whose periods nobody has paid for yet.
            let mut most = 0_i64;
            for item in others {
                if !tx.allowance_schedules_of_item(PROVIDER, &item.provider_item_id).await? {
                    most = most.saturating_add(brings(&item.grants, place, unit, item.quantity));
                }
            }
            return Ok(most);
        };
        let Some(now) = &item.price_id else {
            return Ok(i64::MAX);
        };
        if *now != schedule.price_id {
            let was = tx.prices_get(&schedule.price_id).await?.map(|price| price.billing);
            let is = tx.prices_get(now).await?.map(|price| price.billing);
            if was != is {
                return Ok(0);
            }
        }
        Ok(brings(&item.grants, place, unit, item.quantity))
    }

    /// An ended subscription keeps none of its allowance; purchased credits are not its own.
    pub(crate) async fn withdraw_allowances(
        &self,
        tx: &mut Tx,
        subscription: &Subscription,
    ) -> Result<(), Failure> {
        let provider_id = &subscription.provider_subscription_id;
        tx.allowance_schedules_stop_subscription(PROVIDER, provider_id).await?;
        for lot in tx.credits_of_subscription(provider_id).await? {
            self.withdraw(tx, &lot, |lot| lot.available(), "subscription ended").await?;
        }
        Ok(())
    }

    /// Takes back from a lot what is decided under its account's lock, and says what it is then.
    pub(crate) async fn withdraw(
        &self,
        tx: &mut Tx,
        lot: &Grant,
        amount: impl FnOnce(&LotNumbers) -> i64,
        why: &str,
    ) -> Result<LotNumbers, Failure> {
        let mut account = tx.credits_open(&lot.customer_id, &lot.unit).await?;
        let fresh = tx.credits_get(&lot.id).await?;
        let mut numbers = fresh.map_or(lot.numbers, |fresh| fresh.numbers);
        let amount = amount(&numbers);
        if 0 < amount {
            let draw = Draw { lot: lot.id.clone(), amount };
            self.post(tx, &mut account, EntryKind::Revoke, &draw, Why::now(self, why)).await?;
            numbers.revoked += amount;
        }
        tx.credits_close(account).await?;
        Ok(numbers)
    }

    /// A refill whose time has come. While all of its money is gone it waits, and is made up for
    /// when the money comes again.
    pub(crate) async fn refill_in_turn(
        &self,
        tx: &mut Tx,
        schedule: &AllowanceSchedule,
    ) -> Result<(), Failure> {
        if let Some(id) = &schedule.payment_id
            && let Some(payment) = tx.payments_get(id).await?
            && self.given_back(tx, &payment).await?.is_whole()
        {
            let begun = schedule.every.begun_within(schedule.covered, self.clock().now());
            let next = begun.last().map_or(schedule.covered.end, |period| period.end);
            // The very end is a turn of its own: nothing is due then, unless the money is back.
            let next_at = (schedule.next_at < Some(next)).then_some(next.min(schedule.covered.end));
            return Ok(tx.allowance_schedules_next(&schedule.id, next_at).await?);
        }
        // What began before its turn was granted in its turn, or is made up for with the money.
        self.refill(tx, schedule, schedule.next_at.unwrap_or(schedule.covered.start)).await
    }

    /// Adds a lot under its account's lock; one whose time is over already expires at once.
    pub(crate) async fn lot_open_and_add(&self, tx: &mut Tx, lot: &Grant) -> Result<(), Failure> {
        let mut account = tx.credits_open(&lot.customer_id, &lot.unit).await?;
        self.write_off_expired(tx, &mut account, None).await?;
        if self.lot_add(tx, &mut account, lot).await? {
            self.write_off_expired(tx, &mut account, None).await?;
        }
        Ok(tx.credits_close(account).await?)
    }

    pub(crate) fn lot(&self, customer: &CustomerId, unit: &str, amount: Credits) -> Grant {
        let now = self.clock().now();
        Grant {
            id: GrantId::new(self.clock().wall(), random()),
            customer_id: customer.clone(),
            unit: unit.to_owned(),
            class: Class::Purchased,
            fact: String::new(),
            numbers: LotNumbers::new(amount.get()),
            withdrawn: 0,
            payment_id: None,
            provider_subscription_id: None,
            reason: "purchase".to_owned(),
            starts_at: now,
            expires_at: None,
            created_at: now,
        }
    }
}
