//! Every route of the published description, asked by everybody who may not.

use anyhow::{Context, Result};
use e2e::answers::{Answer, Api};
use e2e::purchases::{Buyer, TOKEN_SECONDS, offer, token, unsigned};
use e2e::servers::{Data, Dev};
use e2e::webhooks::unix_seconds;
use reqwest::Method;
use serde_json::{Value, json};

/// What a stranger may ask for. Everything else needs a token; a new route is refused by this test
/// until it stands here or answers 401.
const PUBLIC: [(&str, &str); 14] = [
    ("GET", "/health"),
    ("GET", "/health/ready"),
    ("GET", "/openapi.json"),
    ("GET", "/payments/products"),
    ("GET", "/payments/products/"),
    ("GET", "/payments/get-plans"),
    ("GET", "/v1/products"),
    ("GET", "/v1/products/{id}"),
    ("GET", "/v1/prices"),
    ("GET", "/v1/prices/{id}"),
    ("POST", "/payments/webhook"),
    ("POST", "/api/v1/webhooks/stripe"),
    ("POST", "/api/webhooks/stripe"),
    ("GET", "/v1"),
];

/// What a customer's own token is refused with 403.
const ADMINISTRATOR: [(&str, &str); 31] = [
    ("GET", "/v1/customers"),
    ("POST", "/v1/customers"),
    ("POST", "/v1/products"),
    ("PATCH", "/v1/products/{id}"),
    ("POST", "/v1/prices"),
    ("PATCH", "/v1/prices/{id}"),
    ("POST", "/v1/credits/grants"),
    ("GET", "/v1/events"),
    ("GET", "/v1/events/{id}"),
    ("POST", "/v1/events/replay"),
    ("POST", "/v1/events/{id}/replay"),
    ("POST", "/v1/events/{id}/ignore"),
    ("POST", "/v1/clock/settle"),
    ("POST", "/v1/collections"),
    ("GET", "/metrics"),
    ("GET", "/v1/deliveries"),
    ("POST", "/v1/deliveries/{id}/redeliver"),
    ("GET", "/v1/notifications"),
    ("GET", "/v1/notifications/{id}"),
    ("GET", "/v1/provider-calls"),
    ("POST", "/v1/refunds"),
    ("GET", "/v1/sync-runs"),
    ("POST", "/v1/sync-runs"),
    ("GET", "/v1/sync-runs/{id}"),
    ("GET", "/v1/webhook-endpoints"),
    ("POST", "/v1/webhook-endpoints"),
    ("GET", "/v1/webhook-endpoints/{id}"),
    ("PATCH", "/v1/webhook-endpoints/{id}"),
    ("DELETE", "/v1/webhook-endpoints/{id}"),
    ("POST", "/v1/webhook-endpoints/{id}/rotate-secret"),
    ("POST", "/v1/webhook-endpoints/{id}/test"),
];

/// The pages of a stranger. The others belong to whoever has the cookie of a portal link.
const PUBLIC_PAGES: [(&str, &str); 7] = [
    ("GET", "/"),
    ("GET", "/pricing"),
    ("POST", "/pricing/checkout"),
    ("GET", "/pay/success"),
    ("GET", "/pay/cancel"),
    ("GET", "/portal/enter"),
    ("GET", "/assets/tollgate.css"),
];

struct Route {
    method: Method,
    path: String,
    /// Pages have cookies and forms instead of tokens.
    is_page: bool,
    /// What the description itself says of it.
    needs_server_key: bool,
}

impl Route {
    fn is_in(&self, list: &[(&str, &str)]) -> bool {
        list.iter().any(|(method, path)| *method == self.method.as_str() && self.matches(path))
    }

    /// The names of path parameters are the description's own business.
    fn matches(&self, pattern: &str) -> bool {
        let mut left = self.path.split('/');
        let mut right = pattern.split('/');
        loop {
            match (left.next(), right.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) if a == b || (a.starts_with('{') && b.starts_with('{')) => {}
                _ => return false,
            }
        }
    }
}

