//! Answers kept for repeated requests. Only successes are kept: a refusal may be tried again.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::sql::{args, statements};
use domain::ids::CustomerId;
use domain::time::Timestamp;
use sha2::{Digest as _, Sha256};

statements! {
    GET = "idempotency_keys.get":
        "SELECT request_hash, answer FROM idempotency_keys
         WHERE customer_id = ? AND operation = ? AND idempotency_key = ?";
    INSERT = "idempotency_keys.insert":
        "INSERT INTO idempotency_keys (customer_id, operation, idempotency_key, request_hash,
             answer, created_at)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    Nothing,
    /// The same request was answered so.
    Answer(String),
    /// The key was used for another request.
    Conflict,
}

/// One repeated request: whose, which operation, under which key, with which body.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub customer: &'a CustomerId,
    pub operation: &'static str,
    pub key: &'a str,
    pub hash: String,
}

/// The digest of what a request asks for.
pub fn request_hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    hex::encode(digest.finalize())
}

impl Tx {
    /// Looks a key up. The caller holds the lock of what the request changes.
    pub async fn idempotency_find(
        &mut self,
        request: &Request<'_>,
    ) -> Result<Remembered, StoreError> {
        let args = args![request.customer, request.operation, request.key];
        let Some(row) = self.first(&GET, args).await? else {
            return Ok(Remembered::Nothing);
        };
        if row.text("request_hash")? == request.hash {
            return Ok(Remembered::Answer(row.text("answer")?));
        }
        Ok(Remembered::Conflict)
    }

    /// Keeps an answer; `false` where the key was used for another request meanwhile.
    pub async fn idempotency_remember(
        &mut self,
        request: &Request<'_>,
        answer: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args =
            args![request.customer, request.operation, request.key, &request.hash, answer, now];
        self.change_if(&INSERT, args).await
    }
}
