//! The audit log: who did what to which object by hand, and why. Rows are only ever added.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::AuditId;
use domain::time::Timestamp;

#[derive(Debug, Clone)]
pub struct Audit {
    pub id: AuditId,
    /// The id of the key that was used.
    pub actor: String,
    /// What that key is called; read, never written.
    pub actor_name: Option<String>,
    pub action: String,
    pub object_id: String,
    pub detail: Option<String>,
    pub created_at: Timestamp,
}

statements! {
    INSERT = "audit_log.insert":
        "INSERT INTO audit_log (id, actor, action, object_id, detail, created_at)
         VALUES (?, ?, ?, ?, ?, ?)";
    LIST = "audit_log.list":
        "SELECT a.*, k.name AS actor_name FROM audit_log a LEFT JOIN api_keys k ON k.id = a.actor
         WHERE a.id < ? ORDER BY a.id DESC LIMIT ?";
    OF_OBJECT = "audit_log.of_object":
        "SELECT a.*, k.name AS actor_name FROM audit_log a LEFT JOIN api_keys k ON k.id = a.actor
         WHERE a.object_id = ? ORDER BY a.id DESC LIMIT ?";
}

fn audit(row: &Row) -> Result<Audit, StoreError> {
    Ok(Audit {
        id: id!(row, "id", AuditId)?,
        actor: row.text("actor")?,
        actor_name: row.opt_text("actor_name")?,
        action: row.text("action")?,
        object_id: row.text("object_id")?,
        detail: row.opt_text("detail")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    pub async fn audits_insert(&mut self, new: &Audit) -> Result<(), StoreError> {
        let args =
            args![&new.id, &new.actor, &new.action, &new.object_id, &new.detail, new.created_at];
        self.change_one(&INSERT, args).await
    }

    /// Newest first, after `cursor`.
    pub async fn audits_list(
        &mut self,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Audit>, StoreError> {
        self.all(&LIST, args![cursor, limit]).await?.iter().map(audit).collect()
    }

    /// What was done to one object, newest first.
    pub async fn audits_of(
        &mut self,
        object_id: &str,
        limit: u32,
    ) -> Result<Vec<Audit>, StoreError> {
        self.all(&OF_OBJECT, args![object_id, limit]).await?.iter().map(audit).collect()
    }
}
