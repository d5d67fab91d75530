//! Counts for an operator's monitoring. They only read.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::sql::{Sql, args, statements};
use domain::time::Timestamp;

/// How many events are in a state, and since when the oldest of them has been here.
#[derive(Debug, Clone)]
pub struct InboxGauge {
    pub state: String,
    pub count: i64,
    pub oldest: Option<Timestamp>,
}

statements! {
    INBOX = "gauges.inbox":
        "SELECT state, COUNT(*) AS found, MIN(received_at) AS oldest FROM inbox_events
         GROUP BY state ORDER BY state";
    OLDEST_PENDING = "gauges.oldest_pending":
        "SELECT MIN(received_at) AS oldest FROM inbox_events WHERE state = 'pending'";
    PROVIDER_CALLS = "gauges.provider_calls":
        "SELECT state, COUNT(*) AS found FROM provider_calls GROUP BY state ORDER BY state";
    DELIVERIES = "gauges.deliveries":
        "SELECT state, COUNT(*) AS found FROM deliveries GROUP BY state ORDER BY state";
}

impl Tx {
    pub async fn gauge_inbox(&mut self) -> Result<Vec<InboxGauge>, StoreError> {
        let mut gauges = Vec::new();
        for row in self.all(&INBOX, args![]).await? {
            gauges.push(InboxGauge {
                state: row.text("state")?,
                count: row.int("found")?,
                oldest: row.opt_time("oldest")?,
            });
        }
        Ok(gauges)
    }

    /// When the oldest event that is not applied yet came.
    pub async fn gauge_oldest_pending(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let row = self.first(&OLDEST_PENDING, args![]).await?;
        Ok(row.map(|row| row.opt_time("oldest")).transpose()?.flatten())
    }

    pub async fn gauge_provider_calls(&mut self) -> Result<Vec<(String, i64)>, StoreError> {
        self.by_state(&PROVIDER_CALLS).await
    }

    pub async fn gauge_deliveries(&mut self) -> Result<Vec<(String, i64)>, StoreError> {
        self.by_state(&DELIVERIES).await
    }

    async fn by_state(&mut self, sql: &'static Sql) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = self.all(sql, args![]).await?;
        rows.iter().map(|row| Ok((row.text("state")?, row.int("found")?))).collect()
    }
}
