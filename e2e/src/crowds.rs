//! Clients of a shop under a load that fails now and then: each asks again under the same key until
//! it is told that it was done, and some give up. What they were told is kept.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::answers::text_at;
use crate::deliveries::{COMPLETED, delivery, inert_one, of_kind, renamed};
use crate::deployments::{Deployment, FEATURE, accounts};
use crate::loads::name_of;
use crate::logs::{Log, Told};
use crate::requests::Target;
use crate::wires::Wire;

/// The keys of consumptions are references of their lines, too, and begin like this.
pub const KEY: &str = "endure-";
/// Our events of which nothing follows begin like this.
pub const EVENT: &str = "evt_endure-";
/// Longer than the server gives any request.
const PATIENCE: Duration = Duration::from_secs(75);
/// For so long after the end, clients go on asking for what they have begun.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(180);
/// A connection that nobody used for so long may have been closed meanwhile.
const IDLE: Duration = Duration::from_secs(20);
/// Between two attempts; a server may ask for more, but nobody waits long for a test.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Purchases are spread over the time that a load takes.
const PURCHASE_PAUSE: Duration = Duration::from_millis(200);
/// Every so many clients one buys, and every so many one gives up at the first failure.
const BUYER: usize = 16;
const HASTY: usize = 4;
const MIX: [Wish; 3] = [Wish::Consume, Wish::Event, Wish::Consume];

/// What a client may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// One credit: every other time from the same account.
    Consume,
    /// A signed event is taken in.
    Event,
    /// A paid session becomes credits.
    Purchase,
    /// To know whether a customer may do something.
    Check,
}

/// A session that was paid: what the provider has to say of it.
#[derive(Debug)]
struct Paid {
    event: String,
    event_id: String,
    session: String,
}

/// All clients together, and what they were told.
pub struct Crowd {
    addresses: Vec<SocketAddr>,
    merchant: Target,
    accounts: Vec<String>,
    template: Value,
    paid: Vec<Paid>,
    pub consumes: Log,
    pub events: Log,
    pub purchases: Log,
    checks: AtomicUsize,
    tally: Mutex<Tally>,
    closed: OnceLock<Instant>,
}

/// Answers by name, and how long the good ones took.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub answers: BTreeMap<String, u64>,
    pub times_us: Vec<u32>,
}

impl Tally {
    pub fn successes(&self) -> u64 {
        self.times_us.len() as u64
    }

    /// Of those whose names are like that.
    pub fn count(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        self.answers.iter().filter(|(name, _)| is_meant(name)).map(|(_, count)| count).sum()
    }
}

/// A connection that broke, was refused, or never brought an answer.
pub fn is_broken(name: &str) -> bool {
    name.starts_with("connection")
}

/// An answer that no server in trouble may give: only success, "come back then", or "it took too
/// long" are in order.
pub fn is_odd(name: &str) -> bool {
    let is_in_order = name.starts_with('2')
        || name.starts_with("504")
        || (name.starts_with("429") || name.starts_with("503")) && !name.ends_with(UNTIMED);
    !is_in_order && !is_broken(name)
}

const UNTIMED: &str = "without Retry-After";

impl Crowd {
    /// Customers with credits to spend, an event to repeat, and purchases that only the provider
    /// knows of; the clients will take turns with these addresses.
    pub async fn gather(
        deployment: &Deployment,
        addresses: Vec<SocketAddr>,
        spenders: usize,
        purchases: usize,
    ) -> Result<Arc<Self>> {
        let accounts = accounts(spenders.max(2));
        deployment.fund(&accounts).await?;
        let first = deployment.purchases(&accounts[..1], &deployment.pack).await?;
        let template = inert_one(&first)?;
        // One each: the server refuses too many purchases of one customer.
        let buyers: Vec<String> = (0..purchases).map(|n| format!("buyer-{n:06}")).collect();
        let customers = buyers.iter().map(|buyer| {
            deployment.merchant.post_json("/v1/customers", &json!({ "external_id": buyer }))
        });
        let mut paid = Vec::new();
        if !buyers.is_empty() {
            deployment.ask_all(customers.collect()).await?;
            let events = deployment.purchases(&buyers, &deployment.pack).await?;
            paid = of_kind(&events, COMPLETED).iter().map(Paid::of).collect();
        }
        ensure!(paid.len() == purchases, "{} events of {purchases} purchases", paid.len());
        Ok(Arc::new(Self {
            addresses,
            merchant: deployment.merchant.clone(),
            accounts,
            template,
            paid,
            consumes: Log::default(),
            events: Log::default(),
            purchases: Log::default(),
            checks: AtomicUsize::new(0),
            tally: Mutex::default(),
            closed: OnceLock::new(),
        }))
    }

