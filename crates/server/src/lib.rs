//! Tollgate's outside: routes, pages, settings and the command line.
//!
//! No business fact is decided here: handlers parse, call one engine function and render.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use engine::Engine;
use url::Url;

pub mod api;
pub mod auth;
pub mod cli;
pub mod commands;
pub mod config;
pub mod connections;
pub mod copies;
pub mod dev;
pub mod health;
pub mod limits;
pub mod metrics;
pub mod openapi;
pub mod payments;
pub mod problem;
pub mod reports;
pub mod requests;
pub mod routes;
pub mod serve;
pub mod simulator;
pub mod snapshots;
pub mod subscriptions;
pub mod sync;
pub mod web;
pub mod webhooks;

pub use routes::router;

/// What every handler can reach.
#[derive(Clone)]
pub struct App {
    pub engine: Engine,
    pub site: Arc<Site>,
}

/// How we are reached, and how callers prove who they are.
pub struct Site {
    /// The address of our own pages, from outside.
    pub public_url: Url,
    /// Names we answer to; any when empty.
    pub allowed_hosts: Vec<String>,
    /// How many proxies of ours are in front of us, each of which adds who it heard from.
    pub trusted_proxies: usize,
    pub verifier: auth::Verifier,
    /// Whether the metrics are shown to whoever asks.
    pub metrics_are_public: bool,
    /// Whether this process is about to end and should get no new work.
    pub stopping: AtomicBool,
}

impl Site {
    /// Cookies of an encrypted site must never travel in the clear.
    pub fn is_secure(&self) -> bool {
        self.public_url.scheme() == "https"
    }

    /// The full address of one of our pages.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }

    /// A link that signs in once.
    pub fn portal_link(&self, token: &str) -> String {
        format!("{}?token={token}", self.page("/portal/enter"))
    }

    /// Whether a request's `Host` is one of ours. `*` allows all, `.example.com` allows its parts.
    pub fn answers_to(&self, host: &str) -> bool {
        let host = without_port(host).to_ascii_lowercase();
        let fits = |allowed: &String| {
            let allowed = allowed.to_ascii_lowercase();
            allowed == "*"
                || allowed == host
                || allowed
                    .strip_prefix('.')
                    .is_some_and(|domain| host == domain || host.ends_with(allowed.as_str()))
        };
        self.allowed_hosts.is_empty() || self.allowed_hosts.iter().any(fits)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
