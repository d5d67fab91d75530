//! Telling the provider where to send events.

use secrecy::SecretString;
use serde_json::Value;

use super::form::Form;
use super::{API_VERSION, Client, fields, unreadable};
use crate::errors::ProviderError;

/// Where events go, and in which shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub url: String,
    /// None where the account's default decides.
    pub api_version: Option<String>,
    pub is_enabled: bool,
}

impl Client {
    /// Every address that the provider sends events to.
    pub async fn webhook_endpoints(&self) -> Result<Vec<Endpoint>, ProviderError> {
        let (found, _) = self.list("/v1/webhook_endpoints", &Form::new()).await?;
        let read = |endpoint: &Value| {
            Some(Endpoint {
                url: fields::text(endpoint, "/url")?,
                api_version: fields::text(endpoint, "/api_version"),
                is_enabled: fields::text(endpoint, "/status").as_deref() != Some("disabled"),
            })
        };
        Ok(found.iter().filter_map(read).collect())
    }

    /// Registers an address, in the version we speak, and answers its id and signing secret. The
    /// secret is never told again.
    pub async fn webhook_endpoint_create(
        &self,
        url: &str,
        events: &[&str],
        key: &str,
    ) -> Result<(String, SecretString), ProviderError> {
        let mut form = Form::new().with("url", url).with("api_version", API_VERSION);
        for (index, event) in events.iter().enumerate() {
            form = form.with(&format!("enabled_events[{index}]"), event);
        }
        let answer = self.post("/v1/webhook_endpoints", form, key).await?;
        let id = fields::text(&answer, "/id").ok_or_else(|| unreadable("the endpoint's id"))?;
        let secret =
            fields::text(&answer, "/secret").ok_or_else(|| unreadable("the endpoint's secret"))?;
        Ok((id, SecretString::from(secret)))
    }
}
