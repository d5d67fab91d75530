//! Idempotency keys: the first answer is kept and given again, on the same parameters only.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock;
use crate::errors::ApiError;
use crate::state::{Row, State};

const LIFE_SECONDS: i64 = clock::DAY;
const MAX_KEY: usize = 255;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replay {
    pub id: String,
    /// Wall clock: how long a key is kept has nothing to do with business time.
    pub kept_at: i64,
    pub fingerprint: String,
    pub request_id: String,
    pub status: u16,
    pub body: String,
}

impl Row for Replay {
    const KIND: &'static str = "replay";
    fn id(&self) -> &str {
        &self.id
    }
}

/// What identifies the request behind a key.
#[derive(Clone, Debug)]
pub struct Guard {
    pub scope: String,
    pub fingerprint: String,
}

impl Guard {
    pub fn new(key: &str, method: &str, address: &str, body: &[u8]) -> Result<Guard, ApiError> {
        if key.is_empty() || MAX_KEY < key.len() {
            let message = format!("Idempotency keys have from 1 to {MAX_KEY} characters.");
            return Err(ApiError::idempotency(message));
        }
        let mut digest = Sha256::new();
        for part in [method.as_bytes(), address.as_bytes(), body] {
            digest.update(part);
            digest.update([0]);
        }
        Ok(Guard { scope: key.to_owned(), fingerprint: hex::encode(digest.finalize()) })
    }

    /// The kept answer, if there is one.
    pub fn replay(&self, state: &State) -> Result<Option<Replay>, ApiError> {
        if state.in_progress.contains(&self.scope) {
            let message = "There is currently another in-progress request using this Stripe \
                           Idempotency-Key.";
            return Err(ApiError::conflict(message));
        }
        match state.replays.get(&self.scope) {
            None => Ok(None),
            Some(kept) if kept.kept_at + LIFE_SECONDS < clock::wall() => Ok(None),
            Some(kept) if kept.fingerprint == self.fingerprint => Ok(Some(kept.clone())),
            Some(_) => Err(ApiError::idempotency(
                "Keys for idempotent requests can only be used with the same parameters they \
                 were first used with. Try using a key other than the one you used before if you \
                 meant to execute a different request."
                    .to_owned(),
            )),
        }
    }

    pub fn keep(&self, state: &mut State, request_id: &str, status: u16, body: &str) {
        state.replays.put(Replay {
            id: self.scope.clone(),
            kept_at: clock::wall(),
            fingerprint: self.fingerprint.clone(),
            request_id: request_id.to_owned(),
            status,
            body: body.to_owned(),
        });
    }
}

/// Forgets keys older than a day.
pub fn prune(state: &mut State) {
    let oldest_kept = clock::wall() - LIFE_SECONDS;
    let old: Vec<String> = state
        .replays
        .oldest_first()
        .take_while(|replay| replay.kept_at < oldest_kept)
        .map(|replay| replay.id.clone())
        .collect();
    for id in old {
        state.replays.remove(&id);
    }
}
