//! `tollgate serve`, and what it shares with `dev`: opening the engine, listening, stopping.

use std::future::Future;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use engine::deliveries::Outgoing;
use engine::sync_runs::SyncSettings;
use engine::{Clock, Engine, Settings};
use jsonwebtoken::jwk::JwkSet;
use providers::stripe;
use store::settings::{Finding, Verdict};
use store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::auth::{KeySet, Keys, Verifier};
use crate::config::{Config, EVENT_PAYLOAD_DAYS, Plans, TokenKeys, TokenRules};
use crate::connections::{self, Bounds};
use crate::limits::DRAIN_TIMEOUT;
use crate::{App, Site};

/// How long one call to the provider may take, and how often it is repeated with the same key. A
/// slow answer is better than none.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(30);
const PROVIDER_RETRIES: u32 = 2;
/// How long the start waits for the provider.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// The provider's own default: older signatures are refused.
const WEBHOOK_TOLERANCE_SECONDS: i64 = 300;
const SECONDS_PER_DAY: i64 = 86_400;
/// What customers need to keep knowledge of their own.
const PRIVATE_COLLECTION_FEATURE: &str = "knowledge_base";

/// Runs the server until it is asked to stop.
pub async fn run(config: Config) -> anyhow::Result<()> {
    log_to_stderr(&config.log_filter());
    tracing::info!("opening the database");
    let store = Store::open(config.database()).await.context("cannot open the database")?;
    store.migrate_up().await.context("cannot migrate the database")?;
    store.copies_check().await?;
    tell_settings(&store).await;
    let engine = engine(&config, store).await?;
    check_account(&engine).await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let site = Site {
        public_url: config.public_url.clone(),
        allowed_hosts: config.allowed_hosts.clone(),
        trusted_proxies: config.trusted_proxies,
        verifier: verifier(&config.tokens)?,
        metrics_are_public: config.metrics_are_public,
        stopping: AtomicBool::new(false),
    };
    let site = Arc::new(site);
    let app = App { engine: engine.clone(), site: site.clone() };
    tracing::info!(listen = %listener.local_addr()?, livemode = config.livemode, "serving");
    let (stop, stopped) = watch::channel(false);
    let worker = tokio::spawn({
        let (engine, stopped) = (engine.clone(), stopped.clone());
        async move { engine.run(stopped).await }
    });
    tokio::spawn(async move {
        stop_signal().await;
        // Balancers hear of it first, and only then are new connections refused. Whoever insists
        // does not wait.
        site.stopping.store(true, Ordering::Relaxed);
        tracing::info!("stopping");
        let pause = Duration::from_secs(u64::from(config.shutdown_delay_seconds));
        let _ = tokio::time::timeout(pause, stop_signal()).await;
        let _ = stop.send(true);
    });
    connections::listen(listener, crate::router(app), Bounds::of_this_process(), stopped).await?;
    finish("worker", worker).await;
    // A connection that waits for a lock keeps nobody here; what was committed is safe.
    if tokio::time::timeout(DRAIN_TIMEOUT, engine.store().close()).await.is_err() {
        tracing::warn!("stopped before every connection to the database was closed");
    }
    tracing::info!("stopped");
    Ok(())
}

/// What the database's own settings cost is the operator's decision, but an informed one.
async fn tell_settings(store: &Store) {
    let findings = match store.settings().await {
        Ok(findings) => findings,
        Err(error) => {
            tracing::warn!(%error, "the database's settings could not be read");
            return;
        }
    };
    for one in findings.iter().filter(|one| one.verdict != Verdict::Good) {
        let Finding { name, value, advice, .. } = one;
        tracing::warn!(name, value, advice, "a setting of the database hurts");
    }
}

/// Refuses what would do harm, as far as the provider answers; its silence keeps nobody from
/// serving.
pub async fn check_account(engine: &Engine) -> anyhow::Result<()> {
    let misfits = match tokio::time::timeout(CHECK_TIMEOUT, engine.account_misfits()).await {
        Ok(Ok(misfits)) => misfits,
        Ok(Err(failure)) => {
            tracing::warn!(%failure, "the account at the provider could not be checked");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!("the provider is too slow for a check of the account");
            return Ok(());
        }
    };
    for misfit in &misfits {
        tracing::warn!(%misfit, "the settings do not fit the account at the provider");
    }
    match misfits.iter().find(|misfit| misfit.is_fatal()) {
        Some(misfit) => bail!("{misfit}"),
        None => Ok(()),
    }
}

