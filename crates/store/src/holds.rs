//! Holds: credits set aside for work whose price is unknown until it is done.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::credits::Draw;
use domain::ids::{CustomerId, HoldId};
use domain::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldStatus {
    Open,
    Captured,
    Released,
    Expired,
}

impl HoldStatus {
    const ALL: [HoldStatus; 4] =
        [HoldStatus::Open, HoldStatus::Captured, HoldStatus::Released, HoldStatus::Expired];

    pub const fn as_str(self) -> &'static str {
        match self {
            HoldStatus::Open => "open",
            HoldStatus::Captured => "captured",
            HoldStatus::Released => "released",
            HoldStatus::Expired => "expired",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// Who set the credits aside: what the merchant's own server holds, its customer cannot undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacedBy {
    Merchant,
    Customer,
}

impl PlacedBy {
    pub const fn as_str(self) -> &'static str {
        match self {
            PlacedBy::Merchant => "merchant",
            PlacedBy::Customer => "customer",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [PlacedBy::Merchant, PlacedBy::Customer].into_iter().find(|who| who.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct Hold {
    pub id: HoldId,
    pub customer_id: CustomerId,
    pub unit: String,
    pub amount: i64,
    pub captured: i64,
    pub status: HoldStatus,
    pub placed_by: PlacedBy,
    pub reference: Option<String>,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub closed_at: Option<Timestamp>,
}

statements! {
    INSERT = "credit_holds.insert":
        "INSERT INTO credit_holds (id, customer_id, unit, amount, captured, status, placed_by,
             reference, expires_at, created_at, closed_at)
         VALUES (?, ?, ?, ?, 0, 'open', ?, ?, ?, ?, NULL)";
    DRAW_INSERT = "credit_hold_draws.insert":
        "INSERT INTO credit_hold_draws (hold_id, position, grant_id, amount) VALUES (?, ?, ?, ?)";
    DRAWS = "credit_hold_draws.list":
        "SELECT * FROM credit_hold_draws WHERE hold_id = ? ORDER BY position";
    GET = "credit_holds.get": "SELECT * FROM credit_holds WHERE id = ? AND customer_id = ?";
    EXPIRED = "credit_holds.expired":
        "SELECT * FROM credit_holds WHERE status = 'open' AND expires_at <= ?
         ORDER BY expires_at LIMIT ?";
    CLOSE = "credit_holds.close":
        "UPDATE credit_holds SET status = ?, captured = ?, closed_at = ?
         WHERE id = ? AND status = 'open'";
}

fn hold(row: &Row) -> Result<Hold, StoreError> {
    Ok(Hold {
        id: id!(row, "id", HoldId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        unit: row.text("unit")?,
        amount: row.int("amount")?,
        captured: row.int("captured")?,
        status: row.parsed("status", HoldStatus::parse)?,
        placed_by: row.parsed("placed_by", PlacedBy::parse)?,
        reference: row.opt_text("reference")?,
        expires_at: row.time("expires_at")?,
        created_at: row.time("created_at")?,
        closed_at: row.opt_time("closed_at")?,
    })
}

impl Tx {
    /// Adds an open hold with the lots it was drawn from.
    pub async fn holds_insert(&mut self, new: &Hold, draws: &[Draw]) -> Result<(), StoreError> {
        let args = args![
            &new.id,
            &new.customer_id,
            &new.unit,
            new.amount,
            new.placed_by.as_str(),
            &new.reference,
            new.expires_at,
            new.created_at
        ];
        self.change_one(&INSERT, args).await?;
        for (position, draw) in (0_i64..).zip(draws) {
            let args = args![&new.id, position, &draw.lot, draw.amount];
            self.change_one(&DRAW_INSERT, args).await?;
        }
        Ok(())
    }

    pub async fn holds_get(
        &mut self,
        customer: &CustomerId,
        id: &HoldId,
    ) -> Result<Option<Hold>, StoreError> {
        self.first(&GET, args![id, customer]).await?.as_ref().map(hold).transpose()
    }

    /// Which lots a hold was drawn from, in drawing order.
    pub async fn holds_draws(&mut self, id: &HoldId) -> Result<Vec<Draw>, StoreError> {
        let rows = self.all(&DRAWS, args![id]).await?;
        rows.iter()
            .map(|row| Ok(Draw { lot: id!(row, "grant_id", GrantId)?, amount: row.int("amount")? }))
            .collect()
    }

    /// Open holds whose time is over.
    pub async fn holds_expired(
        &mut self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Hold>, StoreError> {
        self.all(&EXPIRED, args![now, limit]).await?.iter().map(hold).collect()
    }

    /// Closes an open hold; `false` where it was closed already.
    pub async fn holds_close(
        &mut self,
        id: &HoldId,
        status: HoldStatus,
        captured: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&CLOSE, args![status.as_str(), captured, now, id]).await
    }
}
