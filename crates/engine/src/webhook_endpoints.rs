//! Where the merchant's own servers listen, what they want to hear, and the secrets they check.

use crate::Engine;
use crate::audits::Act;
use crate::clock::{random, random_secret};
use crate::failures::Failure;
use crate::limits::check_text;
use crate::outbox::Kind;
use crate::secrets::SealError;
use domain::codes::Code;
use domain::ids::{DeliveryId, OutboxEventId, WebhookEndpointId};
use domain::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use store::deliveries::Delivery;
use store::outbox::OutboxEvent;
use store::webhook_endpoints::{EndpointStatus, WebhookEndpoint};
use url::Url;

/// Wants every kind, those that come later too.
const EVERY_KIND: &str = "*";
const ENDPOINTS_MAX: u32 = 16;
const KINDS_MAX: usize = 64;
/// How long the old secret signs beside a new one, unless said otherwise, and at most.
const OLD_SECRET_SECONDS: i64 = 86_400;

/// An endpoint to create.
#[derive(Debug, Clone, Default)]
pub struct NewEndpoint {
    pub url: String,
    pub description: Option<String>,
    /// Every kind where it names none.
    pub kinds: Option<Vec<String>>,
}

/// What is to change about an endpoint.
#[derive(Debug, Clone, Default)]
pub struct EndpointChange {
    pub url: Option<String>,
    pub description: Option<String>,
    pub kinds: Option<Vec<String>>,
    pub status: Option<EndpointStatus>,
}

/// What is sealed: two secrets while one is being replaced.
#[derive(Serialize, Deserialize)]
struct Sealed {
    secret: String,
    previous: Option<String>,
    previous_until_micros: Option<i64>,
}

/// Whether an endpoint wants to hear of events of that kind.
pub(crate) fn wants(endpoint: &WebhookEndpoint, kind: &str) -> bool {
    endpoint.kinds.iter().any(|wanted| wanted == kind || wanted == EVERY_KIND)
}

fn new_secret() -> String {
    format!("hooksec_{}", hex::encode(random_secret()))
}

