//! Payments that take their time: bank debits and vouchers, by intents, Checkout and subscriptions.

use serde_json::{Value, json};

use crate::world::{World, id, text};

async fn debit(world: &World, method: &str, currency: &str) -> Value {
    let form = [
        ("amount", "1000"),
        ("currency", currency),
        ("payment_method", method),
        ("confirm", "true"),
        ("mandate_data[customer_acceptance][type]", "offline"),
    ];
    world.make("/v1/payment_intents", &form).await
}

async fn check_debit(method: &str, currency: &str, span: &str, status: &str, code: Option<&str>) {
    let world = World::start().await;
    let intent = debit(&world, method, currency).await;
    assert_eq!(intent["status"], "processing", "{method}");
    let charge = world.look(&format!("/v1/charges/{}", text(&intent["latest_charge"]))).await;
    assert_eq!(
        (&charge["status"], &charge["paid"], &charge["balance_transaction"]),
        (&json!("pending"), &json!(false), &json!(null)),
        "{method}"
    );
    assert_eq!(world.advance(span).await.0, 200);
    let intent = world.look(&format!("/v1/payment_intents/{}", id(&intent))).await;
    assert_eq!(intent["status"], status, "{method}");
    assert_eq!(intent["last_payment_error"]["code"].as_str(), code, "{method}");
}

#[tokio::test]
async fn debits_end_as_their_account_says() {
    check_debit("pm_success_at", "eur", "1m", "succeeded", None).await;
    check_debit("pm_successDelayed_de", "eur", "1m", "processing", None).await;
    check_debit("pm_successDelayed_de", "eur", "4m", "succeeded", None).await;
    let declined = Some("payment_method_provider_decline");
    check_debit("pm_failed_at", "eur", "1m", "requires_payment_method", declined).await;
    let funds = Some("insufficient_funds");
    check_debit("pm_insufficientFunds_at", "eur", "1m", "requires_payment_method", funds).await;
    check_debit("pm_usBankAccount_success", "usd", "1m", "succeeded", None).await;
    let closed = "pm_usBankAccount_accountClosed";
    check_debit(closed, "usd", "1m", "requires_payment_method", Some("account_closed")).await;
    check_debit("pm_usBankAccount_processing", "usd", "1y", "processing", None).await;
}

#[tokio::test]
async fn a_debit_needs_a_mandate_and_its_currency() {
    let world = World::start().await;
    let form = [
        ("amount", "1000"),
        ("currency", "eur"),
        ("payment_method", "pm_success_at"),
        ("confirm", "true"),
    ];
    let (status, body) = world.post("/v1/payment_intents", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("mandate_data")));
    let form = [("amount", "1000"), ("currency", "usd"), ("payment_method", "pm_success_at")];
    let (status, body) = world.post("/v1/payment_intents", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("payment_method")));
    let form =
        [("amount", "1000"), ("currency", "usd"), ("allowed_payment_method_types[]", "sepa_debit")];
    let (status, body) = world.post("/v1/payment_intents", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("currency")));
    let form = [
        ("type", "sepa_debit"),
        ("sepa_debit[iban]", "AT611904300234573202"),
        ("billing_details[name]", "Ada"),
        ("billing_details[email]", "ada@example.com"),
    ];
    let (status, body) = world.post("/v1/payment_methods", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("sepa_debit[iban]")));
    assert_eq!(world.look("/v1/payment_intents").await["data"], json!([]), "nothing half-made");
}

