//! Events as the provider would deliver them: signed here, sent by us, in any order we like.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::answers::{Answer, Api, eventually, list_at, text_at};
use crate::servers::Dev;

pub const INTAKE: &str = "/payments/webhook";

/// The header over these bytes, as of now plus an offset.
pub fn signature(secret: &str, body: &str, offset_seconds: i64) -> Result<String> {
    let timestamp = unix_seconds()? + offset_seconds;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(format!("{timestamp}.{body}").as_bytes());
    Ok(format!("t={timestamp},v1={}", hex::encode(mac.finalize().into_bytes())))
}

/// Delivers an event to the server with a good signature.
pub async fn deliver(dev: &Dev, event: &Value) -> Result<Answer> {
    deliver_to(&dev.nobody()?, &dev.ready.webhook_secret, event).await
}

/// The same to whoever expects this secret.
pub async fn deliver_to(nobody: &Api, secret: &str, event: &Value) -> Result<Answer> {
    let body = event.to_string();
    let header = signature(secret, &body, 0)?;
    deliver_raw(nobody, INTAKE, body.into_bytes(), Some(&header)).await
}

/// Delivers any bytes with any signature.
pub async fn deliver_raw(
    api: &Api,
    path: &str,
    body: Vec<u8>,
    header: Option<&str>,
) -> Result<Answer> {
    let mut request = api.request(Method::POST, path).body(body);
    request = request.header("content-type", "application/json; charset=utf-8");
    if let Some(header) = header {
        request = request.header("stripe-signature", header);
    }
    api.send(request).await
}

/// Turns the sandbox's own deliveries to the server off or on.
pub async fn set_deliveries(dev: &Dev, enabled: bool) -> Result<()> {
    set_deliveries_of(&dev.sandbox()?, enabled).await
}

/// The same at a sandbox that runs by itself.
pub async fn set_deliveries_of(sandbox: &Api, enabled: bool) -> Result<()> {
    let endpoints = sandbox.get("/v1/webhook_endpoints").await?.expect(200)?;
    let endpoints = list_at(&endpoints, "/data")?;
    ensure!(!endpoints.is_empty(), "the sandbox has no webhook endpoint");
    for endpoint in endpoints {
        let path = format!("/v1/webhook_endpoints/{}", text_at(endpoint, "/id"));
        let disabled = if enabled { "false" } else { "true" };
        sandbox.post_form(&path, &[("disabled", disabled)]).await?.expect(200)?;
    }
    Ok(())
}

/// The sandbox's events about one customer of the provider, oldest first.
pub async fn events_of(dev: &Dev, provider_customer: &str) -> Result<Vec<Value>> {
    events_at(&dev.sandbox()?, provider_customer).await
}

/// The same at a sandbox that runs by itself.
pub async fn events_at(sandbox: &Api, provider_customer: &str) -> Result<Vec<Value>> {
    let events = sandbox.get("/v1/events?limit=100").await?.expect(200)?;
    let mut found: Vec<Value> = list_at(&events, "/data")?
        .iter()
        .filter(|event| {
            let object = &event["data"]["object"];
            object["customer"] == json!(provider_customer) || object["id"] == provider_customer
        })
        .cloned()
        .collect();
    found.reverse();
    Ok(found)
}

/// Waits until the inbox holds no event that is still to be applied.
pub async fn settled(admin: &Api) -> Result<()> {
    eventually("the inbox is applied", async || {
        let waiting = admin.get("/v1/events?state=pending").await?.expect(200)?;
        Ok(list_at(&waiting, "/data")?.is_empty().then_some(()))
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "signatures are made on the wall clock, here only")]
pub fn unix_seconds() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_secs())?)
}
