//! What an operator sees first: what waits for a person, what waits for its turn, the last days.

use crate::Engine;
use crate::event_log::first_of;
use crate::failures::Failure;
use domain::time::Timestamp;
use store::deliveries::DeliveryState;
use store::event_log::ParkedGroup;
use store::inbox::InboxState;

const GROUPS_SHOWN: u32 = 50;
const SECONDS_PER_DAY: i64 = 86_400;

/// How many events of a day ended how.
#[derive(Debug, Clone)]
pub struct EventDay {
    pub begins_at: Timestamp,
    pub counts: Vec<(InboxState, i64)>,
}

#[derive(Debug, Clone)]
pub struct Overview {
    pub pending: i64,
    pub parked: i64,
    /// When the oldest pending and the oldest parked event were received.
    pub oldest_pending: Option<Timestamp>,
    pub oldest_parked: Option<Timestamp>,
    /// What parked them, the most frequent first.
    pub groups: Vec<ParkedGroup>,
    /// The last days, oldest first.
    pub days: Vec<EventDay>,
    /// Calls to the provider whose outcome is not known.
    pub calls_unsettled: i64,
    /// News that no receiver took.
    pub deliveries_failed: i64,
}

impl Engine {
    /// The last `days` days, today included, as they are in UTC.
    pub async fn overview(&self, days: u32) -> Result<Overview, Failure> {
        let mut tx = self.store().read("overviews.get").await?;
        let waiting = tx.event_log_waiting().await?;
        let count = |wanted: InboxState| {
            waiting.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, count)| *count)
        };
        let (pending, parked) = (count(InboxState::Pending), count(InboxState::Parked));
        let today = self.clock().wall().seconds().div_euclid(SECONDS_PER_DAY);
        let mut told = Vec::new();
        for back in (0..i64::from(days)).rev() {
            let begin = (today - back) * SECONDS_PER_DAY;
            let begins_at = Timestamp::from_seconds(begin);
            let end = first_of(Timestamp::from_seconds(begin + SECONDS_PER_DAY));
            let counts = tx.event_log_count(&first_of(begins_at), &end).await?;
            told.push(EventDay { begins_at, counts });
        }
        Ok(Overview {
            pending,
            parked,
            oldest_pending: tx.event_log_oldest(InboxState::Pending).await?,
            oldest_parked: tx.event_log_oldest(InboxState::Parked).await?,
            groups: tx.event_log_parked(GROUPS_SHOWN).await?,
            days: told,
            calls_unsettled: tx.provider_calls_unsettled().await?,
            deliveries_failed: tx.deliveries_count(DeliveryState::Failed).await?,
        })
    }
}
