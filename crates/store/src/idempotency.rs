//! Answers kept for repeated requests. Only successes are kept: a refusal may be tried again.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::sql::{Arg, args, statements};
use domain::ids::CustomerId;
use domain::time::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

statements! {
    GET = "idempotency_keys.get":
        "SELECT request_hash, answer FROM idempotency_keys
         WHERE customer_id = ? AND operation = ? AND idempotency_key = ?";
    INSERT = "idempotency_keys.insert":
        "INSERT INTO idempotency_keys (customer_id, operation, idempotency_key, request_hash,
             answer, created_at)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    GET_FOLD = "idempotency_keys.get_fold":
        "SELECT r.customer_id, r.idempotency_key,
             (SELECT k.request_hash FROM idempotency_keys k
              WHERE k.customer_id = r.customer_id AND k.operation = ?
                AND k.idempotency_key = r.idempotency_key) AS request_hash,
             (SELECT k.answer FROM idempotency_keys k
              WHERE k.customer_id = r.customer_id AND k.operation = ?
                AND k.idempotency_key = r.idempotency_key) AS answer
         FROM ROWS(customer_id VARCHAR(255), idempotency_key VARCHAR(255))";
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

impl Request<'_> {
    /// What a key that was used says of this request.
    fn recall(&self, hash: &str, answer: String) -> Remembered {
        match hash == self.hash {
            true => Remembered::Answer(answer),
            false => Remembered::Conflict,
        }
    }
}

#[derive(Serialize)]
struct KeyRow<'a> {
    customer_id: &'a str,
    idempotency_key: &'a str,
}

/// What the insert of an answer writes.
fn whole(request: &Request<'_>, answer: &str, now: Timestamp) -> Vec<Arg> {
    args![request.customer, request.operation, request.key, &request.hash, answer, now]
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
        Ok(request.recall(&row.text("request_hash")?, row.text("answer")?))
    }

    /// The same for many requests of one operation; what is known of each, in their order.
    pub async fn idempotency_find_fold(
        &mut self,
        operation: &'static str,
        requests: &[Option<Request<'_>>],
    ) -> Result<Vec<Remembered>, StoreError> {
        let keyed = requests.iter().flatten();
        let rows: Vec<_> = keyed
            .map(|it| KeyRow { customer_id: it.customer.as_str(), idempotency_key: it.key })
            .collect();
        let mut known = HashMap::new();
        if !rows.is_empty() {
            let args = vec![operation.into(), operation.into(), Arg::rows(&rows)?];
            for row in self.all(&GET_FOLD, args).await? {
                let key = (row.text("customer_id")?, row.text("idempotency_key")?);
                if let Some(hash) = row.opt_text("request_hash")? {
                    known.insert(key, (hash, row.text("answer")?));
                }
            }
        }
        let recall = |request: &Option<Request<'_>>| {
            let request = request.as_ref()?;
            let (hash, answer) =
                known.get(&(request.customer.to_string(), request.key.to_owned()))?;
            Some(request.recall(hash, answer.clone()))
        };
        Ok(requests.iter().map(|it| recall(it).unwrap_or(Remembered::Nothing)).collect())
    }

    /// Keeps many answers; a key that was used meanwhile is a unique violation for all of them.
    pub async fn idempotency_remember_fold(
        &mut self,
        answers: &[(&Request<'_>, String)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if answers.is_empty() {
            return Ok(());
        }
        let mut sorted: Vec<_> = answers.iter().collect();
        sorted.sort_unstable_by_key(|(request, _)| (request.customer, request.key));
        let rows: Vec<_> =
            sorted.into_iter().map(|(request, answer)| whole(request, answer, now)).collect();
        self.insert_all(&INSERT, &rows).await
    }

    /// Keeps an answer; `false` where the key was used for another request meanwhile.
    pub async fn idempotency_remember(
        &mut self,
        request: &Request<'_>,
        answer: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&INSERT, whole(request, answer, now)).await
    }
}
