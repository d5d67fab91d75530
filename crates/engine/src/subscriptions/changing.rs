//! Changing what a subscription consists of. More comes now and after its money; less comes with
//! the next period, through a schedule at the provider.

use super::{changeable, not_found};
use crate::checkout_sessions::Pace;
use crate::clock::random;
use crate::failures::Failure;
use crate::provider_calls::{PlanItem, Wish};
use crate::{Engine, PROVIDER, Subject, prices};
use domain::catalogue::Billing;
use domain::codes::Code;
use domain::money::Currency;
use domain::subscriptions::Status;
use domain::time::{Interval, Timestamp};
use providers::stripe::plan_changes::{Billed, ItemChange};
use store::Tx;
use store::customers::Customer;
use store::prices::Price;
use store::subscription_items::SubscriptionItem;
use store::subscriptions::Subscription;

const QUANTITY_MAX: i64 = 1_000;

/// When a change is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// More now, less with the next period.
    Automatic,
    Now,
    PeriodEnd,
}

#[derive(Debug, Clone)]
pub struct ChangeRequest {
    /// Our id or the provider's; none keeps the plan.
    pub price: Option<String>,
    /// None keeps it.
    pub quantity: Option<i64>,
    pub timing: Timing,
    pub pace: Pace,
}

/// How far a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Done,
    /// It comes with the next period.
    Scheduled,
    /// It comes when its invoice is paid.
    AwaitingPayment,
}

#[derive(Debug, Clone)]
pub struct Changed {
    pub subscription: Subscription,
    pub progress: Progress,
    /// Where the customer can pay what the change waits for.
    pub payment_url: Option<String>,
}

/// What a change would cost. Amounts are minor units.
#[derive(Debug, Clone)]
pub struct ChangePreview {
    pub currency: Currency,
    /// The new amounts less what comes back for unused time: negative where more comes back.
    pub prorated_amount: i64,
    pub amount_due: i64,
    pub has_credit: bool,
    pub takes_effect_at: Timestamp,
    pub next_billing_at: Option<Timestamp>,
}

/// A wish to change, checked against what is held.
struct Planned {
    held: Subscription,
    items: Vec<SubscriptionItem>,
    /// Which of the items changes.
    main: usize,
    wanted: Price,
    quantity: i64,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    Now,
    Later,
    /// Back to what it is: a planned change is dropped.
    Keep,
}

impl Engine {
    /// What a change would cost; nothing changes, here or at the provider.
    pub async fn subscriptions_preview(
        &self,
        subject: &Subject,
        id: Option<&str>,
        request: &ChangeRequest,
    ) -> Result<ChangePreview, Failure> {
        let provider = self.provider()?;
        let mut tx = self.store().read("subscriptions.preview").await?;
        let customer = self.customer(&mut tx, subject).await?.ok_or_else(not_found)?;
        let planned = planned(&mut tx, &customer, id, request).await?;
        drop(tx);
        let held = &planned.held;
        let is_free = planned.step != Step::Now || held.status == Status::Trialing;
        let now = self.clock().now();
        let later = planned.step == Step::Later;
        let mut preview = ChangePreview {
            currency: planned.wanted.amount.currency(),
            prorated_amount: 0,
            amount_due: 0,
            has_credit: false,
            takes_effect_at: held.period_end.filter(|_| later).unwrap_or(now),
            next_billing_at: held.trial_end.filter(|end| now < *end).or(held.period_end),
        };
        if is_free {
            return Ok(preview);
        }
        self.check_change_pace(&customer, request.pace).await?;
        let (item, price) = (planned.item()?, planned.wanted_price()?);
        let change = ItemChange {
            subscription: &held.provider_subscription_id,
            item: &item.provider_item_id,
            price,
            quantity: planned.quantity,
            // What fewer seats give back is shown, too, though it comes with the next invoice.
            billed: Billed::Now,
        };
        let key = format!("tollgate-preview-{}", hex::encode(random()));
        let told = provider.subscription_change_preview(&change, &key).await?;
        preview.prorated_amount = told.total;
        preview.amount_due = told.amount_due;
        preview.has_credit = told.has_credit;
        preview.next_billing_at = told.period_end.or(preview.next_billing_at);
        Ok(preview)
    }

