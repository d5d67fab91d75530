//! Settings: defaults, then the TOML file, then the environment; refused as a whole when doubtful.
//!
//! The four seeds name the same things differently, so every setting has a list of names. No value
//! of a secret is ever part of a message.

pub(crate) mod checks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use engine::SecondSubscription;
use engine::attempts::SharedCounts;
use engine::debts::DebtPolicy;
use engine::deliveries::Outgoing;
use engine::sync_runs::SyncSettings;
use figment::providers::{Format, Serialized, Toml};
use figment::value::Value;
use figment::{Figment, error::Kind};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

/// How the text of an environment variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Verbatim: an all-digit key keeps its leading zeros.
    Text,
    /// In any case.
    Word,
    Switch,
    Number,
    /// Comma-separated.
    List,
}

/// One setting: its place in the file and its names in the environment, ours first.
struct Setting {
    path: &'static str,
    form: Form,
    names: &'static [&'static str],
}

const fn setting(path: &'static str, form: Form, names: &'static [&'static str]) -> Setting {
    Setting { path, form, names }
}

/// The alias table. Only these exact names are read, so a nested `PAYMENT_…__…` variable of another
/// program never becomes one of ours.
const SETTINGS: &[Setting] = &[
    setting("environment", Form::Word, &["ENVIRONMENT"]),
    setting("listen", Form::Text, &["LISTEN"]),
    setting("database_url", Form::Text, &["DATABASE_URL"]),
    setting("redis_url", Form::Text, &["REDIS_URL"]),
    setting("frontend_url", Form::Text, &["FRONTEND_URL"]),
    setting("public_url", Form::Text, &["PUBLIC_URL"]),
    setting("log_level", Form::Text, &["LOG_LEVEL"]),
    setting("debug", Form::Switch, &["DEBUG"]),
    setting("allowed_hosts", Form::List, &["ALLOWED_HOSTS"]),
    setting("trusted_proxies", Form::Number, &["TRUSTED_PROXIES"]),
    setting("shutdown_delay_seconds", Form::Number, &["SHUTDOWN_DELAY_SECONDS"]),
    setting("stripe.enabled", Form::Switch, &["STRIPE_ENABLED"]),
    setting("stripe.secret_key", Form::Text, SECRET_KEY_NAMES),
    setting("stripe.public_key", Form::Text, &["STRIPE_PUBLIC_KEY", "STRIPE_PUBLISHABLE_KEY"]),
    setting("stripe.webhook_secrets", Form::List, WEBHOOK_SECRET_NAMES),
    setting("stripe.api_base", Form::Text, &["STRIPE_API_BASE"]),
    setting("outgoing.encryption_keys", Form::List, &["ENCRYPTION_KEYS"]),
    setting("outgoing.private_receivers", Form::Switch, &["PRIVATE_RECEIVERS"]),
    setting("outgoing.mail_hook_url", Form::Text, &["MAIL_HOOK_URL"]),
    setting("outgoing.mail_hook_secret", Form::Text, &["MAIL_HOOK_SECRET"]),
    setting("tokens.jwt_secret", Form::Text, &["JWT_SECRET"]),
    setting("tokens.jwks_url", Form::Text, &["JWKS_URL"]),
    setting("tokens.jwks_file", Form::Text, &["JWKS_FILE"]),
    setting("tokens.issuer", Form::Text, &["JWT_ISSUER"]),
    setting("tokens.audience", Form::Text, &["JWT_AUDIENCE"]),
    setting("plans.trial_days", Form::Number, &["TRIAL_DAYS"]),
    setting("plans.past_due_grace_days", Form::Number, &["PAST_DUE_GRACE_DAYS"]),
    setting("plans.credit_debt_policy", Form::Word, &["CREDIT_DEBT_POLICY"]),
    setting("plans.second_subscription", Form::Word, &["SECOND_SUBSCRIPTION"]),
    setting("plans.checkouts_per_minute", Form::Number, &["CHECKOUTS_PER_MINUTE"]),
    setting("events.payload_days", Form::Number, &["EVENT_PAYLOAD_DAYS"]),
    setting("sync.pending_seconds", Form::Number, &["SYNC_PENDING_SECONDS"]),
    setting("sync.events_seconds", Form::Number, &["SYNC_EVENTS_SECONDS"]),
    setting("sync.objects_seconds", Form::Number, &["SYNC_OBJECTS_SECONDS"]),
    setting("sync.window_days", Form::Number, &["SYNC_WINDOW_DAYS"]),
    setting("metrics.public", Form::Switch, &["METRICS_PUBLIC"]),
];

/// Every name that is read from the environment.
pub fn variables() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().flat_map(|setting| setting.names.iter().copied())
}