fn checked_kinds(kinds: Option<Vec<String>>) -> Result<Vec<String>, Failure> {
    let mut kinds = kinds.unwrap_or_else(|| vec![EVERY_KIND.to_owned()]);
    if kinds.is_empty() || KINDS_MAX < kinds.len() {
        let detail = format!("kinds must name 1 to {KINDS_MAX} kinds, or be left out for all");
        return Err(Failure::invalid("kinds", detail));
    }
    if let Some(word) = kinds.iter().find(|word| *word != EVERY_KIND && Kind::parse(word).is_none())
    {
        let word: String = word.chars().take(64).collect();
        let detail = format!("{word:?} is not a kind of event");
        return Err(Failure::invalid("kinds", detail));
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}

/// An endpoint in the audit log: its path and query may be a secret of the receiver's.
fn told(endpoint: &WebhookEndpoint) -> String {
    let at = Url::parse(&endpoint.url).map(|url| url.origin().ascii_serialization());
    let at = at.unwrap_or_default();
    format!("{at}, {}, {}", endpoint.status.as_str(), endpoint.kinds.join(" "))
}

fn missing() -> Failure {
    Failure::missing("webhook endpoint")
}

fn parsed(id: &str) -> Result<WebhookEndpointId, Failure> {
    WebhookEndpointId::parse(id).map_err(|_| missing())
}

fn unsealable(error: SealError) -> Failure {
    Failure::refused(Code::EncryptionKeyMissing, format!("secrets cannot be kept: {error}"))
}

impl Engine {
    fn checked_url(&self, url: &str) -> Result<String, Failure> {
        let reach = self.settings().outgoing.reach;
        match providers::receivers::check(url, reach) {
            Ok(url) => Ok(url.to_string()),
            Err(error) => Err(Failure::invalid("url", format!("url {error}"))),
        }
    }

    fn sealed(&self, id: &WebhookEndpointId, secrets: &Sealed) -> Result<String, Failure> {
        let text = serde_json::json!(secrets).to_string();
        self.settings().outgoing.keys.seal(id.as_str(), &text).map_err(unsealable)
    }

    fn unsealed(&self, endpoint: &WebhookEndpoint) -> Result<Sealed, SealError> {
        let keys = &self.settings().outgoing.keys;
        let text = keys.open(endpoint.id.as_str(), &endpoint.sealed_secret)?;
        serde_json::from_str(text.expose_secret()).map_err(|_| SealError::Damaged)
    }

    /// What to sign with now.
    pub(crate) fn endpoint_secrets(
        &self,
        endpoint: &WebhookEndpoint,
    ) -> Result<Vec<SecretString>, SealError> {
        let sealed = self.unsealed(endpoint)?;
        let until = sealed.previous_until_micros.map(Timestamp::from_micros);
        let lives = until.is_some_and(|until| self.clock().wall() < until);
        let previous = sealed.previous.filter(|_| lives);
        Ok([Some(sealed.secret), previous].into_iter().flatten().map(Into::into).collect())
    }

    /// Makes an endpoint; its secret is shown now and never again.
    pub async fn webhook_endpoints_create(
        &self,
        new: NewEndpoint,
        act: &Act,
    ) -> Result<(WebhookEndpoint, SecretString), Failure> {
        check_text("description", new.description.as_deref())?;
        let now = self.clock().wall();
        let id = WebhookEndpointId::new(now, random());
        let secret = new_secret();
        let kept = Sealed { secret: secret.clone(), previous: None, previous_until_micros: None };
        let endpoint = WebhookEndpoint {
            url: self.checked_url(&new.url)?,
            description: new.description,
            kinds: checked_kinds(new.kinds)?,
            sealed_secret: self.sealed(&id, &kept)?,
            status: EndpointStatus::Enabled,
            created_at: now,
            updated_at: now,
            id,
        };
        let mut tx = self.store().begin("webhook_endpoints.create").await?;
        if !tx.webhook_endpoints_insert(&endpoint, ENDPOINTS_MAX).await? {
            let detail = format!("there are {ENDPOINTS_MAX} webhook endpoints already");
            return Err(Failure::refused(Code::TooManyEndpoints, detail));
        }
        let note = told(&endpoint);
        let id = endpoint.id.as_str();
        self.audit(&mut tx, act, "webhook_endpoint.create", id, Some(&note)).await?;
        tx.commit().await?;
        Ok((endpoint, secret.into()))
    }

    /// All of them, newest first.
    pub async fn webhook_endpoints_list(&self) -> Result<Vec<WebhookEndpoint>, Failure> {
        let mut tx = self.store().read("webhook_endpoints.list").await?;
        Ok(tx.webhook_endpoints_list().await?)
    }

    pub async fn webhook_endpoints_get(&self, id: &str) -> Result<WebhookEndpoint, Failure> {
        let mut tx = self.store().read("webhook_endpoints.get").await?;
        tx.webhook_endpoints_get(&parsed(id)?).await?.ok_or_else(missing)
    }

    /// Changes what is named. What a disabled endpoint was to have is given up, visibly.
    pub async fn webhook_endpoints_update(
        &self,
        id: &str,
        change: EndpointChange,
        act: &Act,
    ) -> Result<WebhookEndpoint, Failure> {
        check_text("description", change.description.as_deref())?;
        let url = change.url.map(|url| self.checked_url(&url)).transpose()?;
        let kinds = match change.kinds {
            None => None,
            kinds => Some(checked_kinds(kinds)?),
        };
        let mut tx = self.store().begin("webhook_endpoints.update").await?;
        let held = tx.webhook_endpoints_lock(&parsed(id)?).await?.ok_or_else(missing)?;
        let before = told(&held);
        let changed = WebhookEndpoint {
            url: url.unwrap_or(held.url),
            description: change.description.or(held.description),
            kinds: kinds.unwrap_or(held.kinds),
            status: change.status.unwrap_or(held.status),
            updated_at: self.clock().wall(),
            ..held
        };
        tx.webhook_endpoints_update(&changed).await?;
        let note = format!("from {before} to {}", told(&changed));
        self.audit(&mut tx, act, "webhook_endpoint.update", id, Some(&note)).await?;
        tx.commit().await?;
        Ok(changed)
    }

    pub async fn webhook_endpoints_delete(&self, id: &str, act: &Act) -> Result<(), Failure> {
        let mut tx = self.store().begin("webhook_endpoints.delete").await?;
        let held = tx.webhook_endpoints_lock(&parsed(id)?).await?.ok_or_else(missing)?;
        tx.webhook_endpoints_delete(&held.id).await?;
        self.audit(&mut tx, act, "webhook_endpoint.delete", id, Some(&told(&held))).await?;
        Ok(tx.commit().await?)
    }

    /// Makes a new secret; the old one goes on signing beside it for a while.
    pub async fn webhook_endpoints_rotate_secret(
        &self,
        id: &str,
        keep_previous_seconds: Option<i64>,
        act: &Act,
    ) -> Result<(WebhookEndpoint, SecretString), Failure> {
        let keep = keep_previous_seconds.unwrap_or(OLD_SECRET_SECONDS);
        if !(0..=OLD_SECRET_SECONDS).contains(&keep) {
            let detail = format!("keep_previous_seconds must be from 0 to {OLD_SECRET_SECONDS}");
            return Err(Failure::invalid("keep_previous_seconds", detail));
        }
        let now = self.clock().wall();
        let secret = new_secret();
        let mut tx = self.store().begin("webhook_endpoints.rotate").await?;
        let held = tx.webhook_endpoints_lock(&parsed(id)?).await?.ok_or_else(missing)?;
        // One that cannot be opened any more is replaced all the same.
        let previous = self.unsealed(&held).ok().map(|sealed| sealed.secret);
        let kept = Sealed {
            secret: secret.clone(),
            previous_until_micros: Some(now.plus_seconds(keep).micros()),
            previous: previous.filter(|_| 0 < keep),
        };
        let sealed_secret = self.sealed(&held.id, &kept)?;
        let changed = WebhookEndpoint { sealed_secret, updated_at: now, ..held };
        tx.webhook_endpoints_update(&changed).await?;
        let note = format!("the old secret signs for {keep} s");
        self.audit(&mut tx, act, "webhook_endpoint.rotate_secret", id, Some(&note)).await?;
        tx.commit().await?;
        Ok((changed, secret.into()))
    }

    /// Sends an event that tells of nothing, to this endpoint alone.
    pub async fn webhook_endpoints_test(&self, id: &str) -> Result<Delivery, Failure> {
        let wall = self.clock().wall();
        let mut tx = self.store().begin("webhook_endpoints.test").await?;
        let endpoint = tx.webhook_endpoints_lock(&parsed(id)?).await?.ok_or_else(missing)?;
        let event_id = OutboxEventId::new(wall, random());
        let kind = Kind::EndpointTest.as_str();
        let event = OutboxEvent {
            customer_id: None,
            kind: kind.to_owned(),
            fact: format!("{kind}:{event_id}"),
            object_id: Some(endpoint.id.to_string()),
            data: "{}".to_owned(),
            created_at: self.clock().now(),
            recorded_at: wall,
            id: event_id,
        };
        tx.outbox_insert(&event).await?;
        tx.outbox_spread(&[&event.id]).await?;
        let delivery = DeliveryId::new(wall, random());
        tx.deliveries_insert(&delivery, &event.id, endpoint.id.as_str(), wall).await?;
        let planned = tx.deliveries_get(&delivery).await?.ok_or_else(missing)?;
        tx.commit().await?;
        self.inner.told.notify_one();
        Ok(planned)
    }

    /// Seals again what an older key has sealed, so that the operator can do without it.
    pub(crate) async fn webhook_endpoints_reseal(&self) -> Result<(), Failure> {
        let keys = &self.settings().outgoing.keys;
        for seen in self.webhook_endpoints_list().await? {
            if !keys.is_outdated(&seen.sealed_secret) {
                continue;
            }
            let mut tx = self.store().begin("webhook_endpoints.reseal").await?;
            let Some(held) = tx.webhook_endpoints_lock(&seen.id).await? else {
                continue;
            };
            match self.unsealed(&held) {
                Ok(secrets) => {
                    let sealed_secret = self.sealed(&held.id, &secrets)?;
                    let changed = WebhookEndpoint { sealed_secret, ..held };
                    tx.webhook_endpoints_update(&changed).await?;
                    tx.commit().await?;
                }
                Err(error) => {
                    tracing::error!(endpoint.id = %held.id, %error, "a secret cannot be read");
                }
            }
        }
        Ok(())
    }
}