#[tokio::test]
async fn a_disputed_debit_and_one_that_is_called_back() {
    let world = World::start().await;
    let intent = debit(&world, "pm_disputed_at", "eur").await;
    assert_eq!(world.advance("1m").await.0, 200);
    let disputes = world.look(&format!("/v1/disputes?payment_intent={}", id(&intent))).await;
    assert_eq!(disputes["data"][0]["status"], "needs_response");
    let intent = debit(&world, "pm_usBankAccount_processing", "usd").await;
    let path = format!("/v1/payment_intents/{}/cancel", id(&intent));
    assert_eq!(world.make(&path, &[]).await["status"], "canceled");
    let charge = world.look(&format!("/v1/charges/{}", text(&intent["latest_charge"]))).await;
    assert_eq!(charge["status"], "failed");
    let intent = debit(&world, "pm_successDelayed_at", "eur").await;
    let path = format!("/v1/payment_intents/{}/cancel", id(&intent));
    let (status, body) = world.post(&path, &[]).await;
    assert_eq!(status, 400);
    assert_eq!(body["error"]["code"], "payment_intent_unexpected_state");
}

#[tokio::test]
async fn a_typed_account_is_verified_first() {
    let world = World::start().await;
    let form = [
        ("type", "us_bank_account"),
        ("us_bank_account[account_number]", "000123456789"),
        ("us_bank_account[routing_number]", "110000000"),
        ("us_bank_account[account_holder_type]", "individual"),
        ("billing_details[name]", "Ada"),
    ];
    let method = id(&world.make("/v1/payment_methods", &form).await);
    let intent = debit(&world, &method, "usd").await;
    assert_eq!(intent["next_action"]["type"], "verify_with_microdeposits");
    let path = format!("/v1/payment_intents/{}/verify_microdeposits", id(&intent));
    let (status, body) = world.post(&path, &[("amounts[]", "1"), ("amounts[]", "2")]).await;
    let code = "payment_method_microdeposit_verification_amounts_mismatch";
    assert_eq!((status, &body["error"]["code"]), (400, &json!(code)));
    let verified = world.make(&path, &[("amounts[]", "32"), ("amounts[]", "45")]).await;
    assert_eq!(verified["status"], "processing");
    assert_eq!(world.advance("1m").await.0, 200);
    let intent = world.look(&format!("/v1/payment_intents/{}", id(&intent))).await;
    assert_eq!(intent["status"], "succeeded");
}

async fn check_voucher(email: &str, span: &str, status: &str) {
    let world = World::start().await;
    let form = [
        ("amount", "1000"),
        ("currency", "brl"),
        ("confirm", "true"),
        ("payment_method_data[type]", "boleto"),
        ("payment_method_data[boleto][tax_id]", "000.000.000-00"),
        ("payment_method_data[billing_details][name]", "Ada"),
        ("payment_method_data[billing_details][email]", email),
    ];
    let intent = world.make("/v1/payment_intents", &form).await;
    assert_eq!(intent["status"], "requires_action");
    assert_eq!(intent["next_action"]["type"], "boleto_display_details");
    assert_eq!(world.advance(span).await.0, 200);
    let intent = world.look(&format!("/v1/payment_intents/{}", id(&intent))).await;
    assert_eq!(intent["status"], status, "{email}");
}

#[tokio::test]
async fn vouchers_are_paid_or_expire() {
    check_voucher("succeed_immediately@example.com", "1m", "succeeded").await;
    check_voucher("ada@example.com", "4m", "succeeded").await;
    check_voucher("expire_immediately@example.com", "1m", "requires_payment_method").await;
    check_voucher("fill_never@example.com", "30d", "requires_action").await;
}

