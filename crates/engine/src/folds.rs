//! Group commit: requests that wait at the same time share one transaction.
//!
//! Each is decided as if it were alone and is answered when the commit is durable. What cannot be
//! decided beside others (a refusal, a key that was used, an account that is not there yet) is
//! handed back and goes its own way, so that nobody fails because of a neighbour.

use crate::failures::{Failure, caught};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use store::StoreError;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

/// How many requests one transaction takes at most.
const FOLD_MAX: usize = 256;
/// And how many bytes: a database reads only so much as one statement.
const FOLD_BYTES_MAX: usize = 2_000_000;
/// How many may wait, and how many bytes; more are told to come back.
const WAITING_MAX: usize = 4_096;
const WAITING_BYTES_MAX: usize = 64_000_000;
/// After how long.
const CROWDED_SECONDS: u64 = 1;
/// How long a fold waits for as many requests as the one before it had: those who were answered
/// are likely to ask again, and whoever waits for nobody but them shares a commit with them.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long a fold may take before nobody waits for it any more: others must not stand behind it.
const FOLD_TIMEOUT: Duration = Duration::from_secs(10);

/// What becomes of a request that waited.
pub(crate) enum Verdict<A> {
    Answer(Result<A, Failure>),
    /// Nothing was done for it: it has to be decided by itself.
    Alone,
}

/// Why a whole fold was not committed.
pub(crate) enum Undone {
    /// Nothing was written.
    Nothing(Failure),
    /// The commit itself failed, and nobody knows what the database made of it.
    Unknown(StoreError),
}

impl<E: Into<Failure>> From<E> for Undone {
    fn from(error: E) -> Self {
        Undone::Nothing(error.into())
    }
}

struct Waiting<Q, A> {
    asked: Q,
    answer: oneshot::Sender<Verdict<A>>,
}

/// The line in which requests of one kind wait for whoever commits them.
pub(crate) struct Fold<Q, A> {
    name: &'static str,
    /// How many bytes a request adds to its fold's statements.
    weigh: fn(&Q) -> usize,
    bytes: AtomicUsize,
    line: mpsc::Sender<Waiting<Q, A>>,
    waiting: Mutex<mpsc::Receiver<Waiting<Q, A>>>,
    takers: AtomicUsize,
}

/// Requests that are decided together, and where their answers go.
pub(crate) struct Round<Q, A> {
    pub asked: Vec<Q>,
    answers: Vec<oneshot::Sender<Verdict<A>>>,
}

/// Somebody who takes requests from a line. When the last one goes, nobody is left waiting.
pub(crate) struct Taker<'a, Q, A> {
    fold: &'a Fold<Q, A>,
    /// How many it has answered last.
    company: AtomicUsize,
}

impl<Q, A> Fold<Q, A> {
    pub fn new(name: &'static str, weigh: fn(&Q) -> usize) -> Self {
        let (line, waiting) = mpsc::channel(WAITING_MAX);
        let (bytes, takers) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { name, weigh, bytes, line, waiting: Mutex::new(waiting), takers }
    }

    /// Waits for the fold that this becomes a part of. Where nobody commits folds, in a test or
    /// while the process stops, everybody is alone.
    pub async fn ask(&self, asked: Q) -> Verdict<A> {
        if self.takers.load(Ordering::Acquire) == 0 {
            return Verdict::Alone;
        }
        let (answer, answered) = oneshot::channel();
        let weight = (self.weigh)(&asked);
        let full = Failure::RateLimited { retry_after_seconds: CROWDED_SECONDS };
        let crowded = || Verdict::Answer(Err(full));
        if WAITING_BYTES_MAX < self.bytes.fetch_add(weight, Ordering::AcqRel) + weight {
            self.bytes.fetch_sub(weight, Ordering::AcqRel);
            return crowded();
        }
        if let Err(error) = self.line.try_send(Waiting { asked, answer }) {
            self.bytes.fetch_sub(weight, Ordering::AcqRel);
            return match error {
                mpsc::error::TrySendError::Closed(_) => Verdict::Alone,
                mpsc::error::TrySendError::Full(_) => crowded(),
            };
        }
        answered.await.unwrap_or_else(|_| Verdict::Answer(Err(self.unknown())))
    }

