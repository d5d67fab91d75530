//! The Checkout page as a buyer sees it: totals, promotion codes, ways to pay, terms.

use serde_json::{Value, json};

use crate::world::{World, id, text};

const CARD: [(&str, &str); 3] =
    [("card_number", "4242 4242 4242 4242"), ("card_expiry", "12 / 34"), ("card_cvc", "123")];

async fn page(world: &World, session: &Value) -> String {
    let url = format!("{}/c/pay/{}", world.base, id(session));
    let response = world.client.get(url).send().await.expect("a page");
    response.text().await.expect("a page")
}

/// Status and page of what a form led to.
async fn send(world: &World, session: &Value, step: &str, form: &[(&str, &str)]) -> (u16, String) {
    let url = format!("{}/c/pay/{}{step}", world.base, id(session));
    let response = world.client.post(url).form(form).send().await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a page"))
}

async fn retrieve(world: &World, session: &Value) -> Value {
    world.look(&format!("/v1/checkout/sessions/{}", id(session))).await
}

/// The text of the element with this id.
fn at(html: &str, id: &str) -> Option<String> {
    let (_, rest) = html.split_once(&format!("id=\"{id}\""))?;
    let (_, rest) = rest.split_once('>')?;
    let rest = rest.strip_prefix("<strong>").unwrap_or(rest);
    rest.split_once('<').map(|(words, _)| words.to_owned())
}

async fn promotion(world: &World, code: &str, coupon: &[(&str, &str)]) {
    let coupon = id(&world.make("/v1/coupons", coupon).await);
    let form =
        [("promotion[type]", "coupon"), ("promotion[coupon]", coupon.as_str()), ("code", code)];
    world.make("/v1/promotion_codes", &form).await;
}

#[tokio::test]
async fn a_promotion_code_is_applied_refused_and_taken_back_on_the_page() {
    let world = World::start().await;
    promotion(&world, "Spring26", &[("percent_off", "25"), ("duration", "once")]).await;
    let over = [("percent_off", "50"), ("max_redemptions", "1")];
    promotion(&world, "ONCE", &over).await;
    let price = world.price("2000", Some("month")).await;
    let allowed = [("allow_promotion_codes", "true")];
    let session = world.session(&price, "subscription", &allowed).await;
    let html = page(&world, &session).await;
    assert_eq!(at(&html, "subtotal").as_deref(), Some("20.00 USD"));
    assert_eq!((at(&html, "discount"), at(&html, "later")), (None, None));

    for (code, words) in [("nothing<b>", "This code is invalid."), ("ONCE", "")] {
        let (status, html) = send(&world, &session, "/code", &[("code", code)]).await;
        if words.is_empty() {
            assert_eq!(status, 303, "{code}");
            continue;
        }
        assert_eq!(status, 400, "{code}");
        assert_eq!(at(&html, "code_error").as_deref(), Some(words));
        assert!(html.contains("value=\"nothing&lt;b&gt;\""), "the typed code is kept: {html}");
        assert!(html.contains("aria-describedby=\"code_error\""));
        assert!(!html.contains("id=\"decline\""), "said once, beside the box");
        assert_eq!(retrieve(&world, &session).await["discounts"], json!([]));
    }
    let html = page(&world, &session).await;
    assert_eq!(at(&html, "total").as_deref(), Some("10.00 USD"));

    // What one buyer has used up, the next one cannot have.
    let other = world.session(&price, "subscription", &allowed).await;
    assert_eq!(send(&world, &other, "/code", &[("code", "once")]).await.0, 303);
    let mut form = CARD.to_vec();
    form.push(("email", "a@example.com"));
    assert_eq!(send(&world, &other, "", &form).await.0, 303);
    let (status, html) = send(&world, &session, "", &form).await;
    assert_eq!(status, 400, "{html}");
    assert!(at(&html, "decline").is_some_and(|words| words.contains("redeemed")), "{html}");
    assert_eq!(retrieve(&world, &session).await["status"], "open");

    assert_eq!(send(&world, &session, "/code", &[("code", "")]).await.0, 303);
    let html = page(&world, &session).await;
    assert!(!html.contains("id=\"applied_code\""));
    assert_eq!(at(&html, "total").as_deref(), Some("20.00 USD"));
    assert_eq!(send(&world, &session, "/code", &[("code", " SPRING26 ")]).await.0, 303);
    let html = page(&world, &session).await;
    assert!(html.contains("Discount (Spring26)"), "{html}");
    assert_eq!(at(&html, "discount").as_deref(), Some("-5.00 USD"));
    assert_eq!(at(&html, "total").as_deref(), Some("15.00 USD"));
    let later = at(&html, "later").expect("what comes next month");
    assert!(later.contains("20.00 USD per month"), "{later}");
    assert_eq!(send(&world, &session, "", &form).await.0, 303);
    let done = retrieve(&world, &session).await;
    assert_eq!((&done["amount_total"], &done["payment_status"]), (&json!(1500), &json!("paid")));
}

