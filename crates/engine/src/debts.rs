//! Debts: credits that were spent before their money went back.
//!
//! A debt is always recorded. What it does is the merchant's choice: nothing, or it is paid from
//! lots that come later, or that and nothing else is spent until it is paid.

use crate::clock::random;
use crate::credits::Why;
use crate::failures::Failure;
use crate::lists::{Listed, Page};
use crate::{Engine, Subject};
use domain::codes::Code;
use domain::credits::{Class, Draw};
use domain::ids::{DebtId, GrantId};
use domain::invariants::LotNumbers;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use store::credits::{Account, EntryKind, Grant};
use store::debts::Debt;
use store::{StoreError, Tx};

/// What becomes of credits that were spent and are owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DebtPolicy {
    /// Recorded, and no more.
    Forgive,
    /// Later lots of the unit pay it.
    #[default]
    NetNextGrant,
    /// Later lots pay it, and until they have, nothing of the unit can be spent.
    Block,
}

/// Whether a lot came when the debt was there, so that it pays it. Provider times are whole
/// seconds, within which nobody knows what was first.
fn pays(lot: &Grant, debt: &Debt) -> bool {
    debt.created_at.seconds() <= lot.starts_at.seconds() && lot.id != debt.grant_id
}

impl Engine {
    pub async fn debts_list(&self, subject: &Subject, page: Page) -> Result<Listed<Debt>, Failure> {
        let mut tx = self.store().read("debts.list").await?;
        let rows = match self.customer(&mut tx, subject).await? {
            Some(customer) => tx.debts_list(&customer.id, page.cursor(), page.fetch()).await?,
            None => Vec::new(),
        };
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    /// What is still owed in one unit.
    pub async fn debts_open(&self, subject: &Subject, unit: &str) -> Result<i64, Failure> {
        let mut tx = self.store().read("debts.open").await?;
        match self.customer(&mut tx, subject).await? {
            Some(customer) => {
                let open = tx.debts_open(&customer.id, unit).await?;
                Ok(open.iter().map(Debt::open).sum())
            }
            None => Ok(0),
        }
    }

    /// Sets what is owed for a lot. What was paid of a debt that turns out smaller comes back.
    pub(crate) async fn owe(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        lot: &Grant,
        owed: i64,
        since: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let now = self.clock().now();
        let held = tx.debts_of_grant(&lot.id).await?;
        let was = held.as_ref().map_or(0, |held| held.amount);
        let mut debt = match held {
            None if owed == 0 => return Ok(()),
            None => {
                let new = Debt {
                    id: DebtId::new(self.clock().wall(), random()),
                    customer_id: lot.customer_id.clone(),
                    unit: lot.unit.clone(),
                    grant_id: lot.id.clone(),
                    amount: owed,
                    settled: 0,
                    created_at: since.unwrap_or(now).min(now),
                    updated_at: now,
                };
                tx.debts_insert(&new).await?;
                new
            }
            Some(held) => {
                let is_older = owed != 0 && since.is_some_and(|since| since < held.created_at);
                if held.amount == owed && !is_older {
                    return Ok(());
                }
                held
            }
        };
        if was != owed {
            self.tell_debt(tx, lot, owed).await?;
        }
        // The first of the money that went decides, whichever part was told first.
        debt.created_at = since.unwrap_or(debt.created_at).min(debt.created_at);
        debt.amount = owed;
        debt.updated_at = now;
        let overpaid = debt.settled - owed;
        if 0 < overpaid {
            debt.settled = owed;
        }
        tx.debts_update(&debt).await?;
        if 0 < overpaid {
            return self.repay(tx, account, &debt, overpaid).await;
        }
        self.debt_meets_later_lots(tx, account, debt).await
    }

    /// Credits that paid a debt which is none any more come back as a lot of their own.
    async fn repay(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        debt: &Debt,
        amount: i64,
    ) -> Result<(), Failure> {
        let now = self.clock().now();
        let id = GrantId::new(self.clock().wall(), random());
        let lot = Grant {
            // A debt can shrink, grow and shrink again: each return is a lot, under the account's
            // lock, and the debt's row says what was returned already.
            fact: format!("debt:{}:{amount}:{id}", debt.id),
            id,
            customer_id: debt.customer_id.clone(),
            unit: debt.unit.clone(),
            class: Class::Bonus,
            numbers: LotNumbers::new(amount),
            withdrawn: 0,
            payment_id: None,
            provider_subscription_id: None,
            reason: "debt repaid".to_owned(),
            starts_at: now,
            expires_at: None,
            created_at: now,
        };
        self.lot_add(tx, account, &lot).await?;
        Ok(())
    }

    /// A debt of which we learn late is paid from the lots that came after the money had gone, as
    /// if we had known in time: the order of two events decides nothing.
    async fn debt_meets_later_lots(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        mut debt: Debt,
    ) -> Result<(), Failure> {
        let later = account.grants.iter().filter(|lot| pays(lot, &debt));
        for id in later.map(|lot| lot.id.clone()).collect::<Vec<_>>() {
            self.pay(tx, account, &mut debt, &id).await?;
        }
        Ok(())
    }

    /// A new lot pays what was owed in its unit when it came, the oldest debt first.
    pub(crate) async fn lot_meets_debts(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        lot: &Grant,
    ) -> Result<(), Failure> {
        for mut debt in tx.debts_open(&account.customer_id, &account.unit).await? {
            if pays(lot, &debt) {
                self.pay(tx, account, &mut debt, &lot.id).await?;
            }
        }
        Ok(())
    }

    /// Takes what is owed from one usable lot, as far as it goes.
    async fn pay(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        debt: &mut Debt,
        lot: &GrantId,
    ) -> Result<(), Failure> {
        if self.settings().debt_policy == DebtPolicy::Forgive {
            return Ok(());
        }
        let now = self.clock().now();
        let found = account.grants.iter().find(|held| held.id == *lot);
        let usable = found.map(Grant::lot).filter(|lot| lot.is_usable(now));
        let amount = usable.map_or(0, |lot| lot.available).min(debt.open());
        if amount <= 0 {
            return Ok(());
        }
        let reference = format!("debt:{}", debt.id);
        let draw = Draw { lot: lot.clone(), amount };
        let why = Why::now(self, &reference);
        self.post(tx, account, EntryKind::Consume, &draw, why).await?;
        debt.settled += amount;
        debt.updated_at = now;
        Ok(tx.debts_update(debt).await?)
    }

    /// Refuses to spend while something is owed, where the merchant wants it so.
    pub(crate) async fn refuse_debtors(
        &self,
        tx: &mut Tx,
        account: &Account,
    ) -> Result<(), Failure> {
        if self.settings().debt_policy != DebtPolicy::Block {
            return Ok(());
        }
        let open = owed(tx, account).await?;
        if open == 0 {
            return Ok(());
        }
        let unit = &account.unit;
        let detail = format!("{open} {unit} are owed for a payment that went back");
        Err(Failure::refused(Code::CreditsInDebt, detail))
    }
}

async fn owed(tx: &mut Tx, account: &Account) -> Result<i64, StoreError> {
    let open = tx.debts_open(&account.customer_id, &account.unit).await?;
    Ok(open.iter().map(Debt::open).sum())
}
