//! Credits: lots, the locked balance and the append-only ledger.
//!
//! `credits_open` locks one customer's credits of one unit, `credits_post` changes one lot and
//! writes the ledger line for it, `credits_close` stores the balance. Nothing else writes them.

pub mod folds;

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id, opt_id};
use crate::sql::{Arg, args, statements};
use domain::credits::{Class, Lot};
use domain::ids::{CustomerId, EntryId, GrantId, HoldId, PaymentId};
use domain::invariants::LotNumbers;
use domain::time::Timestamp;

/// A lot of credits with its whole history in numbers.
#[derive(Debug, Clone)]
pub struct Grant {
    pub id: GrantId,
    pub customer_id: CustomerId,
    pub unit: String,
    pub class: Class,
    /// The business fact that caused it; unique.
    pub fact: String,
    pub numbers: LotNumbers,
    /// The part of what was revoked that money which went back has taken.
    pub withdrawn: i64,
    pub payment_id: Option<PaymentId>,
    pub provider_subscription_id: Option<String>,
    pub reason: String,
    pub starts_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl Grant {
    /// The part that decides what may be drawn.
    pub fn lot(&self) -> Lot {
        Lot {
            id: self.id.clone(),
            class: self.class,
            available: self.numbers.available(),
            starts_at: self.starts_at,
            expires_at: self.expires_at,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Grant,
    Consume,
    Hold,
    Capture,
    Release,
    Expire,
    Revoke,
    /// Takes back a withdrawal of money that went back after all: it came again.
    Restore,
    /// Takes back an expiry, because the lot lasts longer after all. The ledger calls it a
    /// restoring, too.
    Extend,
}

impl EntryKind {
    const ALL: [EntryKind; 8] = [
        EntryKind::Grant,
        EntryKind::Consume,
        EntryKind::Hold,
        EntryKind::Capture,
        EntryKind::Release,
        EntryKind::Expire,
        EntryKind::Revoke,
        EntryKind::Restore,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            EntryKind::Grant => "grant",
            EntryKind::Consume => "consume",
            EntryKind::Hold => "hold",
            EntryKind::Capture => "capture",
            EntryKind::Release => "release",
            EntryKind::Expire => "expire",
            EntryKind::Revoke => "revoke",
            EntryKind::Restore | EntryKind::Extend => "restore",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What it does to (available, held) of the balance.
    const fn balance_change(self, amount: i64) -> (i64, i64) {
        match self {
            EntryKind::Grant | EntryKind::Restore | EntryKind::Extend => (amount, 0),
            EntryKind::Consume | EntryKind::Expire | EntryKind::Revoke => (-amount, 0),
            EntryKind::Hold => (-amount, amount),
            EntryKind::Capture => (0, -amount),
            EntryKind::Release => (amount, -amount),
        }
    }

    /// What it does to (spent, held, expired, revoked) of the lot.
    const fn lot_change(self, amount: i64) -> (i64, i64, i64, i64) {
        match self {
            EntryKind::Grant => (0, 0, 0, 0),
            EntryKind::Consume => (amount, 0, 0, 0),
            EntryKind::Hold => (0, amount, 0, 0),
            EntryKind::Capture => (amount, -amount, 0, 0),
            EntryKind::Release => (0, -amount, 0, 0),
            EntryKind::Expire => (0, 0, amount, 0),
            EntryKind::Revoke => (0, 0, 0, amount),
            EntryKind::Restore => (0, 0, 0, -amount),
            EntryKind::Extend => (0, 0, -amount, 0),
        }
    }
}

/// One line of the ledger.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: EntryId,
    pub unit: String,
    pub number: i64,
    pub kind: EntryKind,
    pub grant_id: GrantId,
    pub hold_id: Option<HoldId>,
    pub amount: i64,
    pub held_amount: i64,
    pub balance_before: i64,
    pub balance_after: i64,
    pub held_after: i64,
    pub reference: Option<String>,
    pub effective_at: Timestamp,
    pub recorded_at: Timestamp,
}

/// A change of one lot.
#[derive(Debug, Clone)]
pub struct Posting<'a> {
    pub id: EntryId,
    pub kind: EntryKind,
    pub grant: &'a GrantId,
    pub amount: i64,
    pub hold: Option<&'a HoldId>,
    pub reference: Option<&'a str>,
    pub effective_at: Timestamp,
    pub recorded_at: Timestamp,
}

/// One customer's credits of one unit, locked until the transaction ends.
#[derive(Debug)]
pub struct Account {
    pub customer_id: CustomerId,
    pub unit: String,
    pub available: i64,
    pub held: i64,
    entries: i64,
    entries_at_open: i64,
    /// Every lot that has something left, free or held.
    pub grants: Vec<Grant>,
}

/// A posting as the account has taken it in: what is still to be written.
#[derive(Debug, Clone)]
struct Booked {
    /// Of (spent, held, expired, revoked) of the lot.
    lot_change: (i64, i64, i64, i64),
    available_change: i64,
    held_change: i64,
    number: i64,
    before: i64,
    available: i64,
    held: i64,
}

impl Account {
    /// One that this transaction has opened.
    fn new(customer: &CustomerId, unit: &str) -> Self {
        Account {
            customer_id: customer.clone(),
            unit: unit.to_owned(),
            available: 0,
            held: 0,
            entries: 0,
            entries_at_open: 0,
            grants: Vec::new(),
        }
    }

    /// Whether there was never anything in it.
    pub fn is_unused(&self) -> bool {
        self.entries == 0
    }

    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let entries = row.int("entries")?;
        Ok(Account {
            customer_id: id!(row, "customer_id", CustomerId)?,
            unit: row.text("unit")?,
            available: row.int("available")?,
            held: row.int("held")?,
            entries,
            entries_at_open: entries,
            grants: Vec::new(),
        })
    }

    /// Takes a posting into the numbers here; the caller writes it.
    fn book(&mut self, posting: &Posting<'_>) -> Booked {
        let lot_change = posting.kind.lot_change(posting.amount);
        let (available_change, held_change) = posting.kind.balance_change(posting.amount);
        let before = self.available;
        self.available += available_change;
        self.held += held_change;
        self.entries += 1;
        if let Some(lot) = self.grants.iter_mut().find(|lot| lot.id == *posting.grant) {
            let (spent, held, expired, revoked) = lot_change;
            lot.numbers.spent += spent;
            lot.numbers.held += held;
            lot.numbers.expired += expired;
            lot.numbers.revoked += revoked;
        }
        Booked {
            lot_change,
            available_change,
            held_change,
            number: self.entries,
            before,
            available: self.available,
            held: self.held,
        }
    }

    /// The lots as the rules see them.
    pub fn lots(&self) -> Vec<Lot> {
        self.grants.iter().map(Grant::lot).collect()
    }
}

statements! {
    BALANCE_ENSURE = "credit_balances.ensure":
        "INSERT INTO credit_balances (customer_id, unit, available, held, entries)
         VALUES (?, ?, 0, 0, 0) ON CONFLICT DO NOTHING";
    BALANCE_LOCK = "credit_balances.lock":
        "SELECT * FROM credit_balances WHERE customer_id = ? AND unit = ? FOR NO KEY UPDATE";
    BALANCE_SET = "credit_balances.set":
        "UPDATE credit_balances SET available = ?, held = ?, entries = ?
         WHERE customer_id = ? AND unit = ? AND entries = ?";
    UNITS = "credit_balances.units":
        "SELECT unit FROM credit_balances WHERE customer_id = ? ORDER BY unit";
    GRANTS_LIVE = "credit_grants.live":
        "SELECT * FROM credit_grants
         WHERE customer_id = ? AND unit = ? AND spent + expired + revoked < granted ORDER BY id";
    GRANT_INSERT = "credit_grants.insert":
        "INSERT INTO credit_grants (id, customer_id, unit, class, fact, granted, spent, held,
             expired, revoked, payment_id, provider_subscription_id, reason, starts_at, expires_at,
             created_at)
         VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 0, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    GRANT_CHANGE = "credit_grants.change":
        "UPDATE credit_grants SET spent = spent + ?, held = held + ?, expired = expired + ?,
             revoked = revoked + ?
         WHERE id = ?";
    GRANT_WITHDRAWN = "credit_grants.withdrawn":
        "UPDATE credit_grants SET withdrawn = ? WHERE id = ?";
    GRANT_MOVE = "credit_grants.move":
        "UPDATE credit_grants SET provider_subscription_id = ?, starts_at = ?, expires_at = ?
         WHERE id = ?";
    GRANT_BEGIN = "credit_grants.begin":
        "UPDATE credit_grants SET starts_at = ?
         WHERE payment_id = ? AND class = 'purchased' AND starts_at <> ?";
    GRANT_GET = "credit_grants.get": "SELECT * FROM credit_grants WHERE id = ?";
    GRANT_FIND = "credit_grants.find": "SELECT * FROM credit_grants WHERE fact = ?";
    GRANTS_LIST = "credit_grants.list":
        "SELECT * FROM credit_grants WHERE customer_id = ? AND id < ? ORDER BY id DESC LIMIT ?";
    GRANTS_OF_PAYMENT = "credit_grants.of_payment":
        "SELECT * FROM credit_grants WHERE payment_id = ? ORDER BY id";
    GRANTS_OF_SUBSCRIPTION = "credit_grants.of_subscription":
        "SELECT * FROM credit_grants
         WHERE provider_subscription_id = ? AND spent + expired + revoked < granted ORDER BY id";
    ALLOWED_UNTIL = "credit_grants.allowed_until":
        "SELECT expires_at FROM credit_grants
         WHERE provider_subscription_id = ? AND class = 'allowance' AND expires_at IS NOT NULL
           AND starts_at <= ?
         ORDER BY expires_at DESC LIMIT 1";
    EXPIRED = "credit_grants.expired":
        "SELECT customer_id, unit FROM credit_grants WHERE due_at <= ? ORDER BY due_at LIMIT ?";
    ENTRY_INSERT = "credit_entries.insert":
        "INSERT INTO credit_entries (id, customer_id, unit, number, kind, grant_id, hold_id, amount,
             held_amount, balance_before, balance_after, held_after, reference, effective_at,
             recorded_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    ENTRIES_LIST = "credit_entries.list":
        "SELECT * FROM credit_entries WHERE customer_id = ? AND unit = ? AND number < ?
         ORDER BY number DESC LIMIT ?";
}

