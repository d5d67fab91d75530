//! Holds: credits set aside for work whose price is unknown until it is done.

use crate::clock::random;
use crate::credits::{Why, remembered, request};
use crate::failures::Failure;
use crate::limits::check_text;
use crate::{Engine, Subject};
use domain::codes::Code;
use domain::credits::{CreditError, Credits, Draw, Shortage, check_unit, plan_capture};
use domain::ids::{CustomerId, HoldId};
use store::Tx;
use store::credits::{Account, EntryKind};
use store::holds::{Hold, HoldStatus, PlacedBy};

const HOLD_SECONDS_DEFAULT: i64 = 15 * 60;
const HOLD_SECONDS_MAX: i64 = 7 * 24 * 60 * 60;

#[derive(Debug, Clone)]
pub struct HoldRequest {
    pub amount: i64,
    pub unit: String,
    pub expires_in: Option<i64>,
    pub reference: Option<String>,
    pub idempotency_key: Option<String>,
}

impl Engine {
    /// Sets credits aside until the work is done.
    pub async fn credits_hold(
        &self,
        subject: &Subject,
        asked: HoldRequest,
    ) -> Result<Hold, Failure> {
        let amount = Credits::new(asked.amount)?;
        check_unit(&asked.unit)?;
        check_text("reference", asked.reference.as_deref())?;
        check_text("Idempotency-Key", asked.idempotency_key.as_deref())?;
        let expires_in = asked.expires_in.unwrap_or(HOLD_SECONDS_DEFAULT);
        if !(1..=HOLD_SECONDS_MAX).contains(&expires_in) {
            let detail = format!("expires_in must be from 1 to {HOLD_SECONDS_MAX} seconds");
            return Err(Failure::invalid("expires_in", detail));
        }
        let mut tx = self.store().begin("credits.hold").await?;
        let Some(customer) = self.customer(&mut tx, subject).await? else {
            let shortage = Shortage { required: amount.get(), available: 0 };
            return Err(self.shortage(&mut tx, &asked.unit, shortage).await?);
        };
        let (amount_text, expiry_text) = (amount.get().to_string(), expires_in.to_string());
        let reference = asked.reference.as_deref();
        let parts = [&amount_text, &asked.unit, &expiry_text, reference.unwrap_or_default()];
        let key = asked.idempotency_key.as_ref();
        let request = request(&customer.id, "credits.hold", key, &parts);
        let mut account = self.account_to_spend(&mut tx, &customer.id, &asked.unit, amount).await?;
        if let Some(id) = remembered(&mut tx, request.as_ref()).await? {
            return hold(&mut tx, &customer.id, &id).await;
        }
        let draws = self.plan(&mut tx, &mut account, amount).await?;
        let now = self.clock().now();
        let new = Hold {
            id: HoldId::new(self.clock().wall(), random()),
            customer_id: customer.id.clone(),
            unit: asked.unit.clone(),
            amount: amount.get(),
            captured: 0,
            status: HoldStatus::Open,
            placed_by: placed_by(subject),
            reference: asked.reference.clone(),
            expires_at: now.plus_seconds(expires_in),
            created_at: now,
            closed_at: None,
        };
        tx.holds_insert(&new, &draws).await?;
        for draw in &draws {
            self.post(&mut tx, &mut account, EntryKind::Hold, draw, Why::hold(self, &new)).await?;
        }
        tx.credits_close(account).await?;
        self.remember(&mut tx, request.as_ref(), new.id.as_str()).await?;
        tx.commit().await?;
        Ok(new)
    }

    pub async fn credits_hold_get(&self, subject: &Subject, id: &str) -> Result<Hold, Failure> {
        let mut tx = self.store().read("credits.hold_get").await?;
        let customer = self.customer(&mut tx, subject).await?.ok_or_else(hold_not_found)?;
        hold(&mut tx, &customer.id, id).await
    }

