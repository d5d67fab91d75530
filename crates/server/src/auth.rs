//! Who is asking: a server key, or an end user's token whose algorithm we chose, never the token.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::codes::Code;
use domain::ids::ApiKeyId;
use engine::Subject;
use engine::checkout_sessions::Pace;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::api_keys::{ApiKey, KeyScope};
use tokio::sync::{Mutex, RwLock};

use crate::App;
use crate::limits::{SUBJECT_BYTES, TOKEN_BYTES};
use crate::problem::Problem;

/// Tokens and our clock may disagree by this much.
const LEEWAY_SECONDS: u64 = 60;
/// Keys that were withdrawn are trusted for this long at most while the key server answers.
const KEYS_MAX_AGE: Duration = Duration::from_secs(300);
/// After the key server could not help, it is left alone for this long.
const REFRESH_PAUSE: Duration = Duration::from_secs(60);
const KEY_SERVER_TIMEOUT: Duration = Duration::from_secs(5);

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A server key: acts for any customer, which it names.
    Server,
    /// An end user: acts for itself alone.
    Customer { sub: String },
}

/// The merchant's own server: a server key, where an end user's token is not enough. An admin key
/// is one, too.
#[derive(Debug, Clone)]
pub struct Merchant {
    /// For the audit log.
    pub key: ApiKeyId,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = bearer(parts)?;
        if is_key(token) {
            server_key(app, token).await?;
            return Ok(Caller::Server);
        }
        let sub = app.site.verifier.subject(token).await?;
        Ok(Caller::Customer { sub })
    }
}

impl FromRequestParts<App> for Merchant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = bearer(parts)?;
        if is_key(token) {
            return Ok(Merchant { key: server_key(app, token).await? });
        }
        app.site.verifier.subject(token).await?;
        Err(Problem::new(Code::Forbidden, "this needs a server key"))
    }
}

/// Any key of the merchant's, unless the settings show the metrics to everybody.
#[derive(Debug, Clone, Copy)]
pub struct MetricsReader;

impl FromRequestParts<App> for MetricsReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if app.site.metrics_are_public {
            return Ok(MetricsReader);
        }
        match bearer(parts)? {
            token if is_key(token) => known_key(app, token).await.map(|_| MetricsReader),
            _ => Merchant::from_request_parts(parts, app).await.map(|_| MetricsReader),
        }
    }
}

/// Keys of the merchant, of every scope.
fn is_key(token: &str) -> bool {
    token.starts_with("sk_")
}

/// A key that opens the API: an admin key opens more, a metrics key much less.
async fn server_key(app: &App, token: &str) -> Result<ApiKeyId, Problem> {
    let key = known_key(app, token).await?;
    match key.scope {
        KeyScope::Server | KeyScope::Admin => Ok(key.id),
        KeyScope::Metrics => {
            Err(Problem::new(Code::Forbidden, "this key opens the metrics and nothing else"))
        }
    }
}

async fn known_key(app: &App, token: &str) -> Result<ApiKey, Problem> {
    match app.engine.api_keys_find(token).await? {
        Some(key) => Ok(key),
        None => Err(unauthorized("the api key is not known or was revoked")),
    }
}

impl Caller {
    /// The customer a request is about. A server key names one; a token is one, and naming another
    /// looks as if that one did not exist.
    pub async fn subject(&self, app: &App, named: Option<&str>) -> Result<Subject, Problem> {
        match (self, named) {
            (Caller::Server, Some(name)) => Ok(Subject::Named(name.to_owned())),
            (Caller::Server, None) => {
                let detail = "a server key has to name the customer";
                Err(Problem::new(Code::InvalidRequest, detail).on("customer"))
            }
            (Caller::Customer { sub }, None) => Ok(Subject::Own(sub.clone())),
            (Caller::Customer { sub }, Some(name)) if name == sub => Ok(Subject::Own(sub.clone())),
            (Caller::Customer { sub }, Some(name)) => {
                let own = Subject::Own(sub.clone());
                match app.engine.customers_get(&own).await {
                    Ok(customer) if customer.id.as_str() == name => Ok(own),
                    _ => {
                        let detail = "no such customer";
                        Err(Problem::new(Code::CustomerNotFound, detail).on("customer"))
                    }
                }
            }
        }
    }
}

