//! A check in memory behind the server's own layers and nothing else: what `cargo xtask bench`
//! divides the real one by. Prints its address, and serves until it is killed.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use engine::{Clock, Engine};
use serde::Serialize;
use server::auth::{Keys, Verifier};
use server::connections::{self, Bounds};
use server::{App, Site, config, routes, serve};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CUSTOMERS: u64 = 10_000;
const FEATURES: [&str; 3] = ["export", "seats", "api"];

type Known = moka::sync::Cache<(u64, Arc<str>), i64>;

#[derive(Serialize)]
struct Answer {
    allowed: bool,
    feature: String,
    balance: i64,
}

async fn check(
    State(known): State<Known>,
    Path((customer, feature)): Path<(u64, String)>,
) -> Result<Json<Answer>, StatusCode> {
    let key = (customer, feature.as_str().into());
    let balance = known.get(&key).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(Answer { allowed: 0 < balance, feature, balance }))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    serve::log_to_stderr(&serve::log_filter("info"));
    let known = Known::builder().max_capacity(CUSTOMERS * FEATURES.len() as u64).build();
    for customer in 0..CUSTOMERS {
        for feature in FEATURES {
            known.insert((customer, feature.into()), 100);
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let url: url::Url = format!("http://{address}").parse()?;
    // The layers know the whole application, but nothing here asks it anything.
    let folder = tempfile::tempdir()?;
    let database = format!("sqlite://{}", folder.path().join("unused.db").display());
    let store = Store::open(&database).await?;
    let settings = serve::settings(url.clone(), config::PLANS);
    let engine = Engine::new(store, None, Clock::wall_only(), settings);
    let site = Site {
        public_url: url,
        allowed_hosts: Vec::new(),
        trusted_proxies: 0,
        verifier: Verifier { keys: Keys::None, issuer: None, audience: None },
        metrics_are_public: false,
        stopping: Default::default(),
    };
    let app = App { engine, site: Arc::new(site) };
    let checks = Router::new().route("/check/{customer}/{feature}", get(check)).with_state(known);
    let router = routes::behind_layers(checks, app);
    writeln!(std::io::stdout(), "{address}").context("cannot write to stdout")?;
    let (_stop, stopped) = watch::channel(false);
    connections::listen(listener, router, Bounds::default(), stopped).await
}
