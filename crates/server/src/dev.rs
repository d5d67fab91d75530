//! `tollgate dev`: everything on one machine, with a simulated provider and a demo to play with.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::deliveries::Outgoing;
use engine::secrets::SealingKeys;
use engine::sync_runs::SyncSettings;
use engine::{Clock, Engine, Settings, Subject};
use providers::receivers::Reach;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::Store;
use store::api_keys::KeyScope;
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

use crate::auth::{Keys, Verifier};
use crate::cli::DevArgs;
use crate::config::{LOG_LEVELS, PLANS, checks, environment};
use crate::connections::{self, Bounds};
use crate::{App, Site, serve};

pub const DATA_DIR: &str = "./tollgate-data";
const LOCK_FILE: &str = "lock";
const SECRETS_FILE: &str = "dev.json";
pub const RUNNING_FILE: &str = "running.json";
/// What `--fresh` forgets, besides the journals that databases keep next to themselves.
const OWN_FILES: &[&str] = &["tollgate.db", "sandbox.db", SECRETS_FILE, RUNNING_FILE];
const JOURNALS: &[&str] = &["", "-wal", "-shm", "-journal"];
/// A demo token outlives the demo.
const TOKEN_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// Made once per data directory and kept, so that scripts written against a demo go on working.
#[derive(Debug, Serialize, Deserialize)]
pub struct Secrets {
    admin_key: String,
    pub jwt_secret: String,
    pub provider_key: String,
    /// What our own webhook endpoints' secrets are sealed under.
    #[serde(default)]
    encryption_key: Option<String>,
    endpoint: Option<Endpoint>,
}

/// Our webhook endpoint at the simulated provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Endpoint {
    id: String,
    url: String,
    secret: String,
}

/// Where a running demo is, for commands beside it.
#[derive(Debug, Serialize)]
struct Running {
    api_url: String,
    sandbox_url: String,
}

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    log();
    let stop_signal = serve::stop_signal();
    let dir = directory(&args.data)?;
    let _lock = lock(&dir)?;
    if args.fresh {
        forget(&dir)?;
    }
    let mut secrets = secrets(&dir)?;
    if secrets.encryption_key.is_none() {
        secrets.encryption_key = Some(encryption_key()?);
    }
    let api_listener = bind(args.port, "--port").await?;
    let sandbox_listener = bind(args.sandbox_port, "--sandbox-port").await?;
    let api_url = format!("http://{}", api_listener.local_addr()?);
    let (stop, stopped) = watch::channel(false);

    let offset = Arc::new(AtomicI64::new(0));
    let sandbox = sandbox(sandbox_listener, &dir, offset.clone(), &secrets, &api_url).await?;
    let sandbox_url = sandbox.base_url.clone();
    let simulated = tokio::spawn(sandbox.serve(connections::turned(stopped.clone())));

    let webhook_url = format!("{api_url}/payments/webhook");
    let endpoint = endpoint(&sandbox_url, &webhook_url, &secrets).await?;
    let webhook_secret = endpoint.secret.clone();
    secrets.endpoint = Some(endpoint);
    write_private(&dir.join(SECRETS_FILE), &json!(secrets))?;

    let engine = open(&dir, offset, &secrets, &api_url, &sandbox_url).await?;
    serve::check_account(&engine).await?;
    let app = App { engine: engine.clone(), site: Arc::new(site(&secrets, &api_url)?) };
    let site = app.site.clone();
    let listening =
        connections::listen(api_listener, crate::router(app), Bounds::default(), stopped.clone());
    let listening = tokio::spawn(listening);
    let worker = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run(stopped).await }
    });

    let demo = engine.demo_seed().await.context("the demo catalogue cannot be made")?;
    let subject = Subject::Known(demo.customer.id.clone());
    let link = engine.portal_sessions_create(&subject).await?;
    let running = Running { api_url, sandbox_url };
    write_private(&dir.join(RUNNING_FILE), &json!(running))?;
    welcome(&running, &site.portal_link(link.token.expose_secret()), &args.data);
    let sub = demo.customer.external_id.as_deref().unwrap_or(demo.customer.id.as_str());
    let token = site.verifier.issue(sub, TOKEN_LIFETIME).context("no token could be made")?;
    ready(&json!({
        "api_url": running.api_url,
        "sandbox_url": running.sandbox_url,
        "sandbox_key": secrets.provider_key,
        "admin_key": secrets.admin_key,
        "customer_id": demo.customer.id.as_str(),
        "customer_token": token.expose_secret(),
        "webhook_secret": webhook_secret,
    }))?;

    stop_signal.await;
    tracing::info!("stopping");
    let _ = stop.send(true);
    tokio::join!(
        serve::finish("server", listening),
        serve::finish("sandbox", simulated),
        serve::finish("worker", worker),
    );
    engine.store().close().await;
    let _ = fs::remove_file(dir.join(RUNNING_FILE));
    Ok(())
}

