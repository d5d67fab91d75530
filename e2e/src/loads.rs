//! The load generator: so many keep-alive connections on one thread, each with one request under
//! way. Every answer that is no success is counted under its name.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::{Barrier, Semaphore};

use crate::requests::Request;
use crate::wires::Wire;

/// Longer than any request may take; then the server hangs, and so would we.
const PATIENCE: Duration = Duration::from_secs(90);
/// How finely requests at a fixed pace are spread.
const PACE_STEP: Duration = Duration::from_micros(100);
const GATE_STEP: Duration = Duration::from_millis(1);
/// A server that goes away for good is a failure of the benchmark, not a figure.
const RECONNECTS_MAX: u32 = 100;

/// Which request comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Each one once, in turn; the end of the list ends the load.
    Once,
    AtRandom,
}

/// When it is sent.
pub enum Pace {
    /// As soon as the answer before it is there.
    AtOnce,
    /// So many in a second, whether answers come or not.
    PerSecond(f64),
    /// At once, but never more than the gate lets through.
    Gated(Arc<Gate>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    Dropped,
    Kept,
}

/// Holds senders back while too much of what was accepted is not done yet.
#[derive(Default)]
pub struct Gate {
    pub accepted: AtomicU64,
    pub allowed: AtomicU64,
}

pub struct Load {
    pub address: SocketAddr,
    pub requests: Arc<Vec<Request>>,
    pub order: Order,
    pub pace: Pace,
    pub bodies: Bodies,
    pub connections: usize,
    pub length: Duration,
}

/// What came of it.
pub struct Outcome {
    /// How long each answered request took, in microseconds, shortest first.
    pub times_us: Vec<u32>,
    pub elapsed: Duration,
    /// Every answer that was no success, and every connection that broke, by name.
    pub refusals: BTreeMap<String, u64>,
    /// Successful answers by the place of their request, where they were kept.
    pub bodies: Vec<(usize, String)>,
}

impl Outcome {
    pub fn answered(&self) -> u64 {
        self.times_us.len() as u64
    }

    pub fn refused(&self) -> u64 {
        self.refusals.values().sum()
    }

    pub fn per_second(&self) -> f64 {
        self.times_us.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub fn percentile_ms(&self, percent: usize) -> f64 {
        percentile_ms(&self.times_us, percent)
    }

    /// The bodies in the order of their requests, provided that all of them succeeded.
    pub fn into_bodies(mut self) -> Result<Vec<String>> {
        ensure!(self.refusals.is_empty(), "refused: {:?}", self.refusals);
        self.bodies.sort_unstable_by_key(|(index, _)| *index);
        Ok(self.bodies.into_iter().map(|(_, body)| body).collect())
    }
}

pub fn percentile_ms(sorted_us: &[u32], percent: usize) -> f64 {
    match sorted_us.len() {
        0 => f64::NAN,
        count => f64::from(sorted_us[(count - 1) * percent / 100]) / 1000.0,
    }
}

impl Load {
    /// Sends everything on a thread of its own.
    pub async fn run(self) -> Result<Outcome> {
        let thread = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let limit = self.length.saturating_add(PATIENCE);
            runtime.block_on(async {
                let tasks = tokio::task::LocalSet::new();
                let all = tasks.run_until(self.send_all());
                tokio::time::timeout(limit, all).await.context("the server does not answer")?
            })
        });
        thread.await?
    }

    async fn send_all(self) -> Result<Outcome> {
        ensure!(!self.requests.is_empty(), "there is nothing to send");
        let sender = Rc::new(Sender::new(self));
        let barrier = Rc::new(Barrier::new(sender.load.connections + 1));
        let mut tasks = Vec::new();
        for _ in 0..sender.load.connections {
            let (sender, barrier) = (sender.clone(), barrier.clone());
            let wire = Wire::open(sender.load.address).await?;
            tasks.push(tokio::task::spawn_local(async move {
                barrier.wait().await;
                sender.send_on(wire).await
            }));
        }
        sender.started.set(Instant::now());
        let pacer = match sender.load.pace {
            Pace::PerSecond(rate) => Some(sender.dues.clone().pace(rate, sender.load.length)),
            _ => None,
        };
        barrier.wait().await;
        let mut failure = None;
        for task in tasks {
            if let Err(error) = task.await? {
                failure = Some(error);
            }
        }
        let elapsed = sender.started.get().elapsed();
        if let Some(pacer) = pacer {
            pacer.join().ok().context("the pacer panicked")?;
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let mut times_us = sender.times_us.take();
        times_us.sort_unstable();
        let (refusals, bodies) = (sender.refusals.take(), sender.bodies.take());
        Ok(Outcome { times_us, elapsed, refusals, bodies })
    }
}

/// What all connections share; they live on one thread.
struct Sender {
    load: Load,
    started: Cell<Instant>,
    next: Cell<usize>,
    random: Cell<u64>,
    dues: Arc<Dues>,
    times_us: RefCell<Vec<u32>>,
    refusals: RefCell<BTreeMap<String, u64>>,
    bodies: RefCell<Vec<(usize, String)>>,
}

impl Sender {
    fn new(load: Load) -> Self {
        Self {
            load,
            started: Cell::new(Instant::now()),
            next: Cell::new(0),
            random: Cell::new(88_172_645_463_325_252),
            dues: Arc::default(),
            times_us: RefCell::default(),
            refusals: RefCell::default(),
            bodies: RefCell::default(),
        }
    }

