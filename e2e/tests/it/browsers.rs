//! A person with a browser: buying, being declined, no mouse, a small screen.

use anyhow::{Context, Result};
use e2e::answers::{Api, eventually, text_at};
use e2e::purchases::{Buyer, offer};
use e2e::servers::{Data, Dev};
use e2e::tools::run_in_browser;
use reqwest::Method;
use serde_json::{Value, json};

/// What every script needs to know, and what this one needs beside it.
fn input(dev: &Dev, more: Value) -> Value {
    let mut input = json!({
        "api_url": dev.ready.api_url,
        "sandbox_url": dev.ready.sandbox_url,
        "email": "person@example.com",
    });
    if let (Some(input), Value::Object(more)) = (input.as_object_mut(), more) {
        input.extend(more);
    }
    input
}

async fn portal_link(dev: &Dev, customer: &str) -> Result<String> {
    let body = json!({ "customer": customer });
    let session = dev.admin()?.post("/v1/portal-sessions", &body).await?.expect(201)?;
    Ok(text_at(&session, "/url"))
}

/// The link that the welcome prints for the demo customer.
fn printed_link(dev: &Dev) -> Result<String> {
    let prefix = format!("{}/portal/", dev.ready.api_url);
    let words = dev.welcome.split_whitespace();
    let link =
        words.map(|word| word.trim_matches(['"', '<', '>'])).find(|w| w.starts_with(&prefix));
    Ok(link.with_context(|| format!("no portal link in:\n{}", dev.welcome))?.to_string())
}

#[tokio::test]
async fn a_person_subscribes_and_sees_pro_with_100_credits() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let pro = offer(&dev.customer()?, "Pro", Some("month")).await?;
    let more = json!({ "portal_link": printed_link(&dev)?, "price_id": pro.price_id });
    run_in_browser("subscribe", &input(&dev, more))?;
    let balance = dev.customer()?.get("/v1/credits/balance").await?.expect(200)?;
    assert_eq!(balance["monthly_credits"], 100);
    assert_eq!(balance["purchased_credits"], 0);
    Ok(())
}

#[tokio::test]
async fn a_declined_card_is_said_and_nothing_is_granted() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pro = offer(&buyer.api, "Pro", Some("month")).await?;
    let body = json!({ "price": pro.price_id });
    let session = buyer.api.post("/v1/checkout-sessions", &body).await?.expect(201)?;
    let url = text_at(&session, "/url");

    let declined = json!({ "checkout_url": url, "card": "4000000000000002" });
    run_in_browser("decline", &input(&dev, declined))?;
    assert_eq!(buyer.total_credits().await?, 0);
    assert_eq!(buyer.subscription().await?, Value::Null);
    assert!(!buyer.may_use("api_access").await?);

    let second = "4242424242424242";
    let again = json!({ "checkout_url": url, "card": "4000000000009995", "then": second });
    run_in_browser("decline", &input(&dev, again))?;
    buyer.await_credits(100).await
}

#[tokio::test]
async fn three_d_secure_grants_when_completed_and_nothing_when_failed() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pro = offer(&buyer.api, "Pro", Some("month")).await?;
    let session =
        buyer.api.post("/v1/checkout-sessions", &json!({ "price": pro.price_id })).await?;
    let url = text_at(&session.expect(201)?, "/url");
    let failing = json!({ "checkout_url": url, "answers": ["fail"] });
    run_in_browser("secure", &input(&dev, failing))?;
    assert_eq!(buyer.total_credits().await?, 0);
    assert_eq!(buyer.subscription().await?, Value::Null);

    let again = json!({ "checkout_url": url, "answers": ["fail", "complete"] });
    run_in_browser("secure", &input(&dev, again))?;
    buyer.await_credits(100).await?;
    assert_eq!(buyer.subscription().await?["status"], "active");
    Ok(())
}

