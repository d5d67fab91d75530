//! The hosted portal and invoice pages.

use serde_json::{Value, json};

use crate::world::{World, id, text};

async fn html(world: &World, url: &str) -> (u16, String) {
    let response = world.client.get(url).send().await.expect("a page");
    (response.status().as_u16(), response.text().await.expect("a page"))
}

/// Posts a form as a browser would; status, target and page.
async fn submit(world: &World, url: &str, form: &[(&str, &str)]) -> (u16, String, String) {
    let response = world.client.post(url).form(form).send().await.expect("an answer");
    let target = response.headers().get("location");
    let target = target.and_then(|target| target.to_str().ok()).unwrap_or_default().to_owned();
    (response.status().as_u16(), target, response.text().await.expect("a page"))
}

struct Shopper {
    customer: String,
    basic: String,
    pro: String,
    subscription: Value,
    url: String,
}

/// A subscriber of 10.00 a month whose portal offers 30.00 a month, too.
async fn shopper(world: &World, cancel: &[(&str, &str)], flow: &[(&str, &str)]) -> Shopper {
    let basic = world.price("1000", Some("month")).await;
    let pro = world.price("3000", Some("month")).await;
    let product =
        async |price: &str| text(&world.look(&format!("/v1/prices/{price}")).await["product"]);
    let (basic_product, pro_product) = (product(&basic).await, product(&pro).await);
    let update = "features[subscription_update]";
    let keys = [
        format!("{update}[enabled]"),
        format!("{update}[default_allowed_updates][0]"),
        format!("{update}[default_allowed_updates][1]"),
        format!("{update}[proration_behavior]"),
        format!("{update}[products][0][product]"),
        format!("{update}[products][0][prices][]"),
        format!("{update}[products][1][product]"),
        format!("{update}[products][1][prices][]"),
        format!("{update}[products][1][adjustable_quantity][enabled]"),
        format!("{update}[products][1][adjustable_quantity][maximum]"),
    ];
    let values = ["true", "price", "quantity", "always_invoice", &basic_product, &basic];
    let values = values.into_iter().chain([pro_product.as_str(), &pro, "true", "5"]);
    let mut form: Vec<(&str, &str)> = keys.iter().map(String::as_str).zip(values).collect();
    form.extend([
        ("features[customer_update][enabled]", "true"),
        ("features[customer_update][allowed_updates][0]", "email"),
        ("features[customer_update][allowed_updates][1]", "address"),
        ("features[invoice_history][enabled]", "true"),
        ("features[payment_method_update][enabled]", "true"),
        ("features[subscription_cancel][enabled]", "true"),
    ]);
    form.extend_from_slice(cancel);
    let configuration = id(&world.make("/v1/billing_portal/configurations", &form).await);
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", basic.as_str())];
    let subscription = world.make("/v1/subscriptions", &form).await;
    let mut form = vec![
        ("customer", customer.as_str()),
        ("configuration", configuration.as_str()),
        ("return_url", "http://shop.test/account"),
    ];
    let own = id(&subscription);
    form.extend(flow.iter().map(|(key, value)| match *value {
        "SUBSCRIPTION" => (*key, own.as_str()),
        value => (*key, value),
    }));
    let session = world.make("/v1/billing_portal/sessions", &form).await;
    let url = text(&session["url"]);
    Shopper { customer, basic, pro, subscription, url }
}

impl Shopper {
    fn path(&self) -> String {
        format!("/v1/subscriptions/{}", id(&self.subscription))
    }
}

