//! Webhook endpoints: where events go and which ones.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::{Metadata, Params};
use crate::requests::Call;
use crate::state::Row;
use crate::transactions::Tx;
use crate::versions::{self, Version};
use crate::{event_types, ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WebhookEndpoint {
    pub id: String,
    pub created: i64,
    pub url: String,
    pub secret: String,
    pub enabled_events: Vec<String>,
    pub enabled: bool,
    pub api_version: Option<String>,
    pub description: Option<String>,
    pub metadata: Metadata,
}

impl Row for WebhookEndpoint {
    const KIND: &'static str = "webhook_endpoint";
    fn id(&self) -> &str {
        &self.id
    }
}

impl WebhookEndpoint {
    pub fn version(&self) -> Version {
        let named = self.api_version.as_deref().map(Version::named);
        named.and_then(Result::ok).unwrap_or(versions::LATEST)
    }

    pub fn wants(&self, kind: &str) -> bool {
        self.enabled && self.enabled_events.iter().any(|wanted| wanted == "*" || wanted == kind)
    }
}

/// The secret is shown once, at creation.
pub fn view(endpoint: &WebhookEndpoint) -> Value {
    json!({
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "api_version": endpoint.api_version,
        "application": null,
        "created": endpoint.created,
        "description": endpoint.description,
        "enabled_events": endpoint.enabled_events,
        "livemode": false,
        "metadata": endpoint.metadata,
        "status": if endpoint.enabled { "enabled" } else { "disabled" },
        "url": endpoint.url,
    })
}

fn read_url(params: &mut Params) -> Result<Option<String>, ApiError> {
    let Some(text) = params.text("url")? else {
        return Ok(None);
    };
    match url::Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(text)),
        _ => Err(params.invalid("url", "Invalid URL").code("url_invalid")),
    }
}

/// Events are sent in this version; the latest unless told otherwise.
fn read_version(params: &mut Params) -> Result<Version, ApiError> {
    match params.text("api_version")? {
        Some(name) => Version::named(&name).map_err(|error| error.param("api_version")),
        None => Ok(versions::LATEST),
    }
}

fn read_events(params: &mut Params) -> Result<Option<Vec<String>>, ApiError> {
    let events = params.texts("enabled_events")?;
    if events.as_ref().is_some_and(Vec::is_empty) {
        return Err(ApiError::missing_parameter("enabled_events"));
    }
    let mut names = events.iter().flatten();
    if let Some(place) = names.position(|name| name != "*" && !event_types::exists(name)) {
        let param = format!("enabled_events[{place}]");
        let message = format!("Invalid {param}: must be the type of an event, or *");
        return Err(ApiError::invalid(message).param(&param));
    }
    Ok(events)
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let url = read_url(params)?.ok_or_else(|| ApiError::missing_parameter("url"))?;
    let events = read_events(params)?;
    let enabled_events = events.ok_or_else(|| ApiError::missing_parameter("enabled_events"))?;
    let endpoint = WebhookEndpoint {
        id: ids::object("we"),
        created: tx.now,
        url,
        secret: format!("whsec_{}", ids::letters(32)),
        enabled_events,
        enabled: true,
        api_version: Some(read_version(params)?.name().to_owned()),
        description: params.text("description")?,
        metadata: params.metadata()?.fresh(),
    };
    params.ignore(&["connect"]);
    params.finish()?;
    let mut answer = view(&endpoint);
    answer["secret"] = json!(endpoint.secret);
    tx.state.webhook_endpoints.put(endpoint);
    Ok(answer)
}

fn find<'a>(tx: &'a Tx<'_>, id: &str) -> Result<&'a WebhookEndpoint, ApiError> {
    let found = tx.state.webhook_endpoints.get(id);
    found.ok_or_else(|| ApiError::not_found("webhook endpoint", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(find(tx, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut endpoint = find(tx, call.id())?.clone();
    let params = &mut call.params;
    if let Some(url) = read_url(params)? {
        endpoint.url = url;
    }
    if let Some(events) = read_events(params)? {
        endpoint.enabled_events = events;
    }
    if let Some(disabled) = params.boolean("disabled")? {
        endpoint.enabled = !disabled;
    }
    params.change("description")?.apply(&mut endpoint.description);
    params.metadata()?.apply(&mut endpoint.metadata);
    params.finish()?;
    let answer = view(&endpoint);
    tx.state.webhook_endpoints.put(endpoint);
    Ok(answer)
}

/// What was not delivered yet is not delivered any more.
pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let id = find(tx, call.id())?.id.clone();
    let waiting: Vec<String> =
        tx.state.deliveries.of(&id).map(|delivery| delivery.id.clone()).collect();
    for delivery in waiting {
        tx.state.deliveries.remove(&delivery);
    }
    tx.state.webhook_endpoints.remove(&id);
    Ok(json!({"id": id, "object": "webhook_endpoint", "deleted": true}))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    lists::page(call, &tx.state.webhook_endpoints, |_| true, view)
}