    /// Changes the plan or the quantity. A repeated wish that is fulfilled changes nothing.
    pub async fn subscriptions_change(
        &self,
        subject: &Subject,
        id: Option<&str>,
        request: &ChangeRequest,
    ) -> Result<Changed, Failure> {
        self.provider()?;
        self.count_change(subject, id, request).await?;
        let mut tx = self.store().begin("subscriptions.change").await?;
        let customer = self.customer(&mut tx, subject).await?.ok_or_else(not_found)?;
        tx.customers_lock(&customer.id).await?;
        let planned = planned(&mut tx, &customer, id, request).await?;
        let id = planned.held.id.clone();
        if let Some(wish) = planned.wish()? {
            let call = self.call_intend(&mut tx, &wish, &customer.id, id.as_str()).await?;
            tx.commit().await?;
            self.call_finish(&call.id).await?;
            if let Err(failure) = self.expire_pages_of(&customer.id).await {
                // The change is made; a page that is paid nevertheless shows as a surplus.
                tracing::warn!(%failure, "open payment pages could not be closed");
            }
        } else {
            drop(tx);
        }
        let mut tx = self.store().read("subscriptions.changed").await?;
        let subscription = tx.subscriptions_get(&id).await?.ok_or_else(not_found)?;
        let progress = match (&subscription.pending_price_id, subscription.pending_at) {
            (Some(_), Some(_)) => Progress::Scheduled,
            (Some(_), None) => Progress::AwaitingPayment,
            (None, _) if planned.is_so(&subscription) => Progress::Done,
            // A quantity that waits for money has no price of its own to show.
            (None, _) => Progress::AwaitingPayment,
        };
        let payment_url = match progress {
            Progress::AwaitingPayment => payment_url(&mut tx, &subscription).await?,
            Progress::Done | Progress::Scheduled => None,
        };
        Ok(Changed { subscription, progress, payment_url })
    }

    /// Counts a change that would reach the provider, before the transaction that writes it.
    async fn count_change(
        &self,
        subject: &Subject,
        id: Option<&str>,
        request: &ChangeRequest,
    ) -> Result<(), Failure> {
        if request.pace == Pace::Unlimited {
            return Ok(());
        }
        let mut tx = self.store().read("subscriptions.pace").await?;
        let customer = self.customer(&mut tx, subject).await?.ok_or_else(not_found)?;
        let planned = planned(&mut tx, &customer, id, request).await?;
        drop(tx);
        match planned.wish()? {
            Some(_) => self.check_change_pace(&customer, request.pace).await,
            None => Ok(()),
        }
    }

    /// Each preview and each change costs calls to the provider, whose limit is everybody's. Never
    /// inside a transaction: Redis may have to be asked.
    pub(super) async fn check_change_pace(
        &self,
        customer: &Customer,
        pace: Pace,
    ) -> Result<(), Failure> {
        match pace {
            Pace::Unlimited => Ok(()),
            Pace::Limited => {
                let limit = self.settings().checkouts_per_minute;
                self.inner.changes.begin(customer.id.as_str(), limit).await
            }
        }
    }
}

impl Planned {
    fn item(&self) -> Result<&SubscriptionItem, Failure> {
        self.items.get(self.main).ok_or_else(not_found)
    }

    fn wanted_price(&self) -> Result<&str, Failure> {
        self.wanted.provider_price_id.as_deref().ok_or_else(|| {
            Failure::refused(Code::PriceInactive, "the price is not known to the provider yet")
        })
    }

    /// Another plan is settled now, whatever it costs, and so are more seats; what fewer seats give
    /// back comes with the next invoice.
    fn billed(&self) -> Billed {
        let same_price = self.held.price_id.as_ref() == Some(&self.wanted.id);
        if same_price && self.quantity <= self.held.quantity { Billed::Next } else { Billed::Now }
    }

    fn is_so(&self, row: &Subscription) -> bool {
        row.price_id.as_ref() == Some(&self.wanted.id) && row.quantity == self.quantity
    }

    fn wish(&self) -> Result<Option<Wish>, Failure> {
        let subscription = self.held.provider_subscription_id.clone();
        Ok(match self.step {
            Step::Nothing => None,
            Step::Keep => Some(Wish::SubscriptionKeep { subscription }),
            Step::Now => {
                let item = self.item()?;
                Some(Wish::SubscriptionChange {
                    subscription,
                    item: item.provider_item_id.clone(),
                    price: self.wanted_price()?.to_owned(),
                    quantity: self.quantity,
                    billed: self.billed(),
                })
            }
            Step::Later => {
                let now: Option<Vec<PlanItem>> = self.items.iter().map(plan_item).collect();
                let now = now.ok_or_else(not_found)?;
                let mut then = now.clone();
                if let Some(main) = then.get_mut(self.main) {
                    main.price = self.wanted_price()?.to_owned();
                    main.quantity = self.quantity;
                }
                let every = interval(&self.wanted)?;
                let (unit, count) = (every.unit.as_str().to_owned(), every.count);
                Some(Wish::SubscriptionChangeLater { subscription, now, then, unit, count })
            }
        })
    }
}

fn plan_item(item: &SubscriptionItem) -> Option<PlanItem> {
    Some(PlanItem { price: item.provider_price_id.clone()?, quantity: item.quantity })
}

