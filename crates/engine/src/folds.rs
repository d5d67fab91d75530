//! Group commit: requests that wait at the same time share one transaction.
//!
//! Each is decided as if it were alone and is answered when the commit is durable. What cannot be
//! decided beside others (a refusal, a key that was used, an account that is not there yet) is
//! handed back and goes its own way, so that nobody fails because of a neighbour.

use crate::failures::Failure;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::StoreError;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

/// How many requests one transaction takes at most.
const FOLD_MAX: usize = 256;
/// How many may wait; more are told to come back.
const WAITING_MAX: usize = 4_096;

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
pub(crate) struct Taker<'a, Q, A>(&'a Fold<Q, A>);

impl<Q, A> Fold<Q, A> {
    pub fn new(name: &'static str) -> Self {
        let (line, waiting) = mpsc::channel(WAITING_MAX);
        Self { name, line, waiting: Mutex::new(waiting), takers: AtomicUsize::new(0) }
    }

    /// Waits for the fold that this becomes a part of. Where nobody commits folds, in a test or
    /// while the process stops, everybody is alone.
    pub async fn ask(&self, asked: Q) -> Verdict<A> {
        if self.takers.load(Ordering::Acquire) == 0 {
            return Verdict::Alone;
        }
        let (answer, answered) = oneshot::channel();
        match self.line.try_send(Waiting { asked, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Verdict::Alone,
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Verdict::Answer(Err(StoreError::Crowded { name: self.name }.into()));
            }
        }
        answered.await.unwrap_or_else(|_| Verdict::Answer(Err(self.unknown())))
    }

    pub fn taker(&self) -> Taker<'_, Q, A> {
        self.takers.fetch_add(1, Ordering::AcqRel);
        Taker(self)
    }

    fn unknown(&self) -> Failure {
        StoreError::Fold { name: self.name }.into()
    }
}

impl<Q, A> Taker<'_, Q, A> {
    /// All that waits, as soon as anything does; `None` when the line is closed and empty.
    pub async fn take(&self, shutdown: &mut watch::Receiver<bool>) -> Option<Round<Q, A>> {
        let mut line = self.0.waiting.lock().await;
        let mut waiting = Vec::new();
        let stopped = async { shutdown.wait_for(|stopped| *stopped).await.map(drop) };
        tokio::select! {
            biased;
            _ = line.recv_many(&mut waiting, FOLD_MAX) => {}
            _ = stopped => {
                line.close();
                line.recv_many(&mut waiting, FOLD_MAX).await;
            }
        }
        if waiting.is_empty() {
            return None;
        }
        let (asked, answers) = waiting.into_iter().map(|one| (one.asked, one.answer)).unzip();
        Some(Round { asked, answers })
    }

    /// Answers everybody of a round.
    pub fn tell(&self, round: Round<Q, A>, outcome: Result<Vec<Verdict<A>>, Undone>) {
        let verdict = |_| match &outcome {
            Err(Undone::Unknown(_)) => Verdict::Answer(Err(self.0.unknown())),
            _ => Verdict::Alone,
        };
        match &outcome {
            Ok(_) => {}
            Err(Undone::Nothing(failure)) => {
                tracing::warn!(fold = self.0.name, %failure, "requests are decided one by one");
            }
            Err(Undone::Unknown(error)) => {
                tracing::error!(fold = self.0.name, %error, "the outcome of a commit is unknown");
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
        if self.0.takers.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // Nothing was done for those who came between the last look and now.
        if let Ok(mut line) = self.0.waiting.try_lock() {
            while let Ok(one) = line.try_recv() {
                let _ = one.answer.send(Verdict::Alone);
            }
        }
    }
}