async fn routes(dev: &Dev) -> Result<Vec<Route>> {
    let description = dev.nobody()?.get("/openapi.json").await?.expect(200)?;
    let version = description["openapi"].as_str().unwrap_or_default();
    anyhow::ensure!(version.starts_with("3.1"), "OpenAPI {version:?}");
    let paths = description["paths"].as_object().context("no paths")?;
    let mut routes = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().context("no methods")? {
            let is_page = operation["tags"][0] == "pages";
            let needs_server_key = operation["security"] == json!([{ "server_key": [] }]);
            if let Ok(method) = method.to_uppercase().parse::<Method>()
                && ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str())
            {
                routes.push(Route { method, path: path.clone(), is_page, needs_server_key });
            }
        }
    }
    anyhow::ensure!(routes.len() > 30, "only {} routes are described", routes.len());
    Ok(routes)
}

/// Fills the path's parameters, names the customer where a route lets one be named, and asks.
async fn ask(api: &Api, route: &Route, id: &str, customer: Option<&str>) -> Result<Answer> {
    let mut path = String::new();
    for part in route.path.split('/').skip(1) {
        path.push('/');
        path.push_str(if part.starts_with('{') { id } else { part });
    }
    if let Some(customer) = customer
        && (route.method == Method::GET || route.method == Method::DELETE)
    {
        path = format!("{path}?customer={customer}&feature=api_access&product_type=subscription");
    }
    let mut request = api.request(route.method.clone(), &path);
    if route.method != Method::GET {
        let body = customer.map_or_else(|| json!({}), |customer| json!({ "customer": customer }));
        request = request.json(&body);
    }
    api.send(request).await
}

/// What a stranger must not be able to change.
async fn footprint(dev: &Dev, buyer: &Buyer) -> Result<Value> {
    let admin = dev.admin()?;
    let mut seen = json!({});
    for path in [
        format!("/v1/customers/{}/state", buyer.id),
        "/v1/customers?limit=100".to_string(),
        "/v1/products?limit=100".to_string(),
        "/v1/prices?limit=100".to_string(),
        format!("/v1/credits/entries?customer={}", buyer.id),
        format!("/v1/payments?customer={}", buyer.id),
    ] {
        let answer = admin.get(&path).await?.expect(200)?;
        seen[path] = answer;
    }
    Ok(seen)
}

/// Tokens that prove nothing, by what is wrong with them.
fn worthless_tokens(buyer: &Buyer, secret: &str) -> Result<Vec<(&'static str, String)>> {
    let now = unix_seconds()?;
    let sub = &buyer.external_id;
    let good = json!({ "sub": sub, "exp": now + TOKEN_SECONDS });
    let none = unsigned(&json!({ "alg": "none", "typ": "JWT" }), &good);
    let signature = buyer.token.rsplit('.').next().unwrap_or_default();
    let stolen = unsigned(&json!({ "alg": "HS256" }), &json!({ "sub": "x", "exp": now + 60 }));
    Ok(vec![
        ("garbage", "garbage".to_string()),
        ("signed with another secret", token("another secret of some length", &good)?),
        ("expired", token(secret, &json!({ "sub": sub, "exp": now - 3600 }))?),
        ("without expiry", token(secret, &json!({ "sub": sub }))?),
        ("without a person", token(secret, &json!({ "exp": now + 60 }))?),
        ("an empty person", token(secret, &json!({ "sub": "", "exp": now + 60 }))?),
        ("alg none", format!("{none}.")),
        ("alg none with a signature", format!("{none}.{signature}")),
        ("somebody's signature", format!("{stolen}.{signature}")),
        ("an invented key", "sk_0123456789abcdef0123456789abcdef".to_string()),
    ])
}

