//! Callers: which tokens prove somebody, and what each caller may not do.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::codes::Code;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use server::auth::{KeySet, Keys, Verifier};
use server::problem::Problem;

use crate::servers::{JWT_SECRET, Server, token, verifier};

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(algorithm), claims, &key).unwrap()
}

/// `alg: none` with the claims of an honest token.
fn unsigned(claims: &Value) -> String {
    use base64::Engine;
    let part =
        |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT"})), part(claims.clone()))
}

/// Honestly signed, but only for those who understand `exotic`.
fn demanding(claims: &Value) -> String {
    use base64::Engine;
    let part =
        |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "HS256", "typ": "JWT", "crit": ["exotic"], "exotic": "x"});
    let text = format!("{}.{}", part(header), part(claims.clone()));
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    let proof = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{text}.{proof}")
}

fn claims(sub: &str, lifetime: i64) -> Value {
    let now = i64::try_from(get_current_timestamp()).unwrap();
    json!({ "sub": sub, "exp": now + lifetime })
}

async fn check(token: &str) -> Result<String, Code> {
    verifier().subject(token).await.map_err(|problem: Problem| problem.code)
}

#[tokio::test]
async fn tokens_are_accepted_by_proof_alone() {
    let good = claims("anna", 60);
    let hs256 = |claims: &Value| signed(Algorithm::HS256, JWT_SECRET, claims);
    let cases = [
        ("honest", hs256(&good), Ok("anna")),
        ("within the leeway", hs256(&claims("anna", -30)), Ok("anna")),
        ("expired", hs256(&claims("anna", -90)), Err(Code::TokenExpired)),
        ("other secret", signed(Algorithm::HS256, "other", &good), Err(Code::Unauthorized)),
        ("other algorithm", signed(Algorithm::HS512, JWT_SECRET, &good), Err(Code::Unauthorized)),
        ("alg none", unsigned(&good), Err(Code::Unauthorized)),
        ("no exp", hs256(&json!({ "sub": "anna" })), Err(Code::Unauthorized)),
        ("no sub", hs256(&json!({ "exp": good["exp"] })), Err(Code::Unauthorized)),
        ("empty sub", hs256(&claims("", 60)), Err(Code::Unauthorized)),
        ("long sub", hs256(&claims(&"a".repeat(256), 60)), Err(Code::Unauthorized)),
        ("number as sub", hs256(&json!({"sub": 7, "exp": good["exp"]})), Err(Code::Unauthorized)),
        ("control in sub", hs256(&claims("a\nb", 60)), Err(Code::Unauthorized)),
        ("garbage", "a.b.c".into(), Err(Code::Unauthorized)),
        ("empty", String::new(), Err(Code::Unauthorized)),
    ];
    for (name, token, expected) in cases {
        assert_eq!(check(&token).await, expected.map(str::to_owned), "{name}");
    }
    assert_eq!(check(&demanding(&good)).await, Err(Code::Unauthorized), "unknown demands");
    let mut early = claims("anna", 600);
    early["nbf"] = json!(get_current_timestamp() + 300);
    assert_eq!(check(&hs256(&early)).await, Err(Code::Unauthorized), "not yet valid");
}

#[tokio::test]
async fn a_public_key_never_becomes_a_shared_secret() {
    // The classic confusion: the published key's text used as an HS256 secret.
    let set: JwkSet = serde_json::from_value(json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "kid": "one", "alg": "ES256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]}))
    .unwrap();
    let keys = Keys::Set(Box::new(KeySet::from_file(set)));
    let verifier = Verifier { keys, issuer: None, audience: None };
    for secret in ["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", JWT_SECRET] {
        let forged = signed(Algorithm::HS256, secret, &claims("anna", 60));
        assert!(verifier.subject(&forged).await.is_err());
    }
}

/// A pair made for these tests, and useless elsewhere.
const PRIVATE: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg24EFIZXmB6SF1RdDjxLnbFiOnMX\
    W4Iw7fvP/LSfQ9JqhRANCAASjQNCk6jvZ+XqE0/Bp23n6ZjpZwPomCUytHKxLrQJ+1X5Gda7ERq69moaeC1IBjHeQ9tpx\
    S/wBu2kfMdWGDdyk";
const PUBLIC_X: &str = "o0DQpOo72fl6hNPwadt5-mY6WcD6JglMrRysS60CftU";
const PUBLIC_Y: &str = "fkZ1rsRGrr2ahp4LUgGMd5D22nFL_AG7aR8x1YYN3KQ";

#[tokio::test]
async fn published_keys_prove_tokens_by_their_own_algorithm() {
    use base64::Engine;
    let der = base64::engine::general_purpose::STANDARD.decode(PRIVATE).unwrap();
    let set: JwkSet = serde_json::from_value(json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "kid": "one", "x": PUBLIC_X, "y": PUBLIC_Y },
        { "kty": "oct", "kid": "shared", "k": "c2VjcmV0" },
    ]}))
    .unwrap();
    let keys = Keys::Set(Box::new(KeySet::from_file(set)));
    let verifier = Verifier { keys, issuer: None, audience: None };
    let sign = |kid: Option<&str>, claims: &Value| {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = kid.map(str::to_owned);
        encode(&header, claims, &EncodingKey::from_ec_der(&der)).unwrap()
    };
    let good = claims("anna", 60);
    assert_eq!(verifier.subject(&sign(Some("one"), &good)).await.unwrap(), "anna");
    assert!(verifier.subject(&sign(Some("two"), &good)).await.is_err());
    assert!(verifier.subject(&sign(None, &good)).await.is_err(), "two keys, none named");
    let expired = verifier.subject(&sign(Some("one"), &claims("anna", -90))).await.unwrap_err();
    assert_eq!(expired.code, Code::TokenExpired);
    // A symmetric key among the published ones is never used as a secret.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("shared".into());
    let forged = encode(&header, &good, &EncodingKey::from_secret(b"secret")).unwrap();
    assert!(verifier.subject(&forged).await.is_err());
}

