//! The hourly loop: events that the provider lists and our inbox has not, undelivered ones first.
//!
//! They are stored as if they had been delivered, and the inbox does the rest. What concerns nobody
//! of ours is not stored: other applications' events would fill the inbox.

use super::comparing::{Subject, known};
use super::reports::Resource;
use super::running::Run;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::time::Timestamp;
use providers::facts::{Event, Fact};
use providers::stripe::events;
use providers::stripe::lists::Deliveries;
use std::collections::BTreeMap;

/// As long as the provider keeps them.
const LIFE_SECONDS: i64 = 30 * 86_400;
/// Events can be listed later than others of the same time. And what is nobody's when it is listed
/// is somebody's once its page was applied: longer than pages are taken at their word.
const OVERLAP_SECONDS: i64 = 600;

enum Heard {
    New,
    Before,
    Foreign,
}

impl Run<'_> {
    pub(super) async fn events(&mut self) -> Result<(), Failure> {
        let now = self.engine.clock().now();
        let oldest = now.plus_seconds(-LIFE_SECONDS);
        let mut tx = self.engine.store().read("sync_runs.cursor").await?;
        let cursor = tx.sync_runs_cursor("events").await?;
        drop(tx);
        let left_off = cursor.and_then(|text| text.parse().ok()).map(Timestamp::from_seconds);
        let since = self.request.created_from().or(left_off);
        let from = since.map_or(oldest, |at| at.plus_seconds(-OVERLAP_SECONDS).max(oldest));
        // Without a word about deliveries the provider lists them all; those nobody took may be
        // old.
        let undelivered = self.events_from(Deliveries::Undelivered, oldest).await?;
        let all = self.events_from(Deliveries::All, from).await?;
        if let (Some(_), Some(newest)) = (undelivered, all)
            && !self.request.dry_run
        {
            let newest = newest.max(left_off.unwrap_or(from));
            self.row.cursor = Some(newest.seconds().to_string());
        }
        Ok(())
    }

    /// Stores what is new and answers how new the newest was; none where the list broke off.
    async fn events_from(
        &mut self,
        deliveries: Deliveries,
        from: Timestamp,
    ) -> Result<Option<Timestamp>, Failure> {
        let provider = self.engine.provider()?;
        let (mut after, mut newest): (Option<String>, _) = (None, from);
        loop {
            self.engine.sync_pace(1).await;
            let page = match provider.events_page(deliveries, from, after.as_deref()).await {
                Ok(page) => page,
                Err(error) => {
                    self.report.broke_off(Resource::Events, error.to_string());
                    return Ok(None);
                }
            };
            // Oldest first, as they would have come.
            for payload in page.rows.iter().rev() {
                let event = events::parse(payload).ok();
                if let Some(event) = &event {
                    newest = newest.max(event.created_at);
                    self.hear(event, payload).await?;
                } else {
                    self.hear_unreadable(payload).await?;
                }
            }
            self.save().await;
            after = page.next;
            if after.is_none() || self.is_lost() {
                return Ok(Some(newest));
            }
        }
    }

    async fn hear(&mut self, event: &Event, payload: &[u8]) -> Result<(), Failure> {
        if event.fact == Fact::Unhandled {
            return Ok(());
        }
        let dry_run = self.request.dry_run;
        let heard = self.engine.sync_hear(event, payload, dry_run).await?;
        let now = self.engine.clock().now();
        let counts = self.report.counts(Resource::Events);
        counts.seen += 1;
        match heard {
            Heard::Before => counts.equal += 1,
            Heard::Foreign => counts.foreign += 1,
            Heard::New => {
                counts.created += 1;
                self.report.drifted(Some(event.created_at), now, !dry_run);
            }
        }
        Ok(())
    }

    /// An event that lacks what it needs is stored and parked, as when it is delivered.
    async fn hear_unreadable(&mut self, payload: &[u8]) -> Result<(), Failure> {
        self.report.counts(Resource::Events).seen += 1;
        if self.request.dry_run {
            self.report.fail(Resource::Events, "unknown", "it cannot be read".to_owned());
            return Ok(());
        }
        match self.engine.take_in(payload, &BTreeMap::new()).await {
            Ok(taken) if taken.duplicate => self.report.counts(Resource::Events).equal += 1,
            Ok(_) => self.report.counts(Resource::Events).created += 1,
            Err(failure) => self.report.fail(Resource::Events, "unknown", failure.told()),
        }
        Ok(())
    }
}

impl Engine {
    async fn sync_hear(
        &self,
        event: &Event,
        payload: &[u8],
        dry_run: bool,
    ) -> Result<Heard, Failure> {
        let mut tx = self.store().read("sync_runs.heard").await?;
        if tx.inbox_find(PROVIDER, &event.id).await?.is_some() {
            return Ok(Heard::Before);
        }
        let concerns = match Subject::new(event.fact.clone(), event.customer.clone()) {
            Some(mut subject) => {
                subject.named.customer = subject.named.customer.or(event.customer.clone());
                known(&mut tx, &subject.named).await?.is_ours
            }
            // Only the object itself could tell; a notice about events is always ours.
            None => match &event.customer {
                Some(id) => tx.customers_owner(PROVIDER, id).await?.is_some(),
                None => true,
            },
        };
        drop(tx);
        if !concerns {
            return Ok(Heard::Foreign);
        }
        if !dry_run {
            self.take_in(payload, &BTreeMap::new()).await?;
        }
        Ok(Heard::New)
    }
}