    /// Takes what the work cost of a hold, all of it unless said otherwise; the rest goes back.
    /// The same capture again gets the same answer.
    pub async fn credits_capture(
        &self,
        subject: &Subject,
        id: &str,
        amount: Option<i64>,
    ) -> Result<Hold, Failure> {
        let now = self.clock().now();
        let mut tx = self.store().begin("credits.capture").await?;
        let (held, mut account) = self.hold_open(&mut tx, subject, id).await?;
        let amount = amount.unwrap_or(held.amount);
        if amount < 1 {
            return Err(CreditError::Amount(amount).into());
        }
        match held.status {
            HoldStatus::Open if now < held.expires_at => {}
            HoldStatus::Captured if held.captured == amount => return Ok(held),
            HoldStatus::Open | HoldStatus::Expired => {
                let detail = "the hold has expired; its credits went back";
                return Err(Failure::refused(Code::HoldExpired, detail));
            }
            HoldStatus::Captured | HoldStatus::Released => return Err(hold_closed(&held)),
        }
        let draws = tx.holds_draws(&held.id).await?;
        let Some((captured, released)) = plan_capture(&draws, amount) else {
            let detail = format!("{amount} exceeds the {} that are held", held.amount);
            return Err(Failure::refused(Code::CaptureExceedsHold, detail));
        };
        for draw in &captured {
            self.post(&mut tx, &mut account, EntryKind::Capture, draw, Why::hold(self, &held))
                .await?;
        }
        self.give_back(&mut tx, &mut account, &held, &released).await?;
        tx.holds_close(&held.id, HoldStatus::Captured, amount, now).await?;
        tx.credits_close(account).await?;
        self.withdraw_given_back(&mut tx, &released).await?;
        tx.commit().await?;
        let closed_at = Some(now);
        Ok(Hold { status: HoldStatus::Captured, captured: amount, closed_at, ..held })
    }

    /// Gives all of a hold back. Again, or after it expired, changes nothing.
    pub async fn credits_release(&self, subject: &Subject, id: &str) -> Result<Hold, Failure> {
        let mut tx = self.store().begin("credits.release").await?;
        let (held, account) = self.hold_open(&mut tx, subject, id).await?;
        match held.status {
            HoldStatus::Open => {}
            HoldStatus::Released | HoldStatus::Expired => return Ok(held),
            HoldStatus::Captured => return Err(hold_closed(&held)),
        }
        let closed = self.hold_end(&mut tx, account, held, HoldStatus::Released).await?;
        tx.commit().await?;
        Ok(closed)
    }

    /// The hold under its account's lock.
    async fn hold_open(
        &self,
        tx: &mut Tx,
        subject: &Subject,
        id: &str,
    ) -> Result<(Hold, Account), Failure> {
        let customer = self.customer(tx, subject).await?.ok_or_else(hold_not_found)?;
        let seen = hold(tx, &customer.id, id).await?;
        if seen.placed_by == PlacedBy::Merchant && placed_by(subject) == PlacedBy::Customer {
            let detail = "the hold was placed by the merchant, who alone settles it";
            return Err(Failure::refused(Code::Forbidden, detail));
        }
        // What goes back to a lot can be due to go with its payment, whose lots have accounts of
        // other units, too: their order is the customer's lock.
        tx.customers_lock(&customer.id).await?;
        let account = tx.credits_open(&customer.id, &seen.unit).await?;
        Ok((hold(tx, &customer.id, id).await?, account))
    }

    /// Closes an open hold without taking anything, under its customer's lock.
    pub(crate) async fn hold_end(
        &self,
        tx: &mut Tx,
        mut account: Account,
        held: Hold,
        status: HoldStatus,
    ) -> Result<Hold, Failure> {
        let now = self.clock().now();
        let draws = tx.holds_draws(&held.id).await?;
        self.give_back(tx, &mut account, &held, &draws).await?;
        tx.holds_close(&held.id, status, 0, now).await?;
        tx.credits_close(account).await?;
        self.withdraw_given_back(tx, &draws).await?;
        Ok(Hold { status, closed_at: Some(now), ..held })
    }

    /// What goes back to a lot whose time is over expires at once.
    async fn give_back(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        held: &Hold,
        draws: &[Draw],
    ) -> Result<(), Failure> {
        for draw in draws {
            self.post(tx, account, EntryKind::Release, draw, Why::hold(self, held)).await?;
        }
        self.write_off_expired(tx, account, Some(self.clock().now())).await
    }
}

fn placed_by(subject: &Subject) -> PlacedBy {
    match subject {
        Subject::Named(_) => PlacedBy::Merchant,
        Subject::Own(_) | Subject::Known(_) => PlacedBy::Customer,
    }
}

fn hold_not_found() -> Failure {
    Failure::refused(Code::HoldNotFound, "no such hold")
}

fn hold_closed(held: &Hold) -> Failure {
    Failure::refused(Code::HoldClosed, format!("the hold is {} already", held.status.as_str()))
}

async fn hold(tx: &mut Tx, customer: &CustomerId, id: &str) -> Result<Hold, Failure> {
    let id = HoldId::parse(id).map_err(|_| hold_not_found())?;
    tx.holds_get(customer, &id).await?.ok_or_else(hold_not_found)
}
