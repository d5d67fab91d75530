//! Credits that money brings: packs, and allowances that a paid period refills.
//!
//! Every lot is keyed by the business fact that caused it, so telling the fact again adds nothing.

use crate::clock::random;
use crate::credits::Why;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::catalogue::Grants;
use domain::credits::{Class, Credits, Draw};
use domain::ids::{AllowanceScheduleId, CustomerId, GrantId, PriceId};
use domain::invariants::LotNumbers;
use domain::time::Period;
use store::Tx;
use store::allowance_schedules::AllowanceSchedule;
use store::credits::{EntryKind, Grant};
use store::payments::Payment;
use store::subscriptions::Subscription;

/// A paid invoice line that covers a period of a subscription item.
pub(crate) struct PaidPeriod<'a> {
    pub customer: &'a CustomerId,
    pub subscription: &'a str,
    pub item: &'a str,
    pub price: &'a PriceId,
    pub grants: &'a Grants,
    pub quantity: i64,
    pub covered: Period,
    pub payment: Option<&'a Payment>,
}

/// A price's credits for `quantity` of it. Checkout refuses what does not fit; a subscription that
/// was made elsewhere is cut at the largest lot there is.
pub(crate) fn times(amount: Credits, quantity: i64) -> Credits {
    amount.times(quantity.max(1)).unwrap_or(Credits::MAX)
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
        for (position, grant) in grants.credits.iter().enumerate() {
            let lot = Grant {
                fact: format!("payment:{}:{position}", payment.id),
                class: Class::Purchased,
                payment_id: Some(payment.id.clone()),
                ..self.lot(&payment.customer_id, &grant.unit, times(grant.amount, quantity))
            };
            self.lot_open_and_add(tx, &lot).await?;
        }
        Ok(())
    }

    /// A period was paid for: its credits are due now and then at every refill inside it.
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
                covered: paid.covered,
                next_at: Some(paid.covered.start),
                created_at: self.clock().now(),
            };
            if tx.allowance_schedules_insert(&schedule).await? {
                self.refill(tx, &schedule).await?;
            }
        }
        Ok(())
    }

    /// Grants every period of the schedule that has begun, each once, the missed ones too.
    pub(crate) async fn refill(
        &self,
        tx: &mut Tx,
        schedule: &AllowanceSchedule,
    ) -> Result<(), Failure> {
        self.refill_begun(tx, schedule).await?;
        if let Some(id) = &schedule.payment_id
            && let Some(payment) = tx.payments_get(id).await?
        {
            self.settle_lots(tx, &payment).await?;
        }
        Ok(())
    }

    /// The same without a look at the payment's money.
    pub(crate) async fn refill_begun(
        &self,
        tx: &mut Tx,
        schedule: &AllowanceSchedule,
    ) -> Result<(), Failure> {
        let now = self.clock().now();
        let provider_id = &schedule.provider_subscription_id;
        let ended = tx.subscriptions_find(PROVIDER, provider_id).await?.and_then(|s| s.ended_at);
        let superseded = tx.allowance_schedules_superseded(schedule).await?;
        let begun = schedule.every.begun_within(schedule.covered, now);
        let later = self.later_refills(tx, schedule).await?;
        for period in &begun {
            if ended.is_some_and(|ended| ended <= period.start) {
                return Ok(tx.allowance_schedules_next(&schedule.id, None).await?);
            }
            let is_first = period.start == schedule.covered.start;
            let is_superseded = superseded.is_some_and(|at| at <= period.start);
            let amount = if is_first { Some(schedule.amount) } else { later };
            let Some(amount) = amount.filter(|_| is_first || !is_superseded) else {
                continue;
            };
            let start = period.start.micros();
            let item = &schedule.provider_item_id;
            let lot = Grant {
                fact: format!("allowance:{PROVIDER}:{item}:{}:{start}", schedule.position),
                class: Class::Allowance,
                payment_id: schedule.payment_id.clone(),
                provider_subscription_id: Some(provider_id.clone()),
                reason: "allowance".to_owned(),
                starts_at: period.start,
                expires_at: Some(period.end),
                ..self.lot(&schedule.customer_id, &schedule.unit, amount)
            };
            self.lot_open_and_add(tx, &lot).await?;
        }
        let next = begun.last().map_or(schedule.covered.start, |period| period.end);
        let next_at = (next < schedule.covered.end).then_some(next);
        Ok(tx.allowance_schedules_next(&schedule.id, next_at).await?)
    }

    /// What the refills after the first bring: no more than was paid for, and less where fewer
    /// seats or a smaller plan are held by then. What is more comes with the next period that is
    /// paid; a plan that is paid more or less often has invoices of its own.
    async fn later_refills(
        &self,
        tx: &mut Tx,
        schedule: &AllowanceSchedule,
    ) -> Result<Option<Credits>, Failure> {
        let item = tx.subscription_items_find(PROVIDER, &schedule.provider_item_id).await?;
        let Some((item, now)) = item.and_then(|item| item.price_id.clone().map(|id| (item, id)))
        else {
            return Ok(Some(schedule.amount));
        };
        if now != schedule.price_id {
            let was = tx.prices_get(&schedule.price_id).await?.map(|price| price.billing);
            let is = tx.prices_get(&now).await?.map(|price| price.billing);
            if was != is {
                return Ok(None);
            }
        }
        let mut same_unit = item.grants.credits.iter().filter(|it| it.unit == schedule.unit);
        let place = usize::try_from(schedule.position).unwrap_or(usize::MAX);
        let grant = match item.grants.credits.get(place).filter(|it| it.unit == schedule.unit) {
            Some(grant) => Some(grant),
            None => same_unit.next(),
        };
        Ok(grant.map(|grant| times(grant.amount, item.quantity).min(schedule.amount)))
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
        self.refill(tx, schedule).await
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