const SECRET_KEY_NAMES: &[&str] = &["STRIPE_SECRET_KEY", "PAYMENT_API_KEY", "STRIPE_API_KEY"];
const WEBHOOK_SECRET_NAMES: &[&str] =
    &["STRIPE_WEBHOOK_SECRET", "WEBHOOK_SECRET", "PAYMENT_WEBHOOK_SECRET"];
pub const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// How the parser's message begins; line and column follow.
const TOML_POSITION: &str = "TOML parse error";

/// Why the settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{0} and {1} name the same setting but have different values")]
    Conflict(&'static str, &'static str),
    #[error("{name} must be {expected}")]
    Variable { name: &'static str, expected: &'static str },
    #[error("setting {path}: {reason} ({place})")]
    File { path: String, reason: String, place: String },
    #[error("settings file {0} does not exist")]
    NoFile(PathBuf),
    #[error("settings file {place}: {position}")]
    Syntax { position: String, place: String },
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

/// Whether mistakes that are harmless at home are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    #[serde(alias = "dev")]
    Development,
    #[serde(alias = "prod")]
    Production,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    environment: Environment,
    listen: SocketAddr,
    database_url: Option<String>,
    redis_url: Option<String>,
    frontend_url: Option<String>,
    public_url: Option<String>,
    log_level: String,
    debug: bool,
    allowed_hosts: Vec<String>,
    trusted_proxies: usize,
    shutdown_delay_seconds: u32,
    stripe: Stripe,
    outgoing: OutgoingFile,
    tokens: Tokens,
    plans: Plans,
    events: Events,
    sync: Sync,
    metrics: Metrics,
}

/// How often what we hold is compared with the provider; zero is never.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sync {
    /// Open pages, payments on their way, overdue subscriptions.
    pending_seconds: u32,
    /// Events that nobody has delivered.
    events_seconds: u32,
    /// Every object, both ways.
    objects_seconds: u32,
    /// How far back the last one lists what has a date of its own.
    window_days: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metrics {
    /// Whether they are shown without a key.
    public: bool,
}

/// What becomes of the events that were received.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    /// How long payloads are kept once their events are settled; for ever where it is 0.
    payload_days: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stripe {
    enabled: bool,
    secret_key: Option<String>,
    public_key: Option<String>,
    webhook_secrets: Vec<String>,
    api_base: String,
}

/// How news leaves for the merchant's own servers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutgoingFile {
    encryption_keys: Vec<String>,
    private_receivers: bool,
    mail_hook_url: Option<String>,
    mail_hook_secret: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tokens {
    jwt_secret: Option<String>,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    issuer: Option<String>,
    audience: Option<String>,
}

/// What the merchant decides about every plan.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plans {
    pub trial_days: u32,
    pub past_due_grace_days: u32,
    /// What becomes of credits that were spent before their money went back.
    pub credit_debt_policy: DebtPolicy,
    pub second_subscription: SecondSubscription,
    pub checkouts_per_minute: u32,
}

