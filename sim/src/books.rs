//! The auditor's own books: who paid what at the provider, and what they must therefore have.
//!
//! Everything is worked out anew from the provider's objects, by rules that are written down here a
//! second time on purpose.

use crate::catalogue::Sold;
use crate::years::Year;
use anyhow::{Context as _, Result};
use domain::time::{Interval, Period, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;

pub use crate::convergence::converged;

pub const MICROS: i64 = 1_000_000;
pub const DAY_MICROS: i64 = 86_400 * MICROS;

/// One purchase: an invoice, or else a payment intent.
#[derive(Debug, Clone)]
pub struct Purchase {
    pub amount: i64,
    pub refunded: i64,
    /// Refunded, or disputed and not won.
    pub given_back: i64,
}

impl Purchase {
    /// What of a lot the provider's side has taken back, in proportion and rounded down.
    pub fn taken_of(&self, granted: i64) -> i64 {
        if self.amount <= self.given_back {
            granted
        } else {
            granted * self.given_back / self.amount
        }
    }

    pub fn is_gone(&self) -> bool {
        self.amount <= self.given_back
    }
}

/// A lot that somebody must have.
#[derive(Debug, Clone)]
pub struct Lot {
    pub granted: i64,
    /// The purchase that brought it; none for what cost nothing.
    pub purchase: Option<String>,
    pub ends: Option<i64>,
    /// Whether it may be missing: its plan has ended, so that it would be empty.
    pub optional: bool,
}

/// A subscription as the provider has it.
#[derive(Debug, Clone)]
pub struct Plan {
    pub status: String,
    pub price: String,
    pub ended: Option<i64>,
    pub object: Value,
}

/// All that one person has bought.
#[derive(Debug, Default)]
pub struct Books {
    /// By invoice, else by payment intent.
    pub purchases: BTreeMap<String, Purchase>,
    /// By payment intent.
    pub packs: BTreeMap<String, Lot>,
    /// By subscription item and start.
    pub allowances: BTreeMap<(String, String, i64), Lot>,
    pub plans: BTreeMap<String, Plan>,
    pub invoices: BTreeMap<String, Value>,
    /// Paid days of access to a feature: when they were bought, and how long they last.
    pub days: Vec<Days>,
}

#[derive(Debug, Clone)]
pub struct Days {
    pub feature: &'static str,
    pub bought: i64,
    pub lasts: i64,
    pub purchase: String,
}

pub fn string(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub fn whole(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// Reads one person's objects at the provider.
pub async fn of(year: &Year, who: usize) -> Result<Books> {
    let mut books = Books::default();
    for customer in year.provider_customers(who).await? {
        let subscriptions = format!("/v1/subscriptions?customer={customer}&status=all");
        for subscription in year.world.list(&subscriptions).await? {
            let plan = Plan {
                status: string(&subscription, "/status"),
                price: string(&subscription, "/items/data/0/price/id"),
                ended: subscription["ended_at"].as_i64().map(|at| at * MICROS),
                object: subscription.clone(),
            };
            books.plans.insert(string(&subscription, "/id"), plan);
        }
        for invoice in year.world.list(&format!("/v1/invoices?customer={customer}")).await? {
            if invoice["status"] != "draft" {
                books.invoices.insert(string(&invoice, "/id"), invoice);
            }
        }
    }
    money(year, who, &mut books).await?;
    sessions(year, who, &mut books).await?;
    allowances(year, &mut books)?;
    Ok(books)
}

/// What was paid, and what of it went back.
async fn money(year: &Year, who: usize, books: &mut Books) -> Result<()> {
    let mut invoice_of = BTreeMap::new();
    for payment in year.world.list("/v1/invoice_payments?status=paid").await? {
        let intent = string(&payment, "/payment/payment_intent");
        invoice_of.insert(intent, string(&payment, "/invoice"));
    }
    let mut disputed: BTreeMap<String, i64> = BTreeMap::new();
    for dispute in year.world.list("/v1/disputes").await? {
        if !["won", "prevented"].contains(&string(&dispute, "/status").as_str())
            && !string(&dispute, "/status").starts_with("warning_")
        {
            *disputed.entry(string(&dispute, "/charge")).or_default() += whole(&dispute, "/amount");
        }
    }
    for invoice in books.invoices.values() {
        let amount = whole(invoice, "/amount_paid");
        if invoice["status"] == "paid" && 0 < amount {
            let purchase = Purchase { amount, refunded: 0, given_back: 0 };
            books.purchases.insert(string(invoice, "/id"), purchase);
        }
    }
    for charge in year.charges(who).await? {
        if charge["paid"] != true || charge["status"] != "succeeded" {
            continue;
        }
        let intent = string(&charge, "/payment_intent");
        let fact = invoice_of.get(&intent).cloned().unwrap_or(intent);
        let amount = whole(&charge, "/amount_captured");
        let fresh = Purchase { amount, refunded: 0, given_back: 0 };
        let purchase = books.purchases.entry(fact).or_insert(fresh);
        let refunded = whole(&charge, "/amount_refunded");
        let disputed = disputed.get(&string(&charge, "/id")).copied().unwrap_or(0);
        purchase.refunded += refunded;
        purchase.given_back = purchase.amount.min(purchase.given_back + refunded + disputed);
    }
    Ok(())
}

/// What was bought once on a payment page.
async fn sessions(year: &Year, who: usize, books: &mut Books) -> Result<()> {
    for id in &year.people[who].sessions {
        let session = year.world.get(&format!("/v1/checkout/sessions/{id}")).await?;
        if session["mode"] != "payment" || session["payment_status"] != "paid" {
            continue;
        }
        let path = format!("/v1/checkout/sessions/{id}/line_items");
        let line = year.world.list(&path).await?.pop().context("a page without a line")?;
        let price = sold(year, &string(&line, "/price/id"))?;
        let quantity = whole(&line, "/quantity");
        let intent = string(&session, "/payment_intent");
        if 0 < price.credits {
            let purchase = Some(intent.clone());
            let lot =
                Lot { granted: price.credits * quantity, purchase, ends: None, optional: false };
            books.packs.insert(intent.clone(), lot);
        }
        let charge = string(
            &year.world.get(&format!("/v1/payment_intents/{intent}")).await?,
            "/latest_charge",
        );
        let charge = year.world.get(&format!("/v1/charges/{charge}")).await?;
        for (feature, days) in price.features {
            books.days.push(Days {
                feature,
                bought: whole(&charge, "/created") * MICROS,
                lasts: i64::from(days.unwrap_or(0)) * quantity * DAY_MICROS,
                purchase: intent.clone(),
            });
        }
    }
    Ok(())
}

pub fn sold<'a>(year: &'a Year, provider_price: &str) -> Result<&'a Sold> {
    year.world.catalogue.price(provider_price).context("a price that is not sold")
}

/// Each month that has begun of each period that was paid for.
fn allowances(year: &Year, books: &mut Books) -> Result<()> {
    let now = Timestamp::from_micros(year.world.now());
    for invoice in books.invoices.values() {
        let reason = string(invoice, "/billing_reason");
        if invoice["status"] != "paid"
            || !["subscription_create", "subscription_cycle"].contains(&reason.as_str())
        {
            continue;
        }
        let id = string(invoice, "/id");
        for line in invoice["lines"]["data"].as_array().into_iter().flatten() {
            let details = "/parent/subscription_item_details";
            let subscription = string(line, &format!("{details}/subscription"));
            let item = string(line, &format!("{details}/subscription_item"));
            let proration = line.pointer(&format!("{details}/proration"));
            if item.is_empty()
                || proration == Some(&Value::Bool(true))
                || whole(line, "/amount") == 0
            {
                continue;
            }
            let price = sold(year, &string(line, "/pricing/price_details/price"))?;
            let at = |pointer| Timestamp::from_seconds(whole(line, pointer));
            let covered = Period { start: at("/period/start"), end: at("/period/end") };
            let ended = books.plans.get(&subscription).and_then(|plan| plan.ended);
            for month in Interval::MONTH.begun_within(covered, now) {
                let start = month.start.micros();
                let purchase = Some(id.clone()).filter(|id| books.purchases.contains_key(id));
                let granted = price.credits * whole(line, "/quantity");
                let ends = Some(month.end.micros());
                // A refill that was due before the end is not made up for after it; one that was
                // made before we heard of the end was taken back.
                let optional = ended.is_some();
                let lot = Lot { granted, purchase, ends, optional };
                books.allowances.insert((subscription.clone(), item.clone(), start), lot);
            }
        }
    }
    Ok(())
}

impl Books {
    /// Until when bought days of a feature last, and whether that is now.
    pub fn has_days(&self, feature: &str, now: i64) -> bool {
        let mut bought: Vec<&Days> = self
            .days
            .iter()
            .filter(|days| days.feature == feature)
            .filter(|days| self.purchases.get(&days.purchase).is_some_and(|p| !p.is_gone()))
            .collect();
        bought.sort_by_key(|days| days.bought);
        let mut until = i64::MIN;
        for days in bought {
            until = until.max(days.bought) + days.lasts;
        }
        now < until
    }

    /// Whether a subscription gives access now: it runs, and its newest paid period was not given
    /// back.
    pub fn plan_gives(&self, id: &str, now: i64, grace_micros: i64) -> Option<bool> {
        let plan = self.plans.get(id)?;
        let periods = self.invoices.values().filter(|invoice| {
            let reason = string(invoice, "/billing_reason");
            string(invoice, "/parent/subscription_details/subscription") == id
                && ["subscription_create", "subscription_cycle"].contains(&reason.as_str())
        });
        let mut periods: Vec<&Value> = periods.collect();
        periods.sort_by_key(|invoice| whole(invoice, "/created"));
        let newest_paid = periods.iter().rev().find(|invoice| invoice["status"] == "paid");
        let paid_for = match newest_paid {
            Some(invoice) => {
                !self.purchases.get(&string(invoice, "/id")).is_some_and(Purchase::is_gone)
            }
            None => periods.first().is_none_or(|invoice| invoice["status"] == "paid"),
        };
        let runs = match plan.status.as_str() {
            "active" | "trialing" => true,
            "past_due" => {
                let failed = periods.iter().rev().find(|invoice| invoice["status"] == "open");
                let failed = failed.map_or(0, |invoice| whole(invoice, "/created")) * MICROS;
                // The exact second depends on which event told of it: near it, nothing is said.
                let over = failed + grace_micros;
                if (now - over).abs() < DAY_MICROS / 8 {
                    return None;
                }
                now < over
            }
            _ => false,
        };
        Some(runs && paid_for)
    }
}
