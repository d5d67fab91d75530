//! Balance transactions: every movement of the account's money, and the balance they add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::DAY;
use crate::currencies;
use crate::errors::ApiError;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists};

/// Money of a charge can be paid out this many days later.
const PENDING_DAYS: i64 = 2;
pub const DISPUTE_FEE: i64 = 1_500;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BalanceTransaction {
    pub id: String,
    pub created: i64,
    #[serde(rename = "type")]
    pub kind: String,
    pub category: String,
    pub amount: i64,
    pub fee: i64,
    pub currency: String,
    pub source: String,
    pub available_on: i64,
    pub description: Option<String>,
}

impl Row for BalanceTransaction {
    const KIND: &'static str = "balance_transaction";
    fn id(&self) -> &str {
        &self.id
    }
}

impl BalanceTransaction {
    /// A movement that is available at once; the caller sets what differs.
    pub fn new(kind: &str, amount: i64, currency: &str, source: &str, now: i64) -> Self {
        BalanceTransaction {
            id: ids::object("txn"),
            created: now,
            kind: kind.to_owned(),
            category: kind.to_owned(),
            amount,
            fee: 0,
            currency: currency.to_owned(),
            source: source.to_owned(),
            available_on: now,
            description: None,
        }
    }

    /// A payment: it costs a fee, and the money is pending for some days.
    pub fn of_payment(kind: &str, amount: i64, currency: &str, source: &str, now: i64) -> Self {
        let mut row = BalanceTransaction::new(kind, amount, currency, source, now);
        row.category = "charge".to_owned();
        row.fee = processing_fee(amount, currency);
        row.available_on = (now.div_euclid(DAY) + PENDING_DAYS) * DAY;
        row
    }

    fn net(&self) -> i64 {
        self.amount.saturating_sub(self.fee)
    }
}

/// 2.9 % and 30 cents, whatever the cents of the currency are.
fn processing_fee(amount: i64, currency: &str) -> i64 {
    let fixed = match currencies::decimals(currency) {
        Some(0) => 0,
        Some(3) => 300,
        _ => 30,
    };
    (amount.saturating_mul(29) + 500).div_euclid(1_000) + fixed
}

/// Stores a movement; answers its id.
pub fn record(tx: &mut Tx<'_>, row: BalanceTransaction) -> String {
    let id = row.id.clone();
    tx.state.balance_transactions.put(row);
    id
}

pub fn view(state: &State, row: &BalanceTransaction) -> Value {
    let available = row.available_on <= state.clock.now();
    let (description, kind) = match row.kind.as_str() {
        "adjustment" => ("Dispute fee", "stripe_fee"),
        _ => ("Processing fees", "stripe_fee"),
    };
    let fees = if row.fee == 0 {
        Vec::new()
    } else {
        vec![json!({
            "amount": row.fee,
            "application": null,
            "currency": row.currency,
            "description": description,
            "type": kind,
        })]
    };
    json!({
        "id": row.id,
        "object": "balance_transaction",
        "amount": row.amount,
        "available_on": row.available_on,
        "balance_type": "payments",
        "created": row.created,
        "currency": row.currency,
        "description": row.description,
        "exchange_rate": null,
        "fee": row.fee,
        "fee_details": fees,
        "net": row.net(),
        "reporting_category": row.category,
        "source": row.source,
        "status": if available { "available" } else { "pending" },
        "type": row.kind,
    })
}

/// What can be paid out, and what will be.
pub fn balance(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let now = tx.state.clock.now();
    let mut sums: BTreeMap<&str, (i64, i64)> = BTreeMap::from([("usd", (0, 0))]);
    for row in tx.state.balance_transactions.oldest_first() {
        let (available, pending) = sums.entry(&row.currency).or_default();
        let sum = if row.available_on <= now { available } else { pending };
        *sum = sum.saturating_add(row.net());
    }
    let show = |currency: &str, amount: i64| {
        let types = json!({"card": amount});
        json!({"amount": amount, "currency": currency, "source_types": types})
    };
    let available: Vec<Value> = sums.iter().map(|(key, sums)| show(key, sums.0)).collect();
    let pending: Vec<Value> = sums.iter().map(|(key, sums)| show(key, sums.1)).collect();
    Ok(json!({
        "object": "balance",
        "available": available,
        "livemode": false,
        "pending": pending,
    }))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let found = tx.state.balance_transactions.get(id);
    Ok(view(tx.state, found.ok_or_else(|| ApiError::not_found("balance transaction", id))?))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let created = lists::range(params, "created")?;
    let currency = params.text("currency")?;
    let source = params.text("source")?;
    let kind = params.text("type")?;
    let payout = params.text("payout")?;
    let state = &*tx.state;
    lists::page(
        call,
        &state.balance_transactions,
        |row| {
            // Nothing is ever paid out here.
            payout.is_none()
                && created.contains(row.created)
                && currency.as_ref().is_none_or(|currency| row.currency == *currency)
                && source.as_ref().is_none_or(|source| row.source == *source)
                && kind.as_ref().is_none_or(|kind| row.kind == *kind)
        },
        |row| view(state, row),
    )
}

#[cfg(test)]
mod tests {
    use super::processing_fee;

    #[test]
    fn fees_are_rounded_half_up() {
        assert_eq!(processing_fee(2_000, "usd"), 88);
        assert_eq!(processing_fee(2_500, "eur"), 103);
        assert_eq!(processing_fee(500, "jpy"), 15);
        assert_eq!(processing_fee(10_000, "kwd"), 590);
    }
}
