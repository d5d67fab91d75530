//! A world to test in: a sandbox, a catalogue, and databases that can be copied.

use crate::databases;
use crate::proxies::Proxy;
use domain::ids::ApiKeyId;
use domain::time::Timestamp;
use engine::audits::Act;
use engine::checkout_sessions::{Buyer, CheckoutRequest, Pace, TrialRule, Wanted};
use engine::deliveries::Outgoing;
use engine::secrets::SealingKeys;
use engine::sync_runs::SyncSettings;
use engine::{Clock, Engine, Failure, Settings, Subject};
use hmac::{Hmac, KeyInit as _, Mac as _};
use providers::receivers::Reach;
use providers::stripe;
use providers::stripe::{Answering, Request, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use store::Store;
use tempfile::TempDir;

const SECRET: &str = "whsec_test";
const KEY: &str = "sk_test_world";

pub struct World {
    pub name: &'static str,
    pub engine: Engine,
    sandbox: String,
    offset: Arc<AtomicI64>,
    database: Database,
    http: reqwest::Client,
    _directory: TempDir,
}

enum Database {
    Sqlite(PathBuf),
    Postgres(String),
    Mysql(String),
}

/// Something done by hand, for tests that do not look at the log.
pub fn act() -> Act {
    Act::new(ApiKeyId::new(Timestamp::from_micros(0), [0; 10]), None).unwrap()
}

pub fn own(name: &str) -> Subject {
    Subject::Own(name.to_owned())
}

fn random_name(prefix: &str) -> String {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).unwrap();
    format!("{prefix}_{}", hex::encode(random))
}

async fn sandbox(offset: Arc<AtomicI64>) -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let config = sandbox::Config {
        listener,
        reach: sandbox::Reach::ThisMachine,
        data: None,
        offset,
        secret_key: None,
        after_advance: None,
    };
    let sandbox = sandbox::start(config).await?;
    let url = sandbox.base_url.clone();
    tokio::spawn(sandbox.serve(std::future::pending()));
    Ok(url)
}

fn client(provider: &str, timeout_ms: u64) -> anyhow::Result<stripe::Client> {
    Ok(stripe::Client::new(stripe::Settings {
        secret_key: SecretString::from(KEY),
        api_base: provider.to_owned(),
        timeout: Duration::from_millis(timeout_ms),
        max_retries: 2,
    })?)
}

fn engine(store: Store, client: stripe::Client, offset: Arc<AtomicI64>) -> anyhow::Result<Engine> {
    Ok(Engine::new(store, Some(client), Clock::adjustable(offset), settings()?))
}

