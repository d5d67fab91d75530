//! Server and admin keys: shown once, found by their digest.

use crate::Engine;
use crate::clock::{random, random_secret};
use crate::failures::Failure;
use crate::portal_sessions::digest;
use domain::codes::Code;
use domain::ids::ApiKeyId;
use moka::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store::api_keys::{ApiKey, KeyScope};

const NAME_LENGTH_MAX: usize = 100;
const PREFIX_LENGTH: usize = 12;

/// For how long a key is trusted that another process may have revoked.
const TRUST: Duration = Duration::from_millis(800);
const KEYS_MAX: u64 = 10_000;

/// Keys that were just shown need not be looked up at every request.
pub(crate) struct Known {
    keys: Cache<String, (ApiKey, u64, Instant)>,
    /// How many revocations there were here: a key that was read before one is looked up again.
    revocations: AtomicU64,
}

impl Default for Known {
    fn default() -> Self {
        let keys = Cache::builder().max_capacity(KEYS_MAX).time_to_live(TRUST).build();
        Self { keys, revocations: AtomicU64::new(0) }
    }
}

impl Known {
    fn get(&self, hash: &str) -> Option<ApiKey> {
        let (key, revocations, read_at) = self.keys.get(hash)?;
        let is_newest = revocations == self.revocations.load(Ordering::SeqCst);
        (is_newest && read_at.elapsed() < TRUST).then_some(key)
    }
}

/// Counts a revocation when it is durable, and also where nobody knows whether it is.
struct Revoking<'a>(&'a Known);

impl Drop for Revoking<'_> {
    fn drop(&mut self) {
        self.0.revocations.fetch_add(1, Ordering::SeqCst);
    }
}

impl Engine {
    /// Makes a key; its secret is never readable again.
    pub async fn api_keys_create(
        &self,
        name: &str,
        scope: KeyScope,
    ) -> Result<(ApiKey, SecretString), Failure> {
        let mode = if self.settings().livemode { "live" } else { "test" };
        let secret = SecretString::from(format!("sk_{mode}_{}", hex::encode(random_secret())));
        let key = self.api_keys_ensure(name, scope, &secret).await?;
        Ok((key, secret))
    }

    /// Makes a secret that the operator already keeps a key.
    pub async fn api_keys_ensure(
        &self,
        name: &str,
        scope: KeyScope,
        secret: &SecretString,
    ) -> Result<ApiKey, Failure> {
        if name.trim().is_empty() || NAME_LENGTH_MAX < name.len() {
            let detail = format!("name must be 1 to {NAME_LENGTH_MAX} bytes");
            return Err(Failure::invalid("name", detail));
        }
        let secret = secret.expose_secret();
        let key = ApiKey {
            id: ApiKeyId::new(self.clock().wall(), random()),
            name: name.to_owned(),
            scope,
            prefix: secret.chars().take(PREFIX_LENGTH).collect(),
            hash: digest(secret),
            created_at: self.clock().wall(),
            revoked_at: None,
        };
        let mut tx = self.store().begin("api_keys.create").await?;
        tx.api_keys_insert(&key).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// The live key of that secret.
    pub async fn api_keys_find(&self, secret: &str) -> Result<Option<ApiKey>, Failure> {
        let (hash, known) = (digest(secret), &self.inner.keys);
        if let Some(key) = known.get(&hash) {
            return Ok(Some(key));
        }
        let (revocations, read_at) = (known.revocations.load(Ordering::SeqCst), Instant::now());
        let mut tx = self.store().read("api_keys.find").await?;
        let found = tx.api_keys_find(&hash).await?;
        if let Some(key) = &found {
            known.keys.insert(hash, (key.clone(), revocations, read_at));
        }
        Ok(found)
    }

    /// Every key there is or was, without its secret.
    pub async fn api_keys_list(&self) -> Result<Vec<ApiKey>, Failure> {
        let mut tx = self.store().read("api_keys.list").await?;
        Ok(tx.api_keys_list().await?)
    }

    /// Revokes a key by its id: from this commit on it opens nothing here, and a second later
    /// nothing in other processes.
    pub async fn api_keys_revoke(&self, id: &str) -> Result<(), Failure> {
        let missing = || Failure::refused(Code::NotFound, "no such key, or it is revoked already");
        let id = ApiKeyId::parse(id).map_err(|_| missing())?;
        let mut tx = self.store().begin("api_keys.revoke").await?;
        if !tx.api_keys_revoke(&id, self.clock().wall()).await? {
            return Err(missing());
        }
        let revoking = Revoking(&self.inner.keys);
        let committed = tx.commit().await;
        drop(revoking);
        Ok(committed?)
    }
}