impl Caller {
    /// A merchant's own server is trusted with its pace.
    pub fn pace(&self) -> Pace {
        match self {
            Caller::Server => Pace::Unlimited,
            Caller::Customer { .. } => Pace::Limited,
        }
    }

    /// The same where a server key may mean the merchant itself by naming nobody.
    pub async fn subject_if_named(
        &self,
        app: &App,
        named: Option<&str>,
    ) -> Result<Option<Subject>, Problem> {
        match (self, named) {
            (Caller::Server, None) => Ok(None),
            _ => self.subject(app, named).await.map(Some),
        }
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail)
}

fn bearer(parts: &Parts) -> Result<&str, Problem> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else {
        return Err(unauthorized("the authorization header is missing"));
    };
    let text = value.to_str().ok().filter(|text| text.len() <= TOKEN_BYTES);
    let token = text
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match token {
        Some(token) if second.is_none() && !token.is_empty() => Ok(token),
        _ => Err(unauthorized("the authorization header is not one bearer token")),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
}

/// What a token is asked for; anything else in it is not our business.
#[derive(Debug, Deserialize)]
struct Subscriber {
    sub: String,
}

/// Where the keys of end-user tokens come from.
pub enum Keys {
    /// No end users: only server keys are accepted.
    None,
    /// HS256 with a shared secret.
    Secret(SecretString),
    /// RS256 or ES256, as each published key says.
    Set(Box<KeySet>),
}

/// Published keys, fetched again when they are old or a token names one we do not know.
pub struct KeySet {
    /// The key server and how to ask it; a file has none.
    server: Option<(url::Url, reqwest::Client)>,
    known: RwLock<Known>,
    /// Held by the one request that asks the key server; since when asking is of no use.
    asking: Mutex<Option<Instant>>,
}

struct Known {
    set: JwkSet,
    fetched_at: Instant,
}

impl KeySet {
    /// Keys from a file; they change with a restart.
    pub fn from_file(set: JwkSet) -> Self {
        Self::new(None, set)
    }

    /// Keys from a key server, fetched when the first token arrives.
    pub fn from_url(url: url::Url) -> Self {
        Self::new(Some((url, reqwest::Client::new())), JwkSet { keys: Vec::new() })
    }

    fn new(server: Option<(url::Url, reqwest::Client)>, set: JwkSet) -> Self {
        let known = RwLock::new(Known { set, fetched_at: Instant::now() });
        Self { server, known, asking: Mutex::new(None) }
    }

    /// The key and whether it was published recently.
    async fn recall(&self, kid: Option<&str>) -> (Option<Jwk>, bool) {
        let known = self.known.read().await;
        (pick(&known.set, kid), known.fetched_at.elapsed() < KEYS_MAX_AGE)
    }

    /// Nobody whose key is known waits for a key server that somebody else is asking.
    async fn find(&self, kid: Option<&str>) -> Option<Jwk> {
        let (key, is_fresh) = self.recall(kid).await;
        let Some((url, client)) = self.server.as_ref().filter(|_| key.is_none() || !is_fresh)
        else {
            return key;
        };
        let asking = match key {
            Some(_) => self.asking.try_lock().ok(),
            None => Some(self.asking.lock().await),
        };
        let Some(mut useless_since) = asking else {
            return key;
        };
        let (key, is_fresh) = self.recall(kid).await;
        let is_pausing = useless_since.is_some_and(|at| at.elapsed() < REFRESH_PAUSE);
        if is_pausing || (key.is_some() && is_fresh) {
            return key;
        }
        let is_answered = match fetch(url, client).await {
            Ok(set) => {
                *self.known.write().await = Known { set, fetched_at: Instant::now() };
                true
            }
            Err(error) => {
                tracing::warn!(error = %error.without_url(), "the key server failed");
                false
            }
        };
        let (key, _) = self.recall(kid).await;
        *useless_since = (!is_answered || key.is_none()).then(Instant::now);
        key
    }
}

