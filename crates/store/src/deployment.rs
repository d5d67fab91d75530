//! One deployment serves one merchant in one mode, recorded at first start.

use crate::database::{Store, Tx};
use crate::errors::StoreError;
use crate::sql::{args, statements};
use domain::time::Timestamp;

statements! {
    INSERT = "deployment.insert":
        "INSERT INTO deployment (id, mode, created_at) VALUES (1, ?, ?) ON CONFLICT DO NOTHING";
    GET = "deployment.get": "SELECT mode FROM deployment WHERE id = 1";
    ACCOUNT = "deployment.account": "SELECT provider_account FROM deployment WHERE id = 1";
    SET_ACCOUNT = "deployment.set_account":
        "UPDATE deployment SET provider_account = ? WHERE id = 1 AND provider_account IS NULL";
    PING = "deployment.ping": "SELECT COUNT(*) AS found FROM deployment";
}

impl Store {
    /// Records the mode at first start and refuses the other one ever after.
    pub async fn deployment_bind(&self, livemode: bool, now: Timestamp) -> Result<(), StoreError> {
        let wanted = if livemode { "live" } else { "test" };
        let mut tx = self.begin("deployment.bind").await?;
        tx.execute(&INSERT, args![wanted, now]).await?;
        let bound = tx.first(&GET, args![]).await?;
        tx.commit().await?;
        match bound.map(|row| row.text("mode")).transpose()? {
            Some(bound) if bound != wanted => Err(StoreError::Mode { bound, wanted }),
            _ => Ok(()),
        }
    }
}

impl Tx {
    /// The provider's account that this database is about, once it is known.
    pub async fn deployment_account(&mut self) -> Result<Option<String>, StoreError> {
        match self.first(&ACCOUNT, args![]).await? {
            Some(row) => row.opt_text("provider_account"),
            None => Ok(None),
        }
    }

    /// Remembers the account for good; the first one wins.
    pub async fn deployment_account_set(&mut self, account: &str) -> Result<(), StoreError> {
        self.change_if(&SET_ACCOUNT, args![account]).await.map(drop)
    }

    /// Whether the database answers.
    pub async fn ping(&mut self) -> Result<(), StoreError> {
        self.first(&PING, args![]).await.map(drop)
    }
}
