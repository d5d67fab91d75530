//! `tollgate sandbox`: the simulated provider alone, for people who only want a local Stripe.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use anyhow::{Context, bail};
use sandbox::Reach;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::SandboxRunArgs;
use crate::{connections, dev, serve};

pub const DATA_DIR: &str = "./tollgate-sandbox";

/// Where a running sandbox is, alone or as a part of `tollgate dev`, for commands beside it.
#[derive(Debug, Deserialize)]
pub struct Running {
    pub sandbox_url: String,
}

/// The sandbox that runs on a data directory.
pub fn running(dir: &Path) -> anyhow::Result<Option<Running>> {
    dev::read_json(&dir.join(dev::RUNNING_FILE))
}

/// A data directory in use by us alone.
pub struct Home {
    pub dir: PathBuf,
    _lock: File,
}

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: SandboxRunArgs) -> anyhow::Result<()> {
    dev::log();
    let stop_signal = serve::stop_signal();
    let home = match args.ephemeral {
        true => None,
        false => Some(open(args.data.as_deref().unwrap_or(Path::new(DATA_DIR)))?),
    };
    let listener = bind(args.host, args.port).await?;
    let secret_key = secret_key(home.as_ref())?;
    let sandbox = sandbox::start(sandbox::Config {
        listener,
        reach: if args.host.is_loopback() { Reach::ThisMachine } else { Reach::Network },
        data: home.as_ref().map(|home| home.dir.clone()),
        offset: Arc::new(AtomicI64::new(0)),
        secret_key: Some(secret_key.clone()),
        after_advance: None,
    });
    let sandbox = sandbox.await.context("the sandbox cannot start")?;
    let base_url = sandbox.base_url.clone();
    let (stop, stopped) = watch::channel(false);
    let mut serving = tokio::spawn(sandbox.serve(connections::turned(stopped)));
    if let Some(home) = &home {
        let facts = json!({ "sandbox_url": base_url });
        dev::write_private(&home.dir.join(dev::RUNNING_FILE), &facts)?;
    }
    welcome(&base_url, &secret_key, &args);
    ready(&json!({
        "base_url": base_url,
        "secret_key": secret_key,
        "dashboard_url": format!("{base_url}/_sandbox"),
        "api_version": sandbox::API_VERSION,
        "version": env!("CARGO_PKG_VERSION"),
        "data": home.as_ref().map(|home| &home.dir),
    }))?;

    tokio::select! {
        () = stop_signal => {
            tracing::info!("stopping");
            let _ = stop.send(true);
            serve::finish("sandbox", serving).await;
        }
        ended = &mut serving => {
            ended.context("the sandbox broke down")?.context("the sandbox cannot go on")?;
        }
    }
    if let Some(home) = home {
        let _ = fs::remove_file(home.dir.join(dev::RUNNING_FILE));
    }
    Ok(())
}

/// Fails while another process uses the directory.
pub fn open(data: &Path) -> anyhow::Result<Home> {
    let dir = dev::directory(data)?;
    let lock = dev::lock(&dir)?;
    Ok(Home { dir, _lock: lock })
}

/// On a demo's data, the key whose account the demo uses.
fn secret_key(home: Option<&Home>) -> anyhow::Result<String> {
    let secrets = match home {
        Some(home) => dev::read_secrets(&home.dir)?,
        None => None,
    };
    Ok(secrets.map_or_else(|| sandbox::SECRET_KEY.to_owned(), |secrets| secrets.provider_key))
}

async fn bind(host: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(host, port);
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("{address} is taken by another program; --port 0 picks a free port")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

fn welcome(base_url: &str, secret_key: &str, args: &SandboxRunArgs) {
    let keeps = match (&args.data, args.ephemeral) {
        (_, true) => "Everything is forgotten at the end (--ephemeral).".to_owned(),
        (Some(data), false) => format!("The data stays in {}.", data.display()),
        (None, false) => format!("The data stays in {DATA_DIR}."),
    };
    eprintln!(
        "\nA simulated Stripe runs on this machine: no real money, not for production.\n\n  \
         Objects, events, clock, faults   {base_url}/_sandbox\n  \
         API base                         {base_url}\n  \
         Secret key                       {secret_key} (any other sk_test_… key is an empty \
         account of its own)\n  \
         A card that pays                 4242 4242 4242 4242, any future date and code\n  \
         A card that is declined          4000 0000 0000 0002\n\n\
         {keeps} Ctrl-C stops it.\n"
    );
    if !args.host.is_loopback() {
        eprintln!(
            "WARNING: the sandbox listens on {}, beyond this machine. It is NOT FOR PRODUCTION: \
             whoever\nreaches it can read and change everything in it, without a password.\n",
            args.host
        );
    }
}

/// The one line on stdout, for programs that started us.
fn ready(facts: &Value) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "SANDBOX_READY {facts}")?;
    stdout.flush()?;
    Ok(())
}
