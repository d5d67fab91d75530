//! The running sandbox: state behind one lock, changes on disk before they are answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::AfterAdvance;
use crate::clock::Clock;
use crate::database::Write;
use crate::errors::ApiError;
use crate::faults::Faults;
use crate::state::{RowChange, State};
use crate::transactions::{Cause, Tx};

pub struct App {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    pub clock: Clock,
    /// Where changes are written; none keeps everything in memory.
    writer: Option<mpsc::UnboundedSender<Write>>,
    /// Rings when there may be something to deliver.
    pub deliveries: Notify,
    /// Rings when a delivery has ended, well or badly.
    pub delivered: Notify,
    /// Held while time moves, so that the tick and an advance do not do the same work.
    pub time: tokio::sync::Mutex<()>,
    /// Set once by shutdown: time that is being moved stops at the next step.
    stopping: AtomicBool,
    pub after_advance: Option<AfterAdvance>,
    pub client: reqwest::Client,
}

/// Resolves when the change is on disk.
type Durable = Option<oneshot::Receiver<bool>>;

impl App {
    pub fn new(
        state: State,
        writer: Option<mpsc::UnboundedSender<Write>>,
        after_advance: Option<AfterAdvance>,
        client: reqwest::Client,
    ) -> App {
        App {
            clock: state.clock.clone(),
            state: Mutex::new(state),
            faults: Mutex::default(),
            writer,
            deliveries: Notify::new(),
            delivered: Notify::new(),
            time: tokio::sync::Mutex::new(()),
            stopping: AtomicBool::new(false),
            after_advance,
            client,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // After a panic in a handler its half of the work is still there: it goes.
        state.undo();
        state
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Runs one unit of work: kept and durable when it succeeds, undone when it fails, unless the
    /// error says that its effects stay.
    pub async fn run<T>(
        &self,
        cause: Cause,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let (result, durable) = self.apply(cause, work)?;
        if let Some(written) = durable {
            let written = written.await.unwrap_or(false);
            if !written {
                return Err(ApiError::internal());
            }
        }
        self.deliveries.notify_one();
        result
    }

    /// The part under the lock. Changes are handed to the writer before it is released, so the
    /// disk sees them in the same order.
    fn apply<T>(
        &self,
        cause: Cause,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ApiError>,
    ) -> Result<(Result<T, ApiError>, Durable), ApiError> {
        let mut state = self.lock();
        let now = self.clock.now();
        let result = work(&mut Tx { state: &mut state, now, cause });
        let keep = match &result {
            Ok(_) => true,
            Err(error) => error.keeps_effects(),
        };
        if !keep {
            state.undo();
            return Ok((result, None));
        }
        let durable = self.commit(&mut state)?;
        Ok((result, durable))
    }

    fn commit(&self, state: &mut State) -> Result<Durable, ApiError> {
        let Some(writer) = &self.writer else {
            state.keep_in_memory();
            return Ok(None);
        };
        let changes = state.take_changes().map_err(|error| {
            tracing::error!(%error, "sandbox objects could not be serialized");
            ApiError::internal()
        })?;
        if changes.is_empty() {
            return Ok(None);
        }
        let (written, durable) = oneshot::channel();
        writer.send(Write { changes, written }).map_err(|_| ApiError::internal())?;
        Ok(Some(durable))
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub fn end_progress(&self, scope: &str) {
        self.lock().in_progress.remove(scope);
    }

    /// Moves the clock, on disk first: a restart must not go back in time.
    pub async fn set_offset(&self, offset_us: i64) -> Result<(), ApiError> {
        if let Some(writer) = &self.writer {
            let change = RowChange {
                kind: crate::database::CLOCK,
                id: crate::database::CLOCK.to_owned(),
                sequence: 0,
                body: Some(offset_us.to_string()),
            };
            let (written, durable) = oneshot::channel();
            let write = Write { changes: vec![change], written };
            writer.send(write).map_err(|_| ApiError::internal())?;
            if !durable.await.unwrap_or(false) {
                return Err(ApiError::internal());
            }
        }
        self.clock.set_offset_us(offset_us);
        Ok(())
    }
}
