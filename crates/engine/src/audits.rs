//! What operators did by hand: written in the transaction that does it.

use crate::Engine;
use crate::clock::random;
use crate::failures::Failure;
use crate::limits::check_text;
use crate::lists::{Listed, Page};
use domain::ids::{ApiKeyId, AuditId};
use store::Tx;
use store::audits::Audit;

/// Something done by hand: with which key, and for which reason.
#[derive(Debug, Clone)]
pub struct Act {
    pub key: ApiKeyId,
    pub reason: Option<String>,
}

impl Act {
    /// An empty reason, as forms send it, is none.
    pub fn new(key: ApiKeyId, reason: Option<String>) -> Result<Self, Failure> {
        let reason = reason.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        check_text("reason", reason.as_deref())?;
        Ok(Self { key, reason })
    }
}

impl Engine {
    /// Writes down what `act` does to an object, and what the log should say of it besides.
    pub(crate) async fn audit(
        &self,
        tx: &mut Tx,
        act: &Act,
        action: &str,
        object_id: &str,
        note: Option<&str>,
    ) -> Result<(), Failure> {
        let parts = [act.reason.clone(), note.map(|note| format!("({note})"))];
        let detail = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let wall = self.clock().wall();
        let row = Audit {
            id: AuditId::new(wall, random()),
            actor: act.key.to_string(),
            actor_name: None,
            action: action.to_owned(),
            object_id: object_id.to_owned(),
            detail: Some(detail).filter(|text| !text.is_empty()),
            created_at: wall,
        };
        Ok(tx.audits_insert(&row).await?)
    }

    /// Everything operators did, newest first.
    pub async fn audits_list(&self, page: Page) -> Result<Listed<Audit>, Failure> {
        let mut tx = self.store().read("audits.list").await?;
        let rows = tx.audits_list(page.cursor(), page.fetch()).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }
}
