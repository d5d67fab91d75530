//! The command line: what can be asked of the binary, and who answers.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;
use store::api_keys::KeyScope;

/// Sell access to knowledge: plans, credits, signed webhooks, gated retrieval.
#[derive(Debug, Parser)]
#[command(
    name = "tollgate",
    version,
    propagate_version = true,
    after_help = "Start here:\n  \
    tollgate dev                        a complete demo on this machine, no account needed\n  \
    tollgate sandbox                    only a local Stripe, for your own code\n  \
    tollgate clock advance 1mo          let a month pass in the demo\n  \
    tollgate serve --config my.toml     the real thing\n"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: server, simulated provider, demo catalogue, demo customer
    #[command(after_help = "The last line of the welcome is on stdout, for programs:\n  \
        TOLLGATE_READY {\"api_url\":…,\"sandbox_url\":…,\"sandbox_key\":…,\
        \"admin_key\":…,\"customer_id\":…,\"customer_token\":…,\"webhook_secret\":…}\n\n\
        Examples:\n  \
        tollgate dev\n  \
        tollgate dev --data /tmp/demo --port 0 --sandbox-port 0\n  \
        tollgate dev --fresh                forget the demo data and start again\n")]
    Dev(DevArgs),
    /// Run the simulated provider alone: a local Stripe in test mode, no account needed
    #[command(after_help = "When it is ready, one line on stdout says so, for programs:\n  \
        SANDBOX_READY {\"base_url\":…,\"secret_key\":…,\"dashboard_url\":…,\
        \"api_version\":…,\"version\":…,\"data\":…}\n\n\
        Examples:\n  \
        tollgate sandbox\n  \
        tollgate sandbox --ephemeral --port 0\n  \
        tollgate sandbox save before.jsonl  keep the state, whether it runs or not\n  \
        tollgate sandbox load before.jsonl  go back to it\n")]
    Sandbox(SandboxArgs),
    /// Run the server for real use, with settings from a file and the environment
    #[command(after_help = "Required: DATABASE_URL, STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET.\n\
        Also read: FRONTEND_URL, PUBLIC_URL, ENVIRONMENT, ALLOWED_HOSTS, TRUSTED_PROXIES,\n\
        LOG_LEVEL, DEBUG, LISTEN, JWT_SECRET, JWKS_URL, JWKS_FILE, JWT_ISSUER, JWT_AUDIENCE,\n\
        STRIPE_PUBLIC_KEY, STRIPE_API_BASE, STRIPE_ENABLED, TRIAL_DAYS,\n\
        PAST_DUE_GRACE_DAYS, CHECKOUTS_PER_MINUTE, SECOND_SUBSCRIPTION, CREDIT_DEBT_POLICY,\n\
        ENCRYPTION_KEYS, PRIVATE_RECEIVERS, MAIL_HOOK_URL, MAIL_HOOK_SECRET,\n\
        EVENT_PAYLOAD_DAYS, METRICS_PUBLIC, SYNC_PENDING_SECONDS, SYNC_EVENTS_SECONDS,\n\
        SYNC_OBJECTS_SECONDS, SYNC_WINDOW_DAYS (a loop of 0 seconds is off),\n\
        SHUTDOWN_DELAY_SECONDS, REDIS_URL (rate limits that replicas share).\n\
        Other names of the same: PAYMENT_API_KEY, STRIPE_API_KEY (the secret key),\n\
        STRIPE_PUBLISHABLE_KEY, WEBHOOK_SECRET, PAYMENT_WEBHOOK_SECRET.\n\
        Real keys are refused with debug on, weak\n\
        secrets or plain http, and tokens need a JWT_SECRET of at least 32 bytes.\n\
        Several webhook secrets, separated by commas, let one be rotated without a pause.\n")]
    Serve(ConfigArgs),
    /// Change or show the database's schema
    Migrate {
        /// What to do
        direction: Direction,
        #[command(flatten)]
        place: Place,
    },
    /// Compare everything with the provider now, and put right what differs
    #[command(
        after_help = "It works while the server runs, and ends with 1 where something could \
        not be compared.\n\nExamples:\n  \
        tollgate sync --dry-run                     only say what differs\n  \
        tollgate sync --customer user-17            one customer: any of its ids\n  \
        tollgate sync --since 30d                   nothing older; or a date, 2026-01-31\n  \
        tollgate sync --resource products --resource prices\n  \
        \u{20}                                           take the provider's catalogue over\n"
    )]
    Sync(SyncArgs),
    /// Move a whole deployment to another database, and prove that everything has arrived
    #[command(after_help = "Stop every server on the source first, and start none before it is \
        done: an idle one\ncannot be seen. What changes meanwhile is found at the end, and then \
        all has to be copied anew.\n\
        The target is empty, or holds what an interrupted copy of the same source has brought \
        over:\nthe same command goes on from there. No server starts on an unfinished copy.\n\n\
        Examples:\n  \
        tollgate copy --from sqlite:///srv/tollgate.db --to postgres://user@host/tollgate\n  \
        tollgate copy --from postgres://user@host/tollgate --to mysql://user@host/tollgate\n")]
    Copy(CopyArgs),
    /// Check settings, database and provider, and say what is wrong
    Doctor(Place),
    /// Make an end-user token for a customer (HS256 secrets only)
    Token {
        /// The customer's external id, the token's `sub`
        #[arg(long, value_name = "ID")]
        customer: String,
        /// How long it is good for: 15m, 12h or 30d
        #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = parse_span)]
        expires_in: std::time::Duration,
        #[command(flatten)]
        place: Place,
    },
    /// Server, admin and metrics keys
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// The business clock of a running `tollgate dev` or `tollgate sandbox`
    Clock {
        #[command(subcommand)]
        command: ClockCommand,
    },
}