#[tokio::test]
async fn a_customer_cancels_resumes_and_reads_invoices() {
    let world = World::start().await;
    let reasons = [
        ("features[subscription_cancel][cancellation_reason][enabled]", "true"),
        ("features[subscription_cancel][cancellation_reason][options][]", "unused"),
    ];
    let shopper = shopper(&world, &reasons, &[]).await;
    let subscription = id(&shopper.subscription);
    let (status, page) = html(&world, &shopper.url).await;
    assert_eq!(status, 200);
    for part in
        ["Cancel plan", "Change plan", "Pro — 10.00 USD", "http://shop.test/account", "Paid"]
    {
        assert!(page.contains(part), "{part}");
    }
    let ask = format!("{}/cancel?subscription={subscription}", shopper.url);
    let (_, page) = html(&world, &ask).await;
    assert!(page.contains("I do not use it enough") && !page.contains("too expensive"), "{page}");
    let form =
        [("subscription", subscription.as_str()), ("reason", "unused"), ("comment", "See you")];
    let (status, _, _) = submit(&world, &format!("{}/cancel", shopper.url), &form).await;
    assert_eq!(status, 303);
    let row = world.look(&shopper.path()).await;
    assert_eq!(row["cancel_at_period_end"], true);
    assert_eq!(row["cancellation_details"]["feedback"], "unused");
    assert_eq!(row["cancellation_details"]["comment"], "See you");
    assert!(html(&world, &shopper.url).await.1.contains("Resume"));
    let form = [("subscription", subscription.as_str())];
    let (status, _, _) = submit(&world, &format!("{}/resume", shopper.url), &form).await;
    assert_eq!(status, 303);
    assert_eq!(world.look(&shopper.path()).await["cancel_at_period_end"], false);
    let invoice = world
        .look(&format!("/v1/invoices/{}", text(&shopper.subscription["latest_invoice"])))
        .await;
    let (status, page) = html(&world, &text(&invoice["hosted_invoice_url"])).await;
    assert_eq!(status, 200);
    assert!(page.contains(&text(&invoice["number"])) && page.contains("10.00 USD"));
}

#[tokio::test]
async fn a_plan_change_is_previewed_and_leaves_no_trace_until_confirmed() {
    let world = World::start().await;
    let shopper = shopper(&world, &[], &[]).await;
    let subscription = id(&shopper.subscription);
    let (_, page) =
        html(&world, &format!("{}/update?subscription={subscription}", shopper.url)).await;
    assert!(page.contains("Pro — 30.00 USD / month"), "{page}");
    let events = world.events().await.len();
    let wanted = format!("subscription={subscription}&price={}", shopper.pro);
    let (status, page) = html(&world, &format!("{}/confirm?{wanted}", shopper.url)).await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("<strong>20.00 USD</strong>"), "the difference is due now: {page}");
    assert_eq!(world.events().await.len(), events, "a preview changes nothing");
    let row = world.look(&shopper.path()).await;
    assert_eq!(row["items"]["data"][0]["price"]["id"], json!(shopper.basic));
    let form = [("subscription", subscription.as_str()), ("price", shopper.pro.as_str())];
    let (status, target, page) = submit(&world, &format!("{}/confirm", shopper.url), &form).await;
    assert_eq!(status, 303, "{page}");
    assert!(target.ends_with("?home=1"), "{target}");
    let row = world.look(&shopper.path()).await;
    assert_eq!(row["items"]["data"][0]["price"]["id"], json!(shopper.pro));
    let invoice = world.look(&format!("/v1/invoices/{}", text(&row["latest_invoice"]))).await;
    assert_eq!((&invoice["total"], &invoice["status"]), (&json!(2_000), &json!("paid")));
    // The quantity of this plan may be changed, within bounds.
    for (quantity, expected) in [("6", 400), ("3", 303)] {
        let form = [
            ("subscription", subscription.as_str()),
            ("price", shopper.pro.as_str()),
            ("quantity", quantity),
        ];
        let (status, _, _) = submit(&world, &format!("{}/confirm", shopper.url), &form).await;
        assert_eq!(status, expected, "{quantity}");
    }
    assert_eq!(world.look(&shopper.path()).await["items"]["data"][0]["quantity"], 3);
    let elsewhere = world.price("1", Some("month")).await;
    let form = [("subscription", subscription.as_str()), ("price", elsewhere.as_str())];
    let (status, _, _) = submit(&world, &format!("{}/confirm", shopper.url), &form).await;
    assert_eq!(status, 400, "a price that is not offered");
}

