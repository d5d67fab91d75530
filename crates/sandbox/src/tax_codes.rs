//! Tax codes: a few of the provider's many, enough to tell what is taxed from what is not.

use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::requests::Call;
use crate::transactions::Tx;

/// What something is taken to be when nobody says.
pub const DEFAULT: &str = "txcd_10000000";

const CODES: &[(&str, &str)] = &[
    ("txcd_00000000", "Nontaxable"),
    ("txcd_10000000", "General - Electronically Supplied Services"),
    ("txcd_10103000", "Software as a service (SaaS) - personal use"),
    ("txcd_10103001", "Software as a service (SaaS) - business use"),
    ("txcd_20030000", "General - Services"),
    ("txcd_92010001", "Shipping"),
    ("txcd_99999999", "General - Tangible Goods"),
];

fn view(code: &(&str, &str)) -> Value {
    let (id, name) = code;
    json!({
        "id": id,
        "object": "tax_code",
        "description": format!("{name}. The sandbox knows a few codes only."),
        "name": name,
        "requirements": null,
    })
}

/// Codes the sandbox does not know look like those it knows, and are taxed like most things.
pub fn check(code: &str, param: &str) -> Result<(), ApiError> {
    let digits = code.strip_prefix("txcd_").unwrap_or_default();
    if digits.len() == 8 && digits.chars().all(|sign| sign.is_ascii_digit()) {
        return Ok(());
    }
    Err(ApiError::no_such("tax code", code, param))
}

pub fn retrieve(_: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let found = CODES.iter().find(|(code, _)| *code == id);
    found.map(view).ok_or_else(|| ApiError::not_found("tax code", id))
}

/// Always complete.
pub fn list(_: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.ignore(&["limit", "starting_after", "ending_before"]);
    call.params.finish()?;
    let data: Vec<Value> = CODES.iter().map(view).collect();
    Ok(json!({"object": "list", "data": data, "has_more": false, "url": call.path}))
}