async fn fetch(url: &url::Url, client: &reqwest::Client) -> Result<JwkSet, reqwest::Error> {
    let request = client.get(url.clone()).timeout(KEY_SERVER_TIMEOUT);
    request.send().await?.error_for_status()?.json().await
}

/// The key a token names; a token without a name fits only a set of one.
fn pick(set: &JwkSet, kid: Option<&str>) -> Option<Jwk> {
    match (kid, set.keys.as_slice()) {
        (Some(kid), _) => set.find(kid).cloned(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}

/// Whether a token's header demands extensions (RFC 7515, 4.1.11): we know none.
fn names_critical(token: &str) -> bool {
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header = header.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    header.is_some_and(|header| header.get("crit").is_some())
}

/// The algorithm belongs to the key, so a token cannot choose a weaker one.
fn algorithm_of(key: &Jwk) -> Option<Algorithm> {
    match &key.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Some(Algorithm::ES256)
        }
        _ => None,
    }
}

/// Proves end users' tokens.
pub struct Verifier {
    pub keys: Keys,
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

impl Verifier {
    /// The `sub` of a valid token.
    pub async fn subject(&self, token: &str) -> Result<String, Problem> {
        let (algorithm, key) = match &self.keys {
            Keys::None => return Err(unauthorized("end-user tokens are not configured")),
            Keys::Secret(secret) => {
                let secret = secret.expose_secret().as_bytes();
                (Algorithm::HS256, DecodingKey::from_secret(secret))
            }
            Keys::Set(set) => {
                let header = jsonwebtoken::decode_header(token).map_err(refuse)?;
                let key = set.find(header.kid.as_deref()).await;
                let known = key.and_then(|key| Some((algorithm_of(&key)?, key)));
                let Some((algorithm, key)) = known else {
                    return Err(unauthorized("the token's key is not known"));
                };
                (algorithm, DecodingKey::from_jwk(&key).map_err(refuse)?)
            }
        };
        if names_critical(token) {
            return Err(unauthorized("the token asks for something that is not understood"));
        }
        let token = jsonwebtoken::decode::<Subscriber>(token, &key, &self.rules(algorithm));
        let sub = token.map_err(refuse)?.claims.sub;
        if sub.is_empty() || SUBJECT_BYTES < sub.len() || sub.chars().any(char::is_control) {
            return Err(unauthorized("the token's subject is empty, too long or not text"));
        }
        Ok(sub)
    }

    fn rules(&self, algorithm: Algorithm) -> Validation {
        let mut rules = Validation::new(algorithm);
        rules.leeway = LEEWAY_SECONDS;
        rules.validate_nbf = true;
        rules.required_spec_claims = HashSet::from(["exp".to_owned(), "sub".to_owned()]);
        if let Some(issuer) = &self.issuer {
            rules.set_issuer(&[issuer]);
            rules.required_spec_claims.insert("iss".to_owned());
        }
        match &self.audience {
            Some(audience) => {
                rules.set_audience(&[audience]);
                rules.required_spec_claims.insert("aud".to_owned());
            }
            None => rules.validate_aud = false,
        }
        rules
    }

    /// A token for `sub`; only a shared secret can make one.
    pub fn issue(&self, sub: &str, lifetime: Duration) -> Option<SecretString> {
        let Keys::Secret(secret) = &self.keys else {
            return None;
        };
        let claims = Claims {
            sub: sub.to_owned(),
            exp: jsonwebtoken::get_current_timestamp().saturating_add(lifetime.as_secs()),
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
        };
        let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).ok()?;
        Some(token.into())
    }
}

fn refuse(error: jsonwebtoken::errors::Error) -> Problem {
    match error.kind() {
        jsonwebtoken::errors::ErrorKind::ExpiredSignature => {
            Problem::new(Code::TokenExpired, "the token has expired")
        }
        _ => unauthorized("the token is not valid"),
    }
}
