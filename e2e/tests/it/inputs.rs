//! Bad input: a typed 4xx with a stable code, nothing stored, nothing broken.

use anyhow::{Context, Result};
use e2e::answers::{Answer, Api};
use e2e::purchases::{Buyer, offer};
use e2e::servers::{Data, Dev};
use reqwest::Method;
use serde_json::{Value, json};

const BIG: usize = 10 * 1024 * 1024;

/// Asks and expects one of the statuses, a code, and no inside text.
fn check_problem(name: &str, answer: &Answer, statuses: &[u16]) {
    let Answer { request, status, text, .. } = answer;
    assert!(statuses.contains(status), "{name}: {request}: {status}: {text}");
    let body = answer.json();
    if request.contains("/payments/") {
        assert!(!body["detail"].is_null(), "{name}: {request} has no detail: {text}");
    } else {
        assert!(body["code"].is_string(), "{name}: {request} has no code: {text}");
        let kind = answer.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{name}: {request}");
        assert!(body["request_id"].is_string(), "{name}: {request} has no request id: {text}");
    }
    for inside in ["panicked", "sqlx", "SELECT", "src/", "Stripe-Version"] {
        assert!(!text.contains(inside), "{name}: {request} shows its inside: {text}");
    }
}

async fn started(data: &Data) -> Result<(Dev, Buyer)> {
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, data).await?;
    let gift = json!({ "customer": buyer.id, "amount": 5, "reason": "a gift" });
    dev.admin()?.post("/v1/credits/grants", &gift).await?.expect(201)?;
    buyer.buy(&dev, &offer(&buyer.api, "Pro", Some("month")).await?, 105).await?;
    Ok((dev, buyer))
}

/// One refused request per line: the statuses that may answer it, the path, the body.
fn cases(table: &str) -> Result<Vec<(Vec<u16>, String, Value)>> {
    let rows = table.lines().map(str::trim).filter(|line| !line.is_empty());
    rows.map(|row| {
        let (statuses, rest) = row.split_once(' ').context("a row without a path")?;
        let (path, body) = rest.trim().split_once(' ').context("a row without a body")?;
        let statuses = statuses.split('|').map(str::parse).collect::<Result<_, _>>()?;
        Ok((statuses, path.to_string(), serde_json::from_str(body)?))
    })
    .collect()
}

#[tokio::test]
async fn amounts_and_names_that_make_no_sense_are_refused() -> Result<()> {
    const TABLE: &str = r#"
        422     /v1/credits/consume {"amount": 0}
        422     /v1/credits/consume {"amount": -1}
        400|422 /v1/credits/consume {"amount": "ten"}
        400|422 /v1/credits/consume {"amount": 1.5}
        400|422 /v1/credits/consume {"amount": 18446744073709551615}
        402|422 /v1/credits/consume {"amount": 9223372036854775807}
        400|422 /v1/credits/consume {}
        400|422 /v1/credits/consume {"amount": null}
        400|422 /v1/credits/consume {"amount": 1, "amuont": 1}
        422     /v1/credits/consume {"amount": 1, "unit": "a unit'; DROP"}
        402|422 /v1/credits/consume {"amount": 1, "unit": "moons"}
        400|422 /v1/credits/consume [1, 2]
        422     /v1/credits/holds {"amount": 0}
        422     /v1/credits/holds {"amount": -5}
        422     /v1/credits/holds {"amount": 1, "expires_in": -1}
        404|422 /v1/credits/holds/hold_none/capture {}
        404     /v1/checkout-sessions {"price": "price_none"}
        404|422 /v1/checkout-sessions {"price": "plan_1"}
        400|422 /v1/checkout-sessions {"card": {"number": "4242"}}
    "#;
    let data = Data::new()?;
    let (_dev, buyer) = started(&data).await?;
    for (statuses, path, body) in cases(TABLE)? {
        let answer = buyer.api.post(&path, &body).await?;
        check_problem(&body.to_string(), &answer, &statuses);
    }
    for query in ["limit=0", "limit=101", "limit=x", "cursor=%00", "cursor=zzz", "limit=-1"] {
        let answer = buyer.api.get(&format!("/v1/payments?{query}")).await?;
        check_problem(query, &answer, &[400, 422]);
    }
    assert_eq!(buyer.total_credits().await?, 105);
    assert_eq!(buyer.balance().await?["held"], 0);
    Ok(())
}

#[tokio::test]
async fn checkouts_of_the_seed_check_their_ids_before_anything_else() -> Result<()> {
    const TABLE: &str = r#"
        422     create-checkout-session {"price_id": "plan_1", "product_id": "PRO"}
        422     create-checkout-session {"price_id": "MONTHLY", "product_id": "item_1"}
        404     create-checkout-session {"price_id": "price_none", "product_id": "PRO"}
        400     create-checkout-session {"price_id": "MONTHLY", "product_id": "PACK"}
        400|422 create-checkout-session {"price_id": "ONCE", "product_id": "PACK"}
        400|422 create-checkout-session-onetime {"price_id": "MONTHLY", "product_id": "PRO"}
        422     create-checkout-session {"price_id": "MONTHLY"}
        400|422 checkout {"email": "alice@example.com", "amount_cents": 1}
        400|422 checkout {"email": "alice@example.com", "amount_cents": 0}
        400|422 checkout {"email": "alice@example.com", "amount_cents": -5}
        422     checkout {"amount_cents": 4900}
        422     checkout {"email": "alice@example.com", "amount_cents": 49.5}
    "#;
    let data = Data::new()?;
    let dev = data.start()?;
    let pro = offer(&dev.customer()?, "Pro", Some("month")).await?;
    let pack = offer(&dev.customer()?, "100 Credits", None).await?;
    let table = TABLE.replace("PRO", &pro.product_id).replace("MONTHLY", &pro.price_id);
    let table = table.replace("PACK", &pack.product_id).replace("ONCE", &pack.price_id);
    for (statuses, path, body) in cases(&table)? {
        // The limit is per customer and minute, and is not what is tested here.
        let buyer = Buyer::new(&dev, &data).await?;
        let answer = buyer.api.post(&format!("/payments/{path}"), &body).await?;
        check_problem(&body.to_string(), &answer, &statuses);
    }
    let kind = dev.customer()?.get("/payments/products/?product_type=everything").await?;
    check_problem("product type", &kind, &[400, 422]);
    let sessions = dev.sandbox()?.get("/v1/checkout/sessions").await?.expect(200)?;
    assert_eq!(sessions["data"], json!([]), "a refused checkout reached the provider");
    Ok(())
}

