//! Spending credits at once: many customers' consumptions are folded into one transaction.

use super::{Balance, ConsumeRequest, Receipt, Why, inconsistent, remembered, request};
use crate::debts::DebtPolicy;
use crate::failures::Failure;
use crate::folds::{Fold, Undone, Verdict};
use crate::limits::check_text;
use crate::{Engine, Subject};
use domain::credits::{Class, Credits, Shortage, check_unit, plan_burn};
use domain::ids::CustomerId;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use store::Tx;
use store::credits::folds::AccountFold;
use store::credits::{Account, EntryKind};
use store::customers::ExternalId;
use store::idempotency::{Remembered, Request};
use tokio::sync::watch;

const OPERATION: &str = "credits.consume";

/// How many folds of consumptions are under way at a time. A second one would wait for SQLite's one
/// writer.
pub(crate) fn lines(is_one_writer: bool) -> Vec<Fold<Consumption, Receipt>> {
    let count = if is_one_writer { 1 } else { 2 };
    (0..count).map(|_| Fold::new("credits.consume_fold", Consumption::weight)).collect()
}

/// A consumption that has been checked.
#[derive(Debug, Clone)]
pub(crate) struct Consumption {
    subject: Subject,
    amount: Credits,
    asked: ConsumeRequest,
}

impl Consumption {
    /// What is long in it.
    fn weight(&self) -> usize {
        let texts = [&self.asked.reference, &self.asked.idempotency_key];
        texts.into_iter().flatten().map(String::len).sum()
    }

    fn request<'a>(&'a self, customer: &'a CustomerId) -> Option<Request<'a>> {
        let amount = self.amount.get().to_string();
        let reference = self.asked.reference.as_deref().unwrap_or_default();
        let key = self.asked.idempotency_key.as_ref();
        request(customer, OPERATION, key, &[&amount, &self.asked.unit, reference])
    }

    /// The customer's id, where the name is one already.
    fn named(&self) -> Option<CustomerId> {
        match &self.subject {
            Subject::Known(id) => Some(id.clone()),
            Subject::Named(name) => CustomerId::parse(name).ok(),
            Subject::Own(_) => None,
        }
    }

    /// What the application calls the customer. A token that looks like an id of ours is judged
    /// alone, with more care.
    fn external_id(&self) -> Option<&str> {
        match &self.subject {
            Subject::Known(_) => None,
            Subject::Named(name) | Subject::Own(name) => {
                CustomerId::parse(name).is_err().then_some(name.as_str())
            }
        }
    }
}

/// The answer of a consumption as it is remembered.
#[derive(Serialize, Deserialize)]
struct ReceiptText {
    consumed: i64,
    by_class: Vec<(String, i64)>,
    held: i64,
    next_expiry: Option<i64>,
}

impl ReceiptText {
    fn of(receipt: &Receipt) -> Self {
        let spelled = |(class, sum): &(Class, i64)| (class.as_str().to_owned(), *sum);
        ReceiptText {
            consumed: receipt.consumed,
            by_class: receipt.balance.by_class.iter().map(spelled).collect(),
            held: receipt.balance.held,
            next_expiry: receipt.balance.next_expiry.map(Timestamp::micros),
        }
    }

    fn receipt(self, unit: &str) -> Receipt {
        let parsed = |(word, sum): (String, i64)| Class::parse(&word).map(|class| (class, sum));
        let by_class: Vec<_> = self.by_class.into_iter().filter_map(parsed).collect();
        let next_expiry = self.next_expiry.map(Timestamp::from_micros);
        let balance = Balance::from_classes(unit, by_class, self.held, next_expiry);
        Receipt { consumed: self.consumed, balance, replayed: true }
    }
}

fn replayed(answer: &str, unit: &str) -> Result<Receipt, Failure> {
    let text: ReceiptText = serde_json::from_str(answer).map_err(inconsistent)?;
    Ok(text.receipt(unit))
}