/// Checks a wish against what is held and what is for sale.
async fn planned(
    tx: &mut Tx,
    customer: &Customer,
    id: Option<&str>,
    request: &ChangeRequest,
) -> Result<Planned, Failure> {
    if request.quantity.is_some_and(|quantity| !(1..=QUANTITY_MAX).contains(&quantity)) {
        let detail = format!("quantity must be from 1 to {QUANTITY_MAX}");
        return Err(Failure::invalid("quantity", detail));
    }
    if request.price.is_none() && request.quantity.is_none() {
        return Err(Failure::invalid("price", "a price or a quantity is needed"));
    }
    let held = changeable(tx, customer, id).await?;
    if !matches!(held.status, Status::Active | Status::Trialing) {
        let detail = format!("the subscription is {}; pay it or cancel it", held.status.as_str());
        return Err(Failure::refused(Code::SubscriptionUnpaid, detail));
    }
    let present = match &held.price_id {
        Some(id) => tx.prices_get(id).await?.ok_or_else(not_found)?,
        None => return Err(not_found()),
    };
    let wanted = match &request.price {
        Some(id) => sellable(tx, id, &present).await?,
        None => present.clone(),
    };
    if held.cancel_at.is_some() || held.cancel_at_period_end {
        let detail = "the subscription ends with its period; take that back first";
        return Err(Failure::refused(Code::SubscriptionEnding, detail));
    }
    let quantity = request.quantity.unwrap_or(held.quantity);
    let step = step(&held, &present, &wanted, quantity, request)?;
    let items = tx.subscription_items_of(&held.id).await?;
    let main = items.iter().position(|item| item.price_id == held.price_id).unwrap_or(0);
    Ok(Planned { held, items, main, wanted, quantity, step })
}

/// A price that the subscription may change to.
async fn sellable(tx: &mut Tx, id: &str, present: &Price) -> Result<Price, Failure> {
    let wanted = prices::find(tx, id).await?;
    if wanted.id == present.id {
        return Ok(wanted);
    }
    let product = tx.products_get(&wanted.product_id).await?;
    if !wanted.active || !product.is_some_and(|product| product.active) {
        return Err(Failure::refused(Code::PriceInactive, "the price is not for sale"));
    }
    interval(&wanted)?;
    if wanted.amount.currency() != present.amount.currency() {
        let detail = "a subscription keeps its currency";
        return Err(Failure::refused(Code::PriceMismatch, detail));
    }
    Ok(wanted)
}

fn interval(price: &Price) -> Result<Interval, Failure> {
    match price.billing {
        Billing::Recurring(every) => Ok(every),
        Billing::OneTime => {
            Err(Failure::refused(Code::PriceNotRecurring, "the price is paid once"))
        }
    }
}

/// What has to be done for a wish, if anything.
fn step(
    held: &Subscription,
    present: &Price,
    wanted: &Price,
    quantity: i64,
    request: &ChangeRequest,
) -> Result<Step, Failure> {
    let scheduled = held.pending_at.is_some();
    let is_so = wanted.id == present.id && quantity == held.quantity;
    if is_so {
        return Ok(if scheduled { Step::Keep } else { Step::Nothing });
    }
    let planned = || {
        let detail = "another plan comes with the next period; choose the present one to drop it";
        Failure::refused(Code::ChangePending, detail)
    };
    if scheduled && wanted.id == present.id {
        return Err(planned());
    }
    if wanted.id == present.id && request.timing == Timing::PeriodEnd {
        let detail = "a quantity alone changes now, not with the next period";
        return Err(Failure::invalid("when", detail));
    }
    let later = match request.timing {
        Timing::Now => false,
        // Until a trial ends nothing has been paid that could be kept.
        _ if held.status == Status::Trialing => false,
        Timing::PeriodEnd => true,
        Timing::Automatic => is_less(present, held.quantity, wanted, quantity)?,
    };
    let already = scheduled && later && held.pending_price_id.as_ref() == Some(&wanted.id);
    Ok(match later {
        true if already => Step::Nothing,
        true => Step::Later,
        // A plan that waits is dropped before, visibly, or not at all.
        false if scheduled => return Err(planned()),
        false => Step::Now,
    })
}

/// A shorter interval, or a smaller bill for the same one. A smaller quantity alone is given back
/// at once, with the next invoice.
fn is_less(
    present: &Price,
    held_quantity: i64,
    wanted: &Price,
    quantity: i64,
) -> Result<bool, Failure> {
    if present.id == wanted.id {
        return Ok(false);
    }
    let days = |every: Interval| {
        let unit = match every.unit {
            domain::time::Unit::Day => 1,
            domain::time::Unit::Week => 7,
            domain::time::Unit::Month => 30,
            domain::time::Unit::Year => 365,
        };
        unit * i64::from(every.count)
    };
    let (before, after) = (days(interval(present)?), days(interval(wanted)?));
    let bill = |price: &Price, quantity: i64| price.amount.minor().saturating_mul(quantity);
    Ok(match before.cmp(&after) {
        std::cmp::Ordering::Equal => bill(wanted, quantity) < bill(present, held_quantity),
        shorter_or_longer => shorter_or_longer == std::cmp::Ordering::Greater,
    })
}

/// The page of the invoice that a change waits for.
async fn payment_url(tx: &mut Tx, row: &Subscription) -> Result<Option<String>, Failure> {
    let id = &row.provider_subscription_id;
    let mut invoices = tx.invoices_of_subscription(PROVIDER, id).await?;
    invoices.retain(|invoice| invoice.status == "open");
    Ok(invoices.pop().and_then(|invoice| invoice.hosted_url))
}