/// Receivers of news may be on this machine.
pub fn settings() -> anyhow::Result<Settings> {
    let key = SecretString::from("test:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let outgoing =
        Outgoing { keys: SealingKeys::parse(&[key])?, reach: Reach::Anywhere, mail_hook: None };
    Ok(Settings {
        frontend_url: "http://127.0.0.1:8000".parse()?,
        public_url: "http://127.0.0.1:8000".parse()?,
        webhook_secrets: vec![SecretString::from(SECRET)],
        webhook_tolerance_seconds: 300,
        livemode: false,
        default_trial_days: 14,
        past_due_grace_seconds: 0,
        debt_policy: Default::default(),
        private_collection_feature: "knowledge_base".to_owned(),
        second_subscription: engine::SecondSubscription::Flag,
        checkouts_per_minute: 5,
        shared_counts: None,
        outgoing,
        event_payload_days: 90,
        sync: SyncSettings { requests_per_second: 0, ..SyncSettings::default() },
    })
}

impl World {
    /// One on each backend that is here, with the demonstration's catalogue.
    pub async fn all() -> anyhow::Result<Vec<World>> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut worlds = vec![World::sqlite().await?];
        match std::env::var("TOLLGATE_TEST_POSTGRES") {
            Ok(server) => worlds.push(World::postgres(&server).await?),
            Err(_) => eprintln!("skipped on PostgreSQL: run cargo xtask test"),
        }
        match std::env::var("TOLLGATE_TEST_MYSQL") {
            Ok(server) => worlds.push(World::mysql(&server).await?),
            Err(_) => eprintln!("skipped on MySQL: run cargo xtask test"),
        }
        Ok(worlds)
    }

    pub async fn sqlite() -> anyhow::Result<World> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("base.db");
        let url = format!("sqlite://{}", path.display());
        World::open("sqlite", &url, Database::Sqlite(path), directory).await
    }

    async fn postgres(server: &str) -> anyhow::Result<World> {
        let name = random_name("engine");
        databases::create_postgres(server, &name, None).await?;
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        World::open("postgres", &url, Database::Postgres(url.clone()), tempfile::tempdir()?).await
    }

    async fn mysql(server: &str) -> anyhow::Result<World> {
        let url = databases::migrated_mysql(server, &random_name("engine")).await?;
        World::open("mysql", &url, Database::Mysql(url.clone()), tempfile::tempdir()?).await
    }

    async fn open(
        name: &'static str,
        url: &str,
        database: Database,
        directory: TempDir,
    ) -> anyhow::Result<World> {
        let offset = Arc::new(AtomicI64::new(0));
        let sandbox = sandbox(offset.clone()).await?;
        let store = Store::open(url).await?;
        store.migrate_up().await?;
        let engine = engine(store, client(&sandbox, 10_000)?, offset.clone())?;
        engine.demo_seed().await?;
        let http = reqwest::Client::new();
        Ok(World { name, engine, sandbox, offset, database, http, _directory: directory })
    }

    /// This world's SQLite file as somebody else's program sees it.
    pub async fn raw(&self) -> anyhow::Result<sqlx::SqlitePool> {
        let Database::Sqlite(path) = &self.database else {
            anyhow::bail!("{} is no file", self.name);
        };
        let one = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        Ok(one.connect(&format!("sqlite://{}", path.display())).await?)
    }

    /// Another process on the same database.
    pub async fn replica(&self) -> anyhow::Result<Engine> {
        self.on(Store::open(&self.url()).await?)
    }

    /// Where its database is.
    pub fn url(&self) -> String {
        match &self.database {
            Database::Sqlite(path) => format!("sqlite://{}", path.display()),
            Database::Postgres(url) | Database::Mysql(url) => url.clone(),
        }
    }

    /// An engine with the same provider and clock on another database.
    pub fn on(&self, store: Store) -> anyhow::Result<Engine> {
        engine(store, client(&self.sandbox, 10_000)?, self.offset.clone())
    }

    /// Closes the database, so that it can be copied.
    pub async fn freeze(&self) {
        self.engine.store().close().await;
    }

    /// An engine of its own on a copy of the frozen database. `provider` other than the sandbox
    /// stands for one that has forgotten everything.
    pub async fn copy(&self, provider: Option<&str>) -> anyhow::Result<Engine> {
        self.copy_with(provider, settings()?).await
    }

    pub async fn copy_with(
        &self,
        provider: Option<&str>,
        settings: Settings,
    ) -> anyhow::Result<Engine> {
        let client = client(provider.unwrap_or(&self.sandbox), 10_000)?;
        self.copy_through(client, settings).await
    }

    /// The same with any client.
    pub async fn copy_behind(&self, client: stripe::Client) -> anyhow::Result<Engine> {
        self.copy_through(client, settings()?).await
    }

    /// The same on a wall clock that the test moves.
    pub async fn copy_behind_at(
        &self,
        client: stripe::Client,
        wall_micros: Arc<AtomicI64>,
    ) -> anyhow::Result<Engine> {
        let clock = Clock::simulated(wall_micros, self.offset.clone());
        let store = Store::open(&self.copied().await?).await?;
        Ok(Engine::new(store, Some(client), clock, settings()?))
    }

    async fn copy_through(
        &self,
        client: stripe::Client,
        settings: Settings,
    ) -> anyhow::Result<Engine> {
        let clock = Clock::adjustable(self.offset.clone());
        let store = Store::open(&self.copied().await?).await?;
        Ok(Engine::new(store, Some(client), clock, settings))
    }

    /// Where a copy of the frozen database is.
    async fn copied(&self) -> anyhow::Result<String> {
        Ok(match &self.database {
            Database::Sqlite(path) => {
                let copy = path.with_file_name(random_name("copy"));
                std::fs::copy(path, &copy)?;
                format!("sqlite://{}", copy.display())
            }
            Database::Postgres(url) => {
                let (base, template) = url.rsplit_once('/').unwrap();
                let name = random_name("copy");
                let server = format!("{base}/postgres");
                databases::create_postgres(&server, &name, Some(template)).await?;
                format!("{base}/{name}")
            }
            Database::Mysql(url) => databases::copy_mysql(url, &random_name("copy")).await?,
        })
    }

    /// Another engine on the same database, as after a restart, which reaches the sandbox through
    /// something in between and gives up soon.
    pub fn through(&self, proxy: &Proxy) -> Engine {
        self.through_with(proxy, settings().unwrap())
    }

    pub fn through_with(&self, proxy: &Proxy, settings: Settings) -> Engine {
        let client = client(&proxy.url, 2_000).unwrap();
        let clock = Clock::adjustable(self.offset.clone());
        Engine::new(self.engine.store().clone(), Some(client), clock, settings)
    }

    /// The same on a wall clock that the test moves.
    pub fn through_at(&self, proxy: &Proxy, wall_micros: Arc<AtomicI64>) -> Engine {
        let client = client(&proxy.url, 2_000).unwrap();
        let clock = Clock::simulated(wall_micros, self.offset.clone());
        Engine::new(self.engine.store().clone(), Some(client), clock, settings().unwrap())
    }

    pub async fn proxy(&self) -> Proxy {
        Proxy::before(&self.sandbox).await.unwrap()
    }

    /// The same world under another policy for debts.
    pub fn with_debt_policy(mut self, debt_policy: engine::debts::DebtPolicy) -> World {
        let client = client(&self.sandbox, 10_000).unwrap();
        let settings = Settings { debt_policy, ..settings().unwrap() };
        let clock = Clock::adjustable(self.offset.clone());
        self.engine = Engine::new(self.engine.store().clone(), Some(client), clock, settings);
        self
    }

    /// The same world, whose database somebody is asked about first.
    pub fn watched(&self, watcher: store::watch::Watcher) -> Engine {
        let client = client(&self.sandbox, 10_000).unwrap();
        let clock = Clock::adjustable(self.offset.clone());
        let store = self.engine.store().clone().watched(watcher);
        Engine::new(store, Some(client), clock, settings().unwrap())
    }

    /// A provider that knows nothing of what this world has done.
    pub async fn oblivious() -> anyhow::Result<String> {
        sandbox(Arc::new(AtomicI64::new(0))).await
    }

    /// A client of the sandbox whose every request is counted first, and refused when `refuses`
    /// says so of its path and number.
    pub fn counting_client(
        &self,
        refuses: fn(&str, usize) -> bool,
    ) -> anyhow::Result<(stripe::Client, Arc<AtomicUsize>)> {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let client = self.client_that(move |request| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let (headers, body) = (Default::default(), b"{}".to_vec());
            refuses(&request.path, number).then(|| Response { status: 500, headers, body })
        })?;
        Ok((client, count))
    }

    /// A client of the sandbox that gets these answers instead of the sandbox's.
    pub fn client_that(
        &self,
        answers: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> anyhow::Result<stripe::Client> {
        let (base, http) = (self.sandbox.clone(), self.http.clone());
        let answerer = move |request: Request| -> Answering {
            if let Some(answer) = answers(&request) {
                return Box::pin(std::future::ready(Ok(answer)));
            }
            let url = format!("{base}{}", request.path);
            let mut call = http.request(request.method, url).headers(request.headers);
            if let Some(body) = request.body {
                call = call.body(body);
            }
            Box::pin(async move {
                let answer = call.send().await.map_err(|error| error.to_string())?;
                let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
                let body = answer.bytes().await.map_err(|error| error.to_string())?.to_vec();
                Ok(Response { status, headers, body })
            })
        };
        let key = SecretString::from(KEY);
        Ok(stripe::Client::in_process(&key, Arc::new(answerer))?)
    }

    pub async fn price(&self, nickname: &str) -> String {
        let sold = self.engine.catalogue().await.unwrap();
        let mut prices = sold.into_iter().flat_map(|offering| offering.prices);
        let price = prices.find(|price| price.nickname.as_deref() == Some(nickname)).unwrap();
        price.id.to_string()
    }

    pub async fn request(&self, who: &str, nickname: &str) -> CheckoutRequest {
        CheckoutRequest {
            buyer: Buyer::Subject(own(who)),
            price: self.price(nickname).await,
            product: None,
            wanted: Wanted::Any,
            trial: TrialRule::ByPrice,
            quantity: 1,
            success_url: None,
            cancel_url: None,
            email: None,
            idempotency_key: None,
            pace: Pace::Limited,
        }
    }

    /// Opens a payment page and pays there; no event has been delivered yet.
    pub async fn pay(&self, request: CheckoutRequest) -> Result<String, Failure> {
        self.pay_with(request, "pm_card_visa").await
    }

    /// The same with another of the sandbox's payment methods.
    pub async fn pay_with(
        &self,
        request: CheckoutRequest,
        method: &str,
    ) -> Result<String, Failure> {
        let checkout = self.engine.checkout_create(request).await?;
        let id = checkout.session.provider_session_id.unwrap();
        let url = format!("{}/_sandbox/checkout/{id}/complete", self.sandbox);
        let form = [("payment_method", method), ("email", "guest@example.com")];
        let answer = self.http.post(url).form(&form).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        Ok(id)
    }

    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.sandbox);
        self.http.get(url).bearer_auth(KEY).send().await.unwrap().json().await.unwrap()
    }

    /// As an older version of the API shows it.
    pub async fn get_in(&self, version: &str, path: &str) -> Value {
        let url = format!("{}{path}", self.sandbox);
        let request = self.http.get(url).bearer_auth(KEY).header("Stripe-Version", version);
        request.send().await.unwrap().json().await.unwrap()
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}{path}", self.sandbox);
        let request = self.http.post(url).bearer_auth(KEY).form(form);
        request.send().await.unwrap().json().await.unwrap()
    }

    pub async fn delete(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.sandbox);
        let request = self.http.delete(url).bearer_auth(KEY);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// What a seller sets in the provider's dashboard.
    pub async fn dashboard(&self, settings: &Value) {
        let url = format!("{}/_sandbox/settings", self.sandbox);
        let answer = self.http.post(url).bearer_auth(KEY).json(settings).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// From now on the sandbox fails like this; an empty object ends it.
    pub async fn faults(&self, faults: &Value) {
        let url = format!("{}/_sandbox/faults", self.sandbox);
        let answer = self.http.post(url).json(faults).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The id of the only object of a kind.
    pub async fn only(&self, collection: &str) -> String {
        let page = self.get(&format!("/v1/{collection}")).await;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(1), "{page}");
        page["data"][0]["id"].as_str().unwrap().to_owned()
    }

    /// A product at the sandbox.
    pub async fn product(&self) -> String {
        let page = self.get("/v1/products?limit=1").await;
        page["data"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Moves the business clock; what happens on the way is told by events.
    pub async fn advance(&self, how: &str) {
        let url = format!("{}/_sandbox/clock", self.sandbox);
        let answer = self.http.post(url).json(&json!({ "advance": how })).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Every event the sandbox has made, oldest first.
    pub async fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        let mut path = "/v1/events?limit=100".to_owned();
        loop {
            let page = self.get(&path).await;
            let data = page["data"].as_array().unwrap().clone();
            let last = data.last().map(|event| event["id"].as_str().unwrap().to_owned());
            events.extend(data);
            match (page["has_more"].as_bool(), last) {
                (Some(true), Some(last)) => {
                    path = format!("/v1/events?limit=100&starting_after={last}");
                }
                _ => break,
            }
        }
        events.reverse();
        events
    }

    /// Tells the engine every event there is and applies them.
    pub async fn tell_all(&self) {
        for event in self.events().await {
            deliver(&self.engine, &event).await;
        }
        drain(&self.engine).await;
    }
}

/// An event's bytes and the proof of them, made now.
pub fn signed(engine: &Engine, event: &Value) -> (String, String) {
    let payload = event.to_string();
    let now = engine.clock().wall().seconds();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{now}.{payload}").as_bytes());
    let header = format!("t={now},v1={}", hex::encode(mac.finalize().into_bytes()));
    (payload, header)
}

/// A delivery as the provider makes it, signed now.
pub async fn deliver(engine: &Engine, event: &Value) {
    try_deliver(engine, event).await.unwrap();
}

pub async fn try_deliver(engine: &Engine, event: &Value) -> Result<(), Failure> {
    let (payload, header) = signed(engine, event);
    engine.receive_webhook(payload.as_bytes(), Some(&header)).await.map(drop)
}

/// Applies everything that is due.
pub async fn drain(engine: &Engine) {
    while engine.apply_next().await.unwrap() {}
    engine.run_timers().await.unwrap();
}

/// The state of one customer, as everybody outside can see it.
pub async fn state(engine: &Engine, who: &str) -> Value {
    let subject = own(who);
    let page = || engine::Page::new(Some(100), None).unwrap();
    let balance = engine.credits_balance(&subject, "credits").await.unwrap();
    let subscriptions = engine.subscriptions_list(&subject, page()).await.unwrap().data;
    let payments = engine.payments_list(&subject, page()).await.unwrap().data;
    let invoices = engine.invoices_list(&subject, page()).await.unwrap().data;
    let grants = engine.credits_grants(&subject, page()).await.unwrap().data;
    let parked = engine.events_list(page(), Some("parked")).await.unwrap().data;
    let mut features = serde_json::Map::new();
    for feature in ["api_access", "knowledge_base"] {
        let decision = engine.check(&subject, feature).await.unwrap();
        features.insert(feature.to_owned(), json!(decision.reason.as_str()));
    }
    json!({
        "balance": [balance.monthly, balance.purchased, balance.held],
        "subscriptions": subscriptions.iter().map(|s| json!([
            s.status.as_str(), s.period_end.map(|at| at.seconds()), s.cancel_at_period_end,
        ])).collect::<Vec<_>>(),
        "payments": payments.iter().map(|p| json!([
            p.amount.minor(), p.status.as_str(), p.amount_refunded,
        ])).collect::<Vec<_>>(),
        "invoices": invoices.iter().map(|i| json!([i.status, i.total.minor()])).collect::<Vec<_>>(),
        "grants": grants.iter().map(|g| json!([
            g.class.as_str(), g.numbers.granted, g.numbers.available(),
            g.expires_at.map(|at| at.seconds()),
        ])).collect::<Vec<_>>(),
        "features": features,
        "parked": parked.iter().map(|e| json!([e.kind, e.reason])).collect::<Vec<_>>(),
    })
}
