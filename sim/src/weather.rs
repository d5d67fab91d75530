//! What goes wrong, and when: drawn from the seed at every step of the database and every call of
//! the provider. And the journal of all that, by which two runs of one seed are compared.

use crate::dice::Dice;
use sha2::{Digest as _, Sha256};
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::StoreError;
use store::watch::{Step, Watcher};

const LAST_LINES: usize = 60;

/// How often each fault happens: once in so many chances, never where it is zero.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// The process dies, at a step of the database or around a call.
    pub death: u64,
    /// A step of the database fails as a busy or full one does.
    pub store: u64,
    /// A call never reaches the provider.
    pub refused: u64,
    /// The provider answers 500 or 429 and has done nothing.
    pub error: u64,
    /// The provider has done it, and nobody hears of it.
    pub silence: u64,
}

impl Rates {
    /// Each seed has troubles of its own: some are calm, some have only one kind of them.
    pub fn drawn(dice: &mut Dice) -> Self {
        let mut rate = |choices: &[u64]| *dice.pick(choices);
        Self {
            death: rate(&[0, 0, 2000, 700, 250]),
            store: rate(&[0, 0, 600, 200]),
            refused: rate(&[0, 0, 30, 8]),
            error: rate(&[0, 0, 30, 8]),
            silence: rate(&[0, 0, 25, 7]),
        }
    }
}

/// What becomes of a call to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Answered,
    Refused,
    Status(u16),
    Silence,
    DeathBefore,
    DeathAfter,
}

/// Shared by the database, the transport and the driver of one simulated world.
#[derive(Clone)]
pub struct Weather {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    dice: Dice,
    rates: Rates,
    /// Faults happen only while something is attempted.
    armed: bool,
    died: bool,
    /// Whether whoever calls the provider lets others go first.
    taking_turns: bool,
    yielded: bool,
    steps: u64,
    hash: Sha256,
    lines: Vec<String>,
    faults: u64,
}

impl Weather {
    pub fn new(dice: Dice, rates: Rates) -> Self {
        let inner = Inner {
            dice,
            rates,
            armed: false,
            died: false,
            taking_turns: false,
            yielded: false,
            steps: 0,
            hash: Sha256::new(),
            lines: Vec::new(),
            faults: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn arm(&self) {
        let mut inner = self.lock();
        (inner.armed, inner.died) = (true, false);
    }

    /// Ends the trouble and says whether the process has died of it.
    pub fn disarm(&self) -> bool {
        let mut inner = self.lock();
        inner.armed = false;
        std::mem::take(&mut inner.died)
    }

    pub fn has_died(&self) -> bool {
        self.lock().died
    }

    /// From now on nothing goes wrong any more.
    pub fn calm(&self) {
        self.lock().rates = Rates::default();
    }

    pub fn rates(&self) -> Rates {
        self.lock().rates.clone()
    }

    pub fn set_rates(&self, rates: Rates) {
        self.lock().rates = rates;
    }

    pub fn take_turns(&self, taking_turns: bool) {
        self.lock().taking_turns = taking_turns;
    }

    pub fn has_yielded(&self) -> bool {
        std::mem::take(&mut self.lock().yielded)
    }

    /// One line of the journal.
    pub fn note(&self, line: String) {
        let mut inner = self.lock();
        let line = format!("{line} #{}", inner.steps);
        inner.hash.update(line.as_bytes());
        inner.hash.update(b"\n");
        inner.lines.push(line);
        if 2 * LAST_LINES < inner.lines.len() {
            inner.lines.drain(..LAST_LINES);
        }
    }

    /// All of the journal in a few characters.
    pub fn digest(&self) -> String {
        hex::encode(&self.lock().hash.clone().finalize()[..16])
    }

    pub fn last_lines(&self) -> Vec<String> {
        let inner = self.lock();
        let from = inner.lines.len().saturating_sub(LAST_LINES);
        inner.lines[from..].to_vec()
    }

    /// Steps of the database and calls so far, and how many of them went wrong.
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.steps, inner.faults)
    }

    /// Who is asked before each step of the database.
    pub fn watcher(&self) -> Watcher {
        let weather = self.clone();
        Arc::new(move |step, name| -> Pin<Box<dyn Future<Output = _> + Send>> {
            match weather.step(step, name) {
                None => Box::pin(pending()),
                Some(verdict) => Box::pin(ready(verdict)),
            }
        })
    }

    /// None where the process dies at this step.
    fn step(&self, step: Step, name: &'static str) -> Option<Result<(), StoreError>> {
        let (died, failed) = {
            let mut inner = self.lock();
            inner.steps += 1;
            if !inner.armed {
                return Some(Ok(()));
            }
            let (death, store) = (inner.rates.death, inner.rates.store);
            let died = inner.dice.once_in(death);
            let failed = inner.dice.once_in(store);
            inner.died |= died;
            inner.faults += u64::from(died || failed);
            (died, failed)
        };
        if died {
            self.note(format!("  dies at {step:?} {name}"));
            return None;
        }
        if failed {
            self.note(format!("  fails at {step:?} {name}"));
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Some(Err(StoreError::Database { name, source: sqlx::Error::Io(source) }));
        }
        Some(Ok(()))
    }

    /// What becomes of the call that is about to be made.
    pub fn fate(&self, method: &str, path: &str) -> Fate {
        let fate = {
            let mut inner = self.lock();
            inner.steps += 1;
            if !inner.armed {
                return Fate::Answered;
            }
            let rates = inner.rates.clone();
            let dice = &mut inner.dice;
            // A call is a rarer chance to die than a statement, and a better one.
            let drawn = [
                (dice.once_in(rates.death / 20), Fate::DeathBefore),
                (dice.once_in(rates.death / 20), Fate::DeathAfter),
                (dice.once_in(rates.refused), Fate::Refused),
                (dice.once_in(rates.error), Fate::Status(*dice.pick(&[429, 500]))),
                (dice.once_in(rates.silence), Fate::Silence),
            ];
            let fate = drawn.iter().find(|(happens, _)| *happens).map(|(_, fate)| *fate);
            inner.faults += u64::from(fate.is_some());
            fate.unwrap_or(Fate::Answered)
        };
        if fate != Fate::Answered {
            let path = path.split('?').next().unwrap_or_default();
            self.note(format!("  {fate:?} at {method} {path}"));
        }
        fate
    }

    /// The process ends here: the caller never goes on.
    pub async fn die(&self) {
        self.lock().died = true;
        pending::<()>().await;
    }

    /// Lets others go first, where turns are taken.
    pub async fn turn(&self) {
        if !self.lock().taking_turns {
            return;
        }
        let mut waited = false;
        std::future::poll_fn(|_| {
            if waited {
                return std::task::Poll::Ready(());
            }
            waited = true;
            self.lock().yielded = true;
            std::task::Poll::Pending
        })
        .await;
    }
}
