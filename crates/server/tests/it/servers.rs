//! A server without a network: the whole router on an engine with a database of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use engine::deliveries::Outgoing;
use engine::secrets::SealingKeys;
use engine::{Clock, Engine, Settings};
use providers::receivers::Reach;
use secrecy::ExposeSecret;
use serde_json::Value;
use server::auth::{Keys, Verifier};
use server::{App, Site};
use store::Store;
use store::api_keys::KeyScope;
use tower::ServiceExt;

pub const PROVIDER_KEY: &str = "sk_test_of_the_tests";
/// Two, as while one is being replaced by the other.
pub const WEBHOOK_SECRETS: [&str; 2] = ["whsec_of_the_tests_old", "whsec_of_the_tests_new"];
pub const JWT_SECRET: &str = "a-secret-of-the-tests-that-is-long-enough";

pub struct Server {
    pub site: Arc<Site>,
    pub router: Router,
    pub engine: Engine,
    /// A server key.
    pub key: String,
    dir: Arc<tempfile::TempDir>,
    client: Option<providers::stripe::Client>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not json: {}", self.text))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Receivers on this machine, and a key for their secrets.
fn outgoing() -> Outgoing {
    let key = format!("tests:{}=", "A".repeat(43));
    let keys = SealingKeys::parse(&[key.into()]).expect("it is a key");
    Outgoing { keys, reach: Reach::Anywhere, mail_hook: None }
}

pub fn verifier() -> Verifier {
    let keys = Keys::Secret(JWT_SECRET.to_owned().into());
    Verifier { keys, issuer: None, audience: None }
}

/// A valid token of an end user.
pub fn token(sub: &str) -> String {
    let token = verifier().issue(sub, Duration::from_secs(600)).expect("a secret makes tokens");
    token.expose_secret().to_owned()
}

impl Server {
    /// With payments switched off: nothing here asks a provider.
    pub async fn start() -> Self {
        Self::with_hosts(&[]).await
    }

    /// With the demo's catalogue at a simulated provider of its own, whose address is returned.
    pub async fn with_provider() -> (Self, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = sandbox::Config {
            listener: tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
            reach: sandbox::Reach::ThisMachine,
            data: None,
            offset: Arc::default(),
            secret_key: Some(PROVIDER_KEY.into()),
            after_advance: None,
        };
        let sandbox = sandbox::start(config).await.expect("the sandbox starts");
        let base = sandbox.base_url.clone();
        tokio::spawn(sandbox.serve(std::future::pending()));
        let client = server::serve::client(PROVIDER_KEY.to_owned().into(), &base).unwrap();
        let server = Self::open(&[], Some(client)).await;
        server.engine.demo_seed().await.expect("the demo can be seeded");
        (server, base)
    }

    pub async fn with_hosts(hosts: &[&str]) -> Self {
        Self::open(hosts, None).await
    }

    /// With a provider of the test's own making.
    pub async fn with_client(client: providers::stripe::Client) -> Self {
        Self::open(&[], Some(client)).await
    }

    async fn open(hosts: &[&str], client: Option<providers::stripe::Client>) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
        Self::open_in(dir, hosts, client, &WEBHOOK_SECRETS).await
    }

    /// The same database, opened once more: after a restart with other secrets, or a replica.
    pub async fn again(&self, secrets: &[&str]) -> Self {
        Self::open_in(self.dir.clone(), &[], self.client.clone(), secrets).await
    }

    /// The same database with another provider.
    pub async fn asking(&self, client: providers::stripe::Client) -> Self {
        Self::open_in(self.dir.clone(), &[], Some(client), &WEBHOOK_SECRETS).await
    }

    async fn open_in(
        dir: Arc<tempfile::TempDir>,
        hosts: &[&str],
        client: Option<providers::stripe::Client>,
        secrets: &[&str],
    ) -> Self {
        let url = format!("sqlite://{}", dir.path().join("test.db").display());
        let store = Store::open(&url).await.expect("a new database opens");
        store.migrate_up().await.expect("migrations run");
        // The shop's front end is elsewhere, as the seeds have it.
        let public_url = url::Url::parse("http://shop.test").unwrap();
        let frontend_url = url::Url::parse("http://front.test").unwrap();
        let settings = Settings {
            public_url: public_url.clone(),
            webhook_secrets: secrets.iter().map(|secret| (*secret).into()).collect(),
            outgoing: outgoing(),
            ..server::serve::settings(frontend_url, server::config::PLANS)
        };
        let engine = Engine::new(store, client.clone(), Clock::wall_only(), settings);
        let (_, key) =
            engine.api_keys_create("tests", KeyScope::Server).await.expect("a key can be made");
        let site = Site {
            public_url,
            allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            trusted_proxies: 1,
            verifier: verifier(),
            metrics_are_public: false,
            stopping: Default::default(),
        };
        let site = Arc::new(site);
        let app = App { engine: engine.clone(), site: site.clone() };
        let key = key.expose_secret().to_owned();
        Self { router: server::router(app), engine, site, key, dir, client }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("routers do not fail");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("the body can be read");
        let text = String::from_utf8(bytes.to_vec()).expect("answers are text");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// One call as a program makes it. `body` is sent as JSON, whatever it is.
    pub async fn call(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }
}
