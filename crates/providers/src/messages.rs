//! What messages from providers and messages to receivers have in common.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The proof of a message's origin: over the time and the body.
pub(crate) fn sign(payload: &[u8], secret: &str, timestamp: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("hmac takes keys of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(payload);
    hex::encode(mac.finalize().into_bytes())
}

/// The whole chain of reasons, without the address: what is asked may name a customer.
pub(crate) fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