#[derive(Debug, Args)]
pub struct DevArgs {
    /// Where the demo keeps its data and secrets
    #[arg(long, value_name = "DIR", default_value = crate::dev::DATA_DIR)]
    pub data: PathBuf,
    /// The server's port on 127.0.0.1; 0 picks a free one
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub port: u16,
    /// The simulated provider's port on 127.0.0.1; 0 picks a free one
    #[arg(long, value_name = "N", default_value_t = 12111)]
    pub sandbox_port: u16,
    /// Delete what earlier runs left in the data directory first
    #[arg(long)]
    pub fresh: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SandboxArgs {
    #[command(subcommand)]
    pub command: Option<SandboxCommand>,
    #[command(flatten)]
    pub run: SandboxRunArgs,
}

#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// Save the state of all accounts, and the clock, to a file
    Save {
        /// The file to write; `-` is stdout
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        place: SandboxPlace,
    },
    /// Put the state of a saved file in the place of everything
    Load {
        /// The file to read; `-` is stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        place: SandboxPlace,
    },
    /// Forget everything: all accounts, faults and the clock
    Reset {
        #[command(flatten)]
        place: SandboxPlace,
    },
}

/// Which sandbox: a data directory, whether one runs on it or not, or the address of a running one.
#[derive(Debug, Args)]
pub struct SandboxPlace {
    /// The data directory of `tollgate sandbox` or `tollgate dev`
    #[arg(long, value_name = "DIR", default_value = crate::simulator::DATA_DIR)]
    pub data: PathBuf,
    /// The address of a running sandbox
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub url: Option<url::Url>,
}

#[derive(Debug, Args)]
pub struct SandboxRunArgs {
    /// The port; 0 picks a free one
    #[arg(long, value_name = "N", default_value_t = 12111)]
    pub port: u16,
    /// The address to listen on; beyond loopback, everyone who reaches it may do everything
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    pub host: std::net::IpAddr,
    /// Keep everything in memory, and nothing at the end
    #[arg(long, conflicts_with = "data")]
    pub ephemeral: bool,
    /// Where to keep the data [default: ./tollgate-sandbox]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The settings file; without it, `tollgate.toml` here if there is one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Which installation a command is about: a demo's data directory, or the settings of `serve`.
#[derive(Debug, Args)]
pub struct Place {
    /// A data directory of `tollgate dev`, instead of the settings
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub settings: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// One customer alone
    #[arg(long, value_name = "ID")]
    pub customer: Option<String>,
    /// Nothing that was made earlier: 12h, 30d, a date or an instant
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// What to compare instead of everything but the catalogue; may be repeated
    #[arg(long, value_name = "NAME")]
    pub resource: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct CopyArgs {
    /// The database that holds the deployment: sqlite:///…, postgres://… or mysql://…
    #[arg(long, value_name = "URL")]
    pub from: SecretString,
    /// The database that takes it
    #[arg(long, value_name = "URL")]
    pub to: SecretString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Apply every migration that is missing
    Up,
    /// Take back the newest migration
    Down,
    /// List them
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyScopeName {
    /// The API, for any customer
    Server,
    /// The API, and the operator's pages under /admin
    Admin,
    /// Only /metrics, for a monitoring system
    Metrics,
}

impl From<KeyScopeName> for KeyScope {
    fn from(name: KeyScopeName) -> Self {
        match name {
            KeyScopeName::Server => KeyScope::Server,
            KeyScopeName::Admin => KeyScope::Admin,
            KeyScopeName::Metrics => KeyScope::Metrics,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and show it, this once
    Create {
        /// What it is for
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it opens
        #[arg(long, value_name = "SCOPE", default_value = "server")]
        scope: KeyScopeName,
        #[command(flatten)]
        place: Place,
    },
    /// Show every key: its id, first characters, scope, name, and whether it is revoked
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Revoke a key: from now on it opens nothing
    Revoke {
        /// The key's id, as `keys list` shows it
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Let time pass: renewals, expiries and ends happen, and all webhooks are applied
    #[command(after_help = "Examples:\n  tollgate clock advance 30d\n  \
        tollgate clock advance 1mo\n  tollgate clock advance period-end\n")]
    Advance {
        /// 15m, 12h, 30d, 1mo, 1y or period-end
        #[arg(value_name = "SPEC")]
        by: String,
        /// The data directory of the running demo or sandbox
        #[arg(long, value_name = "DIR", default_value = crate::dev::DATA_DIR)]
        data: PathBuf,
    },
}

/// A span such as `90s`, `15m`, `12h` or `30d`.
fn parse_span(text: &str) -> Result<std::time::Duration, String> {
    let seconds = domain::time::span_seconds(text);
    let seconds = seconds.ok_or("must be a whole number and s, m, h or d, such as 12h")?;
    Ok(std::time::Duration::from_secs(u64::from(seconds)))
}