#[tokio::test]
async fn without_permission_there_is_no_box_and_no_code() {
    let world = World::start().await;
    promotion(&world, "FREE", &[("percent_off", "100")]).await;
    let price = world.price("2000", None).await;
    let session = world.session(&price, "payment", &[]).await;
    assert!(!page(&world, &session).await.contains("id=\"code\""));
    assert_eq!(send(&world, &session, "/code", &[("code", "FREE")]).await.0, 400);
    assert_eq!(retrieve(&world, &session).await["amount_total"], 2000);
    let nowhere = json!({"id": "cs_test_none"});
    assert_eq!(send(&world, &nowhere, "/code", &[("code", "FREE")]).await.0, 404);
}

#[tokio::test]
async fn a_code_that_makes_it_free_makes_the_card_superfluous() {
    let world = World::start().await;
    promotion(&world, "FREE", &[("percent_off", "100")]).await;
    let price = world.price("2000", None).await;
    let allowed = [("allow_promotion_codes", "true")];
    let session = world.session(&price, "payment", &allowed).await;
    assert_eq!(send(&world, &session, "/code", &[("code", "FREE")]).await.0, 303);
    let html = page(&world, &session).await;
    assert!(!html.contains("card_number") && html.contains("Complete order"), "{html}");
    assert_eq!(send(&world, &session, "", &[("email", "a@example.com")]).await.0, 303);
    let done = retrieve(&world, &session).await;
    assert_eq!(done["payment_status"], "no_payment_required");
}

#[tokio::test]
async fn taxes_are_shown_and_a_trial_says_what_comes_after_it() {
    let world = World::start().await;
    let rate =
        |inclusive| [("display_name", "VAT"), ("percentage", "20"), ("inclusive", inclusive)];
    let price = world.price("2000", Some("month")).await;
    let added = id(&world.make("/v1/tax_rates", &rate("false")).await);
    let included = id(&world.make("/v1/tax_rates", &rate("true")).await);
    let form = [("line_items[0][tax_rates][]", added.as_str())];
    let html = page(&world, &world.session(&price, "subscription", &form).await).await;
    assert_eq!(at(&html, "tax").as_deref(), Some("4.00 USD"));
    assert_eq!(at(&html, "total").as_deref(), Some("24.00 USD"));
    let form = [("line_items[0][tax_rates][]", included.as_str())];
    let html = page(&world, &world.session(&price, "subscription", &form).await).await;
    assert_eq!(at(&html, "tax_included").as_deref(), Some("3.33 USD"));
    assert_eq!(at(&html, "total").as_deref(), Some("20.00 USD"));

    let form = [
        ("line_items[0][tax_rates][]", added.as_str()),
        ("subscription_data[trial_period_days]", "7"),
    ];
    let html = page(&world, &world.session(&price, "subscription", &form).await).await;
    assert_eq!(at(&html, "total").as_deref(), Some("0.00 USD"));
    let trial = at(&html, "trial").expect("what comes after the trial");
    assert!(trial.contains("then 24.00 USD per month"), "{trial}");
}