/// The simulated provider, which asks us after each step of the clock whether all is applied.
async fn sandbox(
    listener: TcpListener,
    dir: &Path,
    offset: Arc<AtomicI64>,
    secrets: &Secrets,
    api_url: &str,
) -> anyhow::Result<sandbox::Sandbox> {
    let config = sandbox::Config {
        listener,
        reach: sandbox::Reach::ThisMachine,
        data: Some(dir.to_owned()),
        offset,
        secret_key: Some(secrets.provider_key.clone()),
        after_advance: Some(sandbox::AfterAdvance {
            url: format!("{api_url}/v1/clock/settle"),
            bearer: secrets.admin_key.clone(),
        }),
    };
    sandbox::start(config).await.context("the sandbox cannot start")
}

/// Quiet unless asked, so that the welcome stays in sight.
pub fn log() {
    let level = environment("LOG_LEVEL").map(|level| level.to_ascii_lowercase());
    let level = level.filter(|level| LOG_LEVELS.contains(&level.as_str()));
    serve::log_to_stderr(&serve::log_filter(level.as_deref().unwrap_or("warn")));
}

pub fn directory(path: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    // The databases hold customers, and the sandbox's own the webhook secret.
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(path).with_context(|| format!("cannot create {}", path.display()))?;
    fs::canonicalize(path).with_context(|| format!("cannot open {}", path.display()))
}

/// One process per data directory; the lock ends with the process, however it ends.
pub fn lock(dir: &Path) -> anyhow::Result<File> {
    let file = File::create(dir.join(LOCK_FILE))
        .with_context(|| format!("cannot write to {}", dir.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another tollgate is running on {}", dir.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", dir.display()))
        }
    }
}

