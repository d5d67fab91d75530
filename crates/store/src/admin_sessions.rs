//! Browsers signed in with an admin key, stored hashed, on the wall clock.
//!
//! A session is as good as its key: once that is revoked, or opens less, the session is over.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::{AdminSessionId, ApiKeyId};
use domain::time::Timestamp;

#[derive(Debug, Clone)]
pub struct AdminSession {
    pub id: AdminSessionId,
    pub api_key_id: ApiKeyId,
    pub hash: String,
    /// What forms of the session must carry.
    pub csrf: String,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
}

statements! {
    INSERT = "admin_sessions.insert":
        "INSERT INTO admin_sessions (id, api_key_id, hash, csrf, expires_at, closed_at, created_at)
         VALUES (?, ?, ?, ?, ?, NULL, ?)";
    FIND = "admin_sessions.find":
        "SELECT s.* FROM admin_sessions s JOIN api_keys k ON k.id = s.api_key_id
         WHERE s.hash = ? AND s.closed_at IS NULL AND s.expires_at > ?
           AND k.scope = 'admin' AND k.revoked_at IS NULL";
    CLOSE = "admin_sessions.close":
        "UPDATE admin_sessions SET closed_at = ? WHERE hash = ? AND closed_at IS NULL";
    PRUNE = "admin_sessions.prune": "DELETE FROM admin_sessions WHERE expires_at <= ?";
}

fn session(row: &Row) -> Result<AdminSession, StoreError> {
    Ok(AdminSession {
        id: id!(row, "id", AdminSessionId)?,
        api_key_id: id!(row, "api_key_id", ApiKeyId)?,
        hash: row.text("hash")?,
        csrf: row.text("csrf")?,
        expires_at: row.time("expires_at")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    pub async fn admin_sessions_insert(&mut self, new: &AdminSession) -> Result<(), StoreError> {
        let args =
            args![&new.id, &new.api_key_id, &new.hash, &new.csrf, new.expires_at, new.created_at];
        self.change_one(&INSERT, args).await
    }

    /// An open one that has not expired and whose key still opens the pages.
    pub async fn admin_sessions_find(
        &mut self,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<AdminSession>, StoreError> {
        self.first(&FIND, args![hash, now]).await?.as_ref().map(session).transpose()
    }

    /// Signs out; `false` where that has happened already.
    pub async fn admin_sessions_close(
        &mut self,
        hash: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&CLOSE, args![now, hash]).await
    }

    /// Forgets what has expired.
    pub async fn admin_sessions_prune(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        self.execute(&PRUNE, args![now]).await
    }
}
