//! Two `tollgate serve` on one database, one provider, and a round-robin in front of them.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::answers::{Answer, Api, eventually, list_at, text_at};
use crate::balancers::Balancer;
use crate::purchases::{Buyer, VISA, pay_at};
use crate::servers::NO_LOOPS;
use crate::services::{Database, Service, Shop, spare_port};
use crate::webhooks::{deliver_to, settled};

/// How often a buyer may try is not what is tried here.
const MANY_CHECKOUTS: (&str, &str) = ("CHECKOUTS_PER_MINUTE", "1000");

/// A running deployment. Nothing is found by asking the provider: what is not heard is not known.
#[derive(Debug)]
pub struct Replicas {
    pub ports: [u16; 2],
    pub services: Vec<Service>,
    pub shop: Shop,
    pub balancer: Balancer,
    /// The provider.
    pub sandbox: Api,
    /// Through the balancer, as all clients.
    pub merchant: Api,
    /// The merchant's key.
    pub key: String,
}

impl Replicas {
    /// The provider delivers to the balancer, too.
    pub async fn open(database: &Database, more: &[(&'static str, &str)]) -> Result<Self> {
        let ports = [spare_port()?, spare_port()?];
        let balancer = Balancer::open(ports).await?;
        // Unless they are told, each takes itself for the address that buyers come back to, and
        // the same request would be another one at the other.
        let front = [("FRONTEND_URL", balancer.url.as_str())];
        let settings = [&NO_LOOPS[..], &[MANY_CHECKOUTS], &front, more].concat();
        let shop = Shop::open_with(&database.url, balancer.port, &settings).await?;
        let mut services = vec![shop.start(ports[0])?, shop.start(ports[1])?];
        for service in &mut services {
            service.ready().await?;
        }
        let key = shop.admin_key()?;
        let merchant = Api::new(&balancer.url, Some(&key))?;
        let sandbox = shop.sandbox.api()?;
        Ok(Self { ports, services, shop, balancer, sandbox, merchant, key })
    }

    /// A name that nobody has had, and who bears it: not known to anybody yet.
    pub fn stranger(&self) -> Result<(String, Api)> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let external_id = format!("buyer-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let token = self.shop.token_of(&external_id)?;
        Ok((external_id, self.merchant.with_bearer(Some(&token))))
    }

    /// A customer who has bought nothing.
    pub async fn buyer(&self) -> Result<Buyer> {
        let (external_id, api) = self.stranger()?;
        let body = json!({ "external_id": external_id });
        let created = self.merchant.post("/v1/customers", &body).await?.expect(201)?;
        let token = api.bearer.clone().unwrap_or_default();
        Ok(Buyer { id: text_at(&created, "/id"), external_id, token, api })
    }

    /// Both replicas as this bearer, past the balancer.
    pub fn each(&self, bearer: &str) -> Result<[Api; 2]> {
        Ok([self.services[0].api(bearer)?, self.services[1].api(bearer)?])
    }

    pub async fn grant(&self, buyer: &Buyer, amount: i64) -> Result<()> {
        let body = json!({ "customer": buyer.id, "amount": amount, "reason": "a gift" });
        self.merchant.post("/v1/credits/grants", &body).await?.expect(201)?;
        Ok(())
    }

    /// Pays at the provider; answers the session as it is then.
    pub async fn pay(&self, session: &str) -> Result<Value> {
        pay_at(&self.sandbox, session, VISA).await?.expect(200)
    }

    pub async fn deliver(&self, event: &Value) -> Result<Answer> {
        let nobody = self.merchant.with_bearer(None);
        deliver_to(&nobody, &self.shop.webhook_secret, event).await
    }

    /// From now on the provider takes so long for each answer.
    pub async fn slow_provider(&self, milliseconds: u64) -> Result<()> {
        let faults = json!({ "api": { "slow_ms": milliseconds } });
        self.sandbox.post("/_sandbox/faults", &faults).await?.expect(200)?;
        Ok(())
    }

    /// Everything of a list of the provider's.
    pub async fn upstream(&self, path: &str) -> Result<Vec<Value>> {
        let next = |page: &Value| {
            let last = page["data"].as_array()?.last()?["id"].as_str()?;
            (page["has_more"] == true).then(|| format!("&starting_after={last}"))
        };
        all(&self.sandbox, path, next).await
    }

    /// Everything of a list of ours.
    pub async fn ours(&self, path: &str) -> Result<Vec<Value>> {
        let next = |page: &Value| Some(format!("&cursor={}", page["next_cursor"].as_str()?));
        all(&self.merchant, path, next).await
    }

    /// Waits until every event is applied and every call to the provider has its outcome.
    pub async fn settled(&self) -> Result<()> {
        eventually("the provider has nothing to deliver", async || {
            let events = self.upstream("/v1/events").await?;
            let is_told = |event: &Value| event["pending_webhooks"] == 0;
            Ok(events.iter().all(is_told).then_some(()))
        })
        .await?;
        settled(&self.merchant).await?;
        for state in ["intended", "unknown"] {
            eventually(&format!("no call is {state}"), async || {
                let open = self.ours(&format!("/v1/provider-calls?state={state}")).await?;
                Ok(open.is_empty().then_some(()))
            })
            .await?;
        }
        settled(&self.merchant).await
    }

    /// Both had work to do, nothing is parked, and nobody called anything an error.
    pub async fn check_sound(&self) -> Result<()> {
        let taken = self.balancer.taken();
        ensure!(taken.iter().all(|taken| 0 < *taken), "not both had a turn: {taken:?}");
        let parked = self.ours("/v1/events?state=parked").await?;
        ensure!(parked.is_empty(), "parked: {parked:?}");
        for service in &self.services {
            let errors = service.errors()?;
            ensure!(errors.is_empty(), "{} logged:\n{}", service.url, errors.join("\n"));
        }
        Ok(())
    }
}

/// All pages of a list, one after the other.
async fn all(api: &Api, path: &str, next: impl Fn(&Value) -> Option<String>) -> Result<Vec<Value>> {
    let glue = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{glue}limit=100");
    let (mut found, mut rest) = (Vec::new(), Some(String::new()));
    while let Some(from) = rest {
        let page = api.get(&format!("{path}{from}")).await?.expect(200)?;
        found.extend(list_at(&page, "/data")?.iter().cloned());
        rest = next(&page);
    }
    Ok(found)
}