fn forget(dir: &Path) -> anyhow::Result<()> {
    for name in OWN_FILES {
        for journal in JOURNALS {
            let path = dir.join(format!("{name}{journal}"));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot delete {}", path.display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The directory's secrets, made if this is its first run.
fn secrets(dir: &Path) -> anyhow::Result<Secrets> {
    if let Some(known) = read_secrets(dir)? {
        return Ok(known);
    }
    let made = Secrets {
        admin_key: format!("sk_test_{}", random_hex()?),
        jwt_secret: random_hex()?,
        provider_key: format!("sk_test_{}", random_hex()?),
        encryption_key: None,
        endpoint: None,
    };
    write_private(&dir.join(SECRETS_FILE), &json!(made))?;
    Ok(made)
}

/// The secrets of a data directory that ran before.
pub fn read_secrets(dir: &Path) -> anyhow::Result<Option<Secrets>> {
    read_json(&dir.join(SECRETS_FILE))
}

pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => {
            let value = serde_json::from_slice(&bytes);
            Ok(Some(value.with_context(|| format!("{} is damaged", path.display()))?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Under the name that a setting would give it.
fn encryption_key() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).context("the system gave no randomness")?;
    Ok(format!("dev:{}", STANDARD.encode(bytes)))
}

/// Receivers on this machine are what a demo has.
fn outgoing(secrets: &Secrets) -> anyhow::Result<Outgoing> {
    let keys: Vec<SecretString> = secrets.encryption_key.iter().cloned().map(Into::into).collect();
    let (url, secret) = (environment("MAIL_HOOK_URL"), environment("MAIL_HOOK_SECRET"));
    let mail_hook = checks::mail_hook(url.as_deref(), secret.as_deref(), false);
    let mail_hook = mail_hook.map_err(anyhow::Error::msg)?;
    Ok(Outgoing { keys: SealingKeys::parse(&keys)?, reach: Reach::Anywhere, mail_hook })
}

/// How often we compare ourselves with the provider; the names are those of `serve`.
fn comparisons() -> anyhow::Result<SyncSettings> {
    let usual = SyncSettings::default();
    let seconds = |name, usual| match environment(name) {
        Some(text) => text.parse().with_context(|| format!("{name} must be a whole number")),
        None => Ok(usual),
    };
    Ok(SyncSettings {
        pending_seconds: seconds("SYNC_PENDING_SECONDS", usual.pending_seconds)?,
        events_seconds: seconds("SYNC_EVENTS_SECONDS", usual.events_seconds)?,
        objects_seconds: seconds("SYNC_OBJECTS_SECONDS", usual.objects_seconds)?,
        ..usual
    })
}

fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).context("the system gave no randomness")?;
    Ok(hex::encode(bytes))
}

/// Whole or not at all, and readable by the owner alone from its first moment.
pub fn write_private(path: &Path, value: &serde_json::Value) -> anyhow::Result<()> {
    write_private_text(path, &format!("{value:#}\n"))
}

pub fn write_private_text(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

async fn bind(port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}, try {flag} 0 for a free port"))
}

/// A client for this machine alone: a proxy must not see what stays here.
pub fn local_client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().build().context("no http client")
}

/// Registers our webhook address, or moves it when the port has changed.
async fn endpoint(sandbox_url: &str, url: &str, secrets: &Secrets) -> anyhow::Result<Endpoint> {
    #[derive(Deserialize)]
    struct Created {
        id: String,
        secret: String,
    }
    let client = local_client()?;
    let base = format!("{sandbox_url}/v1/webhook_endpoints");
    let post = |address: String, form: &[(&str, &str)]| {
        client.post(address).bearer_auth(&secrets.provider_key).form(form).send()
    };
    if let Some(known) = &secrets.endpoint {
        let answer = post(format!("{base}/{}", known.id), &[("url", url)]).await?;
        if answer.status().is_success() {
            return Ok(Endpoint { url: url.to_owned(), ..known.clone() });
        }
    }
    let answer = post(base, &[("url", url), ("enabled_events[0]", "*")]).await?;
    let created: Created = answer.error_for_status()?.json().await?;
    Ok(Endpoint { id: created.id, url: url.to_owned(), secret: created.secret })
}

async fn open(
    dir: &Path,
    offset: Arc<AtomicI64>,
    secrets: &Secrets,
    api_url: &str,
    sandbox_url: &str,
) -> anyhow::Result<Engine> {
    let store = open_store(dir).await?;
    store.migrate_up().await.context("cannot migrate the database")?;
    store.copies_check().await?;
    let clock = Clock::adjustable(offset);
    store.deployment_bind(false, clock.wall()).await?;
    let client = serve::client(secrets.provider_key.clone().into(), sandbox_url)?;
    let endpoint = secrets.endpoint.iter();
    let settings = Settings {
        webhook_secrets: endpoint.map(|one| one.secret.clone().into()).collect(),
        outgoing: outgoing(secrets)?,
        sync: comparisons()?,
        ..serve::settings(Url::parse(api_url)?, PLANS)
    };
    let engine = Engine::new(store, Some(client), clock, settings);
    let admin_key = SecretString::from(secrets.admin_key.clone());
    engine.api_keys_ensure("tollgate dev", KeyScope::Admin, &admin_key).await?;
    Ok(engine)
}

/// The demo's database.
pub async fn open_store(dir: &Path) -> anyhow::Result<Store> {
    let url = format!("sqlite://{}", dir.join("tollgate.db").display());
    Store::open(&url).await.context("cannot open the database")
}

/// The proof of the demo's end users.
pub fn verifier(secrets: &Secrets) -> Verifier {
    let keys = Keys::Secret(secrets.jwt_secret.clone().into());
    Verifier { keys, issuer: None, audience: None }
}

/// Only local names are answered, so that no web page can reach the demo by a name of its own.
fn site(secrets: &Secrets, api_url: &str) -> anyhow::Result<Site> {
    Ok(Site {
        public_url: Url::parse(api_url)?,
        allowed_hosts: ["127.0.0.1", "localhost"].map(str::to_owned).into(),
        trusted_proxies: 0,
        verifier: verifier(secrets),
        metrics_are_public: false,
        stopping: AtomicBool::new(false),
    })
}

fn welcome(running: &Running, portal_link: &str, data: &Path) {
    let Running { api_url, sandbox_url } = running;
    let here = data == Path::new(DATA_DIR);
    let flag = if here { String::new() } else { format!(" --data {}", data.display()) };
    eprintln!(
        "\nTollgate runs on this machine, with a simulated payment provider: no real money.\n\n  \
         Plans and packs    {api_url}/pricing\n  \
         Your account       {portal_link}\n  \
         API reference      {api_url}/docs/\n  \
         Operator           {api_url}/admin (sign in with admin_key of {SECRETS_FILE})\n  \
         Payment provider   {sandbox_url}/_sandbox (key in {SECRETS_FILE})\n\n\
         Try next:\n  \
         1. Open the account link (it works once), then Pricing, and subscribe to Pro.\n  \
         2. Pay with 4242 4242 4242 4242, any future date and code; 4000 0000 0000 0002 fails.\n  \
         3. Let a month pass: tollgate clock advance 1mo{flag}\n\n\
         Ctrl-C stops it; the data stays in {}.\n",
        data.display(),
    );
}

/// The one line on stdout, for programs that started us.
fn ready(facts: &serde_json::Value) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "TOLLGATE_READY {facts}")?;
    stdout.flush()?;
    Ok(())
}