#[tokio::test]
async fn a_bank_debit_completes_unpaid_and_is_paid_later() {
    let world = World::start().await;
    for (currency, account, other) in [
        ("usd", "000123456789", "AT611904300234573201"),
        ("eur", "AT61 1904 3002 3457 3201", "000123456789"),
    ] {
        let form = [
            ("mode", "payment"),
            ("line_items[0][price_data][currency]", currency),
            ("line_items[0][price_data][unit_amount]", "2000"),
            ("line_items[0][price_data][product_data][name]", "Pack"),
            ("line_items[0][quantity]", "1"),
            ("success_url", "http://shop.test/ok"),
        ];
        let session = world.make("/v1/checkout/sessions", &form).await;
        let html = page(&world, &session).await;
        assert!(html.contains("id=\"method_bank\"") && html.contains("id=\"card_number\""));
        let pay =
            |account| [("email", "a@example.com"), ("method", "bank"), ("bank_account", account)];
        for (wrong, status) in [("", 400), ("123", 400), ("4242424242424242", 400), (other, 400)] {
            let (answer, html) = send(&world, &session, "", &pay(wrong)).await;
            assert_eq!(answer, status, "{wrong}");
            assert!(html.contains("aria-describedby=\"bank_help decline\""), "{wrong}: {html}");
        }
        assert_eq!(send(&world, &session, "", &pay(account)).await.0, 303, "{currency}");
        let done = retrieve(&world, &session).await;
        assert_eq!(
            (&done["status"], &done["payment_status"]),
            (&json!("complete"), &json!("unpaid"))
        );
        assert!(page(&world, &session).await.contains("Payment on its way"));
        assert_eq!(world.advance("1m").await.0, 200);
        assert_eq!(retrieve(&world, &session).await["payment_status"], "paid");
        assert!(page(&world, &session).await.contains("Payment complete"));
    }
}

#[tokio::test]
async fn only_what_the_session_takes_is_offered() {
    let world = World::start().await;
    let price = world.price("2000", None).await;
    let cards = [("payment_method_types[]", "card")];
    let session = world.session(&price, "payment", &cards).await;
    let html = page(&world, &session).await;
    assert!(!html.contains("id=\"method_bank\"") && !html.contains("bank_account"));
    let form = [("email", "a@example.com"), ("method", "bank"), ("bank_account", "000123456789")];
    let (status, html) = send(&world, &session, "", &form).await;
    assert_eq!(status, 400);
    assert_eq!(at(&html, "decline").as_deref(), Some("Enter a card number."));
    let debits = [("payment_method_types[]", "us_bank_account")];
    let session = world.session(&price, "payment", &debits).await;
    let html = page(&world, &session).await;
    assert!(!html.contains("card_number") && html.contains("id=\"bank_account\""));
    assert_eq!(send(&world, &session, "", &form).await.0, 303);
}

