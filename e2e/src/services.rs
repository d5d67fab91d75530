//! `tollgate serve` as processes of its own: one shop, one database, as many instances as wished.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};
use tempfile::TempDir;

use crate::answers::{Api, eventually, text_at};
use crate::purchases::{TOKEN_SECONDS, token};
use crate::sandboxes::Sandbox;
use crate::servers::{kill, last_lines, stop, tollgate};
use crate::webhooks::{INTAKE, unix_seconds};

const JWT_SECRET: &str = "a-secret-of-the-tests-that-is-long-enough";

/// An empty database on one of the backends.
#[derive(Debug)]
pub struct Database {
    pub name: &'static str,
    pub url: String,
}

/// What instances of one shop share: the provider, its webhook's secret, the settings.
#[derive(Debug)]
pub struct Shop {
    pub sandbox: Sandbox,
    pub webhook_secret: String,
    settings: Vec<(&'static str, String)>,
    folder: TempDir,
}

/// One running `tollgate serve`. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    child: Child,
    pub url: String,
    log: PathBuf,
}

/// An empty database on each server that is here.
pub async fn server_databases() -> Result<Vec<Database>> {
    let mut found = Vec::new();
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("e2e_{}_{}_{number}", std::process::id(), unix_seconds()?);
    match std::env::var("TOLLGATE_TEST_POSTGRES") {
        Ok(server) => {
            let mut admin = PgConnection::connect(&server).await?;
            let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
            sqlx::query(create).execute(&mut admin).await?;
            admin.close().await?;
            let (base, _) = server.rsplit_once('/').context("the address has no path")?;
            found.push(Database { name: "postgres", url: format!("{base}/{name}") });
        }
        Err(_) => eprintln!("skipped on PostgreSQL: run cargo xtask test"),
    }
    match std::env::var("TOLLGATE_TEST_MYSQL") {
        Ok(server) => {
            let mut admin = MySqlConnection::connect(&server).await?;
            let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
            sqlx::query(create).execute(&mut admin).await?;
            admin.close().await?;
            let base = server.trim_end_matches('/');
            found.push(Database { name: "mysql", url: format!("{base}/{name}") });
        }
        Err(_) => eprintln!("skipped on MySQL: run cargo xtask test"),
    }
    Ok(found)
}

/// A port that nobody listens on.
pub fn spare_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Shop {
    /// A provider of its own, which delivers to that port.
    pub async fn open(database_url: &str, delivers_to: u16) -> Result<Self> {
        Self::open_with(database_url, delivers_to, &[]).await
    }

    /// The same under more settings.
    pub async fn open_with(
        database_url: &str,
        delivers_to: u16,
        more: &[(&'static str, &str)],
    ) -> Result<Self> {
        let sandbox = Sandbox::start()?;
        let url = format!("http://127.0.0.1:{delivers_to}{INTAKE}");
        let form = [("url", url.as_str()), ("enabled_events[0]", "*")];
        let endpoint = sandbox.api()?.post_form("/v1/webhook_endpoints", &form).await?;
        let webhook_secret = text_at(&endpoint.expect(200)?, "/secret");
        let mut settings = vec![
            ("DATABASE_URL", database_url.to_owned()),
            ("STRIPE_SECRET_KEY", sandbox.ready.secret_key.clone()),
            ("STRIPE_API_BASE", sandbox.ready.base_url.clone()),
            ("STRIPE_WEBHOOK_SECRET", webhook_secret.clone()),
            ("JWT_SECRET", JWT_SECRET.to_owned()),
        ];
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let folder = tempfile::Builder::new().prefix("tollgate-e2e-").tempdir()?;
        Ok(Self { sandbox, webhook_secret, settings, folder })
    }

    /// Starts an instance and does not wait for it.
    pub fn start(&self, port: u16) -> Result<Service> {
        let log = self.folder.path().join(format!("{port}.log"));
        let mut command = self.command(&["serve"])?;
        command.env("LISTEN", format!("127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::options().create(true).append(true).open(&log)?);
        let child = command.spawn().context("cannot start tollgate serve")?;
        Ok(Service { child, url: format!("http://127.0.0.1:{port}"), log })
    }

    /// Runs another command under the same settings.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments)?.output()?)
    }

    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = tollgate(arguments)?;
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path());
        Ok(command)
    }

    pub fn admin_key(&self) -> Result<String> {
        let made = self.run(&["keys", "create", "--name", "tests", "--scope", "admin"])?;
        let errors = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "keys create: {errors}");
        Ok(String::from_utf8(made.stdout)?.trim().to_owned())
    }

    pub fn token_of(&self, external_id: &str) -> Result<String> {
        let claims = json!({ "sub": external_id, "exp": unix_seconds()? + TOKEN_SECONDS });
        token(JWT_SECRET, &claims)
    }
}

impl Service {
    /// Waits until it serves; an instance that ended instead is told with its last words.
    pub async fn ready(&mut self) -> Result<()> {
        let api = Api::new(&self.url, None)?;
        eventually(&format!("{} serves", self.url), async || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}:\n{}", self.log());
            }
            let asked = api.send(api.request(Method::GET, "/health")).await;
            Ok(asked.is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .await
    }

    pub fn api(&self, bearer: &str) -> Result<Api> {
        Api::new(&self.url, Some(bearer))
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Result<()> {
        kill(&mut self.child)
    }

    /// As a supervisor stops it.
    pub fn stop(mut self) -> Result<ExitStatus> {
        stop(&mut self.child, "-TERM", &self.log)
    }

    pub fn log(&self) -> String {
        last_lines(&self.log)
    }

    /// What it called an error, whoever listened on this port in this shop.
    pub fn errors(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(&self.log)?;
        Ok(text.lines().filter(|line| line.contains(" ERROR ")).map(str::to_owned).collect())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {} ends with:\n{}", self.url, self.log());
        }
        // Killing a process that has ended already is the only way this fails.
        let _ended_already = kill(&mut self.child);
    }
}