    /// Sends so many clients in, who go on until the crowd is closed.
    pub fn enter(self: &Arc<Self>, clients: usize) -> JoinSet<Result<()>> {
        (0..clients).map(|number| Client::new(self.clone(), number).stay()).collect()
    }

    /// Nobody wishes anything new.
    pub fn close(&self) {
        self.closed.get_or_init(Instant::now);
    }

    fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Asks once more for some of everything that succeeded, as a provider or an anxious client
    /// would: every repetition has to succeed, and to change nothing.
    pub async fn repeat(self: &Arc<Self>, most: usize) -> Result<()> {
        let mut client = Client::new(self.clone(), 0);
        for wish in [Wish::Consume, Wish::Event, Wish::Purchase] {
            let Some(log) = self.log(wish) else { continue };
            for number in log.sample(most) {
                let heard = client.attempt(wish, number).await?;
                ensure!(heard.is_none(), "{wish:?} {number} succeeded once and not again");
            }
        }
        Ok(())
    }

    /// What was answered so far.
    pub fn tally(&self) -> Tally {
        self.tally_now().clone()
    }

    /// Begins to count answers anew; what was answered until now.
    pub fn take_tally(&self) -> Tally {
        std::mem::take(&mut *self.tally_now())
    }

    /// How many succeeded so far.
    pub fn successes(&self) -> u64 {
        self.tally_now().successes()
    }

