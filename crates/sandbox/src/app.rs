//! The running sandbox: every account behind one lock, changes on disk before they are answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::Clock;
use crate::dashboard::Board;
use crate::database::{self, Work, Write};
use crate::entitlements;
use crate::errors::ApiError;
use crate::faults::Faults;
use crate::snapshots::Snapshot;
use crate::state::State;
use crate::transactions::{Cause, Tx};
use crate::{AfterAdvance, Reach};

/// Each API key has an account of its own; they share the clock and nothing else.
pub type Accounts = BTreeMap<String, State>;

pub struct App {
    accounts: Mutex<Accounts>,
    faults: Mutex<Faults>,
    pub base_url: String,
    pub clock: Clock,
    /// The account of the key that the sandbox hands out.
    pub main_account: String,
    /// Where changes are written; none keeps everything in memory.
    writer: Option<mpsc::UnboundedSender<Write>>,
    /// Rings when there may be something to deliver.
    pub deliveries: Notify,
    /// Rings when a delivery has ended, well or badly.
    pub delivered: Notify,
    /// Rings when a test clock may have been told to advance.
    pub test_clocks: Notify,
    /// Held while time moves, so that the tick and an advance do not do the same work.
    pub time: tokio::sync::Mutex<()>,
    /// Set once by shutdown: time that is being moved stops at the next step.
    stopping: AtomicBool,
    pub after_advance: Option<AfterAdvance>,
    pub client: reqwest::Client,
    pub reach: Reach,
    pub board: Board,
}

/// Resolves when the change is on disk.
type Durable = Option<oneshot::Receiver<bool>>;

/// Who has to look at what a unit of work has changed.
#[derive(Default)]
struct News {
    deliveries: bool,
    test_clocks: bool,
}

/// What a sandbox is made of.
pub struct Parts {
    pub accounts: Accounts,
    pub base_url: String,
    pub clock: Clock,
    pub main_account: String,
    pub writer: Option<mpsc::UnboundedSender<Write>>,
    pub after_advance: Option<AfterAdvance>,
    pub client: reqwest::Client,
    pub reach: Reach,
}

impl App {
    pub fn new(parts: Parts) -> App {
        App {
            accounts: Mutex::new(parts.accounts),
            faults: Mutex::default(),
            base_url: parts.base_url,
            clock: parts.clock,
            main_account: parts.main_account,
            writer: parts.writer,
            deliveries: Notify::new(),
            delivered: Notify::new(),
            test_clocks: Notify::new(),
            time: tokio::sync::Mutex::new(()),
            stopping: AtomicBool::new(false),
            after_advance: parts.after_advance,
            client: parts.client,
            reach: parts.reach,
            board: Board::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(|poisoned| {
            // A handler panicked: its half of the work is still there, and goes.
            let mut accounts = poisoned.into_inner();
            accounts.values_mut().for_each(State::undo);
            self.accounts.clear_poison();
            accounts
        })
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at one account; one that nobody has used yet is empty.
    pub fn read<T>(&self, account: &str, look: impl FnOnce(&State) -> T) -> T {
        let mut accounts = self.lock();
        look(self.entry(&mut accounts, account))
    }

    pub fn read_all<T>(&self, look: impl FnOnce(&Accounts) -> T) -> T {
        look(&self.lock())
    }

    fn entry<'a>(&self, accounts: &'a mut Accounts, account: &str) -> &'a mut State {
        accounts.entry(account.to_owned()).or_insert_with(|| {
            State::new(account.to_owned(), self.base_url.clone(), self.clock.clone())
        })
    }

    /// The account that a page's object belongs to; nobody's objects are looked for, and not
    /// found, in the main account.
    pub fn holder(&self, holds: impl Fn(&State) -> bool) -> String {
        let accounts = self.lock();
        let found = accounts.iter().find(|(_, state)| holds(state));
        found.map_or_else(|| self.main_account.clone(), |(account, _)| account.clone())
    }

    pub fn holder_of(&self, id: &str) -> String {
        self.holder(|state| state.holds(id))
    }

    /// Runs one unit of work on an account: kept and durable when it succeeds, undone when it
    /// fails, unless the error says that its effects stay.
    pub async fn run<T>(
        &self,
        account: &str,
        cause: Cause,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let (result, durable, news) = self.apply(account, cause, work)?;
        if let Some(written) = durable {
            let written = written.await.unwrap_or(false);
            if !written {
                return Err(ApiError::internal());
            }
        }
        if news.deliveries {
            self.deliveries.notify_one();
        }
        if news.test_clocks {
            self.test_clocks.notify_one();
        }
        result
    }

    /// The part under the lock. Changes are handed to the writer before it is released, so the
    /// disk sees them in the same order.
    fn apply<T>(
        &self,
        account: &str,
        cause: Cause,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ApiError>,
    ) -> Result<(Result<T, ApiError>, Durable, News), ApiError> {
        let mut accounts = self.lock();
        let state = self.entry(&mut accounts, account);
        let now = self.clock.now();
        let mut tx = Tx { state, now, cause };
        let result = work(&mut tx);
        let keep = match &result {
            Ok(_) => true,
            Err(error) => error.keeps_effects(),
        };
        if !keep {
            tx.state.undo();
            return Ok((result, None, News::default()));
        }
        entitlements::follow_subscriptions(&mut tx);
        let news = News {
            deliveries: state.deliveries.is_changed() || state.webhook_endpoints.is_changed(),
            test_clocks: state.test_clocks.is_changed(),
        };
        let durable = self.commit(state)?;
        Ok((result, durable, news))
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
        let work = Work::Changes { account: state.account.clone(), changes };
        let write = Write { work, written };
        writer.send(write).map_err(|_| ApiError::internal())?;
        Ok(Some(durable))
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.test_clocks.notify_one();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub fn end_progress(&self, account: &str, scope: &str) {
        if let Some(state) = self.lock().get_mut(account) {
            state.in_progress.remove(scope);
        }
    }

    /// Puts another state in the place of everything, and on disk.
    pub async fn replace(&self, snapshot: Snapshot) -> Result<(), ApiError> {
        let durable = {
            let mut accounts = self.lock();
            let durable = match &self.writer {
                None => None,
                Some(writer) => {
                    let work = Work::everything(&snapshot.accounts, snapshot.offset_us);
                    let work = work.map_err(|_| ApiError::internal())?;
                    let (written, durable) = oneshot::channel();
                    writer.send(Write { work, written }).map_err(|_| ApiError::internal())?;
                    Some(durable)
                }
            };
            *accounts = snapshot.accounts;
            self.clock.set_offset_us(snapshot.offset_us);
            durable
        };
        if let Some(written) = durable
            && !written.await.unwrap_or(false)
        {
            return Err(ApiError::internal());
        }
        self.deliveries.notify_one();
        self.test_clocks.notify_one();
        Ok(())
    }

    /// Moves the clock, on disk first: a restart must not go back in time.
    pub async fn set_offset(&self, offset_us: i64) -> Result<(), ApiError> {
        if let Some(writer) = &self.writer {
            let changes = vec![database::clock_row(offset_us)];
            let (written, durable) = oneshot::channel();
            let work = Work::Changes { account: String::new(), changes };
            writer.send(Write { work, written }).map_err(|_| ApiError::internal())?;
            if !durable.await.unwrap_or(false) {
                return Err(ApiError::internal());
            }
        }
        self.clock.set_offset_us(offset_us);
        Ok(())
    }
}