#[tokio::test]
async fn the_sixth_checkout_of_a_minute_is_told_to_wait() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pack = offer(&buyer.api, "100 Credits", None).await?;
    let body = json!({ "price_id": pack.price_id, "product_id": pack.product_id });
    let path = "/payments/create-checkout-session-onetime";
    for _ in 0..5 {
        buyer.api.post(path, &body).await?.expect(200)?;
    }
    let request = buyer.api.request(Method::POST, path).header("x-forwarded-for", "192.0.2.7");
    let sixth = buyer.api.send(request.json(&body)).await?;
    check_problem("sixth", &sixth, &[429]);
    assert!(sixth.headers.contains_key("retry-after"));
    let other = Buyer::new(&dev, &data).await?;
    other.api.post(path, &body).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn vectors_and_documents_that_make_no_sense_are_refused() -> Result<()> {
    const TABLE: &str = r#"
        422     /v1/documents {"content": ""}
        400|422 /v1/documents {"source": "a.md"}
        422     /v1/documents {"content": "b", "embedding": []}
        422     /v1/documents {"content": "b", "embedding": [1, 2]}
        400|422 /v1/documents {"content": "b", "embedding": ["NaN"]}
        400|422 /v1/documents {"content": "b", "embedding": [null]}
        422     /v1/search {"embedding": [1, 2]}
        422     /v1/search {}
        422     /v1/search {"query": "a", "limit": 0}
        422     /v1/search {"query": "a", "limit": 100000}
        404|422 /v1/search {"query": "a", "collection": "none"}
    "#;
    let data = Data::new()?;
    let (_dev, buyer) = started(&data).await?;
    let good = json!({ "content": "a", "embedding": vec![0.5; 1536], "source": "a.md" });
    buyer.api.post("/v1/documents", &good).await?.expect(201)?;
    for (statuses, path, body) in cases(TABLE)? {
        let answer = buyer.api.post(&path, &body).await?;
        check_problem(&body.to_string(), &answer, &statuses);
    }
    // What JSON itself has no word for, and what only overflows to it.
    for number in ["NaN", "Infinity", "1e999"] {
        let body = format!("{{\"content\": \"b\", \"embedding\": [{number}]}}");
        let answer =
            raw(&buyer.api, "/v1/documents", body.into_bytes(), "application/json").await?;
        check_problem(number, &answer, &[400, 422]);
    }
    let documents = buyer.api.get("/v1/documents").await?.expect(200)?;
    assert_eq!(documents["data"].as_array().map(Vec::len), Some(1), "{documents}");
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() -> Result<()> {
    let data = Data::new()?;
    let (dev, buyer) = started(&data).await?;
    let json = "application/json";
    let consume = "/v1/credits/consume";
    let invalid = b"{\"reference\": \"\xff\xfe\", \"amount\": 1}".to_vec();
    let cases = [
        ("not JSON", b"amount=1".to_vec(), json, 400),
        ("half a body", b"{\"amount\": 1".to_vec(), json, 400),
        ("invalid UTF-8", invalid, json, 400),
        ("nothing", Vec::new(), json, 422),
        ("deep", b"[".repeat(100_000), json, 400),
        ("another type", b"{\"amount\": 1}".to_vec(), "text/plain", 415),
        ("10 MB", vec![b' '; BIG], json, 413),
    ];
    for (name, body, kind, status) in cases {
        let answer = raw(&buyer.api, consume, body, kind).await?;
        check_problem(name, &answer, &[status]);
    }
    for path in ["/payments/webhook", "/v1/documents", "/payments/checkout"] {
        let answer = raw(&buyer.api, path, vec![b' '; BIG], json).await?;
        check_problem("10 MB", &answer, &[413]);
    }
    for path in ["/v1/nothing", "/v1/customers/%ff", "/v1/customers/%00", "/v1/holds/../x"] {
        check_problem("path", &buyer.api.get(path).await?, &[400, 403, 404, 422]);
    }
    let method = buyer.api.delete(consume).await?;
    check_problem("method", &method, &[405]);
    assert_eq!(buyer.total_credits().await?, 105);
    assert!(!dev.log().contains("panicked"), "{}", dev.log());
    dev.nobody()?.get("/health").await?.expect(200)?;
    Ok(())
}

async fn raw(api: &Api, path: &str, body: Vec<u8>, kind: &str) -> Result<Answer> {
    let request = api.request(Method::POST, path).header("content-type", kind).body(body);
    api.send(request).await
}