/// The seeds' own numbers: fourteen days of trial, five checkouts a minute.
pub const PLANS: Plans = Plans {
    trial_days: 14,
    past_due_grace_days: 7,
    credit_debt_policy: DebtPolicy::NetNextGrant,
    second_subscription: SecondSubscription::Flag,
    checkouts_per_minute: 5,
};

/// Long enough for a dispute to be looked into.
pub const EVENT_PAYLOAD_DAYS: u32 = 90;

/// Checked settings of `tollgate serve`.
#[derive(Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub database_url: SecretString,
    /// Where replicas count attempts together.
    pub shared_counts: Option<SharedCounts>,
    /// Where buyers come back to.
    pub frontend_url: Url,
    /// Where our own pages are reached from outside; the front end's address unless set.
    pub public_url: Url,
    pub log_level: String,
    pub allowed_hosts: Vec<String>,
    /// How many proxies in front of us tell the truth about who called them.
    pub trusted_proxies: usize,
    /// How long requests are still taken after the readiness has said that we stop.
    pub shutdown_delay_seconds: u32,
    /// `None` while payments are switched off.
    pub stripe_key: Option<SecretString>,
    pub stripe_api_base: Url,
    pub webhook_secrets: Vec<SecretString>,
    pub livemode: bool,
    pub outgoing: Outgoing,
    pub tokens: TokenRules,
    pub plans: Plans,
    pub event_payload_days: u32,
    pub sync: SyncSettings,
    pub metrics_are_public: bool,
}

