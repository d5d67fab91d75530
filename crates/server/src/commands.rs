//! Commands that do one thing and end: migrations, keys, tokens, the clock, the doctor.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use domain::ids::CustomerId;
use engine::{Clock, Engine, Settings, Subject};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use store::Store;
use store::settings::{Finding, Verdict};

use crate::auth::Verifier;
use crate::cli::{ClockCommand, Command, Direction, KeysCommand, Place};
use crate::config::{self, Config, Database, PLANS};
use crate::{copies, dev, serve, simulator, snapshots, sync};

/// Runs what the command line asked for.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Dev(args) => dev::run(args).await,
        Command::Sandbox(args) => match args.command {
            None => simulator::run(args.run).await,
            Some(command) => snapshots::run(command).await,
        },
        Command::Serve(args) => serve::run(settings(args.config.as_deref())?).await,
        Command::Migrate { direction, place } => migrate(direction, &place).await,
        Command::Sync(args) => sync::run(args).await,
        Command::Copy(args) => copies::run(args).await,
        Command::Doctor(place) => doctor(&place).await,
        Command::Token { customer, expires_in, place } => {
            let verifier = verifier(&place)?;
            let subject = subject(customer, &place).await?;
            match verifier.issue(&subject, expires_in) {
                Some(token) => say(token.expose_secret()),
                None => bail!("only an HS256 secret can make tokens: set JWT_SECRET"),
            }
        }
        Command::Keys { command } => keys(command).await,
        Command::Clock { command: ClockCommand::Advance { by, data } } => advance(&by, &data).await,
    }
}

async fn keys(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create { name, scope, place } => {
            let (_, secret) = engine(&place).await?.api_keys_create(&name, scope.into()).await?;
            say(secret.expose_secret())
        }
        KeysCommand::List { place } => {
            for key in engine(&place).await?.api_keys_list().await? {
                let state = if key.revoked_at.is_some() { "revoked" } else { "valid" };
                let scope = key.scope.as_str();
                say(&format!("{}  {}…  {state}  {scope}  {}", key.id, key.prefix, key.name))?;
            }
            Ok(())
        }
        KeysCommand::Revoke { id, place } => {
            engine(&place).await?.api_keys_revoke(&id).await?;
            say(&format!("{id} is revoked"))
        }
    }
}

/// The name a token carries: the application's own, which our id is looked up for.
async fn subject(customer: String, place: &Place) -> anyhow::Result<String> {
    if CustomerId::parse(&customer).is_err() {
        return Ok(customer);
    }
    let found = engine(place).await?.customers_get(&Subject::Named(customer.clone())).await?;
    Ok(found.external_id.unwrap_or(customer))
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
}

fn settings(file: Option<&Path>) -> anyhow::Result<Config> {
    Ok(config::load(file, config::environment)?)
}

async fn open_store(place: &Place) -> anyhow::Result<Store> {
    match &place.data {
        Some(dir) => dev::open_store(&existing(dir)?).await,
        None => {
            let url = database(place)?.url;
            Store::open(url.expose_secret()).await.context("cannot open the database")
        }
    }
}

fn database(place: &Place) -> anyhow::Result<Database> {
    Ok(config::load_database(place.settings.config.as_deref(), config::environment)?)
}

fn existing(dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    std::fs::canonicalize(dir).with_context(|| format!("there is no directory {}", dir.display()))
}

fn verifier(place: &Place) -> anyhow::Result<Verifier> {
    match &place.data {
        Some(dir) => match dev::read_secrets(&existing(dir)?)? {
            Some(secrets) => Ok(dev::verifier(&secrets)),
            None => bail!("{} is not the data directory of a demo", dir.display()),
        },
        None => {
            let file = place.settings.config.as_deref();
            serve::verifier(&config::load_tokens(file, config::environment)?)
        }
    }
}

/// An engine without a provider: only our own database is needed.
async fn engine(place: &Place) -> anyhow::Result<Engine> {
    let store = open_store(place).await?;
    serve::check_schema(&store).await?;
    let livemode = place.data.is_none() && database(place)?.is_production;
    let frontend = url::Url::parse("http://127.0.0.1")?;
    let settings = Settings { livemode, ..serve::settings(frontend, PLANS) };
    Ok(Engine::new(store, None, Clock::wall_only(), settings))
}