#[tokio::test]
async fn no_route_opens_without_a_good_token() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let worthless = worthless_tokens(&buyer, &data.secret("jwt_secret")?)?;
    let mut strangers = vec![("no token", None)];
    strangers.extend(worthless.iter().map(|(name, token)| (*name, Some(token.as_str()))));
    let before = footprint(&dev, &buyer).await?;
    let nobody = dev.nobody()?;
    for route in routes(&dev).await? {
        if route.is_in(&PUBLIC) || route.is_page {
            continue;
        }
        for (name, bearer) in &strangers {
            let api = nobody.with_bearer(*bearer);
            let answer = ask(&api, &route, &buyer.id, None).await?;
            assert_eq!(answer.status, 401, "{name}: {}: {}", answer.request, answer.text);
            assert!(answer.headers.contains_key("www-authenticate"), "{}", answer.request);
        }
    }
    assert_eq!(footprint(&dev, &buyer).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_customer_is_no_administrator() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let routes = routes(&dev).await?;
    let before = footprint(&dev, &buyer).await?;
    for route in &routes {
        let Route { method, path, needs_server_key, .. } = route;
        assert_eq!(route.is_in(&ADMINISTRATOR), *needs_server_key, "{method} {path}");
    }
    let mut asked = 0;
    for route in routes.iter().filter(|route| route.is_in(&ADMINISTRATOR)) {
        let answer = ask(&buyer.api, route, &buyer.id, None).await?;
        assert_eq!(answer.status, 403, "{}: {}", answer.request, answer.text);
        asked += 1;
    }
    assert_eq!(asked, ADMINISTRATOR.len(), "a route of the list is not described any more");
    assert_eq!(footprint(&dev, &buyer).await?, before);
    Ok(())
}

#[tokio::test]
async fn private_pages_open_only_with_the_cookie_of_a_link() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let before = footprint(&dev, &buyer).await?;
    let nobody = dev.nobody()?;
    let mut private = 0;
    for route in routes(&dev).await? {
        if !route.is_page || route.is_in(&PUBLIC_PAGES) {
            continue;
        }
        for cookie in [None, Some("tollgate_session=forged")] {
            let mut request = nobody.request(route.method.clone(), &route.path);
            if route.method == Method::POST {
                request = request.form(&[("csrf", "forged")]);
            }
            if let Some(cookie) = cookie {
                request = request.header("cookie", cookie);
            }
            let answer = nobody.send(request).await?;
            let refused = [401, 403].contains(&answer.status);
            assert!(refused, "{}: {}", answer.request, answer.status);
        }
        private += 1;
    }
    assert!(private >= 4, "only {private} private pages are described");
    assert_eq!(footprint(&dev, &buyer).await?, before);
    Ok(())
}

#[tokio::test]
async fn nobody_reaches_another_customers_things() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let victim = Buyer::new(&dev, &data).await?;
    victim.buy(&dev, &offer(&victim.api, "Pro", Some("month")).await?, 100).await?;
    let hold = victim.api.post("/v1/credits/holds", &json!({ "amount": 1 })).await?.expect(201)?;
    let note = json!({ "content": "only for the owner", "source": "note.md" });
    let document = victim.api.post("/v1/documents", &note).await?.expect(201)?;
    let subscription = victim.subscription().await?;
    let mut ids = vec![victim.id.clone(), victim.external_id.clone()];
    for object in [&hold, &document, &subscription] {
        ids.push(e2e::answers::text_at(object, "/id"));
    }
    for list in ["/v1/subscriptions", "/v1/payments", "/v1/invoices", "/v1/credits/grants"] {
        let answer = victim.api.get(list).await?.expect(200)?;
        ids.push(e2e::answers::text_at(&answer, "/data/0/id"));
    }

    let stranger = Buyer::new(&dev, &data).await?;
    let before = footprint(&dev, &victim).await?;
    for route in routes(&dev).await? {
        if route.is_in(&PUBLIC) || route.is_in(&ADMINISTRATOR) || route.is_page {
            continue;
        }
        for id in ids.iter().filter(|id| !id.is_empty()) {
            if route.path.contains('{') {
                let answer = ask(&stranger.api, &route, id, None).await?;
                check_refused(&answer, &victim);
            }
        }
        // The seed's routes know nobody but the token's owner, so there is nobody else to name.
        if !route.path.starts_with("/payments/") {
            let answer = ask(&stranger.api, &route, &victim.id, Some(&victim.id)).await?;
            check_refused(&answer, &victim);
        }
    }
    assert_eq!(footprint(&dev, &victim).await?, before);
    Ok(())
}

fn check_refused(answer: &Answer, victim: &Buyer) {
    let refused = [403, 404, 422].contains(&answer.status);
    assert!(refused, "{}: {}: {}", answer.request, answer.status, answer.text);
    let email = format!("{}@example.com", victim.external_id);
    assert!(!answer.text.contains(&email), "{}: {}", answer.request, answer.text);
    assert!(!answer.text.contains("only for the owner"), "{}: {}", answer.request, answer.text);
}
