//! Somebody who is asked before each step of a transaction: a simulation, which lets the step go
//! on, fail, or never return, as a process that dies there does not.

use crate::errors::StoreError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Where a transaction is. Every wait for the database is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Begin,
    Statement,
    /// Before the commit: nothing is durable yet.
    Commit,
    /// After the commit: everything is durable, and nobody has been told.
    Committed,
}

/// The answer to a step: go on, or the error it ends with.
pub type Verdict = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Is told the step and the name of the transaction or statement.
pub type Watcher = Arc<dyn Fn(Step, &'static str) -> Verdict + Send + Sync>;

/// Nobody, except in a simulation.
#[derive(Clone)]
pub(crate) struct Watch(Option<Watcher>);

impl Watch {
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn by(watcher: Watcher) -> Self {
        Self(Some(watcher))
    }

    pub(crate) async fn at(&self, step: Step, name: &'static str) -> Result<(), StoreError> {
        match &self.0 {
            None => Ok(()),
            Some(watcher) => watcher(step, name).await,
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "watched" } else { "unwatched" })
    }
}
