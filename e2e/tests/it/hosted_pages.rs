//! The sandbox's hosted pages in a browser, without the server: Checkout, 3-D Secure, the portal.

use anyhow::Result;
use e2e::answers::{Api, text_at};
use e2e::sandboxes::Sandbox;
use e2e::tools::run_in_browser;
use serde_json::{Value, json};

async fn price(api: &Api) -> Result<String> {
    let product = api.post_form("/v1/products", &[("name", "Pro")]).await?.expect(200)?;
    let product = text_at(&product, "/id");
    let form = [
        ("product", product.as_str()),
        ("currency", "usd"),
        ("unit_amount", "2000"),
        ("recurring[interval]", "month"),
    ];
    Ok(text_at(&api.post_form("/v1/prices", &form).await?.expect(200)?, "/id"))
}

async fn checkout(api: &Api, price: &str, more: &[(&str, &str)]) -> Result<Value> {
    let mut form = vec![
        ("mode", "subscription"),
        ("line_items[0][price]", price),
        ("line_items[0][quantity]", "1"),
    ];
    form.extend_from_slice(more);
    api.post_form("/v1/checkout/sessions", &form).await?.expect(200)
}

#[tokio::test]
async fn a_promotion_code_and_a_debit_on_a_phone() -> Result<()> {
    let sandbox = Sandbox::start()?;
    let api = sandbox.api()?;
    let price = price(&api).await?;
    let coupon = [("percent_off", "25"), ("duration", "once")];
    let coupon = text_at(&api.post_form("/v1/coupons", &coupon).await?.expect(200)?, "/id");
    let code =
        [("promotion[type]", "coupon"), ("promotion[coupon]", coupon.as_str()), ("code", "SPRING")];
    api.post_form("/v1/promotion_codes", &code).await?.expect(200)?;
    let success_url = format!("{}/_sandbox", sandbox.ready.base_url);
    let more = [
        ("success_url", success_url.as_str()),
        ("allow_promotion_codes", "true"),
        ("consent_collection[terms_of_service]", "required"),
    ];
    let session = checkout(&api, &price, &more).await?;
    let input = json!({
        "checkout_url": text_at(&session, "/url"),
        "success_url": success_url,
        "email": "person@example.com",
        "code": "SPRING",
        "total": "20.00 USD",
        "reduced": "15.00 USD",
    });
    run_in_browser("codes", &input)?;
    let path = format!("/v1/checkout/sessions/{}", text_at(&session, "/id"));
    let done = api.get(&path).await?.expect(200)?;
    assert_eq!(done["status"], "complete");
    // The debit may have been paid by now, but it was not when the page was done.
    let path = "/v1/events?type=checkout.session.completed";
    let told = api.get(path).await?.expect(200)?;
    assert_eq!(text_at(&told, "/data/0/data/object/payment_status"), "unpaid");
    assert_eq!(done["amount_total"], 1500);
    assert_eq!(done["consent"]["terms_of_service"], "accepted");
    Ok(())
}

#[tokio::test]
async fn every_hosted_page_fits_a_phone_and_is_accessible() -> Result<()> {
    let sandbox = Sandbox::start()?;
    let api = sandbox.api()?;
    let base = &sandbox.ready.base_url;
    let price = price(&api).await?;
    let customer = [("email", "person@example.com"), ("payment_method", "pm_card_visa")];
    let customer = text_at(&api.post_form("/v1/customers", &customer).await?.expect(200)?, "/id");
    let own = [("success_url", "https://shop.example.com/ok"), ("customer", customer.as_str())];
    let paid = text_at(&checkout(&api, &price, &own).await?, "/id");
    let complete = format!("/_sandbox/checkout/{paid}/complete");
    let paid = api.post_form(&complete, &[]).await?.expect(200)?;

    let asking = text_at(&checkout(&api, &price, &own).await?, "/id");
    let card =
        [("card_number", "4000002760003184"), ("card_expiry", "12 / 40"), ("card_cvc", "123")];
    let answer = api.post_form(&format!("/c/pay/{asking}"), &card).await?;
    assert!(answer.status < 400, "{}", answer.text);
    let trial = [own[0], own[1], ("subscription_data[trial_period_days]", "7")];
    let trial = checkout(&api, &price, &trial).await?;
    let setup = [("mode", "setup"), ("currency", "usd"), own[0], own[1]];
    let setup = api.post_form("/v1/checkout/sessions", &setup).await?.expect(200)?;
    let portal = [("customer", customer.as_str()), ("return_url", "https://shop.example.com/")];
    let portal = api.post_form("/v1/billing_portal/sessions", &portal).await?.expect(200)?;
    let pages = [
        text_at(&trial, "/url"),
        text_at(&setup, "/url"),
        format!("{base}/c/pay/{asking}/authenticate"),
        format!("{base}/c/pay/{}", text_at(&paid, "/id")),
        text_at(&portal, "/url"),
        format!("{}/payment-method", text_at(&portal, "/url")),
        format!("{base}/_sandbox/objects/{customer}"),
        format!("{base}/_sandbox/objects/{}", text_at(&paid, "/subscription")),
    ];
    let screenshots = std::env::var("TOLLGATE_SCREENSHOTS").ok();
    run_in_browser("pages", &json!({ "pages": pages, "screenshots": screenshots }))?;
    Ok(())
}