    fn tally_now(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Purchases by the event that tells of them, and by the session that was paid.
    pub fn purchases_by(&self) -> [HashMap<&str, usize>; 2] {
        let by = |key: fn(&Paid) -> &str| {
            self.paid.iter().enumerate().map(|(number, paid)| (key(paid), number)).collect()
        };
        [by(|paid| paid.event_id.as_str()), by(|paid| paid.session.as_str())]
    }

    /// The log of what changes something.
    pub fn log(&self, wish: Wish) -> Option<&Log> {
        match wish {
            Wish::Consume => Some(&self.consumes),
            Wish::Event => Some(&self.events),
            Wish::Purchase => Some(&self.purchases),
            Wish::Check => None,
        }
    }

    /// The number of a new wish; nothing where all that was prepared is used up.
    fn begin(&self, wish: Wish) -> Option<usize> {
        match wish {
            Wish::Purchase => self.purchases.begin_below(self.paid.len()),
            Wish::Consume => Some(self.consumes.begin()),
            Wish::Event => Some(self.events.begin()),
            Wish::Check => Some(self.checks.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn note(&self, wish: Wish, number: usize, what: Told) {
        if let Some(log) = self.log(wish) {
            log.note(number, what);
        }
    }

    /// The request that says this wish, the same however often it is made.
    fn request(&self, wish: Wish, number: usize, address: SocketAddr) -> Result<Vec<u8>> {
        let target = Target { address, ..self.merchant.clone() };
        let request = match wish {
            Wish::Consume => {
                let key = format!("{KEY}{number}");
                let account = self.account(number);
                let body = json!({ "customer": account, "amount": 1, "reference": key });
                let headers = [("content-type", "application/json"), ("idempotency-key", &*key)];
                target.post("/v1/credits/consume", &headers, body.to_string().as_bytes())
            }
            Wish::Event => {
                let mut event = self.template.clone();
                renamed(&mut event, &format!("{KEY}{number}"));
                delivery(&target, &event.to_string())?
            }
            Wish::Purchase => delivery(&target, &self.paid[number].event)?,
            Wish::Check => {
                let account = self.account(number);
                target.get(&format!("/v1/check?feature={FEATURE}&customer={account}"))
            }
        };
        Ok(request.bytes)
    }

    /// Whose wish it is.
    pub fn account(&self, number: usize) -> &str {
        let (first, others) = self.accounts.split_at(1);
        if number.is_multiple_of(2) {
            return &first[0];
        }
        let mixed = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        &others[mixed as usize % others.len()]
    }

    fn count(&self, name: String, success: Option<Duration>) {
        let mut tally = self.tally_now();
        *tally.answers.entry(name).or_default() += 1;
        if let Some(time) = success {
            tally.times_us.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
        }
    }
}

impl Paid {
    fn of(event: &Value) -> Self {
        let (event_id, session) = (text_at(event, "/id"), text_at(event, "/data/object/id"));
        Self { event: event.to_string(), event_id, session }
    }
}

/// One of the crowd, with a connection to each server.
pub struct Client {
    crowd: Arc<Crowd>,
    number: usize,
    turn: usize,
    wires: Vec<Option<(Wire, Instant)>>,
}

impl Client {
    pub fn new(crowd: Arc<Crowd>, number: usize) -> Self {
        let wires = crowd.addresses.iter().map(|_| None).collect();
        Self { crowd, number, turn: number, wires }
    }

    /// One wish after the other until the crowd is closed, and then what was begun.
    async fn stay(mut self) -> Result<()> {
        let is_buyer = self.number % BUYER == BUYER - 1;
        let mut round = self.number;
        while !self.crowd.is_closed() {
            let wish = if is_buyer { Wish::Purchase } else { MIX[round % MIX.len()] };
            let Some(number) = self.crowd.begin(wish) else { break };
            self.insist(wish, number).await?;
            if is_buyer {
                tokio::time::sleep(PURCHASE_PAUSE).await;
            }
            round += 1;
        }
        Ok(())
    }

    /// Asks until it is done, unless this client is one that gives up.
    async fn insist(&mut self, wish: Wish, number: usize) -> Result<()> {
        let is_hasty = self.number % HASTY == HASTY - 2;
        while let Some(pause) = self.attempt(wish, number).await? {
            tokio::time::sleep(pause).await;
            if is_hasty {
                self.crowd.note(wish, number, Told::GivenUp);
                return Ok(());
            }
            let closed = self.crowd.closed.get();
            if closed.is_some_and(|closed| PATIENCE_AT_THE_END < closed.elapsed()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A new wish, made once; whether it succeeded.
    pub async fn try_once(&mut self, wish: Wish) -> Result<bool> {
        let number = self.crowd.begin(wish).context("there is nothing left to wish")?;
        let is_done = self.attempt(wish, number).await?.is_none();
        if !is_done {
            self.crowd.note(wish, number, Told::GivenUp);
        }
        Ok(is_done)
    }

    /// Asks once, of the server whose turn it is: nothing when it is done, else how long to wait.
    async fn attempt(&mut self, wish: Wish, number: usize) -> Result<Option<Duration>> {
        self.turn += 1;
        let place = self.turn % self.wires.len();
        let address = self.crowd.addresses[place];
        let request = self.crowd.request(wish, number, address)?;
        let begun = Instant::now();
        let asked = ask(&mut self.wires[place], address, &request);
        let (status, name) = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(heard)) => heard,
            Ok(Err(error)) => {
                self.crowd.count(format!("connection: {error}"), None);
                return Ok(Some(PAUSE));
            }
            Err(_) => {
                self.crowd.count(format!("connection: no answer in {PATIENCE:?}"), None);
                return Ok(Some(PAUSE));
            }
        };
        if (200..300).contains(&status) {
            self.crowd.note(wish, number, Told::Success);
            self.crowd.count(name, Some(begun.elapsed()));
            return Ok(None);
        }
        self.crowd.count(name, None);
        let wire = self.wires[place].as_ref().context("a wire that has just answered")?;
        let asked_for = wire.0.retry_after_seconds().map(Duration::from_secs);
        Ok(Some(asked_for.unwrap_or(PAUSE).min(LONGEST_PAUSE)))
    }
}

/// The status and the name of an answer. A connection that fails is gone.
async fn ask(
    place: &mut Option<(Wire, Instant)>,
    address: SocketAddr,
    request: &[u8],
) -> std::io::Result<(u16, String)> {
    let mut wire = match place.take() {
        Some((wire, used)) if used.elapsed() < IDLE => wire,
        _ => Wire::open(address).await?,
    };
    let status = wire.ask(request).await?;
    let mut name = status.to_string();
    if !(200..300).contains(&status) {
        name = name_of(status, wire.body());
        if matches!(status, 429 | 503) && wire.retry_after_seconds().is_none() {
            name = format!("{name} {UNTIMED}");
        }
    }
    *place = Some((wire, Instant::now()));
    Ok((status, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_answers_are_in_order() {
        for name in ["200", "504 timeout", "429 rate_limited", "503 database_unavailable"] {
            assert!(!is_odd(name), "{name}");
        }
        for name in ["500 internal", "404 not_found", "503 x without Retry-After", "302"] {
            assert!(is_odd(name), "{name}");
        }
        assert!(is_broken("connection: reset") && !is_odd("connection: reset"));
    }
}
