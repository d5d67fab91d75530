//! Server keys: shown once, stored hashed.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::ApiKeyId;
use domain::time::Timestamp;

#[derive(Debug, Clone)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    /// The first characters, to recognise it by.
    pub prefix: String,
    pub hash: String,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

statements! {
    INSERT = "api_keys.insert":
        "INSERT INTO api_keys (id, name, prefix, hash, created_at, revoked_at)
         VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING";
    FIND = "api_keys.find": "SELECT * FROM api_keys WHERE hash = ? AND revoked_at IS NULL";
    LIST = "api_keys.list": "SELECT * FROM api_keys ORDER BY id";
    REVOKE = "api_keys.revoke":
        "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
}

fn api_key(row: &Row) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: id!(row, "id", ApiKeyId)?,
        name: row.text("name")?,
        prefix: row.text("prefix")?,
        hash: row.text("hash")?,
        created_at: row.time("created_at")?,
        revoked_at: row.opt_time("revoked_at")?,
    })
}

impl Tx {
    /// Adds a key; `false` where that very key exists.
    pub async fn api_keys_insert(&mut self, new: &ApiKey) -> Result<bool, StoreError> {
        let args = args![&new.id, &new.name, &new.prefix, &new.hash, new.created_at];
        self.change_if(&INSERT, args).await
    }

    /// The live key of that digest.
    pub async fn api_keys_find(&mut self, hash: &str) -> Result<Option<ApiKey>, StoreError> {
        self.first(&FIND, args![hash]).await?.as_ref().map(api_key).transpose()
    }

    /// Every key there is or was, oldest first.
    pub async fn api_keys_list(&mut self) -> Result<Vec<ApiKey>, StoreError> {
        self.all(&LIST, args![]).await?.iter().map(api_key).collect()
    }

    /// From here on the key opens nothing; `false` where it had been revoked already.
    pub async fn api_keys_revoke(
        &mut self,
        id: &ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&REVOKE, args![now, id]).await
    }
}
