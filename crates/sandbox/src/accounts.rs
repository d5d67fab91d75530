//! The account itself.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::errors::ApiError;
use crate::requests::Call;
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
