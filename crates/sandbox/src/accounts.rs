//! The account itself, its balance and balance transactions, derived from charges and refunds.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::errors::ApiError;
use crate::requests::Call;
use crate::state::State;
use crate::transactions::Tx;

/// The account that a secret or restricted key names: always the same, and nobody else's.
pub fn of_key(key: &str) -> String {
    let own = key.trim_start_matches("sk_test_").trim_start_matches("rk_test_");
    let digest = hex::encode(Sha256::digest(own.as_bytes()));
    format!("acct_{}", &digest[..16])
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(json!({
        "id": tx.state.account,
        "object": "account",
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": true,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": true,
        "email": "sandbox@example.com",
        "metadata": {},
        "payouts_enabled": true,
        "settings": null,
        "type": "standard",
    }))
}

/// All money is available at once: nothing here waits for a bank.
pub fn balance(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let mut sums: BTreeMap<&str, i64> = BTreeMap::from([("usd", 0)]);
    for charge in tx.state.charges.oldest_first() {
        let sum = sums.entry(&charge.currency).or_default();
        *sum = sum.saturating_add(charge.refundable());
    }
    let available: Vec<Value> = sums
        .into_iter()
        .map(|(currency, amount)| {
            json!({"amount": amount, "currency": currency, "source_types": {"card": amount}})
        })
        .collect();
    let pending = json!([{"amount": 0, "currency": "usd", "source_types": {"card": 0}}]);
    Ok(json!({
        "object": "balance",
        "available": available,
        "livemode": false,
        "pending": pending,
    }))
}

/// The movement behind `txn_…`: a charge or a refund with the same suffix.
pub fn balance_transaction(state: &State, id: &str) -> Option<Value> {
    let suffix = id.strip_prefix("txn_")?;
    let charge = state.charges.get(&format!("ch_{suffix}"));
    if let Some(charge) = charge.filter(|charge| charge.failure.is_none()) {
        let source = (charge.id.as_str(), "charge");
        return Some(movement(id, source, charge.created, charge.amount, &charge.currency));
    }
    let refund = state.refunds.get(&format!("re_{suffix}"))?;
    let source = (refund.id.as_str(), "refund");
    Some(movement(id, source, refund.created, -refund.amount, &refund.currency))
}

fn movement(
    id: &str,
    (source, kind): (&str, &str),
    created: i64,
    amount: i64,
    currency: &str,
) -> Value {
    json!({
        "id": id,
        "object": "balance_transaction",
        "amount": amount,
        "available_on": created,
        "balance_type": "payments",
        "created": created,
        "currency": currency,
        "description": null,
        "exchange_rate": null,
        "fee": 0,
        "fee_details": [],
        "net": amount,
        "reporting_category": kind,
        "source": source,
        "status": "available",
        "type": kind,
    })
}

pub fn retrieve_transaction(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let found = balance_transaction(tx.state, id);
    found.ok_or_else(|| ApiError::not_found("balance transaction", id))
}

/// Newest first; derived rows have no cursor of their own.
pub fn list_transactions(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let limit = call.params.within("limit", 1, 100)?.unwrap_or(10);
    call.params.finish()?;
    let charges = tx.state.charges.newest_first().filter(|charge| charge.failure.is_none());
    let charges = charges.map(|charge| (charge.created, charge.id.trim_start_matches("ch_")));
    let refunds = tx.state.refunds.newest_first();
    let refunds = refunds.map(|refund| (refund.created, refund.id.trim_start_matches("re_")));
    let mut found: Vec<(i64, &str)> = charges.chain(refunds).collect();
    found.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    let limit = usize::try_from(limit).unwrap_or(10);
    let has_more = limit < found.len();
    let shown = found.into_iter().take(limit);
    let data: Vec<Value> =
        shown.filter_map(|(_, id)| balance_transaction(tx.state, &format!("txn_{id}"))).collect();
    Ok(json!({"object": "list", "data": data, "has_more": has_more, "url": call.path}))
}
