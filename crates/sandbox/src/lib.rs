//! A Stripe-compatible provider that runs on your machine: API, hosted pages, clock, webhooks.
//! It shares nothing with the adapter it is tested against, so that it can disagree with it.

// Stripe's objects are wider than the default limit of `json!`.
#![recursion_limit = "256"]

mod accounts;
mod adjustments;
mod advances;
mod app;
mod automatic_taxes;
mod balance_transactions;
mod bank_accounts;
mod billing;
mod billing_portal;
mod cancellations;
mod cards;
mod charges;
mod checkout_sessions;
mod clock;
mod completions;
mod controls;
mod costs;
mod coupons;
mod credit_notes;
mod currencies;
mod currency_options;
mod customer_balance_transactions;
mod customers;
mod dashboard;
mod database;
mod debits;
mod delivery;
mod discounts;
mod disputes;
mod early_ends;
mod entitlements;
mod errors;
mod event_types;
mod events;
mod expand;
mod faults;
mod features;
mod first_periods;
mod forms;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod idempotency;
mod ids;
mod in_process;
mod instruments;
mod invoice_items;
mod invoice_payments;
mod invoices;
mod lists;
mod meter_event_summaries;
mod meter_events;
mod meters;
mod net_amounts;
mod pages;
mod params;
mod payment_intents;
mod payment_methods;
mod pending_updates;
mod percents;
mod plan_changes;
mod portal_configurations;
mod portal_features;
mod portal_flows;
mod prices;
mod product_features;
mod products;
mod promotion_codes;
mod prorations;
mod refunds;
mod requests;
mod retries;
mod routes;
mod search;
mod settings;
mod setup_attempts;
mod setup_intents;
mod snapshots;
mod sources;
mod state;
mod states;
mod subscription_items;
mod subscription_schedules;
mod subscriptions;
mod tax_calculations;
mod tax_codes;
mod tax_ids;
mod tax_locations;
mod tax_rates;
mod tax_settings;
mod tax_transactions;
mod test_clocks;
mod tokens;
mod transactions;
mod upcoming_invoices;
mod usages;
mod versions;
mod webhook_endpoints;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower_http::catch_panic::CatchPanicLayer;

use app::{Accounts, App, Parts};
use clock::Clock;
use pages::{authentication, checkout, invoice, portal};

/// The key of the account that the sandbox shows first, unless the caller chooses one.
pub const SECRET_KEY: &str = "sk_test_sandbox";

const MAX_BODY_BYTES: usize = 1024 * 1024;
/// A saved state holds more objects than people make by hand.
pub const MAX_STATE_BYTES: usize = 1024 * 1024 * 1024;

pub use in_process::{Happened, InProcess};
pub use snapshots::{FileError, SnapshotError, load_directory, reset_directory, save_directory};

/// The version of the API that this simulator speaks.
pub const API_VERSION: &str = events::API_VERSION;

pub struct Config {
    /// Already bound.
    pub listener: TcpListener,
    /// Who may reach the listener. Without keys and accounts of its own it is not for everyone.
    pub reach: Reach,
    /// Directory of `sandbox.db`; none keeps everything in memory.
    pub data: Option<PathBuf>,
    /// Business clock = wall clock + this many microseconds. Restored from `sandbox.db` at start.
    pub offset: Arc<AtomicI64>,
    /// The key the caller hands out; `SECRET_KEY` without. Any other `sk_test_…` key is accepted,
    /// too, and has an account of its own.
    pub secret_key: Option<String>,
    /// Whom to call after each step of the clock.
    pub after_advance: Option<AfterAdvance>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Listeners on other interfaces than loopback are refused.
    ThisMachine,
    /// Whoever reaches the listener, as chosen by the caller: a container, a network of testers.
    Network,
}