async fn complete(world: &World, session: &Value, method: &str) -> Value {
    let url = format!("{}/_sandbox/checkout/{}/complete", world.base, id(session));
    let form = [("payment_method", method), ("email", "ada@example.com")];
    let (status, body) = world.send(world.client.post(url).form(&form)).await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn check_session(method: &str, paid: &str, event: &str) {
    let world = World::start().await;
    let price = world.price("2999", None).await;
    let session = world.session(&price, "payment", &[]).await;
    let completed = complete(&world, &session, method).await;
    assert_eq!(
        (&completed["status"], &completed["payment_status"]),
        (&json!("complete"), &json!("unpaid")),
        "{method}"
    );
    assert_eq!(world.advance("1m").await.0, 200);
    let session = world.look(&format!("/v1/checkout/sessions/{}", id(&session))).await;
    assert_eq!(session["payment_status"], paid, "{method}");
    let kinds = world.events().await;
    assert_eq!(kinds.last().map(String::as_str), Some(event), "{kinds:?}");
}

#[tokio::test]
async fn checkout_completes_unpaid_and_hears_later() {
    let succeeded = "checkout.session.async_payment_succeeded";
    check_session("pm_usBankAccount_success", "paid", succeeded).await;
    let failed = "checkout.session.async_payment_failed";
    check_session("000222222227", "unpaid", failed).await;
}

#[tokio::test]
async fn a_subscription_by_debit_is_active_at_once() {
    for (method, status, paid) in [
        ("pm_usBankAccount_success", "active", "paid"),
        ("pm_usBankAccount_noAccount", "past_due", "unpaid"),
    ] {
        let world = World::start().await;
        let price = world.price("2999", Some("month")).await;
        let session = world.session(&price, "subscription", &[]).await;
        let completed = complete(&world, &session, method).await;
        assert_eq!(completed["payment_status"], "unpaid", "{method}");
        let path = format!("/v1/subscriptions/{}", text(&completed["subscription"]));
        assert_eq!(world.look(&path).await["status"], "active", "{method}");
        let invoice = format!("/v1/invoices/{}", text(&completed["invoice"]));
        assert_eq!(world.look(&invoice).await["status"], "open", "{method}");
        assert_eq!(world.advance("1m").await.0, 200);
        assert_eq!(world.look(&path).await["status"], status, "{method}");
        let session = world.look(&format!("/v1/checkout/sessions/{}", id(&session))).await;
        assert_eq!(session["payment_status"], paid, "{method}");
    }
}

#[tokio::test]
async fn a_renewal_by_debit_is_paid_later() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_usBankAccount_success").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    let made = world.make("/v1/subscriptions", &form).await;
    assert_eq!(made["status"], "active");
    assert_eq!(world.advance("1mo").await.0, 200);
    assert_eq!(world.advance("1m").await.0, 200);
    let invoices = world.look(&format!("/v1/invoices?subscription={}", id(&made))).await;
    let statuses: Vec<&Value> =
        invoices["data"].as_array().expect("a list").iter().map(|row| &row["status"]).collect();
    assert_eq!(statuses, [&json!("paid"), &json!("paid")]);
}

#[tokio::test]
async fn a_session_in_setup_mode_saves_a_method() {
    let world = World::start().await;
    let customer = id(&world.make("/v1/customers", &[("email", "ada@example.com")]).await);
    let form = [
        ("mode", "setup"),
        ("currency", "usd"),
        ("customer", customer.as_str()),
        ("success_url", "http://shop.test/ok"),
        ("setup_intent_data[metadata][why]", "later"),
        ("expand[]", "setup_intent"),
    ];
    let session = world.make("/v1/checkout/sessions", &form).await;
    assert_eq!(
        (&session["amount_total"], &session["setup_intent"]["metadata"]["why"]),
        (&json!(null), &json!("later"))
    );
    let completed = complete(&world, &session, "4000 0025 0000 3155").await;
    assert_eq!(completed["payment_status"], "no_payment_required");
    let path = format!("/v1/setup_intents/{}", text(&completed["setup_intent"]));
    let intent = world.look(&path).await;
    assert_eq!(intent["status"], "succeeded");
    let saved = world.look(&format!("/v1/customers/{customer}/payment_methods")).await;
    assert_eq!(saved["data"][0]["id"], intent["payment_method"]);
    let form = [("mode", "setup"), ("success_url", "http://shop.test/ok")];
    let (status, body) = world.post("/v1/checkout/sessions", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("currency")));
}