fn answer(receipt: &Receipt) -> String {
    serde_json::json!(ReceiptText::of(receipt)).to_string()
}

impl Engine {
    /// Takes credits, or nothing.
    pub async fn credits_consume(
        &self,
        subject: &Subject,
        asked: ConsumeRequest,
    ) -> Result<Receipt, Failure> {
        let amount = Credits::new(asked.amount)?;
        check_unit(&asked.unit)?;
        check_text("reference", asked.reference.as_deref())?;
        check_text("Idempotency-Key", asked.idempotency_key.as_deref())?;
        let consumption = Consumption { subject: subject.clone(), amount, asked };
        match self.line_of(subject).ask(consumption.clone()).await {
            Verdict::Answer(answer) => answer,
            Verdict::Alone => self.consume_alone(&consumption).await,
        }
    }

    async fn consume_alone(&self, one: &Consumption) -> Result<Receipt, Failure> {
        let (amount, unit) = (one.amount, one.asked.unit.as_str());
        let mut tx = self.store().begin(OPERATION).await?;
        let Some(customer) = self.customer(&mut tx, &one.subject).await? else {
            let shortage = Shortage { required: amount.get(), available: 0 };
            return Err(self.shortage(&mut tx, unit, shortage).await?);
        };
        let request = one.request(&customer.id);
        let mut account = self.account_to_spend(&mut tx, &customer.id, unit, amount).await?;
        if let Some(answer) = remembered(&mut tx, request.as_ref()).await? {
            return replayed(&answer, unit);
        }
        self.consume_in(&mut tx, &mut account, amount, one.asked.reference.as_deref()).await?;
        let balance = Balance::of(unit, &account.grants, self.clock().now());
        tx.credits_close(account).await?;
        let receipt = Receipt { consumed: amount.get(), balance, replayed: false };
        self.remember(&mut tx, request.as_ref(), &answer(&receipt)).await?;
        tx.commit().await?;
        Ok(receipt)
    }

    fn line_of(&self, subject: &Subject) -> &Fold<Consumption, Receipt> {
        let name = match subject {
            Subject::Named(name) | Subject::Own(name) => name.as_str(),
            Subject::Known(id) => id.as_str(),
        };
        let lines = &self.inner.consumptions;
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        &lines[usize::try_from(hasher.finish()).unwrap_or_default() % lines.len()]
    }

    /// Commits folds of one line's consumptions until told to stop.
    pub(crate) async fn fold_consumptions(self, line: usize, mut shutdown: watch::Receiver<bool>) {
        let taker = self.inner.consumptions[line].taker();
        while let Some(round) = taker.take(&mut shutdown).await {
            let outcome = taker.within(self.consume_fold(&round.asked)).await;
            taker.tell(round, outcome);
        }
    }