/// What end users' tokens are proven with.
#[derive(Debug)]
pub struct TokenRules {
    pub keys: TokenKeys,
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

/// What commands need that only touch our own data.
#[derive(Debug)]
pub struct Database {
    pub url: SecretString,
    pub is_production: bool,
}

/// Where the keys of end-user tokens are.
#[derive(Debug)]
pub enum TokenKeys {
    None,
    Secret(SecretString),
    Url(Url),
    File(PathBuf),
}

/// Reads the process's environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// All settings from `file` (or `tollgate.toml`, if there is one) and the variables `env` knows.
pub fn load(
    file: Option<&Path>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let file = read(file, env)?;
    checked(|reasons| checks::config(file, reasons))
}

/// The database's settings alone: migrations must not have to hold payment secrets.
pub fn load_database(
    file: Option<&Path>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Database, ConfigError> {
    let file = read(file, env)?;
    let url = checked(|reasons| checks::database(&file, reasons))?;
    Ok(Database { url, is_production: checks::is_production(&file) })
}

/// The settings of end users' tokens alone.
pub fn load_tokens(
    file: Option<&Path>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<TokenRules, ConfigError> {
    let file = read(file, env)?;
    checked(|reasons| Some(checks::token_rules(file.tokens, reasons)))
}

/// What a check made, unless it found a reason to refuse.
fn checked<T>(check: impl FnOnce(&mut Vec<String>) -> Option<T>) -> Result<T, ConfigError> {
    let mut reasons = Vec::new();
    match check(&mut reasons) {
        Some(made) if reasons.is_empty() => Ok(made),
        _ => Err(ConfigError::Refused(reasons)),
    }
}

fn read(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<File, ConfigError> {
    let mut figment = Figment::from(Serialized::defaults(defaults()));
    match file {
        Some(path) if !path.is_file() => return Err(ConfigError::NoFile(path.to_owned())),
        Some(path) => figment = figment.merge(Toml::file_exact(path)),
        None => figment = figment.merge(Toml::file("tollgate.toml")),
    }
    for setting in SETTINGS {
        if let Some((name, text)) = variable(setting, &env)? {
            figment = figment.merge((setting.path, value_of(setting.form, name, &text)?));
        }
    }
    figment.extract().map_err(describe)
}

fn defaults() -> File {
    let sync = SyncSettings::default();
    File {
        environment: Environment::Development,
        listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
        database_url: None,
        redis_url: None,
        frontend_url: None,
        public_url: None,
        log_level: "info".into(),
        debug: false,
        allowed_hosts: Vec::new(),
        trusted_proxies: 0,
        shutdown_delay_seconds: 3,
        stripe: Stripe {
            enabled: true,
            secret_key: None,
            public_key: None,
            webhook_secrets: Vec::new(),
            api_base: "https://api.stripe.com".into(),
        },
        outgoing: OutgoingFile::default(),
        tokens: Tokens::default(),
        plans: PLANS,
        events: Events { payload_days: EVENT_PAYLOAD_DAYS },
        sync: Sync {
            pending_seconds: sync.pending_seconds,
            events_seconds: sync.events_seconds,
            objects_seconds: sync.objects_seconds,
            window_days: sync.window_days,
        },
        metrics: Metrics::default(),
    }
}

/// The one value of a setting's variables. Two names with different values are a mistake that we
/// cannot resolve for the operator. An empty variable is an unset one.
fn variable(
    setting: &Setting,
    env: &impl Fn(&str) -> Option<String>,
) -> Result<Option<(&'static str, String)>, ConfigError> {
    let mut found: Option<(&'static str, String)> = None;
    for name in setting.names.iter().copied() {
        let text = env(name).unwrap_or_default().trim().to_owned();
        if text.is_empty() {
            continue;
        }
        match &found {
            Some((first, known)) if *known != text => {
                return Err(ConfigError::Conflict(first, name));
            }
            Some(_) => {}
            None => found = Some((name, text)),
        }
    }
    Ok(found)
}

fn value_of(form: Form, name: &'static str, text: &str) -> Result<Value, ConfigError> {
    match form {
        Form::Text => Ok(Value::from(text)),
        Form::Word => Ok(Value::from(text.to_ascii_lowercase())),
        Form::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::from(parts.collect::<Vec<_>>()))
        }
        Form::Switch => match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(Value::from(true)),
            "0" | "false" | "no" | "off" => Ok(Value::from(false)),
            _ => Err(ConfigError::Variable { name, expected: "true or false" }),
        },
        Form::Number => match text.parse::<u32>() {
            Ok(number) => Ok(Value::from(number)),
            Err(_) => Err(ConfigError::Variable { name, expected: "a whole number" }),
        },
    }
}

/// Figment repeats the wrong value in its messages; it could be a secret, so ours do not.
fn describe(error: figment::Error) -> ConfigError {
    let source = error.metadata.as_ref().and_then(|metadata| metadata.source.as_ref());
    let place = match source {
        Some(source) => source.to_string(),
        None => "environment".into(),
    };
    let mut path = error.path.clone();
    let reason = match &error.kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("must be {expected}")
        }
        Kind::UnknownField(field, expected) => {
            if path.last() != Some(field) {
                path.push(field.clone());
            }
            format!("is not known, did you mean one of {}", expected.join(", "))
        }
        Kind::UnknownVariant(_, expected) => format!("must be one of {}", expected.join(", ")),
        // The lines below the first quote the file, which holds secrets.
        Kind::Message(message) if message.starts_with(TOML_POSITION) => {
            let position = message.lines().next().unwrap_or(TOML_POSITION).to_owned();
            return ConfigError::Syntax { position, place };
        }
        _ => "cannot be read".into(),
    };
    ConfigError::File { path: path.join("."), reason, place }
}

fn variable_names(path: &str) -> String {
    let setting = SETTINGS.iter().find(|setting| setting.path == path);
    let names = setting.map_or(String::new(), |setting| setting.names.join(" or "));
    format!("{names} ({path} in the file)")
}

impl Config {
    /// The log filter: ours at the chosen level, libraries only when something is wrong.
    pub fn log_filter(&self) -> String {
        crate::serve::log_filter(&self.log_level)
    }

    /// The secret, for the two places that need it.
    pub fn database(&self) -> &str {
        self.database_url.expose_secret()
    }
}
