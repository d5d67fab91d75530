//! Which settings are refused: all reasons at once, one per line, and never a value of a secret.

use engine::attempts::SharedCounts;
use engine::deliveries::{MailHook, Outgoing};
use engine::secrets::SealingKeys;
use engine::sync_runs::SyncSettings;
use providers::receivers::{self, Reach};
use secrecy::SecretString;
use url::Url;

use super::{
    Config, Environment, File, LOG_LEVELS, Stripe, TokenKeys, TokenRules, Tokens, variable_names,
};

/// A quarter of what the provider allows in either mode.
const LIVE_REQUESTS: u32 = 25;
const TEST_REQUESTS: u32 = 6;
/// HS256 is only as strong as its secret.
const JWT_SECRET_BYTES: usize = 32;
const WEBHOOK_SECRET_BYTES: usize = 16;
/// Words that only appear in secrets copied from an example.
const PLACEHOLDERS: &[&str] =
    &["your_", "your-", "changeme", "change_me", "example", "placeholder"];

fn missing(path: &str) -> String {
    format!("{} is not set", variable_names(path))
}

pub(super) fn config(file: File, reasons: &mut Vec<String>) -> Option<Config> {
    let log_level = log_level(&file, reasons);
    let livemode = is_live(file.stripe.secret_key.as_deref().unwrap_or_default());
    stripe(&file.stripe, livemode, reasons);
    if is_production(&file) {
        production_guard(&file, reasons);
    }
    let database_url = database(&file, reasons);
    let shared_counts = shared_counts(&file, reasons);
    let outgoing = outgoing(&file, livemode, reasons);
    let tokens = token_rules(file.tokens, reasons);
    let own = format!("http://{}", file.listen);
    let frontend_url = file.frontend_url.as_deref().unwrap_or(&own);
    let public_url = file.public_url.as_deref().unwrap_or(frontend_url);
    let mut address = |text: &str, name: &str| parse_address(text, name, reasons);
    let frontend_url = address(frontend_url, "frontend_url (FRONTEND_URL)");
    let public_url = address(public_url, "public_url (PUBLIC_URL)");
    let stripe_api_base = address(&file.stripe.api_base, "stripe.api_base (STRIPE_API_BASE)");
    Some(Config {
        listen: file.listen,
        database_url: database_url?,
        shared_counts,
        public_url: public_url?,
        frontend_url: frontend_url?,
        log_level,
        allowed_hosts: file.allowed_hosts,
        trusted_proxies: file.trusted_proxies,
        shutdown_delay_seconds: file.shutdown_delay_seconds,
        stripe_key: file.stripe.secret_key.filter(|_| file.stripe.enabled).map(Into::into),
        stripe_api_base: stripe_api_base?,
        webhook_secrets: file.stripe.webhook_secrets.into_iter().map(Into::into).collect(),
        livemode,
        outgoing,
        tokens,
        plans: file.plans,
        event_payload_days: file.events.payload_days,
        sync: SyncSettings {
            pending_seconds: file.sync.pending_seconds,
            events_seconds: file.sync.events_seconds,
            objects_seconds: file.sync.objects_seconds,
            window_days: file.sync.window_days,
            requests_per_second: if livemode { LIVE_REQUESTS } else { TEST_REQUESTS },
        },
        metrics_are_public: file.metrics.public,
    })
}

fn log_level(file: &File, reasons: &mut Vec<String>) -> String {
    let level = file.log_level.to_ascii_lowercase();
    if !LOG_LEVELS.contains(&level.as_str()) {
        reasons.push(format!("log_level (LOG_LEVEL) must be one of {}", LOG_LEVELS.join(", ")));
    }
    if file.debug && level == "info" { "debug".into() } else { level }
}

fn stripe(stripe: &Stripe, livemode: bool, reasons: &mut Vec<String>) {
    if stripe.enabled && stripe.secret_key.is_none() {
        reasons.push(missing("stripe.secret_key"));
    }
    if stripe.enabled && stripe.webhook_secrets.is_empty() {
        reasons.push(missing("stripe.webhook_secrets"));
    }
    let public_key = stripe.public_key.as_deref().unwrap_or_default();
    let are_both_set = stripe.secret_key.is_some() && !public_key.is_empty();
    if are_both_set && livemode != is_live(public_key) {
        let reason = "the secret key and the public key belong to different modes (test and live)";
        reasons.push(reason.into());
    }
}

