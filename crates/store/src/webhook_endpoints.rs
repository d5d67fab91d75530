//! Where the merchant's own servers listen. Secrets come and go sealed; nothing here can open them.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::WebhookEndpointId;
use domain::time::Timestamp;
use serde::Deserialize;

/// Whether news is posted to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointStatus {
    Enabled,
    Disabled,
}

impl EndpointStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            EndpointStatus::Enabled => "enabled",
            EndpointStatus::Disabled => "disabled",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [EndpointStatus::Enabled, EndpointStatus::Disabled];
        all.into_iter().find(|status| status.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct WebhookEndpoint {
    pub id: WebhookEndpointId,
    pub url: String,
    pub description: Option<String>,
    /// The kinds of events it wants, verbatim.
    pub kinds: Vec<String>,
    /// Encrypted by the engine.
    pub sealed_secret: String,
    pub status: EndpointStatus,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "webhook_endpoints.insert":
        "INSERT INTO webhook_endpoints (id, url, description, kinds, secret, status, created_at,
             updated_at)
         SELECT ?, ?, CAST(? AS TEXT), ?, ?, ?, CAST(? AS BIGINT), CAST(? AS BIGINT)
         WHERE (SELECT COUNT(*) FROM webhook_endpoints) < ?";
    UPDATE = "webhook_endpoints.update":
        "UPDATE webhook_endpoints SET url = ?, description = ?, kinds = ?, secret = ?, status = ?,
             updated_at = ?
         WHERE id = ?";
    DELETE = "webhook_endpoints.delete": "DELETE FROM webhook_endpoints WHERE id = ?";
    GET = "webhook_endpoints.get": "SELECT * FROM webhook_endpoints WHERE id = ?";
    LOCK = "webhook_endpoints.lock":
        "SELECT * FROM webhook_endpoints WHERE id = ? FOR NO KEY UPDATE";
    LIST = "webhook_endpoints.list": "SELECT * FROM webhook_endpoints ORDER BY id DESC";
}

fn endpoint(row: &Row) -> Result<WebhookEndpoint, StoreError> {
    let kinds = row.text("kinds")?;
    Ok(WebhookEndpoint {
        id: id!(row, "id", WebhookEndpointId)?,
        url: row.text("url")?,
        description: row.opt_text("description")?,
        kinds: serde_json::from_str(&kinds)
            .map_err(|_| StoreError::Inconsistent { column: "kinds", value: kinds })?,
        sealed_secret: row.text("secret")?,
        status: row.parsed("status", EndpointStatus::parse)?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn kinds_text(kinds: &[String]) -> String {
    serde_json::json!(kinds).to_string()
}

impl Tx {
    /// Adds an endpoint; `false` where there are `limit` of them already.
    pub async fn webhook_endpoints_insert(
        &mut self,
        new: &WebhookEndpoint,
        limit: u32,
    ) -> Result<bool, StoreError> {
        let args = args![
            &new.id,
            &new.url,
            &new.description,
            kinds_text(&new.kinds),
            &new.sealed_secret,
            new.status.as_str(),
            new.created_at,
            new.updated_at,
            limit
        ];
        self.change_if(&INSERT, args).await
    }

    pub async fn webhook_endpoints_update(
        &mut self,
        row: &WebhookEndpoint,
    ) -> Result<(), StoreError> {
        let args = args![
            &row.url,
            &row.description,
            kinds_text(&row.kinds),
            &row.sealed_secret,
            row.status.as_str(),
            row.updated_at,
            &row.id
        ];
        self.change_one(&UPDATE, args).await
    }

    /// `false` where there is none.
    pub async fn webhook_endpoints_delete(
        &mut self,
        id: &WebhookEndpointId,
    ) -> Result<bool, StoreError> {
        self.change_if(&DELETE, args![id]).await
    }

    pub async fn webhook_endpoints_get(
        &mut self,
        id: &WebhookEndpointId,
    ) -> Result<Option<WebhookEndpoint>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(endpoint).transpose()
    }

    /// The same, and nobody else changes it until the transaction ends.
    pub async fn webhook_endpoints_lock(
        &mut self,
        id: &WebhookEndpointId,
    ) -> Result<Option<WebhookEndpoint>, StoreError> {
        self.first(&LOCK, args![id]).await?.as_ref().map(endpoint).transpose()
    }

    /// All of them, newest first: there are never many.
    pub async fn webhook_endpoints_list(&mut self) -> Result<Vec<WebhookEndpoint>, StoreError> {
        self.all(&LIST, args![]).await?.iter().map(endpoint).collect()
    }
}
