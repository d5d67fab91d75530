//! Who is asking: a server key, or an end user's token whose algorithm we chose, never the token.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use domain::codes::Code;
use engine::Subject;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;

use crate::App;
use crate::limits::{SUBJECT_BYTES, TOKEN_BYTES};
use crate::problem::Problem;

/// Tokens and our clock may disagree by this much.
const LEEWAY_SECONDS: u64 = 60;
/// An unknown key id asks the key server again, but not more often than this.
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

/// A server key, where an end user's token is not enough.
#[derive(Debug, Clone, Copy)]
pub struct Admin;

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = bearer(parts)?;
        if token.starts_with("sk_") {
            let key = app.engine.api_keys_find(token).await?;
            return match key {
                Some(_) => Ok(Caller::Server),
                None => Err(unauthorized("the api key is not known or was revoked")),
            };
        }
        let sub = app.site.verifier.subject(token).await?;
        Ok(Caller::Customer { sub })
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Caller::from_request_parts(parts, app).await? {
            Caller::Server => Ok(Admin),
            Caller::Customer { .. } => {
                Err(Problem::new(Code::Forbidden, "this needs a server key"))
            }
        }
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
    Set(KeySet),
}

/// Published keys, fetched again when a token names one we do not know.
pub struct KeySet {
    /// The key server and how to ask it; a file has none.
    server: Option<(url::Url, reqwest::Client)>,
    known: RwLock<(JwkSet, Option<Instant>)>,
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
        Self { server, known: RwLock::new((set, None)) }
    }

    async fn find(&self, kid: Option<&str>) -> Option<Jwk> {
        if let Some(key) = pick(&self.known.read().await.0, kid) {
            return Some(key);
        }
        let (url, client) = self.server.as_ref()?;
        let mut known = self.known.write().await;
        if known.1.is_some_and(|at| at.elapsed() < REFRESH_PAUSE) {
            return pick(&known.0, kid);
        }
        known.1 = Some(Instant::now());
        match fetch(url, client).await {
            Ok(set) => known.0 = set,
            Err(error) => tracing::warn!(error = %error.without_url(), "the key server failed"),
        }
        pick(&known.0, kid)
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