#[tokio::test]
async fn the_page_of_setup_mode_saves_and_charges_nothing() {
    let world = World::start().await;
    let customer = id(&world.make("/v1/customers", &[("email", "own@example.com")]).await);
    let form = [
        ("mode", "setup"),
        ("currency", "usd"),
        ("customer", customer.as_str()),
        ("success_url", "http://shop.test/ok"),
    ];
    let session = world.make("/v1/checkout/sessions", &form).await;
    let html = page(&world, &session).await;
    assert!(html.contains("Nothing is charged today") && !html.contains("id=\"total\""), "{html}");
    let declined = [("card_number", "4000000000000002"), CARD[1], CARD[2]];
    let (status, html) = send(&world, &session, "", &declined).await;
    assert_eq!(status, 402);
    assert_eq!(at(&html, "decline").as_deref(), Some("Your card was declined."));
    let asking = [("card_number", "4000002500003155"), CARD[1], CARD[2]];
    assert_eq!(send(&world, &session, "", &asking).await.0, 303);
    let url = format!("{}/c/pay/{}/authenticate", world.base, id(&session));
    let challenge = world.client.get(url).send().await.expect("a page");
    assert!(challenge.text().await.expect("a page").contains("charged later"));
    let yes = [("result", "complete")];
    assert_eq!(send(&world, &session, "/authenticate", &yes).await.0, 303);
    let done = retrieve(&world, &session).await;
    assert_eq!(done["payment_status"], "no_payment_required");
    assert!(page(&world, &session).await.contains("Payment method saved"));
    let saved = world.look(&format!("/v1/customers/{customer}/payment_methods")).await;
    assert_eq!(saved["data"].as_array().map(Vec::len), Some(1));
    let charges = world.look("/v1/charges").await;
    assert_eq!(charges["data"], json!([]));
}

#[tokio::test]
async fn terms_have_to_be_accepted_and_the_shops_texts_are_shown() {
    let world = World::start().await;
    let price = world.price("2000", None).await;
    let more = [
        ("consent_collection[terms_of_service]", "required"),
        ("custom_text[terms_of_service_acceptance][message]", "I accept the <b>house</b> rules."),
        ("custom_text[submit][message]", "Sent within a day."),
        ("custom_text[after_submit][message]", "Questions? Ask."),
        ("submit_type", "donate"),
    ];
    let session = world.session(&price, "payment", &more).await;
    let html = page(&world, &session).await;
    for part in [
        "id=\"terms\"",
        "I accept the &lt;b&gt;house&lt;/b&gt; rules.",
        "Sent within a day.",
        "Questions? Ask.",
        "Donate 20.00 USD",
    ] {
        assert!(html.contains(part), "{part}");
    }
    let mut form = CARD.to_vec();
    form.push(("email", "a@example.com"));
    let (status, html) = send(&world, &session, "", &form).await;
    assert_eq!(status, 400);
    assert_eq!(at(&html, "decline").as_deref(), Some("Accept the terms to go on."));
    assert_eq!(retrieve(&world, &session).await["consent"], json!(null));
    form.push(("terms", "accepted"));
    assert_eq!(send(&world, &session, "", &form).await.0, 303);
    let done = retrieve(&world, &session).await;
    assert_eq!(text(&done["consent"]["terms_of_service"]), "accepted");
}

#[tokio::test]
async fn a_problem_is_said_beside_its_field() {
    let world = World::start().await;
    let price = world.price("2000", None).await;
    let session = world.session(&price, "payment", &[]).await;
    for (number, expiry, cvc, field) in [
        ("4000000000000002", "12/34", "123", "card_number"),
        ("4000000000000069", "12/34", "123", "card_expiry"),
        ("4000000000000127", "12/34", "123", "card_cvc"),
        ("4242424242424242", "12/20", "123", "card_expiry"),
        ("4242424242424242", "12/34", "1", "card_cvc"),
        ("4111111111111111", "12/34", "123", "card_number"),
    ] {
        let form = [
            ("email", "a@example.com"),
            ("card_number", number),
            ("card_expiry", expiry),
            ("card_cvc", cvc),
        ];
        let (status, html) = send(&world, &session, "", &form).await;
        assert!((400..500).contains(&status), "{number} {expiry} {cvc}");
        let (_, input) = html.split_once(&format!("id=\"{field}\"")).expect("the field");
        let (input, rest) = input.split_once('>').expect("an element");
        assert!(input.contains("aria-describedby=\"decline\""), "{number}: {input}");
        assert!(input.contains("aria-invalid=\"true\"") && input.contains("autofocus"));
        assert!(rest.starts_with("<p class=\"alert\" role=\"alert\""), "{number}: {rest}");
        assert_eq!(html.matches("id=\"decline\"").count(), 1);
    }
}