#[tokio::test]
async fn a_new_card_is_asked_for_3d_secure_and_becomes_the_default() {
    let world = World::start().await;
    let shopper = shopper(&world, &[], &[]).await;
    let old = world.look(&format!("/v1/customers/{}", shopper.customer)).await;
    let old = text(&old["invoice_settings"]["default_payment_method"]);
    let target = format!("{}/payment-method", shopper.url);
    let card = |number: &'static str| {
        [("card_number", number), ("card_expiry", "12 / 34"), ("card_cvc", "123")]
    };
    let (status, _, page) = submit(&world, &target, &card("4000000000000002")).await;
    assert!(400 <= status && page.contains("declined"), "{status} {page}");
    let (status, _, page) = submit(&world, &target, &card("4929000000000000")).await;
    assert!(400 <= status && page.contains("not one of the test cards"), "{status} {page}");
    let (status, step, page) = submit(&world, &target, &card("4000002500003155")).await;
    assert_eq!(status, 303, "{page}");
    let bank = format!("{}{step}", world.base);
    assert!(html(&world, &bank).await.1.contains("3-D Secure"));
    let (status, back, _) = submit(&world, &bank, &[("result", "complete")]).await;
    assert_eq!(status, 303);
    let response = world.client.get(&back).send().await.expect("an answer");
    assert_eq!(response.status(), 303, "{back}");
    let now = world.look(&format!("/v1/customers/{}", shopper.customer)).await;
    let new = text(&now["invoice_settings"]["default_payment_method"]);
    assert_ne!(new, old);
    assert!(html(&world, &format!("{}?home=1", shopper.url)).await.1.contains("3155"));
    let choice = [("payment_method", new.as_str())];
    let (status, _, _) = submit(&world, &format!("{target}/remove"), &choice).await;
    assert_eq!(status, 400, "the subscription is charged to it");
    let choice = [("payment_method", old.as_str())];
    let (status, _, _) = submit(&world, &format!("{target}/remove"), &choice).await;
    assert_eq!(status, 303);
    assert_eq!(world.look(&format!("/v1/payment_methods/{old}")).await["customer"], json!(null));
}