/// Who hears our news, and what secrets are sealed under.
fn outgoing(file: &File, livemode: bool, reasons: &mut Vec<String>) -> Outgoing {
    let given = &file.outgoing;
    let texts: Vec<SecretString> =
        given.encryption_keys.iter().map(|key| key.as_str().into()).collect();
    let keys = SealingKeys::parse(&texts).unwrap_or_else(|error| {
        reasons.push(format!("outgoing.encryption_keys (ENCRYPTION_KEYS): {error}"));
        SealingKeys::default()
    });
    let (url, secret) = (given.mail_hook_url.as_deref(), given.mail_hook_secret.as_deref());
    let is_guarded = livemode || is_production(file);
    let mail_hook = mail_hook(url, secret, is_guarded).unwrap_or_else(|reason| {
        reasons.push(reason);
        None
    });
    let reach = match (given.private_receivers, is_guarded) {
        (true, _) => Reach::Anywhere,
        (false, true) => Reach::PublicEncrypted,
        (false, false) => Reach::Public,
    };
    Outgoing { keys, reach, mail_hook }
}

/// The merchant's own sender of mails, held to what its messages will be held to. What leaves our
/// network names customers, so it leaves encrypted.
pub(crate) fn mail_hook(
    url: Option<&str>,
    secret: Option<&str>,
    is_guarded: bool,
) -> Result<Option<MailHook>, String> {
    let Some(url) = url else {
        return Ok(None);
    };
    let url = receivers::check(url, Reach::Anywhere)
        .map_err(|error| format!("outgoing.mail_hook_url (MAIL_HOOK_URL) {error}"))?;
    if is_guarded && url.scheme() != "https" && !receivers::is_inside(&url) {
        return Err("production: MAIL_HOOK_URL is not an https address".to_owned());
    }
    match secret {
        Some(secret) if WEBHOOK_SECRET_BYTES <= secret.len() => {
            Ok(Some(MailHook { url, secret: secret.into() }))
        }
        _ => Err(format!(
            "MAIL_HOOK_URL needs MAIL_HOOK_SECRET, of at least {WEBHOOK_SECRET_BYTES} bytes"
        )),
    }
}

pub(super) fn database(file: &File, reasons: &mut Vec<String>) -> Option<SecretString> {
    match file.database_url.as_deref().map(database_url) {
        Some(Ok(url)) => return Some(url.into()),
        Some(Err(reason)) => reasons.push(format!("database_url (DATABASE_URL) {reason}")),
        None => reasons.push(missing("database_url")),
    }
    None
}

fn shared_counts(file: &File, reasons: &mut Vec<String>) -> Option<SharedCounts> {
    let url = file.redis_url.as_deref().filter(|url| !url.is_empty())?;
    let counts = SharedCounts::at(&url.into());
    counts.map_err(|reason| reasons.push(format!("redis_url (REDIS_URL) {reason}"))).ok()
}

fn parse_address(text: &str, name: &str, reasons: &mut Vec<String>) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if url.is_none() {
        reasons.push(format!("{name} must be an http or https address"));
    }
    url
}

/// Real money is production, whatever the environment is called.
pub(super) fn is_production(file: &File) -> bool {
    let key = file.stripe.secret_key.as_deref().unwrap_or_default();
    file.environment == Environment::Production || is_live(key)
}

fn is_live(key: &str) -> bool {
    ["sk_live_", "rk_live_", "pk_live_"].iter().any(|prefix| key.starts_with(prefix))
}

fn is_placeholder(secret: &str) -> bool {
    let lower = secret.to_ascii_lowercase();
    PLACEHOLDERS.iter().any(|word| lower.contains(word))
}

