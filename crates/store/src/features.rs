//! Features: the names that programs ask for.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::sql::{args, statements};
use domain::time::Timestamp;

#[derive(Debug, Clone)]
pub struct Feature {
    pub id: String,
    pub name: String,
}

statements! {
    INSERT = "features.insert":
        "INSERT INTO features (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    LIST = "features.list": "SELECT * FROM features ORDER BY id";
}

impl Tx {
    /// Makes a feature known; one that is known already keeps its name.
    pub async fn features_ensure(
        &mut self,
        id: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.change_if(&INSERT, args![id, name, now]).await.map(drop)
    }

    pub async fn features_list(&mut self) -> Result<Vec<Feature>, StoreError> {
        let rows = self.all(&LIST, args![]).await?;
        rows.iter()
            .map(|row| Ok(Feature { id: row.text("id")?, name: row.text("name")? }))
            .collect()
    }
}