#[tokio::test]
async fn a_bank_debit_gives_credits_only_when_it_is_paid() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    for (account, credits) in [("000222222227", 0), ("000123456789", 100)] {
        let buyer = Buyer::new(&dev, &data).await?;
        let pack = offer(&buyer.api, "100 Credits", None).await?;
        let body = json!({ "price": pack.price_id });
        let session = buyer.api.post("/v1/checkout-sessions", &body).await?.expect(201)?;
        let url = text_at(&session, "/url");
        let debit = json!({ "checkout_url": url, "account": account });
        run_in_browser("debit", &input(&dev, debit))?;
        data.advance_clock("1h")?;
        buyer.await_credits(credits).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_failed_renewal_is_past_due_until_a_good_card_pays_it() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pro = offer(&buyer.api, "Pro", Some("month")).await?;
    let body = json!({ "price_id": pro.price_id, "product_id": pro.product_id });
    let session = buyer.api.post("/payments/create-checkout-session", &body).await?.expect(200)?;
    // This card can be saved for the trial; every charge fails.
    let url = text_at(&session, "/checkout_url");
    let failing = json!({ "checkout_url": url, "card": "4000000000000341" });
    run_in_browser("pay", &input(&dev, failing))?;
    buyer.await_credits(100).await?;
    data.advance_clock("15d")?;
    assert_eq!(buyer.subscription().await?["status"], "past_due");

    let provider = Api::new(&dev.ready.sandbox_url, Some(&data.secret("provider_key")?))?;
    let late = provider.get("/v1/invoices?status=open").await?.expect(200)?;
    let (invoice, customer) = (text_at(&late, "/data/0/id"), text_at(&late, "/data/0/customer"));
    let attach = [("customer", customer.as_str())];
    let path = "/v1/payment_methods/pm_card_visa/attach";
    let card = text_at(&provider.post_form(path, &attach).await?.expect(200)?, "/id");
    let pay = [("payment_method", card.as_str())];
    provider.post_form(&format!("/v1/invoices/{invoice}/pay"), &pay).await?.expect(200)?;
    eventually("the subscription is active again", async || {
        Ok((buyer.subscription().await?["status"] == "active").then_some(()))
    })
    .await?;
    assert!(buyer.may_use("api_access").await?);
    Ok(())
}

#[tokio::test]
async fn the_keyboard_alone_is_enough_to_buy() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pro = offer(&buyer.api, "Pro", Some("month")).await?;
    let link = portal_link(&dev, &buyer.id).await?;
    let more = json!({ "portal_link": link, "price_id": pro.price_id });
    run_in_browser("keyboard", &input(&dev, more))?;
    buyer.await_credits(100).await
}

#[tokio::test]
async fn a_guest_buys_from_the_pricing_page() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let pro = offer(&dev.customer()?, "Pro", Some("month")).await?;
    run_in_browser("guest", &input(&dev, json!({ "price_id": pro.price_id })))?;
    let customers = dev.admin()?.get("/v1/customers?limit=100").await?.expect(200)?;
    assert!(customers.to_string().contains("person@example.com"), "no such customer: {customers}");
    Ok(())
}

#[tokio::test]
async fn pages_fit_a_phone_and_are_accessible_in_light_and_dark() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pro = offer(&buyer.api, "Pro", Some("month")).await?;
    buyer.buy(&dev, &pro, 100).await?;
    let pack = offer(&buyer.api, "100 Credits", None).await?;
    let body = json!({ "price": pack.price_id });
    let open = buyer.api.post("/v1/checkout-sessions", &body).await?.expect(201)?;
    let portal = buyer.api.get("/payments/create-billing-portal-session").await?.expect(200)?;
    let api_url = &dev.ready.api_url;
    let pages = [
        api_url.to_string(),
        format!("{api_url}/pricing"),
        format!("{api_url}/portal"),
        format!("{api_url}/pay/success?session_id=cs_test_unknown"),
        text_at(&open, "/url"),
        text_at(&portal, "/url"),
    ];
    let link = portal_link(&dev, &buyer.id).await?;
    let screenshots = std::env::var("TOLLGATE_SCREENSHOTS").ok();
    let more = json!({ "portal_link": link, "pages": pages, "screenshots": screenshots });
    run_in_browser("pages", &input(&dev, more))?;
    Ok(())
}

#[tokio::test]
async fn a_portal_link_works_once_and_the_page_of_a_stranger_shows_nothing() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let nobody = dev.nobody()?;
    let link = portal_link(&dev, &dev.ready.customer_id).await?;
    let first = nobody.get(&link).await?;
    assert_eq!(first.status, 303, "{}", first.text);
    let cookie = first.headers.get("set-cookie").context("no cookie")?.to_str()?.to_string();
    assert!(cookie.contains("HttpOnly"), "{cookie}");
    assert!(cookie.contains("SameSite="), "{cookie}");
    let second = nobody.get(&link).await?;
    assert!((400..500).contains(&second.status), "the link worked twice: {}", second.status);
    assert!(second.headers.get("set-cookie").is_none());
    let stranger = nobody.get("/portal").await?;
    assert_eq!(stranger.status, 401);

    // The cookie alone reads; a form needs the proof that it came from our page.
    let cookie = cookie.split(';').next().unwrap_or_default();
    let own = nobody.request(Method::GET, "/portal").header("cookie", cookie);
    assert_eq!(nobody.send(own).await?.status, 200);
    for page in ["/portal/cancel", "/portal/billing", "/portal/sign-out"] {
        let forged = nobody.request(Method::POST, page).header("cookie", cookie);
        let answer = nobody.send(forged.form(&[("csrf", "forged")])).await?;
        assert_eq!(answer.status, 403, "{page}: {}", answer.text);
    }
    Ok(())
}