/// A key server that answers what it was told to, after a pause.
async fn key_server(keys: Arc<Mutex<(Value, Duration)>>) -> url::Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap()).parse().unwrap();
    let answer = move || {
        let (set, pause) = keys.lock().unwrap().clone();
        async move {
            tokio::time::sleep(pause).await;
            axum::Json(set)
        }
    };
    let router = axum::Router::new().route("/jwks", axum::routing::get(answer));
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

#[tokio::test]
async fn a_slow_key_server_delays_only_strangers() {
    use base64::Engine;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let der = base64::engine::general_purpose::STANDARD.decode(PRIVATE).unwrap();
    let sign = |kid: &str| {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(kid.to_owned());
        encode(&header, &claims("anna", 60), &EncodingKey::from_ec_der(&der)).unwrap()
    };
    let key =
        |kid: &str| json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": PUBLIC_X, "y": PUBLIC_Y});
    let first = json!({ "keys": [key("one")] });
    let published = Arc::new(Mutex::new((first, Duration::ZERO)));
    let keys = Keys::Set(Box::new(KeySet::from_url(key_server(published.clone()).await)));
    let verifier = Verifier { keys, issuer: None, audience: None };
    assert!(verifier.subject(&sign("one")).await.is_ok());

    // A key that was just added is found although the keys are fresh.
    let both = json!({ "keys": [key("one"), key("two")] });
    *published.lock().unwrap() = (both, Duration::from_millis(500));
    let (one, two) = (sign("one"), sign("two"));
    let started = Instant::now();
    let known = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        (verifier.subject(&one).await.is_ok(), started.elapsed())
    };
    let (added, (is_known, waited)) = tokio::join!(verifier.subject(&two), known);
    assert!(added.is_ok() && is_known);
    assert!(waited < Duration::from_millis(400), "{waited:?}");
}

#[tokio::test]
async fn issuer_and_audience_are_required_where_configured() {
    let strict = Verifier {
        issuer: Some("https://id.test".into()),
        audience: Some("tollgate".into()),
        ..verifier()
    };
    let own = strict.issue("anna", Duration::from_secs(60)).unwrap();
    assert!(strict.subject(own.expose_secret()).await.is_ok());
    let plain = signed(Algorithm::HS256, JWT_SECRET, &claims("anna", 60));
    assert!(strict.subject(&plain).await.is_err());
}

#[tokio::test]
async fn row_19_and_21_who_may_call_what() {
    let server = Server::start().await;
    let anna = token("anna");
    let customer = r#"{"external_id":"berta"}"#;
    let created = server.call("POST", "/v1/customers", &server.key, customer).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let berta = created.json()["id"].as_str().unwrap().to_owned();
    let balance = |who: &str| format!("/v1/credits/balance?customer={who}");
    let cases = [
        ("GET", "/v1/credits/balance".to_owned(), String::new(), 401, "unauthorized"),
        ("GET", "/v1/credits/balance".to_owned(), "sk_test_invented".into(), 401, "unauthorized"),
        ("GET", "/v1/credits/balance".to_owned(), anna.clone(), 200, ""),
        ("GET", balance("anna"), anna.clone(), 200, ""),
        ("GET", balance("berta"), anna.clone(), 404, "customer_not_found"),
        ("GET", balance(&berta), anna.clone(), 404, "customer_not_found"),
        ("GET", balance(&berta), server.key.clone(), 200, ""),
        ("GET", balance("berta"), server.key.clone(), 200, ""),
        ("GET", balance("nobody"), server.key.clone(), 404, "customer_not_found"),
        ("GET", "/v1/credits/balance".to_owned(), server.key.clone(), 422, "invalid_request"),
        ("GET", format!("/v1/customers/{berta}"), anna.clone(), 404, "customer_not_found"),
        ("GET", format!("/v1/customers/{berta}"), token("berta"), 200, ""),
        ("GET", "/v1/customers".to_owned(), anna.clone(), 403, "forbidden"),
        ("GET", "/v1/events".to_owned(), anna.clone(), 403, "forbidden"),
        ("POST", "/v1/clock/settle".to_owned(), anna, 403, "forbidden"),
    ];
    for (method, path, token, status, code) in cases {
        let answer = server.call(method, &path, &token, "").await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text);
        if !code.is_empty() {
            assert_eq!(answer.code(), code, "{method} {path}");
        }
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "{path}");
    }
}
