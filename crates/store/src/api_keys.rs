//! Server and admin keys: shown once, stored hashed.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::ApiKeyId;
use domain::time::Timestamp;

/// What a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyScope {
    /// The API, for any customer.
    Server,
    /// The API and the operator's pages.
    Admin,
    /// The numbers for monitoring, and nothing else.
    Metrics,
}

impl KeyScope {
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyScope::Server => "server",
            KeyScope::Admin => "admin",
            KeyScope::Metrics => "metrics",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [KeyScope::Server, KeyScope::Admin, KeyScope::Metrics];
        all.into_iter().find(|scope| scope.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub scope: KeyScope,
    /// The first characters, to recognise it by.
    pub prefix: String,
    pub hash: String,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

statements! {
    INSERT = "api_keys.insert":
        "INSERT INTO api_keys (id, name, prefix, hash, scope, created_at, revoked_at)
         VALUES (?, ?, ?, ?, ?, ?, NULL)
         ON CONFLICT (hash) DO UPDATE SET scope = excluded.scope";
    GET = "api_keys.get": "SELECT * FROM api_keys WHERE id = ?";
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
        scope: row.parsed("scope", KeyScope::parse)?,
        created_at: row.time("created_at")?,
        revoked_at: row.opt_time("revoked_at")?,
    })
}

impl Tx {
    /// Adds a key. That very key, where it exists, opens from now on what the new one would.
    pub async fn api_keys_insert(&mut self, new: &ApiKey) -> Result<(), StoreError> {
        let args =
            args![&new.id, &new.name, &new.prefix, &new.hash, new.scope.as_str(), new.created_at];
        self.change_one(&INSERT, args).await
    }

    pub async fn api_keys_get(&mut self, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(api_key).transpose()
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
