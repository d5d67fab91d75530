//! Credits: balances, manual grants and consumption.
//!
//! Each use case locks the customer's account of one unit, writes off what has expired, decides in
//! `domain`, posts to the ledger, and remembers its answer, all in one transaction.

pub(crate) mod consuming;

use crate::audits::Act;
use crate::clock::random;
use crate::failures::Failure;
use crate::limits::check_text;
use crate::lists::{Listed, Page};
use crate::notices::credits_granted;
use crate::{Engine, Subject, customers};
use domain::catalogue::Grants;
use domain::credits::{Class, Credits, Draw, Shortage, check_unit, plan_burn};
use domain::ids::{CustomerId, EntryId, GrantId, HoldId};
use domain::invariants::{LotNumbers, lot_is_exact};
use domain::time::Timestamp;
use store::credits::{Account, Entry, EntryKind, Grant, Posting};
use store::holds::Hold;
use store::idempotency::{Remembered, Request, request_hash};
use store::{StoreError, Tx};

/// What a customer can spend now, in one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    pub unit: String,
    /// What a plan or trial refills.
    pub monthly: i64,
    /// What is kept until used.
    pub purchased: i64,
    pub total: i64,
    pub held: i64,
    pub by_class: Vec<(Class, i64)>,
    pub next_expiry: Option<Timestamp>,
}

impl Balance {
    /// The sums over some lots, as they may be used at `now`.
    fn of(unit: &str, grants: &[Grant], now: Timestamp) -> Self {
        let lots: Vec<_> = grants.iter().map(Grant::lot).collect();
        let usable: Vec<_> = lots.iter().filter(|lot| lot.is_usable(now)).collect();
        let of_class = |class: Class| {
            usable.iter().filter(|lot| lot.class == class).map(|lot| lot.available).sum::<i64>()
        };
        let by_class: Vec<_> =
            Class::ALL.into_iter().map(|class| (class, of_class(class))).collect();
        let held = grants.iter().map(|grant| grant.numbers.held).sum();
        let waiting = usable.iter().filter(|lot| 0 < lot.available);
        let next_expiry = waiting.filter_map(|lot| lot.expires_at).min();
        Self::from_classes(unit, by_class, held, next_expiry)
    }

    fn from_classes(
        unit: &str,
        by_class: Vec<(Class, i64)>,
        held: i64,
        next_expiry: Option<Timestamp>,
    ) -> Self {
        let total = by_class.iter().map(|(_, sum)| sum).sum();
        let plan = by_class.iter().filter(|(class, _)| class.is_monthly());
        let monthly = plan.map(|(_, sum)| sum).sum();
        let unit = unit.to_owned();
        let purchased = total - monthly;
        Balance { unit, monthly, purchased, total, held, by_class, next_expiry }
    }

    pub(crate) async fn read(
        tx: &mut Tx,
        customer: &CustomerId,
        unit: &str,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        Ok(Self::of(unit, &tx.credits_live(customer, unit).await?, now))
    }
}

#[derive(Debug, Clone)]
pub struct GrantRequest {
    pub amount: i64,
    pub unit: String,
    pub class: Class,
    pub expires_at: Option<Timestamp>,
    pub reason: String,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ConsumeRequest {
    pub amount: i64,
    pub unit: String,
    pub reference: Option<String>,
    pub idempotency_key: Option<String>,
}

/// What a consumption took, and what was left right after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub consumed: i64,
    pub balance: Balance,
    /// Whether this is the first answer to the same request, again.
    pub replayed: bool,
}

/// Why and when a lot changes, for its ledger line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Why<'a> {
    pub reference: Option<&'a str>,
    pub hold: Option<&'a HoldId>,
    pub at: Timestamp,
}

impl<'a> Why<'a> {
    pub(crate) fn now(engine: &Engine, reference: &'a str) -> Self {
        Why { reference: Some(reference), hold: None, at: engine.clock().now() }
    }

    /// As a hold asks for, under the reference it was placed with.
    pub(crate) fn hold(engine: &Engine, held: &'a Hold) -> Self {
        let reference = held.reference.as_deref();
        Why { reference, hold: Some(&held.id), at: engine.clock().now() }
    }
}

fn inconsistent(error: impl std::fmt::Display) -> StoreError {
    StoreError::Inconsistent { column: "answer", value: error.to_string() }
}

/// An earlier answer to the same request; a key of another request is refused.
pub(crate) async fn remembered(
    tx: &mut Tx,
    request: Option<&Request<'_>>,
) -> Result<Option<String>, Failure> {
    let Some(request) = request else {
        return Ok(None);
    };
    match tx.idempotency_find(request).await? {
        Remembered::Nothing => Ok(None),
        Remembered::Answer(answer) => Ok(Some(answer)),
        Remembered::Conflict => Err(Failure::key_conflict()),
    }
}