    async fn consume_fold(&self, asked: &[Consumption]) -> Result<Vec<Verdict<Receipt>>, Undone> {
        let mut tx = self.store().begin("credits.consume_fold").await?;
        let customers = self.fold_customers(&mut tx, asked).await?;
        let named = customers.iter().zip(asked);
        let wanted: BTreeSet<_> = named
            .filter_map(|(customer, one)| Some((customer.clone()?, one.asked.unit.clone())))
            .collect();
        let wanted: Vec<_> = wanted.into_iter().collect();
        let mut accounts = tx.credits_open_fold(&wanted).await?;
        let barred = self.fold_barred(&mut tx, &wanted).await?;
        let requests: Vec<_> = customers
            .iter()
            .zip(asked)
            .map(|(customer, one)| customer.as_ref().and_then(|it| one.request(it)))
            .collect();
        let known = tx.idempotency_find_fold(OPERATION, &requests).await?;
        let mut verdicts = Vec::with_capacity(asked.len());
        let (mut keys, mut kept) = (HashSet::new(), Vec::new());
        for (((one, customer), request), known) in
            asked.iter().zip(&customers).zip(&requests).zip(known)
        {
            let unit = one.asked.unit.as_str();
            let is_first = |it: &Request<'_>| keys.insert((it.customer.clone(), it.key.to_owned()));
            let is_repeated = !request.as_ref().is_none_or(is_first);
            let verdict = match (customer, known) {
                (_, Remembered::Answer(answer)) => Verdict::Answer(replayed(&answer, unit)),
                (Some(customer), Remembered::Nothing) if !is_repeated => {
                    match barred.contains(&(customer.clone(), one.asked.unit.clone())) {
                        true => Verdict::Alone,
                        false => self.consume_beside(&mut accounts, customer, one),
                    }
                }
                _ => Verdict::Alone,
            };
            if let (Verdict::Answer(Ok(receipt)), Some(request)) = (&verdict, request)
                && !receipt.replayed
            {
                kept.push((request, answer(receipt)));
            }
            verdicts.push(verdict);
        }
        tx.credits_close_fold(accounts).await?;
        tx.idempotency_remember_fold(&kept, self.clock().wall()).await?;
        tx.commit().await.map_err(Undone::Unknown)?;
        Ok(verdicts)
    }

    /// Who each of them is about, where that can be told at once.
    async fn fold_customers(
        &self,
        tx: &mut Tx,
        asked: &[Consumption],
    ) -> Result<Vec<Option<CustomerId>>, Failure> {
        let snapshots = self.store().snapshots();
        let names: BTreeSet<_> = asked.iter().filter_map(Consumption::external_id).collect();
        let is_new = |name: &&str| snapshots.customer(name).is_none();
        let new: Vec<_> = names
            .into_iter()
            .filter(is_new)
            .map(|external_id| ExternalId { external_id })
            .collect();
        let found = tx.customers_find_fold(&new).await?;
        for (external_id, customer) in &found {
            snapshots.keep_name(external_id.clone(), customer.clone());
        }
        let whose_name = |name: &str| found.get(name).cloned().or_else(|| snapshots.customer(name));
        let whose = |one: &Consumption| one.named().or_else(|| whose_name(one.external_id()?));
        Ok(asked.iter().map(whose).collect())
    }

    /// Accounts of which a debt forbids to spend.
    async fn fold_barred(
        &self,
        tx: &mut Tx,
        accounts: &[(CustomerId, String)],
    ) -> Result<HashSet<(CustomerId, String)>, Failure> {
        match self.settings().debt_policy {
            DebtPolicy::Block => Ok(tx.debts_owing_fold(accounts).await?),
            DebtPolicy::Forgive | DebtPolicy::NetNextGrant => Ok(HashSet::new()),
        }
    }

    /// One of a fold, after those who came before it.
    fn consume_beside(
        &self,
        accounts: &mut AccountFold,
        customer: &CustomerId,
        one: &Consumption,
    ) -> Verdict<Receipt> {
        let (now, unit) = (self.clock().now(), one.asked.unit.as_str());
        let Some(account) = accounts.get(customer, unit) else {
            return Verdict::Alone;
        };
        let lots = account.lots();
        // What is over has to be written off first, by whoever is alone.
        if lots.iter().any(|lot| lot.is_expired(now) && 0 < lot.available) {
            return Verdict::Alone;
        }
        let Ok(draws) = plan_burn(&lots, one.amount, now) else {
            return Verdict::Alone;
        };
        for draw in &draws {
            let why = Why { reference: one.asked.reference.as_deref(), hold: None, at: now };
            let posting = self.posting(EntryKind::Consume, &draw.lot, draw.amount, why);
            accounts.consume(customer, unit, &posting);
        }
        let balance = accounts.get(customer, unit).map(|it: &Account| it.grants.as_slice());
        let balance = Balance::of(unit, balance.unwrap_or_default(), now);
        Verdict::Answer(Ok(Receipt { consumed: one.amount.get(), balance, replayed: false }))
    }
}