/// What nobody wants in production: one line per reason, so that one start shows them all.
fn production_guard(file: &File, reasons: &mut Vec<String>) {
    let mut refuse = |wrong: bool, reason: &str| {
        if wrong {
            reasons.push(format!("production: {reason}"));
        }
    };
    let stripe = &file.stripe;
    let key = stripe.secret_key.as_deref().unwrap_or_default();
    refuse(stripe.enabled && !key.is_empty() && !is_live(key), "the secret key is not a live key");
    refuse(is_placeholder(key), "the secret key is an example's");
    let weak = |secret: &String| secret.len() < WEBHOOK_SECRET_BYTES || is_placeholder(secret);
    refuse(
        stripe.enabled && stripe.webhook_secrets.iter().any(weak),
        "a webhook secret is short or an example's",
    );
    refuse(
        file.tokens.jwt_secret.as_deref().is_some_and(is_placeholder),
        "JWT_SECRET is an example's",
    );
    refuse(file.outgoing.private_receivers, "PRIVATE_RECEIVERS is on");
    let hook_secret = file.outgoing.mail_hook_secret.as_deref();
    refuse(hook_secret.is_some_and(is_placeholder), "MAIL_HOOK_SECRET is an example's");
    refuse(file.debug, "debug is on");
    refuse(
        file.frontend_url.as_ref().is_none_or(|url| !url.starts_with("https://")),
        "FRONTEND_URL is not an https address",
    );
    refuse(
        file.public_url.as_ref().is_some_and(|url| !url.starts_with("https://")),
        "PUBLIC_URL is not an https address",
    );
    refuse(!stripe.api_base.starts_with("https://"), "STRIPE_API_BASE is not an https address");
    refuse(file.allowed_hosts.is_empty(), "ALLOWED_HOSTS is empty");
}

pub(super) fn token_rules(tokens: Tokens, reasons: &mut Vec<String>) -> TokenRules {
    let keys = match (tokens.jwt_secret, tokens.jwks_url, tokens.jwks_file) {
        (None, None, None) => TokenKeys::None,
        (Some(secret), None, None) => {
            if secret.len() < JWT_SECRET_BYTES {
                let reason = format!("JWT_SECRET must have at least {JWT_SECRET_BYTES} bytes");
                reasons.push(reason);
            }
            TokenKeys::Secret(secret.into())
        }
        (None, Some(url), None) => {
            let url = parse_address(&url, "tokens.jwks_url (JWKS_URL)", reasons);
            url.map_or(TokenKeys::None, TokenKeys::Url)
        }
        (None, None, Some(path)) => TokenKeys::File(path),
        _ => {
            reasons.push("only one of JWT_SECRET, JWKS_URL and JWKS_FILE may be set".into());
            TokenKeys::None
        }
    };
    TokenRules { keys, issuer: tokens.issuer, audience: tokens.audience }
}

/// The database's address as the store wants it, from the spellings that Python programs use.
///
/// In theirs, three slashes are a relative path and four an absolute one; ours says `sqlite://`
/// and then the path itself.
fn database_url(text: &str) -> Result<String, &'static str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("is not an address such as postgres://… or sqlite:///path");
    };
    let (base, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
    match base {
        "postgres" | "postgresql" => Ok(format!("postgres://{rest}")),
        "sqlite" if rest.starts_with("//") => Ok(format!("sqlite://{}", &rest[1..])),
        "sqlite" if rest.starts_with("/./") || rest.starts_with("/../") => {
            Ok(format!("sqlite://{}", &rest[1..]))
        }
        "sqlite" if !driver.is_empty() => {
            Ok(format!("sqlite://{}", rest.strip_prefix('/').unwrap_or(rest)))
        }
        "sqlite" => Ok(format!("sqlite://{rest}")),
        "mysql" | "mariadb" => {
            // Whoever names none gets none there, and every statement fails.
            let path = rest.split_once('/').map_or("", |(_, path)| path);
            match path.split('?').next() {
                Some("") | None => Err("names a server and no database: mysql://host/database"),
                Some(_) => Ok(format!("mysql://{rest}")),
            }
        }
        _ => Err("names a database that is not supported: use postgres://, mysql:// or sqlite://"),
    }
}