pub(crate) fn request<'a>(
    customer: &'a CustomerId,
    operation: &'static str,
    key: Option<&'a String>,
    parts: &[&str],
) -> Option<Request<'a>> {
    key.map(|key| Request { customer, operation, key, hash: request_hash(parts) })
}

impl Engine {
    pub async fn credits_balance(&self, subject: &Subject, unit: &str) -> Result<Balance, Failure> {
        check_unit(unit)?;
        let now = self.clock().now();
        let mut tx = self.store().read("credits.balance").await?;
        match self.customer(&mut tx, subject).await? {
            Some(customer) => Ok(Balance::read(&mut tx, &customer.id, unit, now).await?),
            None => Ok(Balance::of(unit, &[], now)),
        }
    }

    /// Credits from the merchant's own hand.
    pub async fn credits_grant(
        &self,
        subject: &Subject,
        grant: GrantRequest,
        act: &Act,
    ) -> Result<Grant, Failure> {
        let amount = Credits::new(grant.amount)?;
        check_unit(&grant.unit)?;
        check_text("reason", Some(&grant.reason))?;
        check_text("Idempotency-Key", grant.idempotency_key.as_deref())?;
        let now = self.clock().now();
        if grant.expires_at.is_some_and(|end| end <= now) {
            return Err(Failure::invalid("expires_at", "expires_at must lie in the future"));
        }
        let mut tx = self.store().begin("credits.grant").await?;
        let customer = self.customer(&mut tx, subject).await?.ok_or_else(customers::not_found)?;
        tx.customers_lock(&customer.id).await?;
        let mut account = tx.credits_open(&customer.id, &grant.unit).await?;
        let amount_text = amount.get().to_string();
        let expiry_text = grant.expires_at.map(|at| at.micros().to_string()).unwrap_or_default();
        let parts = [&amount_text, &grant.unit, grant.class.as_str(), &expiry_text, &grant.reason];
        let key = grant.idempotency_key.as_ref();
        let request = request(&customer.id, "credits.grant", key, &parts);
        if let Some(fact) = remembered(&mut tx, request.as_ref()).await? {
            let missing = || inconsistent("the grant of a remembered request is gone");
            return Ok(tx.credits_find(&fact).await?.ok_or_else(missing)?);
        }
        let id = GrantId::new(self.clock().wall(), random());
        let lot = Grant {
            fact: format!("manual:{id}"),
            id,
            customer_id: customer.id.clone(),
            unit: grant.unit,
            class: grant.class,
            numbers: LotNumbers::new(amount.get()),
            withdrawn: 0,
            payment_id: None,
            provider_subscription_id: None,
            reason: grant.reason,
            starts_at: now,
            expires_at: grant.expires_at,
            created_at: now,
        };
        self.lot_add(&mut tx, &mut account, &lot).await?;
        tx.credits_close(account).await?;
        self.remember(&mut tx, request.as_ref(), &lot.fact).await?;
        let note = format!("{amount_text} {} for {}", lot.unit, lot.customer_id);
        self.audit(&mut tx, act, "credits.grant", lot.id.as_str(), Some(&note)).await?;
        tx.commit().await?;
        Ok(lot)
    }

