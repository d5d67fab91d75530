//! One simulated world: a sandbox, a database file, and the process that lives between them and
//! can die at any step.

use crate::catalogue;
use crate::dice::Dice;
use crate::transport::{answerer, call};
use crate::turns;
use crate::weather::{Rates, Weather};
use anyhow::{Context as _, Result, bail};
use axum::Router;
use domain::ids::ApiKeyId;
use engine::{Clock, Engine, Settings};
use hmac::{Hmac, KeyInit as _, Mac as _};
use providers::stripe::{Client, Request};
use sandbox::InProcess;
use secrecy::SecretString;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::Store;
use store::api_keys::KeyScope;
use tempfile::TempDir;
use tokio::sync::watch;

const KEY: &str = "sk_test_simulation";
const WEBHOOK_SECRET: &str = "whsec_simulation";
const PAGES: &str = "http://127.0.0.1:8000";
const MICROS: i64 = 1_000_000;
/// 2025-01-01T00:00:00Z; a world begins on some day of the year after it.
const EARLIEST: i64 = 1_735_689_600;
const DAY: i64 = 86_400;

pub struct World {
    pub weather: Weather,
    pub sandbox: InProcess,
    pub engine: Engine,
    pub catalogue: catalogue::Catalogue,
    /// Under whose key the shop asks.
    pub merchant: ApiKeyId,
    /// The auditor's own connection, which shares nothing with the engine's.
    pub books: SqliteConnection,
    pub deaths: u64,
    router: Router,
    wall: Arc<AtomicI64>,
    offset: Arc<AtomicI64>,
    database: PathBuf,
    grace_seconds: i64,
    _directory: TempDir,
}

/// Where files that nobody keeps are fastest.
fn scratch() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::Builder::new().prefix("tollgate-sim").tempdir_in(memory)
    } else {
        tempfile::Builder::new().prefix("tollgate-sim").tempdir()
    };
    made.context("no directory for the database")
}

