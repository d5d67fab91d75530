//! Many accounts at once: what folds of consumptions and of purchases read and write, one statement
//! for each.

use super::{Account, ENTRY_INSERT, EntryKind, GRANT_INSERT, Grant, Posting, grant, line, whole};
use crate::database::Tx;
use crate::errors::StoreError;
use crate::sql::{Arg, statements};
use domain::ids::CustomerId;
use serde::Serialize;
use std::collections::BTreeMap;

statements! {
    ENSURE = "credit_balances.ensure_fold":
        "INSERT INTO credit_balances (customer_id, unit, available, held, entries)
         SELECT r.customer_id, r.unit, 0, 0, 0
         FROM ROWS(customer_id VARCHAR(255), unit VARCHAR(32))
         WHERE NOT EXISTS (SELECT 1 FROM credit_balances b
                           WHERE b.customer_id = r.customer_id AND b.unit = r.unit)
         ON CONFLICT DO NOTHING";
    OPEN = "credit_balances.open_fold":
        "SELECT b.* FROM credit_balances b
         JOIN ROWS(customer_id VARCHAR(255), unit VARCHAR(32))
           ON b.customer_id = r.customer_id AND b.unit = r.unit
         ORDER BY b.customer_id, b.unit FOR NO KEY UPDATE SKIP LOCKED";
    LIVE = "credit_grants.live_fold":
        "SELECT g.* FROM credit_grants g
         JOIN ROWS(customer_id VARCHAR(255), unit VARCHAR(32))
           ON g.customer_id = r.customer_id AND g.unit = r.unit
         WHERE g.spent + g.expired + g.revoked < g.granted ORDER BY g.id";
    SPEND = "credit_grants.spend_fold":
        "UPDATE credit_grants SET spent = credit_grants.spent + r.amount
         FROM ROWS(id VARCHAR(255), amount BIGINT) WHERE credit_grants.id = r.id";
    SET = "credit_balances.set_fold":
        "UPDATE credit_balances SET available = r.available_now, entries = r.entries_now
         FROM ROWS(customer_id VARCHAR(255), unit VARCHAR(32), available_now BIGINT,
             entries_now BIGINT, entries_before BIGINT)
         WHERE credit_balances.customer_id = r.customer_id AND credit_balances.unit = r.unit
           AND credit_balances.entries = r.entries_before";
}

#[derive(Serialize)]
pub(crate) struct AccountRow<'a> {
    customer_id: &'a str,
    unit: &'a str,
}

impl<'a> AccountRow<'a> {
    pub(crate) fn of((customer, unit): &'a (CustomerId, String)) -> Self {
        Self { customer_id: customer.as_str(), unit }
    }
}

#[derive(Serialize)]
struct SpendRow<'a> {
    id: &'a str,
    amount: i64,
}

#[derive(Serialize)]
struct BalanceRow<'a> {
    customer_id: &'a str,
    unit: &'a str,
    available_now: i64,
    entries_now: i64,
    entries_before: i64,
}

/// Accounts that were locked together, and what has been granted and spent there since. Nothing of
/// it is written before `credits_close_fold`.
#[derive(Debug, Default)]
pub struct AccountFold {
    accounts: BTreeMap<(CustomerId, String), Account>,
    granted: Vec<Grant>,
    lines: Vec<Vec<Arg>>,
    /// By lot.
    spent: BTreeMap<String, i64>,
}

impl AccountFold {
    /// An account that was there.
    pub fn get(&self, customer: &CustomerId, unit: &str) -> Option<&Account> {
        self.accounts.get(&(customer.clone(), unit.to_owned()))
    }

    /// Spends from one lot of an account that was there.
    pub fn consume(&mut self, customer: &CustomerId, unit: &str, posting: &Posting<'_>) {
        debug_assert_eq!(posting.kind, EntryKind::Consume);
        if self.book(customer, unit, posting) {
            *self.spent.entry(posting.grant.to_string()).or_default() += posting.amount;
        }
    }

    /// Adds a lot to an account that was there.
    pub fn grant(&mut self, lot: Grant, posting: &Posting<'_>) {
        debug_assert_eq!(posting.kind, EntryKind::Grant);
        if self.book(&lot.customer_id, &lot.unit, posting) {
            self.granted.push(lot);
        }
    }

    fn book(&mut self, customer: &CustomerId, unit: &str, posting: &Posting<'_>) -> bool {
        let Some(account) = self.accounts.get_mut(&(customer.clone(), unit.to_owned())) else {
            return false;
        };
        let booked = account.book(posting);
        self.lines.push(line(account, posting, &booked));
        true
    }
}

impl Tx {
    /// Locks those of the accounts that are there and that nobody else holds, for whom everybody in
    /// the fold would wait, and reads their lots.
    pub async fn credits_open_fold(
        &mut self,
        wanted: &[(CustomerId, String)],
    ) -> Result<AccountFold, StoreError> {
        let rows: Vec<_> = wanted.iter().map(AccountRow::of).collect();
        let mut fold = AccountFold::default();
        for row in self.all(&OPEN, vec![Arg::rows(&rows)?]).await? {
            let account = Account::from_row(&row)?;
            fold.accounts.insert((account.customer_id.clone(), account.unit.clone()), account);
        }
        for row in self.all(&LIVE, vec![Arg::rows(&rows)?]).await? {
            let lot = grant(&row)?;
            if let Some(account) =
                fold.accounts.get_mut(&(lot.customer_id.clone(), lot.unit.clone()))
            {
                account.grants.push(lot);
            }
        }
        Ok(fold)
    }

    /// Opens accounts that were never used.
    pub async fn credits_ensure_fold(
        &mut self,
        wanted: &[(CustomerId, String)],
    ) -> Result<(), StoreError> {
        let rows: Vec<_> = wanted.iter().map(AccountRow::of).collect();
        self.execute(&ENSURE, vec![Arg::rows(&rows)?]).await.map(drop)
    }

    /// Writes what was granted and spent: the lots, the ledger lines and the balances.
    pub async fn credits_close_fold(&mut self, fold: AccountFold) -> Result<(), StoreError> {
        if fold.lines.is_empty() {
            return Ok(());
        }
        let spent: Vec<_> =
            fold.spent.iter().map(|(id, amount)| SpendRow { id, amount: *amount }).collect();
        let changed = fold.accounts.values().filter(|it| it.entries != it.entries_at_open);
        let balances: Vec<_> = changed
            .map(|account| BalanceRow {
                customer_id: account.customer_id.as_str(),
                unit: &account.unit,
                available_now: account.available,
                entries_now: account.entries,
                entries_before: account.entries_at_open,
            })
            .collect();
        if !fold.granted.is_empty() {
            let granted: Vec<_> = fold.granted.iter().map(whole).collect();
            self.insert_all(&GRANT_INSERT, &granted).await?;
        }
        if !spent.is_empty() {
            self.change_all(&SPEND, vec![Arg::rows(&spent)?], spent.len()).await?;
        }
        self.insert_all(&ENTRY_INSERT, &fold.lines).await?;
        self.change_all(&SET, vec![Arg::rows(&balances)?], balances.len()).await
    }
}