#[tokio::test]
async fn a_page_collects_what_the_shop_asks_for() {
    let world = World::start().await;
    let price = world.price("2999", None).await;
    let form = [
        ("phone_number_collection[enabled]", "true"),
        ("consent_collection[terms_of_service]", "required"),
        ("shipping_address_collection[allowed_countries][]", "DE"),
        ("custom_fields[0][key]", "size"),
        ("custom_fields[0][type]", "dropdown"),
        ("custom_fields[0][label][type]", "custom"),
        ("custom_fields[0][label][custom]", "Size"),
        ("custom_fields[0][dropdown][options][0][label]", "Large"),
        ("custom_fields[0][dropdown][options][0][value]", "l"),
    ];
    let session = world.session(&price, "payment", &form).await;
    assert_eq!(session["custom_fields"][0]["dropdown"]["options"][0]["value"], "l");
    assert_eq!(session["phone_number_collection"]["enabled"], true);
    assert_eq!(session["shipping_address_collection"]["allowed_countries"], json!(["DE"]));
    let completed = complete(&world, &session, "4242424242424242").await;
    assert_eq!(completed["consent"]["terms_of_service"], "accepted");
    let mut form = vec![
        ("mode", "payment"),
        ("line_items[0][price]", price.as_str()),
        ("line_items[0][quantity]", "1"),
        ("success_url", "http://shop.test/ok"),
    ];
    form.push(("customer_update[name]", "auto"));
    let (status, body) = world.post("/v1/checkout/sessions", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("customer_update")));
    form.pop();
    form.push(("custom_fields[0][key]", "not one word"));
    let (status, body) = world.post("/v1/checkout/sessions", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("custom_fields[0][key]")));
}

#[tokio::test]
async fn a_session_authorizes_first_and_is_paid_when_captured() {
    let world = World::start().await;
    let price = world.price("2999", None).await;
    let form = [("payment_intent_data[capture_method]", "manual")];
    let session = world.session(&price, "payment", &form).await;
    let completed = complete(&world, &session, "pm_card_visa").await;
    assert_eq!(completed["payment_status"], "unpaid");
    let intent = text(&completed["payment_intent"]);
    world.make(&format!("/v1/payment_intents/{intent}/capture"), &[]).await;
    let session = world.look(&format!("/v1/checkout/sessions/{}", id(&session))).await;
    assert_eq!(session["payment_status"], "paid");
}

#[tokio::test]
async fn a_session_takes_only_the_types_it_allows() {
    let world = World::start().await;
    let price = world.price("2999", None).await;
    let form = [("payment_method_types[]", "card")];
    let session = world.session(&price, "payment", &form).await;
    assert_eq!(session["payment_method_types"], json!(["card"]));
    let url = format!("{}/_sandbox/checkout/{}/complete", world.base, id(&session));
    let form = [("payment_method", "pm_usBankAccount_success")];
    assert_eq!(world.send(world.client.post(url).form(&form)).await.0, 400);
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    assert_eq!(world.look(&path).await["status"], "open");
}

#[tokio::test]
async fn a_token_is_used_once() {
    let world = World::start().await;
    let form = [
        ("card[number]", "5555555555554444"),
        ("card[exp_month]", "4"),
        ("card[exp_year]", "2031"),
        ("card[cvc]", "123"),
    ];
    let token = world.make("/v1/tokens", &form).await;
    assert_eq!((&token["card"]["brand"], &token["used"]), (&json!("MasterCard"), &json!(false)));
    let form = [("type", "card"), ("card[token]", token["id"].as_str().expect("an id"))];
    let method = world.make("/v1/payment_methods", &form).await;
    assert_eq!(
        (&method["card"]["last4"], &method["card"]["exp_year"]),
        (&json!("4444"), &json!(2031))
    );
    let (status, body) = world.post("/v1/payment_methods", &form).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("token_already_used")));
    let form = [("card[number]", "4242424242424241")];
    let (status, body) = world.post("/v1/tokens", &form).await;
    assert_eq!((status, &body["error"]["code"]), (402, &json!("incorrect_number")));
}
