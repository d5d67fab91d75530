//! Payments: one row for one purchase, however many events tell of it.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id, opt_id};
use crate::sql::{Arg, args, statements};
use domain::ids::{CustomerId, PaymentId, PriceId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;
use serde::Serialize;
use std::collections::HashSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    Pending,
    Paid,
    Failed,
    Refunded,
    PartiallyRefunded,
}

impl PaymentStatus {
    const ALL: [PaymentStatus; 5] = [
        PaymentStatus::Pending,
        PaymentStatus::Paid,
        PaymentStatus::Failed,
        PaymentStatus::Refunded,
        PaymentStatus::PartiallyRefunded,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            PaymentStatus::Pending => "pending",
            PaymentStatus::Paid => "paid",
            PaymentStatus::Failed => "failed",
            PaymentStatus::Refunded => "refunded",
            PaymentStatus::PartiallyRefunded => "partially_refunded",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct Payment {
    pub id: PaymentId,
    pub customer_id: CustomerId,
    pub provider: String,
    /// The business fact: the invoice, else the payment intent, else the session.
    pub fact: String,
    pub provider_payment_intent_id: Option<String>,
    pub provider_invoice_id: Option<String>,
    pub provider_session_id: Option<String>,
    pub price_id: Option<PriceId>,
    pub amount: Money,
    pub amount_refunded: i64,
    pub status: PaymentStatus,
    pub description: Option<String>,
    pub paid_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "payments.insert":
        "INSERT INTO payments (provider_payment_intent_id, provider_invoice_id,
             provider_session_id, price_id, amount, amount_refunded, status, description, paid_at,
             updated_at, id, customer_id, provider, fact, currency, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    UPDATE = "payments.update":
        "UPDATE payments SET provider_payment_intent_id = ?, provider_invoice_id = ?,
             provider_session_id = ?, price_id = ?, amount = ?, amount_refunded = ?, status = ?,
             description = ?, paid_at = ?, updated_at = ?
         WHERE id = ?";
    RENAME = "payments.rename": "UPDATE payments SET fact = ? WHERE id = ?";
    GET = "payments.get": "SELECT * FROM payments WHERE id = ?";
    FIND = "payments.find": "SELECT * FROM payments WHERE provider = ? AND fact = ?";
    FIND_NAMED = "payments.find_named":
        "SELECT * FROM payments WHERE provider = ? AND fact IN (?, ?, ?)
         UNION ALL
         SELECT * FROM payments WHERE provider_payment_intent_id IN (?, ?, ?)";
    BY_INTENT = "payments.by_intent":
        "SELECT * FROM payments
         WHERE COALESCE(provider, '') = ? AND provider_payment_intent_id = ?";
    // The greatest id of an intent would be looked for from the end of all payments.
    KNOWN_FOLD = "payments.known_fold":
        "SELECT r.name,
             (SELECT p.id FROM payments p WHERE p.provider = r.provider AND p.fact = r.name)
                 AS by_fact,
             (SELECT COUNT(*) FROM payments p WHERE p.provider_payment_intent_id = r.name)
                 AS by_intent
         FROM ROWS(provider VARCHAR(64), name VARCHAR(255))";
    LIST = "payments.list":
        "SELECT * FROM payments WHERE customer_id = ? AND id < ? ORDER BY id DESC LIMIT ?";
}

fn payment(row: &Row) -> Result<Payment, StoreError> {
    let currency = row.parsed("currency", |text| Currency::parse(text).ok())?;
    Ok(Payment {
        id: id!(row, "id", PaymentId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        provider: row.text("provider")?,
        fact: row.text("fact")?,
        provider_payment_intent_id: row.opt_text("provider_payment_intent_id")?,
        provider_invoice_id: row.opt_text("provider_invoice_id")?,
        provider_session_id: row.opt_text("provider_session_id")?,
        price_id: opt_id!(row, "price_id", PriceId)?,
        amount: Money::new(row.int("amount")?, currency),
        amount_refunded: row.int("amount_refunded")?,
        status: row.parsed("status", PaymentStatus::parse)?,
        description: row.opt_text("description")?,
        paid_at: row.opt_time("paid_at")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// What both the insert and the update write, in their common order.
fn changing(row: &Payment) -> Vec<Arg> {
    args![
        &row.provider_payment_intent_id,
        &row.provider_invoice_id,
        &row.provider_session_id,
        &row.price_id,
        row.amount.minor(),
        row.amount_refunded,
        row.status.as_str(),
        &row.description,
        row.paid_at,
        row.updated_at,
        &row.id
    ]
}

/// What the insert writes.
fn whole(new: &Payment) -> Vec<Arg> {
    let currency = new.amount.currency();
    let mut args = changing(new);
    args.extend(args![
        &new.customer_id,
        &new.provider,
        &new.fact,
        currency.as_str(),
        new.created_at
    ]);
    args
}

#[derive(Serialize)]
struct NameRow<'a> {
    provider: &'a str,
    name: &'a str,
}

impl Tx {
    pub async fn payments_insert(&mut self, new: &Payment) -> Result<(), StoreError> {
        self.change_one(&INSERT, whole(new)).await
    }

    pub async fn payments_insert_all(&mut self, new: &[&Payment]) -> Result<(), StoreError> {
        let rows: Vec<_> = new.iter().map(|new| whole(new)).collect();
        self.insert_all(&INSERT, &rows).await
    }

    /// Which of these names, facts or payment intents, a payment has already.
    pub async fn payments_known_fold(
        &mut self,
        provider: &str,
        names: &[&str],
    ) -> Result<HashSet<String>, StoreError> {
        let rows: Vec<_> = names.iter().map(|name| NameRow { provider, name }).collect();
        let rows = self.all(&KNOWN_FOLD, vec![Arg::rows(&rows)?]).await?;
        let known = |row: &Row| -> Result<Option<String>, StoreError> {
            let is_known = row.opt_text("by_fact")?.is_some() || 0 < row.int("by_intent")?;
            is_known.then(|| row.text("name")).transpose()
        };
        rows.iter().filter_map(|row| known(row).transpose()).collect()
    }

    pub async fn payments_update(&mut self, row: &Payment) -> Result<(), StoreError> {
        self.change_one(&UPDATE, changing(row)).await
    }

    /// Keys a payment by a better fact than the one that was told first.
    pub async fn payments_rename(&mut self, id: &PaymentId, fact: &str) -> Result<(), StoreError> {
        self.change_one(&RENAME, args![fact, id]).await
    }

    pub async fn payments_get(&mut self, id: &PaymentId) -> Result<Option<Payment>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(payment).transpose()
    }

    /// By the business fact.
    pub async fn payments_find(
        &mut self,
        provider: &str,
        fact: &str,
    ) -> Result<Option<Payment>, StoreError> {
        self.first(&FIND, args![provider, fact]).await?.as_ref().map(payment).transpose()
    }

    /// By any of the names that a purchase can have, the best first: its fact, or its payment
    /// intent.
    pub async fn payments_named(
        &mut self,
        provider: &str,
        names: [Option<&str>; 3],
    ) -> Result<Option<Payment>, StoreError> {
        let [first, second, third] = names;
        let args = args![provider, first, second, third, first, second, third];
        let rows = self.all(&FIND_NAMED, args).await?;
        let mut found: Vec<Payment> = rows.iter().map(payment).collect::<Result<_, _>>()?;
        found.retain(|held| held.provider == provider);
        let named = |name: &str| {
            let by_fact = found.iter().find(|held| held.fact == name);
            let by_intent =
                |held: &&Payment| held.provider_payment_intent_id.as_deref() == Some(name);
            by_fact.or_else(|| found.iter().find(by_intent)).cloned()
        };
        Ok(names.into_iter().flatten().find_map(named))
    }

    pub async fn payments_by_intent(
        &mut self,
        provider: &str,
        payment_intent: &str,
    ) -> Result<Option<Payment>, StoreError> {
        let row = self.first(&BY_INTENT, args![provider, payment_intent]).await?;
        row.as_ref().map(payment).transpose()
    }

    /// Newest first, after `cursor`.
    pub async fn payments_list(
        &mut self,
        customer: &CustomerId,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Payment>, StoreError> {
        self.all(&LIST, args![customer, cursor, limit]).await?.iter().map(payment).collect()
    }
}