/// What the insert of a lot writes.
fn whole(new: &Grant) -> Vec<Arg> {
    args![
        &new.id,
        &new.customer_id,
        &new.unit,
        new.class.as_str(),
        &new.fact,
        new.numbers.granted,
        &new.payment_id,
        &new.provider_subscription_id,
        &new.reason,
        new.starts_at,
        new.expires_at,
        new.created_at
    ]
}

/// What the insert of a ledger line writes.
fn line(account: &Account, posting: &Posting<'_>, booked: &Booked) -> Vec<Arg> {
    let hold = posting.hold.cloned();
    args![
        &posting.id,
        &account.customer_id,
        &account.unit,
        booked.number,
        posting.kind.as_str(),
        posting.grant,
        &hold,
        booked.available_change,
        booked.held_change,
        booked.before,
        booked.available,
        booked.held,
        posting.reference,
        posting.effective_at,
        posting.recorded_at
    ]
}

fn grant(row: &Row) -> Result<Grant, StoreError> {
    Ok(Grant {
        id: id!(row, "id", GrantId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        unit: row.text("unit")?,
        class: row.parsed("class", Class::parse)?,
        fact: row.text("fact")?,
        numbers: LotNumbers {
            granted: row.int("granted")?,
            spent: row.int("spent")?,
            held: row.int("held")?,
            expired: row.int("expired")?,
            revoked: row.int("revoked")?,
        },
        withdrawn: row.int("withdrawn")?,
        payment_id: opt_id!(row, "payment_id", PaymentId)?,
        provider_subscription_id: row.opt_text("provider_subscription_id")?,
        reason: row.text("reason")?,
        starts_at: row.time("starts_at")?,
        expires_at: row.opt_time("expires_at")?,
        created_at: row.time("created_at")?,
    })
}

fn entry(row: &Row) -> Result<Entry, StoreError> {
    Ok(Entry {
        id: id!(row, "id", EntryId)?,
        unit: row.text("unit")?,
        number: row.int("number")?,
        kind: row.parsed("kind", EntryKind::parse)?,
        grant_id: id!(row, "grant_id", GrantId)?,
        hold_id: opt_id!(row, "hold_id", HoldId)?,
        amount: row.int("amount")?,
        held_amount: row.int("held_amount")?,
        balance_before: row.int("balance_before")?,
        balance_after: row.int("balance_after")?,
        held_after: row.int("held_after")?,
        reference: row.opt_text("reference")?,
        effective_at: row.time("effective_at")?,
        recorded_at: row.time("recorded_at")?,
    })
}

impl Tx {
    /// Locks the account, opening it at its first use, and reads its lots.
    pub async fn credits_open(
        &mut self,
        customer: &CustomerId,
        unit: &str,
    ) -> Result<Account, StoreError> {
        if let Some(account) = self.credits_open_known(customer, unit).await? {
            return Ok(account);
        }
        if self.change_if(&BALANCE_ENSURE, args![customer, unit]).await? {
            return Ok(Account::new(customer, unit));
        }
        let account = self.credits_open_known(customer, unit).await?;
        account.ok_or(StoreError::RowCount { name: BALANCE_LOCK.name, changed: 0 })
    }

    /// The same of an account that was ever used: who only spends opens none.
    pub async fn credits_open_known(
        &mut self,
        customer: &CustomerId,
        unit: &str,
    ) -> Result<Option<Account>, StoreError> {
        let Some(row) = self.first(&BALANCE_LOCK, args![customer, unit]).await? else {
            return Ok(None);
        };
        let mut account = Account::from_row(&row)?;
        // Each lot has a line, so without lines there are no lots.
        if 0 < account.entries {
            account.grants = self.credits_live(customer, unit).await?;
        }
        Ok(Some(account))
    }

    /// The lots that have something left, without a lock.
    pub async fn credits_live(
        &mut self,
        customer: &CustomerId,
        unit: &str,
    ) -> Result<Vec<Grant>, StoreError> {
        self.all(&GRANTS_LIVE, args![customer, unit]).await?.iter().map(grant).collect()
    }

    /// Adds a lot to the account; `false` where its fact has one already.
    pub async fn credits_add(
        &mut self,
        account: &mut Account,
        new: &Grant,
    ) -> Result<bool, StoreError> {
        let added = self.change_if(&GRANT_INSERT, whole(new)).await?;
        if added {
            account.grants.push(new.clone());
        }
        Ok(added)
    }

    /// Changes one lot and writes the ledger line for it.
    pub async fn credits_post(
        &mut self,
        account: &mut Account,
        posting: Posting<'_>,
    ) -> Result<(), StoreError> {
        let booked = account.book(&posting);
        let (spent, held, expired, revoked) = booked.lot_change;
        if booked.lot_change != (0, 0, 0, 0) {
            let args = args![spent, held, expired, revoked, posting.grant];
            self.change_one(&GRANT_CHANGE, args).await?;
        }
        self.change_one(&ENTRY_INSERT, line(account, &posting, &booked)).await
    }

    /// Stores the balance that the postings have led to.
    pub async fn credits_close(&mut self, account: Account) -> Result<(), StoreError> {
        if account.entries == account.entries_at_open {
            return Ok(());
        }
        let args = args![
            account.available,
            account.held,
            account.entries,
            &account.customer_id,
            &account.unit,
            account.entries_at_open
        ];
        self.change_one(&BALANCE_SET, args).await
    }

    /// Moves a lot to the time and the subscription that `wanted` has.
    pub async fn credits_move(&mut self, id: &GrantId, wanted: &Grant) -> Result<(), StoreError> {
        let args = args![&wanted.provider_subscription_id, wanted.starts_at, wanted.expires_at, id];
        self.change_one(&GRANT_MOVE, args).await
    }

    /// What a payment bought once begins with it.
    pub async fn credits_begin(
        &mut self,
        payment: &PaymentId,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        self.execute(&GRANT_BEGIN, args![at, payment, at]).await
    }

    /// Remembers how much of what was revoked the money that went back has taken.
    pub async fn credits_withdrawn(
        &mut self,
        id: &GrantId,
        withdrawn: i64,
    ) -> Result<(), StoreError> {
        self.change_one(&GRANT_WITHDRAWN, args![withdrawn, id]).await
    }

    /// The units in which the customer has ever had credits.
    pub async fn credits_units(
        &mut self,
        customer: &CustomerId,
    ) -> Result<Vec<String>, StoreError> {
        self.all(&UNITS, args![customer]).await?.iter().map(|row| row.text("unit")).collect()
    }

    pub async fn credits_get(&mut self, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        self.first(&GRANT_GET, args![id]).await?.as_ref().map(grant).transpose()
    }

    /// By the business fact.
    pub async fn credits_find(&mut self, fact: &str) -> Result<Option<Grant>, StoreError> {
        self.first(&GRANT_FIND, args![fact]).await?.as_ref().map(grant).transpose()
    }

    /// Newest first, after `cursor`.
    pub async fn credits_grants(
        &mut self,
        customer: &CustomerId,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Grant>, StoreError> {
        self.all(&GRANTS_LIST, args![customer, cursor, limit]).await?.iter().map(grant).collect()
    }

    pub async fn credits_of_payment(
        &mut self,
        payment: &PaymentId,
    ) -> Result<Vec<Grant>, StoreError> {
        self.all(&GRANTS_OF_PAYMENT, args![payment]).await?.iter().map(grant).collect()
    }

    /// The lots of a subscription that have something left.
    pub async fn credits_of_subscription(
        &mut self,
        provider_subscription_id: &str,
    ) -> Result<Vec<Grant>, StoreError> {
        let rows = self.all(&GRANTS_OF_SUBSCRIPTION, args![provider_subscription_id]).await?;
        rows.iter().map(grant).collect()
    }

    /// When the newest allowance ends, spent or not, that a subscription had by `at`.
    pub async fn credits_allowed_until(
        &mut self,
        provider_subscription_id: &str,
        at: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let row = self.first(&ALLOWED_UNTIL, args![provider_subscription_id, at]).await?;
        row.map(|row| row.time("expires_at")).transpose()
    }

    /// The account of each lot whose time is over and whose rest is not yet written off, the one
    /// that has waited longest first.
    pub async fn credits_expired(
        &mut self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(CustomerId, String)>, StoreError> {
        let rows = self.all(&EXPIRED, args![now, limit]).await?;
        rows.iter()
            .map(|row| Ok((id!(row, "customer_id", CustomerId)?, row.text("unit")?)))
            .collect()
    }

    /// Newest first, before line `before`.
    pub async fn credits_entries(
        &mut self,
        customer: &CustomerId,
        unit: &str,
        before: i64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let rows = self.all(&ENTRIES_LIST, args![customer, unit, before, limit]).await?;
        rows.iter().map(entry).collect()
    }
}