    pub fn taker(&self) -> Taker<'_, Q, A> {
        self.takers.fetch_add(1, Ordering::AcqRel);
        Taker { fold: self, company: AtomicUsize::new(0) }
    }

    fn unknown(&self) -> Failure {
        StoreError::Fold { name: self.name }.into()
    }
}

impl<Q, A> Taker<'_, Q, A> {
    /// All that waits, as soon as anything does; `None` when the line is closed and empty.
    pub async fn take(&self, shutdown: &mut watch::Receiver<bool>) -> Option<Round<Q, A>> {
        let mut line = self.fold.waiting.lock().await;
        loop {
            let stopped = async { shutdown.wait_for(|stopped| *stopped).await.map(drop) };
            let first = tokio::select! {
                biased;
                first = line.recv() => first?,
                _ = stopped => {
                    line.close();
                    line.recv().await?
                }
            };
            let (mut asked, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
            let expected = self.company.load(Ordering::Relaxed);
            let mut patience = std::pin::pin!(tokio::time::sleep(PATIENCE));
            let mut next = Some(first);
            while let Some(one) = next {
                let weight = (self.fold.weigh)(&one.asked);
                self.fold.bytes.fetch_sub(weight, Ordering::AcqRel);
                // Nothing is done for somebody who has gone away.
                if !one.answer.is_closed() {
                    bytes += weight;
                    asked.push(one.asked);
                    answers.push(one.answer);
                }
                let is_full = asked.len() == FOLD_MAX || FOLD_BYTES_MAX <= bytes;
                if is_full {
                    break;
                }
                next = match line.try_recv() {
                    Err(_) if asked.len() < expected => tokio::select! {
                        one = line.recv() => one,
                        () = &mut patience => None,
                    },
                    tried => tried.ok(),
                };
            }
            self.company.store(asked.len(), Ordering::Relaxed);
            if !asked.is_empty() {
                return Some(Round { asked, answers });
            }
        }
    }

    /// What a fold came to, if it does so in time. Given up, it may have been committed or not; and
    /// nobody knows how far one came that panicked.
    pub async fn within(
        &self,
        fold: impl Future<Output = Result<Vec<Verdict<A>>, Undone>>,
    ) -> Result<Vec<Verdict<A>>, Undone> {
        let fold = caught(async { Ok(fold.await) });
        match tokio::time::timeout(FOLD_TIMEOUT, fold).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(Undone::Unknown(StoreError::Fold { name: self.fold.name })),
        }
    }

    /// Answers everybody of a round.
    pub fn tell(&self, round: Round<Q, A>, outcome: Result<Vec<Verdict<A>>, Undone>) {
        let verdict = |_| match &outcome {
            Err(Undone::Unknown(_)) => Verdict::Answer(Err(self.fold.unknown())),
            // Alone they would only wait for the same database.
            Err(Undone::Nothing(Failure::Store(error))) if error.is_unreachable() => {
                Verdict::Answer(Err(self.fold.unknown()))
            }
            _ => Verdict::Alone,
        };
        let fold = self.fold.name;
        match &outcome {
            Ok(_) => {}
            Err(Undone::Nothing(failure)) => {
                tracing::warn!(fold, %failure, "requests are decided one by one");
            }
            Err(Undone::Unknown(error)) => {
                tracing::error!(fold, %error, "the outcome of a commit is unknown");
            }
        }
        let others: Vec<_> = (0..round.answers.len()).map(verdict).collect();
        let verdicts = outcome.unwrap_or(others);
        for (answer, verdict) in round.answers.into_iter().zip(verdicts) {
            // Whoever asked may have gone away; what was committed stays so.
            let _ = answer.send(verdict);
        }
    }
}

impl<Q, A> Drop for Taker<'_, Q, A> {
    fn drop(&mut self) {
        if self.fold.takers.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // Nothing was done for those who came between the last look and now.
        if let Ok(mut line) = self.fold.waiting.try_lock() {
            line.close();
            while let Ok(one) = line.try_recv() {
                let _ = one.answer.send(Verdict::Alone);
            }
        }
    }
}