/// Refuses a database whose schema is not this binary's: a command that runs beside an older server
/// must not change what that server works with.
pub async fn check_schema(store: &Store) -> anyhow::Result<()> {
    match store.migrate_check().await {
        Ok(()) => Ok(store.copies_check().await?),
        Err(error @ StoreError::SchemaOlder(_)) => {
            bail!("{error}; stop older servers and run `tollgate migrate up`")
        }
        Err(error @ StoreError::SchemaNewer(_)) => bail!("{error}; use the newer tollgate"),
        Err(error) => Err(error).context("cannot read the database's schema"),
    }
}

/// The engine on the configured database, as somebody has opened and migrated it.
pub async fn engine(config: &Config, store: Store) -> anyhow::Result<Engine> {
    let clock = Clock::wall_only();
    if config.stripe_key.is_some() {
        store.deployment_bind(config.livemode, clock.wall()).await?;
    }
    let client = match &config.stripe_key {
        Some(key) => Some(client(key.clone(), config.stripe_api_base.as_str())?),
        None => None,
    };
    let settings = Settings {
        webhook_secrets: config.webhook_secrets.clone(),
        shared_counts: config.shared_counts.clone(),
        livemode: config.livemode,
        public_url: config.public_url.clone(),
        outgoing: config.outgoing.clone(),
        event_payload_days: config.event_payload_days,
        sync: config.sync.clone(),
        ..settings(config.frontend_url.clone(), config.plans)
    };
    Ok(Engine::new(store, client, clock, settings))
}

/// Settings with everything that does not come from the operator.
pub fn settings(frontend_url: url::Url, plans: Plans) -> Settings {
    Settings {
        public_url: frontend_url.clone(),
        frontend_url,
        webhook_secrets: Vec::new(),
        webhook_tolerance_seconds: WEBHOOK_TOLERANCE_SECONDS,
        livemode: false,
        default_trial_days: plans.trial_days,
        debt_policy: plans.credit_debt_policy,
        past_due_grace_seconds: i64::from(plans.past_due_grace_days) * SECONDS_PER_DAY,
        private_collection_feature: PRIVATE_COLLECTION_FEATURE.into(),
        second_subscription: plans.second_subscription,
        checkouts_per_minute: plans.checkouts_per_minute,
        shared_counts: None,
        outgoing: Outgoing::default(),
        event_payload_days: EVENT_PAYLOAD_DAYS,
        sync: SyncSettings::default(),
    }
}

/// A client of the provider.
pub fn client(key: secrecy::SecretString, base: &str) -> anyhow::Result<stripe::Client> {
    let settings = stripe::Settings {
        secret_key: key,
        api_base: base.trim_end_matches('/').to_owned(),
        timeout: PROVIDER_TIMEOUT,
        max_retries: PROVIDER_RETRIES,
    };
    stripe::Client::new(settings).context("cannot use the provider's settings")
}

/// The proof of end users, as configured.
pub fn verifier(rules: &TokenRules) -> anyhow::Result<Verifier> {
    let keys = match &rules.keys {
        TokenKeys::None => Keys::None,
        TokenKeys::Secret(secret) => Keys::Secret(secret.clone()),
        TokenKeys::Url(url) => Keys::Set(Box::new(KeySet::from_url(url.clone()))),
        TokenKeys::File(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read JWKS_FILE {}", path.display()))?;
            let Ok(set) = serde_json::from_str::<JwkSet>(&text) else {
                bail!("JWKS_FILE {} is not a key set", path.display());
            };
            Keys::Set(Box::new(KeySet::from_file(set)))
        }
    };
    Ok(Verifier { keys, issuer: rules.issuer.clone(), audience: rules.audience.clone() })
}

/// Waits for a task to drain, but not for ever.
pub async fn finish<T>(name: &str, mut task: tokio::task::JoinHandle<T>) {
    match tokio::time::timeout(DRAIN_TIMEOUT, &mut task).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!(task = name, error = %error, "a task failed"),
        Err(_) => {
            tracing::warn!(task = name, "stopped before everything was drained");
            task.abort();
        }
    }
}

/// Ctrl-C, or what a supervisor sends.
pub fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    async move {
        match (terminate, interrupt) {
            (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            },
            _ => std::future::pending().await,
        }
    }
}

/// Our own lines at the chosen level, libraries' only when something is wrong: they may quote
/// headers and addresses.
pub fn log_filter(level: &str) -> String {
    let ours = ["server", "engine", "store", "providers", "retrieval", "sandbox", "tollgate"];
    let mut filter = String::from("warn");
    for name in ours {
        filter.push_str(&format!(",{name}={level}"));
    }
    filter
}

/// Lines for people and programs, on stderr; stdout belongs to the commands.
pub fn log_to_stderr(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // A log that cannot be written, on a full disk for example, must not end anything.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // A second call in one process (tests) keeps the first.
    let _ = lines.try_init();
}