#[tokio::test]
async fn details_change_as_far_as_allowed() {
    let world = World::start().await;
    let shopper = shopper(&world, &[], &[]).await;
    let target = format!("{}/details", shopper.url);
    let (_, page) = html(&world, &target).await;
    assert!(page.contains("id=\"email\"") && !page.contains("id=\"phone\""), "{page}");
    let form = [("email", "eve@example.com"), ("phone", "1"), ("city", "Oslo"), ("country", "NO")];
    let (status, _, page) = submit(&world, &target, &form).await;
    assert_eq!(status, 303, "{page}");
    let row = world.look(&format!("/v1/customers/{}", shopper.customer)).await;
    assert_eq!((&row["email"], &row["phone"]), (&json!("eve@example.com"), &json!(null)));
    assert_eq!(row["address"]["city"], "Oslo");
    let (status, _, _) = submit(&world, &target, &[("email", "nonsense")]).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_flow_leads_to_its_page_and_back_to_the_shop() {
    let world = World::start().await;
    let flow = [
        ("flow_data[type]", "subscription_cancel"),
        ("flow_data[subscription_cancel][subscription]", "SUBSCRIPTION"),
        ("flow_data[after_completion][type]", "redirect"),
        ("flow_data[after_completion][redirect][return_url]", "http://shop.test/bye"),
    ];
    let now = [("features[subscription_cancel][mode]", "immediately")];
    let shopper = shopper(&world, &now, &flow).await;
    let response = world.client.get(&shopper.url).send().await.expect("an answer");
    assert_eq!(response.status(), 303);
    let subscription = id(&shopper.subscription);
    let form = [("subscription", subscription.as_str())];
    let (status, target, _) = submit(&world, &format!("{}/cancel", shopper.url), &form).await;
    assert_eq!((status, target.as_str()), (303, "http://shop.test/bye"));
    assert_eq!(world.look(&shopper.path()).await["status"], "canceled");
    assert_eq!(html(&world, &shopper.url).await.0, 200, "the flow is over");
}

#[tokio::test]
async fn a_failed_renewal_is_paid_at_the_portal() {
    let world = World::start().await;
    let shopper = shopper(&world, &[], &[]).await;
    world.give_card(&shopper.customer, "pm_card_chargeCustomerFail").await;
    world.advance("period-end").await;
    assert_eq!(world.look(&shopper.path()).await["status"], "past_due");
    let session = [("customer", shopper.customer.as_str())];
    let url = text(&world.make("/v1/billing_portal/sessions", &session).await["url"]);
    let invoices = world.look("/v1/invoices?status=open").await;
    let invoice = id(&invoices["data"][0]);
    let pay = format!("{url}/pay");
    let form = [("invoice", invoice.as_str())];
    let (status, _, page) = submit(&world, &pay, &form).await;
    assert!(400 <= status && page.contains("declined"), "{status} {page}");
    world.give_card(&shopper.customer, "pm_card_visa").await;
    assert_eq!(submit(&world, &pay, &form).await.0, 303);
    assert_eq!(world.look(&shopper.path()).await["status"], "active");
}

#[tokio::test]
async fn nobody_cancels_for_others() {
    let world = World::start().await;
    let victim = shopper(&world, &[], &[]).await;
    let subscription = id(&victim.subscription);
    let other = id(&world.make("/v1/customers", &[]).await);
    let session = world.make("/v1/billing_portal/sessions", &[("customer", &other)]).await;
    let url = text(&session["url"]);
    let none = format!("{}/p/session/none", world.base);
    let choice = [("subscription", subscription.as_str()), ("price", victim.pro.as_str())];
    for verb in ["cancel", "resume", "confirm"] {
        for base in [&url, &none] {
            let (status, _, page) = submit(&world, &format!("{base}/{verb}"), &choice).await;
            assert_eq!(status, 404, "{verb} {page}");
        }
    }
    let methods = world.look(&format!("/v1/payment_methods?customer={}", victim.customer)).await;
    let method = id(&methods["data"][0]);
    for verb in ["default", "remove"] {
        let choice = [("payment_method", method.as_str())];
        let (status, _, _) = submit(&world, &format!("{url}/payment-method/{verb}"), &choice).await;
        assert_eq!(status, 404, "{verb}");
    }
    let invoice = text(&victim.subscription["latest_invoice"]);
    let (status, _, _) = submit(&world, &format!("{url}/pay"), &[("invoice", &invoice)]).await;
    assert_eq!(status, 404);
    assert_eq!(html(&world, &format!("{url}/cancel?subscription={subscription}")).await.0, 404);
    let row = world.look(&victim.path()).await;
    assert_eq!(row["cancel_at_period_end"], false);
    assert_eq!(html(&world, &none).await.0, 404);
    assert_eq!(html(&world, &format!("{}/i/in_none", world.base)).await.0, 404);
    world.advance("25h").await;
    assert_eq!(html(&world, &url).await.0, 410, "links expire");
}

#[tokio::test]
async fn what_the_configuration_forbids_is_not_done() {
    let world = World::start().await;
    let shopper = shopper(&world, &[], &[]).await;
    let subscription = id(&shopper.subscription);
    let form = [("features[invoice_history][enabled]", "true")];
    let configuration = id(&world.make("/v1/billing_portal/configurations", &form).await);
    let session = [("customer", shopper.customer.as_str()), ("configuration", &configuration)];
    let url = text(&world.make("/v1/billing_portal/sessions", &session).await["url"]);
    let choice = [("subscription", subscription.as_str()), ("price", shopper.pro.as_str())];
    let card = [("card_number", "4242424242424242"), ("card_expiry", "12/34"), ("card_cvc", "123")];
    let email = [("email", "eve@example.com")];
    let tries: [(&str, &[(&str, &str)]); 4] =
        [("cancel", &choice), ("confirm", &choice), ("payment-method", &card), ("details", &email)];
    for (verb, form) in tries {
        let (status, _, page) = submit(&world, &format!("{url}/{verb}"), form).await;
        assert_eq!(status, 400, "{verb}");
        assert!(page.contains("does not allow"), "{verb} {page}");
    }
    let row = world.look(&shopper.path()).await;
    assert_eq!(row["items"]["data"][0]["price"]["id"], json!(shopper.basic));
}

#[tokio::test]
async fn the_status_page_counts() {
    let world = World::start().await;
    world.make("/v1/customers", &[]).await;
    let (status, page) = html(&world, &format!("{}/_sandbox", world.base)).await;
    assert_eq!(status, 200);
    assert!(page.contains("Customers") && page.contains("not for production"));
}