async fn migrate(direction: Direction, place: &Place) -> anyhow::Result<()> {
    let store = open_store(place).await?;
    match direction {
        Direction::Up => store.migrate_up().await?,
        Direction::Down => match store.migrate_down().await? {
            Some(version) => say(&format!("took migration {version} back"))?,
            None => say("there is no migration to take back")?,
        },
        Direction::Status => {}
    }
    for one in store.migrate_status().await? {
        let state = if one.applied { "applied" } else { "missing" };
        say(&format!("{:>4}  {state}  {}", one.version, one.name))?;
    }
    Ok(())
}

/// What the doctor has told, line by line.
struct Report {
    is_well: bool,
}

impl Report {
    fn tell(&mut self, what: &str, finding: Result<String, String>) -> anyhow::Result<()> {
        match finding {
            Ok(text) => say(&format!("ok    {what}: {text}")),
            Err(text) => {
                self.is_well = false;
                say(&format!("FAIL  {what}: {text}"))
            }
        }
    }

    /// What is good in one line; what hurts, with what to do about it, in a line of its own.
    fn tell_settings(&mut self, findings: &[Finding]) -> anyhow::Result<()> {
        let is_good = |one: &&Finding| one.verdict == Verdict::Good;
        let good: Vec<String> = findings.iter().filter(is_good).map(set_to).collect();
        self.tell("database settings", Ok(good.join(", ")))?;
        for one in findings {
            let text = format!("{}: {}", set_to(one), one.advice);
            match one.verdict {
                Verdict::Good => {}
                Verdict::Doubtful => say(&format!("warn  database setting {text}"))?,
                Verdict::Harmful => self.tell("database setting", Err(text))?,
            }
        }
        Ok(())
    }
}

fn set_to(finding: &Finding) -> String {
    format!("{} = {}", finding.name, finding.value)
}

/// Tells everything that is wrong, not only the first thing.
async fn doctor(place: &Place) -> anyhow::Result<()> {
    let mut report = Report { is_well: true };
    if place.data.is_none() {
        match settings(place.settings.config.as_deref()) {
            Ok(_) => report.tell("settings", Ok("complete".into()))?,
            Err(error) => {
                report.tell("settings", Err(format!("{error:#}")))?;
                bail!("the settings have to be right before anything else can be checked");
            }
        }
    }
    match open_store(place).await {
        Ok(store) => {
            let version = store.version().await.map_err(|error| format!("{error:#}"));
            report.tell("database", version)?;
            match store.settings().await {
                Ok(findings) => report.tell_settings(&findings)?,
                Err(error) => report.tell("database settings", Err(error.to_string()))?,
            }
            let schema = serve::check_schema(&store).await.map(|()| "up to date".into());
            report.tell("schema", schema.map_err(|error| format!("{error:#}")))?;
        }
        Err(error) => report.tell("database", Err(format!("{error:#}")))?,
    }
    if place.data.is_none() {
        let config = settings(place.settings.config.as_deref())?;
        if let Some(counts) = &config.shared_counts {
            let answer = counts.ping().await.map(|()| "answers".to_owned());
            report.tell("redis", answer)?;
        }
        match &config.stripe_key {
            None => report.tell("provider", Ok("payments are switched off".into()))?,
            Some(key) => {
                let client = serve::client(key.clone(), config.stripe_api_base.as_str())?;
                let mode = if config.livemode { "live" } else { "test" };
                let probe = client.probe().await.map(|()| format!("answers in {mode} mode"));
                report.tell("provider", probe.map_err(|error| error.to_string()))?;
            }
        }
    }
    if report.is_well { Ok(()) } else { bail!("something has to be put right") }
}

/// Asks the running demo's provider to let time pass, and waits until all is applied.
async fn advance(by: &str, data: &Path) -> anyhow::Result<()> {
    let running = match existing(data) {
        Ok(dir) => simulator::running(&dir)?,
        Err(_) => None,
    };
    let Some(running) = running else {
        bail!("no tollgate dev or sandbox runs on {}", data.display());
    };
    let address = format!("{}/_sandbox/clock", running.sandbox_url);
    let request = dev::local_client()?.post(address).json(&json!({ "advance": by }));
    let answer = request.send().await.with_context(|| {
        format!("what runs on {} does not answer, is it still there", data.display())
    })?;
    let status = answer.status();
    let body: Value = answer.json().await.context("the clock's answer cannot be read")?;
    if !status.is_success() {
        let error = &body["error"];
        let reason = error["message"].as_str().or(error.as_str()).unwrap_or("no reason given");
        bail!("the clock did not advance ({status}): {reason}");
    }
    say(&body.to_string())
}