impl World {
    /// A shop with its catalogue and without customers, in calm weather.
    pub async fn open(seed: u64, dice: &mut Dice) -> Result<World> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        engine::seed_randomness(dice.next());
        let start = EARLIEST + dice.between(0, 365) * DAY + dice.between(0, DAY - 1);
        let wall = Arc::new(AtomicI64::new(start * MICROS));
        let offset = Arc::new(AtomicI64::new(0));
        let sandbox = InProcess::new(wall.clone(), offset.clone(), KEY, dice.next())?;
        let directory = scratch()?;
        let database = directory.path().join(format!("world-{seed}.db"));
        let weather = Weather::new(dice.split(), Rates::default());
        let router = sandbox.router();
        let grace_seconds = *dice.pick(&[0, 0, 3 * DAY]);
        let clock = Clock::simulated(wall.clone(), offset.clone());
        let process = Process { database: &database, router: &router, weather: &weather, clock };
        let engine = process.start(grace_seconds).await?;
        engine.store().migrate_up().await?;
        let catalogue = catalogue::make(&engine).await?;
        let (merchant, _) = engine.api_keys_create("the shop", KeyScope::Server).await?;
        let address = SqliteConnectOptions::new().filename(&database).read_only(true);
        let books = address.connect().await?;
        Ok(World {
            weather,
            sandbox,
            engine,
            catalogue,
            merchant: merchant.id,
            books,
            deaths: 0,
            router,
            wall,
            offset,
            database,
            grace_seconds,
            _directory: directory,
        })
    }

    fn clock(&self) -> Clock {
        Clock::simulated(self.wall.clone(), self.offset.clone())
    }

    /// In microseconds, wall and business time being the same between two actions.
    pub fn now(&self) -> i64 {
        self.wall.load(Ordering::SeqCst) + self.offset.load(Ordering::SeqCst)
    }

    pub fn grace_seconds(&self) -> i64 {
        self.grace_seconds
    }

    /// What the process does in this weather: none where it died of it and was started anew.
    pub async fn attempt<T>(&mut self, work: impl AsyncFnOnce(Engine) -> T) -> Result<Option<T>> {
        let engine = self.engine.clone();
        self.weather.arm();
        let answer = turns::alone(&self.weather, work(engine)).await;
        self.settle(answer).await
    }

    /// Two things that it does at the same time.
    pub async fn attempt_both<A, B>(
        &mut self,
        dice: &mut Dice,
        first: impl AsyncFnOnce(Engine) -> A,
        second: impl AsyncFnOnce(Engine) -> B,
    ) -> Result<Option<(A, B)>> {
        let (one, other) = (self.engine.clone(), self.engine.clone());
        self.weather.arm();
        let answers = turns::both(&self.weather, dice, first(one), second(other)).await;
        self.settle(answers).await
    }

    async fn settle<T>(&mut self, answer: Option<T>) -> Result<Option<T>> {
        let died = self.weather.disarm();
        if died != answer.is_none() {
            bail!("the work neither ended nor died");
        }
        if died {
            self.deaths += 1;
            self.restart().await?;
        }
        Ok(answer)
    }

    /// The process is gone; another one opens the file.
    pub async fn restart(&mut self) -> Result<()> {
        self.engine.store().close().await;
        let clock = self.clock();
        let (database, router, weather) = (&self.database, &self.router, &self.weather);
        let process = Process { database, router, weather, clock };
        self.engine = process.start(self.grace_seconds).await?;
        // What every start does before it takes work; its workers stop at once.
        let (_, stopped) = watch::channel(true);
        self.engine.run(stopped).await;
        Ok(())
    }

    /// What the database holds and what time it is, to be gone back to.
    pub async fn keep(&mut self) -> Result<Kept> {
        // Whoever leaves last folds the log into the file.
        self.leave().await?;
        let file = std::fs::read(&self.database)?;
        Ok(Kept { file, wall: self.wall.load(Ordering::SeqCst) })
    }

    async fn leave(&mut self) -> Result<()> {
        let away = SqliteConnectOptions::new().in_memory(true).connect().await?;
        std::mem::replace(&mut self.books, away).close().await?;
        self.engine.store().close().await;
        Ok(())
    }

    /// The database as it was kept; the provider stays where it is.
    pub async fn go_back(&mut self, kept: &Kept, wall: i64) -> Result<()> {
        // The file must not change under a connection.
        self.leave().await?;
        for suffix in ["-wal", "-shm"] {
            let mut name = self.database.clone().into_os_string();
            name.push(suffix);
            let _ = std::fs::remove_file(name);
        }
        std::fs::write(&self.database, &kept.file)?;
        self.wall.store(wall, Ordering::SeqCst);
        self.restart().await?;
        let address = SqliteConnectOptions::new().filename(&self.database).read_only(true);
        self.books = address.connect().await?;
        Ok(())
    }

    /// Lets time pass, at the provider and here.
    pub async fn advance(&mut self, seconds: i64) -> Result<()> {
        let form = serde_json::json!({ "advance": format!("{seconds}s") }).to_string();
        let request = Request {
            method: "POST".parse()?,
            path: "/_sandbox/clock".to_owned(),
            headers: Default::default(),
            body: Some(form),
        };
        let answer = call(self.router.clone(), request).await.map_err(anyhow::Error::msg)?;
        if answer.status != 200 {
            bail!("the clock: {}", String::from_utf8_lossy(&answer.body));
        }
        // From now on both clocks show it.
        let offset = self.offset.swap(0, Ordering::SeqCst);
        self.wall.fetch_add(offset, Ordering::SeqCst);
        Ok(())
    }

    /// Lets the wall clock tick, so that waiting ends.
    pub fn tick(&self, seconds: i64) {
        self.wall.fetch_add(seconds * MICROS, Ordering::SeqCst);
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = self.ask("GET", path, &[]).await?;
        if status != 200 {
            bail!("GET {path}: {status} {body}");
        }
        Ok(body)
    }

    /// Everything that a list of the sandbox holds, oldest first.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let glue = if path.contains('?') { '&' } else { '?' };
            let mut page = format!("{path}{glue}limit=100");
            if let Some(last) = all.last().and_then(|object| object["id"].as_str()) {
                page.push_str("&starting_after=");
                page.push_str(last);
            }
            let answer = self.get(&page).await?;
            all.extend(answer["data"].as_array().cloned().unwrap_or_default());
            if answer["has_more"].as_bool() != Some(true) {
                all.reverse();
                return Ok(all);
            }
        }
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<(u16, Value)> {
        self.ask("POST", path, form).await
    }

    /// What the shop or its buyer asks of the sandbox directly; nothing goes wrong with it.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        form: &[(&str, &str)],
    ) -> Result<(u16, Value)> {
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {KEY}").parse()?);
        headers.insert("content-type", "application/x-www-form-urlencoded".parse()?);
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let body = Some(body).filter(|body| !body.is_empty());
        let request = Request { method: method.parse()?, path: path.to_owned(), headers, body };
        let answer = call(self.router.clone(), request).await.map_err(anyhow::Error::msg)?;
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        Ok((answer.status, body))
    }

    /// The signature under which the provider sends a payload now.
    pub fn signature(&self, payload: &str) -> Result<String> {
        let now = self.wall.load(Ordering::SeqCst) / MICROS;
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes())?;
        mac.update(format!("{now}.{payload}").as_bytes());
        Ok(format!("t={now},v1={}", hex::encode(mac.finalize().into_bytes())))
    }
}

/// A database as it was at some moment.
pub struct Kept {
    file: Vec<u8>,
    pub wall: i64,
}

/// What a process is started from.
struct Process<'a> {
    database: &'a Path,
    router: &'a Router,
    weather: &'a Weather,
    clock: Clock,
}

impl Process<'_> {
    async fn start(self, past_due_grace_seconds: i64) -> Result<Engine> {
        let store = Store::open(&format!("sqlite://{}", self.database.display())).await?;
        let key = SecretString::from(KEY);
        let client = Client::in_process(&key, answerer(self.router.clone(), self.weather.clone()))?;
        let settings = Settings {
            frontend_url: PAGES.parse()?,
            public_url: PAGES.parse()?,
            webhook_secrets: vec![SecretString::from(WEBHOOK_SECRET)],
            webhook_tolerance_seconds: 300,
            livemode: false,
            default_trial_days: 14,
            past_due_grace_seconds,
            debt_policy: engine::debts::DebtPolicy::NetNextGrant,
            private_collection_feature: "knowledge_base".to_owned(),
            second_subscription: engine::SecondSubscription::Flag,
            event_payload_days: 90,
            checkouts_per_minute: 100,
            shared_counts: None,
            outgoing: engine::deliveries::Outgoing::default(),
            // Comparing does not wait for a clock that stands.
            sync: engine::sync_runs::SyncSettings {
                requests_per_second: 0,
                ..engine::sync_runs::SyncSettings::default()
            },
        };
        let store = store.watched(self.weather.watcher());
        Ok(Engine::new(store, Some(client), self.clock, settings))
    }
}
