//! Single-use sign-in links and the browser sessions they open, stored hashed, on the wall clock.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::{CustomerId, PortalSessionId};
use domain::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortalKind {
    Link,
    Session,
}

impl PortalKind {
    const fn as_str(self) -> &'static str {
        match self {
            PortalKind::Link => "link",
            PortalKind::Session => "session",
        }
    }
}

#[derive(Debug, Clone)]
pub struct PortalSession {
    pub id: PortalSessionId,
    pub customer_id: CustomerId,
    pub hash: String,
    /// What forms of the session must carry.
    pub csrf: String,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
}

statements! {
    INSERT = "portal_sessions.insert":
        "INSERT INTO portal_sessions (id, customer_id, kind, hash, csrf, expires_at, closed_at,
             created_at)
         VALUES (?, ?, ?, ?, ?, ?, NULL, ?)";
    FIND = "portal_sessions.find":
        "SELECT * FROM portal_sessions
         WHERE hash = ? AND kind = ? AND closed_at IS NULL AND expires_at > ?";
    CLOSE = "portal_sessions.close":
        "UPDATE portal_sessions SET closed_at = ?
         WHERE hash = ? AND kind = ? AND closed_at IS NULL";
    PRUNE = "portal_sessions.prune": "DELETE FROM portal_sessions WHERE expires_at <= ?";
}

fn session(row: &Row) -> Result<PortalSession, StoreError> {
    Ok(PortalSession {
        id: id!(row, "id", PortalSessionId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        hash: row.text("hash")?,
        csrf: row.text("csrf")?,
        expires_at: row.time("expires_at")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    pub async fn portal_sessions_insert(
        &mut self,
        kind: PortalKind,
        new: &PortalSession,
    ) -> Result<(), StoreError> {
        let args = args![
            &new.id,
            &new.customer_id,
            kind.as_str(),
            &new.hash,
            &new.csrf,
            new.expires_at,
            new.created_at
        ];
        self.change_one(&INSERT, args).await
    }

    /// An open one that has not expired.
    pub async fn portal_sessions_find(
        &mut self,
        kind: PortalKind,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<PortalSession>, StoreError> {
        let row = self.first(&FIND, args![hash, kind.as_str(), now]).await?;
        row.as_ref().map(session).transpose()
    }

    /// Uses a link up, or signs a session out; `false` where that has happened already.
    pub async fn portal_sessions_close(
        &mut self,
        kind: PortalKind,
        hash: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&CLOSE, args![now, hash, kind.as_str()]).await
    }

    /// Forgets what has expired.
    pub async fn portal_sessions_prune(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        self.execute(&PRUNE, args![now]).await
    }
}