    async fn send_on(&self, mut wire: Wire) -> Result<()> {
        let mut bytes = Vec::new();
        let mut reconnects = 0;
        while let Some(due) = self.due().await {
            let Some(index) = self.next_index() else { break };
            self.load.requests[index].write_to(&mut bytes, next_number());
            let begun = due.unwrap_or_else(Instant::now);
            match wire.ask(&bytes).await {
                Ok(status) if (200..300).contains(&status) => self.note(begun, index, &wire),
                Ok(status) => self.refuse(name_of(status, wire.body())),
                Err(error) => {
                    self.refuse(format!("connection: {error}"));
                    reconnects += 1;
                    if RECONNECTS_MAX < reconnects {
                        bail!("the connection broke {reconnects} times, at last: {error}");
                    }
                    wire = Wire::open(self.load.address).await?;
                }
            }
        }
        Ok(())
    }

    /// When the next request should leave: nothing at the end, an instant where pace is kept.
    async fn due(&self) -> Option<Option<Instant>> {
        match &self.load.pace {
            Pace::PerSecond(_) => return self.dues.next().await.map(Some),
            Pace::Gated(gate) => {
                while gate.allowed.load(Ordering::Relaxed) <= gate.accepted.load(Ordering::Relaxed)
                    && !self.is_over()
                {
                    tokio::time::sleep(GATE_STEP).await;
                }
            }
            Pace::AtOnce => {}
        }
        (!self.is_over()).then_some(None)
    }

    fn is_over(&self) -> bool {
        self.load.length <= self.started.get().elapsed()
    }

    fn next_index(&self) -> Option<usize> {
        let count = self.load.requests.len();
        match self.load.order {
            Order::Once => {
                let next = self.next.replace(self.next.get() + 1);
                (next < count).then_some(next)
            }
            Order::AtRandom => {
                let mut word = self.random.get();
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                self.random.set(word);
                usize::try_from(word % count as u64).ok()
            }
        }
    }

    fn note(&self, begun: Instant, index: usize, wire: &Wire) {
        let micros = begun.elapsed().as_micros();
        self.times_us.borrow_mut().push(u32::try_from(micros).unwrap_or(u32::MAX));
        if let Pace::Gated(gate) = &self.load.pace {
            gate.accepted.fetch_add(1, Ordering::Relaxed);
        }
        if self.load.bodies == Bodies::Kept {
            let body = String::from_utf8_lossy(wire.body()).into_owned();
            self.bodies.borrow_mut().push((index, body));
        }
    }

    fn refuse(&self, name: String) {
        *self.refusals.borrow_mut().entry(name).or_default() += 1;
    }
}

/// Instants at which requests are due, made by a thread that does nothing else: the runtime's own
/// timer is too coarse.
pub struct Dues {
    waiting: Mutex<VecDeque<Instant>>,
    count: Semaphore,
}

impl Default for Dues {
    fn default() -> Self {
        Self { waiting: Mutex::default(), count: Semaphore::new(0) }
    }
}

impl Dues {
    /// So many in a second, for so long.
    pub fn pace(self: Arc<Self>, rate: f64, length: Duration) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            let started = Instant::now();
            let mut made = 0_u64;
            loop {
                let elapsed = started.elapsed().min(length);
                let wanted = (elapsed.as_secs_f64() * rate) as u64;
                for number in made..wanted {
                    let at = started + Duration::from_secs_f64(number as f64 / rate);
                    self.lock().push_back(at);
                    self.count.add_permits(1);
                }
                made = made.max(wanted);
                if elapsed == length {
                    break;
                }
                std::thread::sleep(PACE_STEP);
            }
            self.count.close();
        })
    }

    /// What is due already is sent even after the end: waiting long is what is measured.
    pub async fn next(&self) -> Option<Instant> {
        if let Ok(permit) = self.count.acquire().await {
            permit.forget();
        }
        self.lock().pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Instant>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A number that no request of this process has had.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// `429 rate_limited`: the status and the stable code of the problem document.
pub(crate) fn name_of(status: u16, body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    format!("{status} {}", value["code"].as_str().unwrap_or_default()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times: Vec<u32> = (1..=100).map(|n| n * 1000).collect();
        assert_eq!(percentile_ms(&times, 50), 50.0);
        assert_eq!(percentile_ms(&times, 99), 99.0);
        assert!(percentile_ms(&[], 50).is_nan());
    }

    #[test]
    fn what_is_no_success_has_a_name() {
        assert_eq!(name_of(429, br#"{"code":"rate_limited"}"#), "429 rate_limited");
        assert_eq!(name_of(502, b"<html>"), "502");
    }
}
