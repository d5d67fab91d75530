//! Counts for an operator's monitoring: of what waits, each by an index that holds little else.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::sql::{Sql, args, statements};

statements! {
    PROVIDER_CALLS = "gauges.provider_calls":
        "SELECT state, COUNT(*) AS found FROM provider_calls
         WHERE state IN ('intended', 'unknown') GROUP BY state";
    DELIVERIES = "gauges.deliveries":
        "SELECT state, COUNT(*) AS found FROM deliveries
         WHERE state IN ('pending', 'failed') GROUP BY state";
}

impl Tx {
    /// Calls to the provider without an outcome.
    pub async fn gauge_provider_calls(&mut self) -> Result<Vec<(String, i64)>, StoreError> {
        self.by_state(&PROVIDER_CALLS).await
    }

    /// Deliveries on their way, and those that were given up and wait for a person.
    pub async fn gauge_deliveries(&mut self) -> Result<Vec<(String, i64)>, StoreError> {
        self.by_state(&DELIVERIES).await
    }

    async fn by_state(&mut self, sql: &'static Sql) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = self.all(sql, args![]).await?;
        rows.iter().map(|row| Ok((row.text("state")?, row.int("found")?))).collect()
    }
}