    pub async fn credits_grants(
        &self,
        subject: &Subject,
        page: Page,
    ) -> Result<Listed<Grant>, Failure> {
        let mut tx = self.store().read("credits.grants").await?;
        let rows = match self.customer(&mut tx, subject).await? {
            Some(customer) => tx.credits_grants(&customer.id, page.cursor(), page.fetch()).await?,
            None => Vec::new(),
        };
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    pub async fn credits_entries(
        &self,
        subject: &Subject,
        unit: &str,
        page: Page,
    ) -> Result<Listed<Entry>, Failure> {
        check_unit(unit)?;
        let before = page.number()?;
        let mut tx = self.store().read("credits.entries").await?;
        let rows = match self.customer(&mut tx, subject).await? {
            Some(customer) => tx.credits_entries(&customer.id, unit, before, page.fetch()).await?,
            None => Vec::new(),
        };
        Ok(page.cut(rows, |row| row.number.to_string()))
    }

    /// Keeps the answer to a request that carries a key.
    pub(crate) async fn remember(
        &self,
        tx: &mut Tx,
        request: Option<&Request<'_>>,
        answer: &str,
    ) -> Result<(), Failure> {
        let Some(request) = request else {
            return Ok(());
        };
        match tx.idempotency_remember(request, answer, self.clock().wall()).await? {
            true => Ok(()),
            false => Err(Failure::key_conflict()),
        }
    }

    /// Takes credits inside somebody else's transaction: a metered search for example.
    pub(crate) async fn consume_in(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        amount: Credits,
        reference: Option<&str>,
    ) -> Result<(), Failure> {
        let draws = self.plan(tx, account, amount).await?;
        let why = Why { reference, ..Why::now(self, "consume") };
        for draw in &draws {
            self.post(tx, account, EntryKind::Consume, draw, why).await?;
        }
        Ok(())
    }

    pub(crate) async fn plan(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        amount: Credits,
    ) -> Result<Vec<Draw>, Failure> {
        self.refuse_debtors(tx, account).await?;
        self.write_off_expired(tx, account, None).await?;
        match plan_burn(&account.lots(), amount, self.clock().now()) {
            Ok(draws) => Ok(draws),
            Err(shortage) => Err(self.shortage(tx, &account.unit, shortage).await?),
        }
    }

    /// The account to spend from, locked. Where there is none, there is nothing in it.
    pub(crate) async fn account_to_spend(
        &self,
        tx: &mut Tx,
        customer: &CustomerId,
        unit: &str,
        amount: Credits,
    ) -> Result<Account, Failure> {
        match tx.credits_open_known(customer, unit).await? {
            Some(account) => Ok(account),
            None => {
                let shortage = Shortage { required: amount.get(), available: 0 };
                Err(self.shortage(tx, unit, shortage).await?)
            }
        }
    }

    pub(crate) async fn shortage(
        &self,
        tx: &mut Tx,
        unit: &str,
        shortage: Shortage,
    ) -> Result<Failure, Failure> {
        let helps = |grants: &Grants| grants.credits.iter().any(|grant| grant.unit == unit);
        Ok(Failure::Shortage {
            unit: unit.to_owned(),
            required: shortage.required,
            available: shortage.available,
            offers: self.offers(tx, helps).await?,
        })
    }

    /// Adds a lot with its ledger line; `false` where its fact has one already.
    pub(crate) async fn lot_add(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        lot: &Grant,
    ) -> Result<bool, Failure> {
        let is_first = account.is_unused();
        if !tx.credits_add(account, lot).await? {
            return Ok(false);
        }
        tx.credits_post(account, self.grant_posting(lot)).await?;
        if !is_first {
            self.lot_meets_debts(tx, account, lot).await?;
        }
        self.tell(tx, credits_granted(lot)).await?;
        Ok(true)
    }

    /// The ledger line of a new lot.
    pub(crate) fn grant_posting<'a>(&self, lot: &'a Grant) -> Posting<'a> {
        let at = lot.starts_at.min(self.clock().now());
        let why = Why { at, ..Why::now(self, &lot.reason) };
        self.posting(EntryKind::Grant, &lot.id, lot.numbers.granted, why)
    }

    pub(crate) fn posting<'a>(
        &self,
        kind: EntryKind,
        lot: &'a GrantId,
        amount: i64,
        why: Why<'a>,
    ) -> Posting<'a> {
        Posting {
            id: EntryId::new(self.clock().wall(), random()),
            kind,
            grant: lot,
            amount,
            hold: why.hold,
            reference: why.reference,
            effective_at: why.at,
            recorded_at: self.clock().wall(),
        }
    }

    /// One change of one lot, with its ledger line.
    pub(crate) async fn post(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        kind: EntryKind,
        draw: &Draw,
        why: Why<'_>,
    ) -> Result<(), Failure> {
        tx.credits_post(account, self.posting(kind, &draw.lot, draw.amount, why)).await?;
        debug_assert!(account.grants.iter().all(|lot| lot_is_exact(&lot.numbers).is_ok()));
        Ok(())
    }

    /// Writes off the rest of lots whose time is over; they were unusable already. The line counts
    /// from the expiry on, or from `at` where something came back to such a lot.
    pub(crate) async fn write_off_expired(
        &self,
        tx: &mut Tx,
        account: &mut Account,
        at: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let now = self.clock().now();
        let lots = account.lots();
        let over = lots.into_iter().filter(|lot| lot.is_expired(now) && 0 < lot.available);
        for lot in over {
            let at = at.or(lot.expires_at).unwrap_or(now);
            let draw = Draw { lot: lot.id, amount: lot.available };
            let why = Why { at, ..Why::now(self, "expired") };
            self.post(tx, account, EntryKind::Expire, &draw, why).await?;
        }
        Ok(())
    }
}