#[derive(Clone, Debug)]
pub struct AfterAdvance {
    pub url: String,
    pub bearer: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("sandbox must listen on the loopback interface, not on {0}")]
    NotLoopback(SocketAddr),
    #[error("sandbox listener has no address")]
    Listener(#[source] std::io::Error),
    #[error("sandbox directory {path} cannot be created")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(
        "sandbox.db has layout {found} and this version knows {known}: \
         remove the data directory to start anew"
    )]
    Layout { found: i64, known: i64 },
    #[error("sandbox.db cannot be opened")]
    Database(#[source] sqlx::Error),
    #[error("sandbox.db holds a {kind} that cannot be read")]
    Object { kind: String, source: serde_json::Error },
    #[error("sandbox key must start with sk_test_")]
    SecretKey,
    #[error("sandbox cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A loaded sandbox, ready to serve.
pub struct Sandbox {
    pub base_url: String,
    listener: TcpListener,
    app: Arc<App>,
    writing: Option<(sqlx::SqliteConnection, mpsc::UnboundedReceiver<database::Write>)>,
}

/// Loads the state; nothing is served yet. The process has installed a rustls provider before.
pub async fn start(config: Config) -> Result<Sandbox, StartError> {
    let address = config.listener.local_addr().map_err(StartError::Listener)?;
    if config.reach == Reach::ThisMachine && !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    if config.secret_key.as_ref().is_some_and(|key| !key.starts_with("sk_test_")) {
        return Err(StartError::SecretKey);
    }
    let client = http_client()?;
    let base_url = base_url(address);
    let clock = Clock::new(config.offset);
    let mut accounts = Accounts::new();
    let mut writer = None;
    let mut writing = None;
    if let Some(directory) = &config.data {
        let mut connection = database::open(directory).await?;
        accounts = database::load(&mut connection, &base_url, &clock).await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        writer = Some(sender);
        writing = Some((connection, receiver));
    }
    let app = Arc::new(App::new(Parts {
        accounts,
        base_url: base_url.clone(),
        clock,
        main_account: accounts::of_key(config.secret_key.as_deref().unwrap_or(SECRET_KEY)),
        writer,
        after_advance: config.after_advance,
        client,
        reach: config.reach,
    }));
    Ok(Sandbox { base_url, listener: config.listener, app, writing })
}

/// A redirect is no acceptance of a webhook, and nothing here needs a proxy.
fn http_client() -> Result<reqwest::Client, StartError> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(StartError::Client)
}

/// The address links are made with. "All interfaces" is no place a browser could go to.
fn base_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

impl Sandbox {
    /// Serves until `shutdown`, then drains requests and writes what is left to write.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let Sandbox { listener, app, writing, .. } = self;
        let mut writers = JoinSet::new();
        if let Some((connection, queue)) = writing {
            writers.spawn(database::write(connection, queue));
        }
        let mut workers = JoinSet::new();
        workers.spawn(delivery::run(app.clone()));
        workers.spawn(advances::tick(app.clone()));
        workers.spawn(test_clocks::run(app.clone()));
        let stopping = app.clone();
        let shutdown = async move {
            shutdown.await;
            stopping.stop();
        };
        let served = axum::serve(listener, router(app)).with_graceful_shutdown(shutdown).await;
        // Workers hold the queue open; once they and the router are gone, the writer ends.
        workers.shutdown().await;
        while writers.join_next().await.is_some() {}
        served
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/_sandbox/checkout/{id}/complete", post(controls::complete_checkout))
        .route("/_sandbox/clock", get(controls::show_clock).post(controls::move_clock))
        .route("/_sandbox/events/{id}/resend", post(controls::resend))
        .route("/_sandbox/settings", get(settings::show).post(settings::set))
        .route("/_sandbox/faults", post(controls::set_faults).get(dashboard::faults::show))
        .route("/_sandbox/load", post(states::load).layer(DefaultBodyLimit::max(MAX_STATE_BYTES)))
        .route("/_sandbox/reset", post(states::reset))
        .route("/_sandbox/save", get(states::save))
        .route("/a/{id}", get(authentication::show_intent).post(authentication::answer_intent))
        .route("/c/pay/{id}", get(checkout::show).post(checkout::submit))
        .route(
            "/c/pay/{id}/authenticate",
            get(authentication::show_checkout).post(authentication::answer_checkout),
        )
        .route("/c/pay/{id}/code", post(checkout::submit_code))
        .route("/i/{id}", get(invoice::show))
        .merge(portal::router())
        .route("/i/{id}/credit/{note}", get(invoice::show_credit_note))
        .route("/r/{id}", get(invoice::receipt))
        .merge(dashboard::router(&app))
        .fallback(requests::handle)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(requests::panicked))
        .with_state(app)
}
