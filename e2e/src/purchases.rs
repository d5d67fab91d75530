//! Customers and what they buy, up to the moment the provider is paid.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::answers::{Answer, Api, eventually, list_at, number_at, text_at};
use crate::servers::{Data, Dev};
use crate::webhooks::unix_seconds;

pub const VISA: &str = "pm_card_visa";
pub const TOKEN_SECONDS: i64 = 3600;

/// Something in the demo catalogue.
#[derive(Debug, Clone)]
pub struct Offer {
    pub product_id: String,
    pub price_id: String,
}

/// A customer with a token of their own.
#[derive(Debug, Clone)]
pub struct Buyer {
    pub id: String,
    pub external_id: String,
    pub token: String,
    /// The server as this customer.
    pub api: Api,
}

impl Buyer {
    /// A customer nobody has seen before.
    pub async fn new(dev: &Dev, data: &Data) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let external_id = format!("buyer-{}-{number}", std::process::id());
        let email = format!("{external_id}@example.com");
        let body = json!({ "external_id": external_id, "email": email });
        let created = dev.admin()?.post("/v1/customers", &body).await?.expect(201)?;
        let id = text_at(&created, "/id");
        ensure!(!id.is_empty(), "a customer without an id: {created}");
        let claims = json!({ "sub": external_id, "exp": unix_seconds()? + TOKEN_SECONDS });
        let token = token(&data.secret("jwt_secret")?, &claims)?;
        let api = Api::new(&dev.ready.api_url, Some(&token))?;
        Ok(Self { id, external_id, token, api })
    }

    pub async fn balance(&self) -> Result<Value> {
        balance(&self.api).await
    }

    pub async fn total_credits(&self) -> Result<i64> {
        total_credits(&self.api).await
    }

    pub async fn may_use(&self, feature: &str) -> Result<bool> {
        let path = format!("/v1/check?feature={feature}");
        let decision = self.api.get(&path).await?.expect(200)?;
        decision["allowed"].as_bool().with_context(|| format!("no `allowed` in {decision}"))
    }

    /// The subscription as the seed's route shows it, `null` where there is none.
    pub async fn subscription(&self) -> Result<Value> {
        let answer = self.api.get("/payments/get-user-subscription").await?.expect(200)?;
        Ok(answer["subscription"].clone())
    }

    /// Opens a checkout and answers the provider's session id.
    pub async fn checkout(&self, offer: &Offer) -> Result<String> {
        checkout(&self.api, &offer.price_id).await
    }

    /// Buys without a browser and waits until the credits are there.
    pub async fn buy(&self, dev: &Dev, offer: &Offer, expected_credits: i64) -> Result<()> {
        let session = self.checkout(offer).await?;
        pay(dev, &session, VISA).await?.expect(200)?;
        self.await_credits(expected_credits).await
    }

    pub async fn await_credits(&self, expected: i64) -> Result<()> {
        await_credits(&self.api, expected).await.with_context(|| self.external_id.clone())
    }
}

/// A new product with one price; answers the price's id.
pub async fn sell(admin: &Api, product: &str, mut price: Value) -> Result<String> {
    let product = admin.post("/v1/products", &json!({ "name": product })).await?.expect(201)?;
    price["product"] = product["id"].clone();
    Ok(text_at(&admin.post("/v1/prices", &price).await?.expect(201)?, "/id"))
}

/// A pack of a hundred credits.
pub async fn sell_pack(admin: &Api) -> Result<String> {
    let grants = json!({ "credits": [{ "amount": 100 }] });
    let price = json!({ "unit_amount": 1999, "currency": "usd", "grants": grants });
    sell(admin, "100 Credits", price).await
}

/// A plan with a feature and a hundred credits a month.
pub async fn sell_plan(admin: &Api, feature: &str) -> Result<String> {
    let grants = json!({ "credits": [{ "amount": 100 }], "features": [{ "feature": feature }] });
    let price = json!({
        "unit_amount": 2999, "currency": "usd", "interval": "month", "grants": grants,
    });
    sell(admin, "Pro", price).await
}

/// Opens a checkout and answers the provider's session id.
pub async fn checkout(buyer: &Api, price: &str) -> Result<String> {
    let body = json!({ "price": price });
    let session = buyer.post("/v1/checkout-sessions", &body).await?.expect(201)?;
    provider_session(&text_at(&session, "/url"))
}

async fn balance(buyer: &Api) -> Result<Value> {
    buyer.get("/v1/credits/balance").await?.expect(200)
}

pub async fn total_credits(buyer: &Api) -> Result<i64> {
    number_at(&balance(buyer).await?, "/total_credits")
}

pub async fn await_credits(buyer: &Api, expected: i64) -> Result<()> {
    eventually(&format!("{expected} credits at {}", buyer.base), async || {
        Ok((total_credits(buyer).await? == expected).then_some(()))
    })
    .await
}

/// Something for sale by its product's name; the interval tells several prices apart.
pub async fn offer(api: &Api, name: &str, interval: Option<&str>) -> Result<Offer> {
    let kind = if interval.is_some() { "subscription" } else { "one_time" };
    let path = format!("/payments/products/?product_type={kind}");
    let answer = api.get(&path).await?.expect(200)?;
    for product in list_at(&answer, "/products")? {
        if product["name"] != name {
            continue;
        }
        let others = product["prices"].as_array().into_iter().flatten();
        let mut prices = std::iter::once(&product["price"]).chain(others);
        let wanted = prices
            .find(|price| price.pointer("/recurring/interval").and_then(Value::as_str) == interval);
        if let Some(price) = wanted {
            let price_id = text_at(price, "/price_id");
            return Ok(Offer { product_id: text_at(product, "/id"), price_id });
        }
    }
    anyhow::bail!("no offer {name:?} ({interval:?}) in {answer}")
}

/// Finishes a checkout at the provider with one of its test payment methods.
pub async fn pay(dev: &Dev, session: &str, method: &str) -> Result<Answer> {
    pay_at(&dev.sandbox()?, session, method).await
}

/// The same at a provider that runs by itself.
pub async fn pay_at(sandbox: &Api, session: &str, method: &str) -> Result<Answer> {
    let path = format!("/_sandbox/checkout/{session}/complete");
    sandbox.post_form(&path, &[("payment_method", method)]).await
}

/// The session id that the hosted page's address carries.
pub fn provider_session(url: &str) -> Result<String> {
    let (_, rest) = url.split_once("/c/pay/").with_context(|| format!("no session in {url:?}"))?;
    let end = rest.find(['?', '#', '/']).unwrap_or(rest.len());
    Ok(rest[..end].to_string())
}

/// An HS256 token made by hand, so that it can also be wrong in any way.
pub fn token(secret: &str, claims: &Value) -> Result<String> {
    let signed = unsigned(&json!({ "alg": "HS256", "typ": "JWT" }), claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(signed.as_bytes());
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
}

/// Header and claims without a signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}
