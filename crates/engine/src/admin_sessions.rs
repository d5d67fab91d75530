//! Operators' sign-in: an admin key opens a browser session. Only digests are stored.

use crate::Engine;
use crate::audits::Act;
use crate::clock::{random, random_secret};
use crate::failures::Failure;
use crate::portal_sessions::digest;
use domain::ids::AdminSessionId;
use secrecy::{ExposeSecret as _, SecretString};
use store::admin_sessions::AdminSession;
use store::api_keys::{ApiKey, KeyScope};

const SESSION_SECONDS: i64 = 8 * 60 * 60;
/// How often one address may fail to sign in within a minute. Keys cannot be guessed; this keeps
/// guessing from costing us.
const FAILURES_MAX: u32 = 10;
const KEY_LENGTH_MAX: usize = 255;

/// Who is at the operator's pages.
#[derive(Debug, Clone)]
pub struct Operator {
    pub key: ApiKey,
    /// What forms of the session must carry.
    pub csrf: String,
}

impl Engine {
    /// Opens a session; nothing where the key is not a live admin key.
    pub async fn admin_sign_in(
        &self,
        key: &str,
        address: &str,
    ) -> Result<Option<SecretString>, Failure> {
        self.inner.attempts.begin(address, FAILURES_MAX).await?;
        let key = key.trim();
        // A key is found by the digest of a random secret, so what the search costs tells nothing.
        let found = match key.len() {
            1..=KEY_LENGTH_MAX => self.api_keys_find(key).await?,
            _ => None,
        };
        let Some(key) = found.filter(|key| key.scope == KeyScope::Admin) else {
            tracing::warn!("a sign-in to the operator's pages was refused");
            return Ok(None);
        };
        let wall = self.clock().wall();
        let token = SecretString::from(hex::encode(random_secret()));
        let row = AdminSession {
            id: AdminSessionId::new(wall, random()),
            api_key_id: key.id.clone(),
            hash: digest(token.expose_secret()),
            csrf: hex::encode(random_secret()),
            expires_at: wall.plus_seconds(SESSION_SECONDS),
            created_at: wall,
        };
        let act = Act { key: key.id.clone(), reason: None };
        let mut tx = self.store().begin("admin_sessions.create").await?;
        tx.admin_sessions_insert(&row).await?;
        self.audit(&mut tx, &act, "admin.sign_in", row.id.as_str(), None).await?;
        tx.commit().await?;
        self.inner.attempts.forget(address).await;
        Ok(Some(token))
    }

    /// Whose session that is, while its key is valid.
    pub async fn admin_session(&self, token: &str) -> Result<Option<Operator>, Failure> {
        let wall = self.clock().wall();
        let mut tx = self.store().read("admin_sessions.find").await?;
        let Some(session) = tx.admin_sessions_find(&digest(token), wall).await? else {
            return Ok(None);
        };
        let key = tx.api_keys_get(&session.api_key_id).await?;
        Ok(key.map(|key| Operator { key, csrf: session.csrf }))
    }

    /// Signs out.
    pub async fn admin_sign_out(&self, token: &str) -> Result<(), Failure> {
        let wall = self.clock().wall();
        let mut tx = self.store().begin("admin_sessions.end").await?;
        let hash = digest(token);
        if let Some(session) = tx.admin_sessions_find(&hash, wall).await? {
            tx.admin_sessions_close(&hash, wall).await?;
            let act = Act { key: session.api_key_id, reason: None };
            self.audit(&mut tx, &act, "admin.sign_out", session.id.as_str(), None).await?;
        }
        Ok(tx.commit().await?)
    }
}
