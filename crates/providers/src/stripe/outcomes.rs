//! What an answer means: an outcome, a refusal, or unknown.

use serde_json::Value;

use super::{Answer, fields};
use crate::errors::ProviderError;

/// Failures that may pass: no answer, a lock, too many requests, trouble on the other side. The
/// provider knows best and may say so in a header.
pub(super) fn worth_retrying(answer: &Result<Answer, String>) -> bool {
    match answer {
        Err(_) => true,
        Ok(answer) if answer.status < 400 => false,
        Ok(answer) => answer.should_retry.unwrap_or_else(|| {
            matches!(answer.status, 409 | 424 | 429 | 500..) || is_lock_timeout(&error_of(answer))
        }),
    }
}

/// Whether a request may have been carried out though its answer does not say so.
pub(super) fn may_have_happened(answer: &Result<Answer, String>) -> bool {
    answer.as_ref().map_or(true, |answer| matches!(answer.status, 424 | 500..))
}

/// The object of a success, or why there is none.
pub(super) fn outcome(path: &str, answer: Result<Answer, String>) -> Result<Value, ProviderError> {
    let answer = answer.map_err(|cause| ProviderError::Unknown { cause })?;
    if (200..300).contains(&answer.status) {
        let object: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| ProviderError::Malformed(error.to_string()))?;
        return match object {
            Value::Object(_) => Ok(object),
            _ => Err(ProviderError::Malformed("it is no object".to_owned())),
        };
    }
    Err(refusal(path, &answer))
}

fn error_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

fn is_lock_timeout(error: &Value) -> bool {
    fields::text(error, "/error/code").as_deref() == Some("lock_timeout")
}

fn refusal(path: &str, answer: &Answer) -> ProviderError {
    let error = error_of(answer);
    let code = fields::text(&error, "/error/code");
    let param = fields::text(&error, "/error/param");
    let message = fields::text(&error, "/error/message")
        .unwrap_or_else(|| format!("status {} without a message", answer.status));
    let is_card_error = fields::text(&error, "/error/type").as_deref() == Some("card_error");
    let is_missing = code.as_deref() == Some("resource_missing");
    match answer.status {
        status if 500 <= status || status == 424 => ProviderError::Failed { status, message },
        401 | 403 => ProviderError::Unauthorized,
        _ if is_lock_timeout(&error) => ProviderError::Busy,
        409 => ProviderError::Busy,
        429 => ProviderError::RateLimited,
        402 => declined(&error, code, message),
        _ if is_card_error => declined(&error, code, message),
        404 => ProviderError::NotFound { object: collection_of(path), message },
        status => match param {
            Some(object) if is_missing => ProviderError::NotFound { object, message },
            // What misses, a payment method for example, need not be what was asked for.
            param => ProviderError::Refused { status, code, param, message },
        },
    }
}

fn declined(error: &Value, code: Option<String>, message: String) -> ProviderError {
    let decline_code = fields::text(error, "/error/decline_code");
    ProviderError::Declined { code, decline_code, message }
}

/// `/v1/checkout/sessions/cs_1` is one of `checkout/sessions`.
fn collection_of(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default().trim_start_matches("/v1/");
    match path.split_once('/') {
        Some((group @ ("checkout" | "billing_portal"), rest)) => {
            format!("{group}/{}", rest.split('/').next().unwrap_or_default())
        }
        Some((collection, _)) => collection.to_owned(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_is_read_from_the_path() {
        let cases = [
            ("/v1/customers/cus_1", "customers"),
            ("/v1/checkout/sessions/cs_1/expire", "checkout/sessions"),
            ("/v1/invoice_payments?limit=1", "invoice_payments"),
        ];
        for (path, expected) in cases {
            assert_eq!(collection_of(path), expected);
        }
    }
}
