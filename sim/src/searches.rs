//! How what was lost is found: by the two comparisons that a merchant runs.

use anyhow::{Result, bail};
use engine::Engine;
use engine::sync_runs::{Resource, SyncRequest};
use store::sync_runs::SyncState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Every object of the provider is compared with ours.
    Objects,
    /// The provider's events are listed, and those that we have not heard are taken in.
    Events,
}

impl Search {
    /// For people, after a list of events of which one is in brackets.
    pub const fn name(self) -> &'static str {
        match self {
            Search::Objects => "; the lost one found among the objects",
            Search::Events => "; the lost one found among the events",
        }
    }

    fn request(self) -> SyncRequest {
        let resources = match self {
            Search::Objects => Vec::new(),
            Search::Events => vec![Resource::Events],
        };
        SyncRequest { resources, ..SyncRequest::default() }
    }

    /// One whole run, where nothing goes wrong.
    pub async fn run(self, engine: &Engine) -> Result<()> {
        let run = engine.sync(self.request(), &|_| {}).await?;
        if run.state != SyncState::Completed {
            bail!("a comparison ended {}: {}", run.state.as_str(), run.report);
        }
        Ok(())
    }

    /// A run in any weather; what became of it is for the next one to find out.
    pub async fn try_to_run(self, engine: Engine) {
        let _ = engine.sync(self.request(), &|_| {}).await;
    }
}
