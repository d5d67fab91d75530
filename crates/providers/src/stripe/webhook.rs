//! Proof that a payload comes from Stripe: over the raw bytes, before anything is parsed.

use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

use crate::errors::SignatureError;
use crate::messages::sign;

/// Longer headers are refused unread; a real one has a few hundred bytes.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// How old a signature may be unless the settings say otherwise.
pub const TOLERANCE_SECONDS: i64 = 300;

/// Accepts a payload if any of its `v1` signatures was made with any of the secrets, no longer ago
/// and no further ahead than the tolerance. A tolerance of zero accepts the same second only.
///
/// Signatures are compared as the lower-case text they are sent as. All of them are compared with
/// all secrets, so the time taken does not tell which one matched.
pub fn verify(
    payload: &[u8],
    header: &str,
    secrets: &[SecretString],
    now_seconds: i64,
    tolerance_seconds: i64,
) -> Result<(), SignatureError> {
    let (timestamp, signatures) = parse(header)?;
    let signed_at: i64 = timestamp.parse().map_err(|_| SignatureError::TimestampNotANumber)?;
    let mut usable = secrets.iter().map(|s| s.expose_secret()).filter(|s| !s.is_empty()).peekable();
    if usable.peek().is_none() {
        return Err(SignatureError::NoSecret);
    }
    let mut matches = Choice::from(0);
    for secret in usable {
        let expected = sign(payload, secret, timestamp);
        for signature in &signatures {
            matches |= expected.as_bytes().ct_eq(signature.as_bytes());
        }
    }
    if !bool::from(matches) {
        return Err(SignatureError::Mismatch);
    }
    let age_seconds = now_seconds.saturating_sub(signed_at);
    if tolerance_seconds < age_seconds {
        return Err(SignatureError::TooOld(age_seconds));
    }
    if age_seconds < tolerance_seconds.saturating_neg() {
        return Err(SignatureError::InTheFuture(age_seconds.saturating_neg()));
    }
    Ok(())
}

/// The timestamp as it was signed, and every `v1`. Parts of other schemes are skipped.
fn parse(header: &str) -> Result<(&str, Vec<&str>), SignatureError> {
    if MAX_HEADER_BYTES < header.len() {
        return Err(SignatureError::HeaderTooLong);
    }
    let mut timestamp = None;
    let mut signatures = Vec::new();
    for (name, value) in header.split(',').filter_map(|part| part.split_once('=')) {
        match name {
            "t" if timestamp.is_some() => return Err(SignatureError::TwoTimestamps),
            "t" => timestamp = Some(value),
            "v1" => signatures.push(value),
            _ => {}
        }
    }
    let timestamp = timestamp.ok_or(SignatureError::NoTimestamp)?;
    if timestamp.is_empty() || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SignatureError::TimestampNotANumber);
    }
    if signatures.is_empty() {
        return Err(SignatureError::NoSignature);
    }
    Ok((timestamp, signatures))
}
