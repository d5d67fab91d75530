//! What paid invoice lines still have to refill: a yearly payment refills its credits every month.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id, opt_id};
use crate::sql::{args, statements};
use domain::credits::Credits;
use domain::ids::{AllowanceScheduleId, CustomerId, PaymentId, PriceId};
use domain::time::{Interval, Period, Timestamp, Unit};

/// What a paid line means for the refills of its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleKind {
    /// It pays for a period, which is refilled.
    Period,
    /// It pays for more inside a period that was paid already: its refills grow. It has no turns
    /// of its own.
    Change,
}

impl ScheduleKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            ScheduleKind::Period => "period",
            ScheduleKind::Change => "change",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "period" => Some(ScheduleKind::Period),
            "change" => Some(ScheduleKind::Change),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct AllowanceSchedule {
    pub id: AllowanceScheduleId,
    pub customer_id: CustomerId,
    pub provider: String,
    pub provider_subscription_id: String,
    pub provider_item_id: String,
    pub payment_id: Option<PaymentId>,
    pub price_id: PriceId,
    /// Which of the price's credit grants this is.
    pub position: u32,
    pub unit: String,
    pub amount: Credits,
    pub every: Interval,
    pub kind: ScheduleKind,
    /// When the paid line begins; what it refills may begin later.
    pub line_from: Timestamp,
    pub covered: Period,
    pub next_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

statements! {
    INSERT = "allowance_schedules.insert":
        "INSERT INTO allowance_schedules (id, customer_id, provider, provider_subscription_id,
             provider_item_id, payment_id, price_id, position, unit, amount, interval_unit,
             interval_count, kind, line_from, covered_from, covered_until, next_at, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    DUE = "allowance_schedules.due":
        "SELECT * FROM allowance_schedules WHERE next_at <= ? ORDER BY next_at LIMIT ?";
    GET = "allowance_schedules.get": "SELECT * FROM allowance_schedules WHERE id = ?";
    NEXT = "allowance_schedules.next": "UPDATE allowance_schedules SET next_at = ? WHERE id = ?";
    STOP_SUBSCRIPTION = "allowance_schedules.stop_subscription":
        "UPDATE allowance_schedules SET next_at = NULL
         WHERE COALESCE(provider, '') = ? AND provider_subscription_id = ?
           AND next_at IS NOT NULL";
    NEXT_OF_ITEM = "allowance_schedules.next_of_item":
        "SELECT covered_from FROM allowance_schedules
         WHERE provider = ? AND provider_item_id = ? AND kind = 'period' AND line_from > ?
         ORDER BY covered_from LIMIT 1";
    CHANGES = "allowance_schedules.changes":
        "SELECT * FROM allowance_schedules
         WHERE provider = ? AND provider_item_id = ? AND kind = 'change' AND position = ?
           AND unit = ? AND covered_until = ? AND line_from >= ?
         ORDER BY line_from";
    CHANGED = "allowance_schedules.changed":
        "SELECT * FROM allowance_schedules
         WHERE provider = ? AND provider_item_id = ? AND kind = 'period' AND position = ?
           AND unit = ? AND covered_until = ? AND line_from <= ?
         ORDER BY line_from";
    OF_ITEM = "allowance_schedules.of_item":
        "SELECT id FROM allowance_schedules
         WHERE provider = ? AND provider_item_id = ? AND kind = 'period' LIMIT 1";
    WAITING = "allowance_schedules.waiting":
        "SELECT * FROM allowance_schedules
         WHERE payment_id = ? AND next_at IS NOT NULL ORDER BY id";
}

fn schedule(row: &Row) -> Result<AllowanceSchedule, StoreError> {
    Ok(AllowanceSchedule {
        id: id!(row, "id", AllowanceScheduleId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        provider: row.text("provider")?,
        provider_subscription_id: row.text("provider_subscription_id")?,
        provider_item_id: row.text("provider_item_id")?,
        payment_id: opt_id!(row, "payment_id", PaymentId)?,
        price_id: id!(row, "price_id", PriceId)?,
        position: row.small("position")?,
        unit: row.text("unit")?,
        amount: Credits::new(row.int("amount")?).map_err(|error| StoreError::Inconsistent {
            column: "amount",
            value: error.to_string(),
        })?,
        every: Interval {
            unit: row.parsed("interval_unit", Unit::parse)?,
            count: row.small("interval_count")?,
        },
        kind: row.parsed("kind", ScheduleKind::parse)?,
        line_from: row.time("line_from")?,
        covered: Period { start: row.time("covered_from")?, end: row.time("covered_until")? },
        next_at: row.opt_time("next_at")?,
        created_at: row.time("created_at")?,
    })
}

/// What a period and the changes inside it have in common: both end together.
fn beside(row: &AllowanceSchedule) -> Vec<crate::sql::Arg> {
    args![
        &row.provider,
        &row.provider_item_id,
        row.position,
        &row.unit,
        row.covered.end,
        row.line_from
    ]
}

impl Tx {
    /// Adds a schedule; `false` where the paid line has one already.
    pub async fn allowance_schedules_insert(
        &mut self,
        new: &AllowanceSchedule,
    ) -> Result<bool, StoreError> {
        let args = args![
            &new.id,
            &new.customer_id,
            &new.provider,
            &new.provider_subscription_id,
            &new.provider_item_id,
            &new.payment_id,
            &new.price_id,
            new.position,
            &new.unit,
            new.amount.get(),
            new.every.unit.as_str(),
            new.every.count,
            new.kind.as_str(),
            new.line_from,
            new.covered.start,
            new.covered.end,
            new.next_at,
            new.created_at
        ];
        self.change_if(&INSERT, args).await
    }

    /// What has to be refilled by `now`, longest due first.
    pub async fn allowance_schedules_due(
        &mut self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<AllowanceSchedule>, StoreError> {
        self.all(&DUE, args![now, limit]).await?.iter().map(schedule).collect()
    }

    pub async fn allowance_schedules_get(
        &mut self,
        id: &AllowanceScheduleId,
    ) -> Result<Option<AllowanceSchedule>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(schedule).transpose()
    }

    /// When it is due again; `None` when nothing is left of what was paid for.
    pub async fn allowance_schedules_next(
        &mut self,
        id: &AllowanceScheduleId,
        next_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.change_one(&NEXT, args![next_at, id]).await
    }

    /// Nothing more is refilled for an ended subscription.
    pub async fn allowance_schedules_stop_subscription(
        &mut self,
        provider: &str,
        provider_subscription_id: &str,
    ) -> Result<u64, StoreError> {
        self.execute(&STOP_SUBSCRIPTION, args![provider, provider_subscription_id]).await
    }

    /// From when on a period that was paid for later refills the same item.
    pub async fn allowance_schedules_superseded(
        &mut self,
        schedule: &AllowanceSchedule,
    ) -> Result<Option<Timestamp>, StoreError> {
        let args = args![&schedule.provider, &schedule.provider_item_id, schedule.line_from];
        let row = self.first(&NEXT_OF_ITEM, args).await?;
        row.map(|row| row.time("covered_from")).transpose()
    }

    /// What was paid for inside a period, oldest first.
    pub async fn allowance_schedules_changes(
        &mut self,
        period: &AllowanceSchedule,
    ) -> Result<Vec<AllowanceSchedule>, StoreError> {
        self.all(&CHANGES, beside(period)).await?.iter().map(schedule).collect()
    }

    /// The period inside which something was paid for.
    pub async fn allowance_schedules_changed(
        &mut self,
        change: &AllowanceSchedule,
    ) -> Result<Vec<AllowanceSchedule>, StoreError> {
        self.all(&CHANGED, beside(change)).await?.iter().map(schedule).collect()
    }

    /// Whether a period of the item was ever paid for.
    pub async fn allowance_schedules_of_item(
        &mut self,
        provider: &str,
        provider_item_id: &str,
    ) -> Result<bool, StoreError> {
        Ok(self.first(&OF_ITEM, args![provider, provider_item_id]).await?.is_some())
    }

    /// What a payment still has to refill.
    pub async fn allowance_schedules_waiting(
        &mut self,
        payment: &PaymentId,
    ) -> Result<Vec<AllowanceSchedule>, StoreError> {
        self.all(&WAITING, args![payment]).await?.iter().map(schedule).collect()
    }
}
