//! Calls out, noun by noun: what is sent, and what is read from the answers.

use std::collections::BTreeMap;

use providers::facts::{SessionMode, SessionPayment, SessionStatus};
use providers::stripe::API_VERSION;
use providers::stripe::checkout_sessions::CheckoutNew;
use providers::stripe::products::{PriceNew, ProductNew};
use providers::stripe::subscriptions::Renewal;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::double::{Double, ok, status};

fn page_of(ids: &[&str], has_more: bool) -> Value {
    let data: Vec<Value> = ids.iter().map(|id| json!({"id": id, "amount": 1})).collect();
    json!({"object": "list", "data": data, "has_more": has_more})
}

fn checkout(mode: SessionMode) -> CheckoutNew<'static> {
    CheckoutNew {
        mode,
        price: "price_1",
        quantity: 1,
        customer: None,
        customer_email: Some("a@example.test"),
        client_reference: "chk_1",
        metadata: BTreeMap::from([("tollgate_session".to_owned(), "chk_1".to_owned())]),
        success_url: "http://127.0.0.1/ok?s={CHECKOUT_SESSION_ID}",
        cancel_url: "http://127.0.0.1/no",
        trial_days: Some(14),
        promotion_codes: true,
    }
}

#[tokio::test]
async fn pitfall_119_every_object_of_a_checkout_carries_our_reference() {
    let session = json!({
        "id": "cs_1", "object": "checkout.session", "status": "open", "mode": "subscription",
        "payment_status": "unpaid", "url": "http://127.0.0.1/pay", "expires_at": 1_800_000_000,
    });
    let double = Double::start([ok(session.clone()), ok(session.clone()), ok(session)]).await;
    let client = double.client(0);
    let made = client.checkout_session_create(&checkout(SessionMode::Subscription), "k").await;
    let made = made.unwrap();
    assert_eq!((made.status, made.payment), (SessionStatus::Open, SessionPayment::Unpaid));
    assert_eq!(made.url.as_deref(), Some("http://127.0.0.1/pay"));
    let single = CheckoutNew { customer: Some("cus_1"), ..checkout(SessionMode::Payment) };
    client.checkout_session_create(&single, "k").await.unwrap();
    client.checkout_session_create(&checkout(SessionMode::Payment), "k").await.unwrap();

    let asked = double.asked();
    assert_eq!(asked[0].path, "/v1/checkout/sessions");
    let expected = [
        ("mode", "subscription"),
        ("line_items[0][price]", "price_1"),
        ("line_items[0][quantity]", "1"),
        ("client_reference_id", "chk_1"),
        ("success_url", "http://127.0.0.1/ok?s={CHECKOUT_SESSION_ID}"),
        ("metadata[tollgate_session]", "chk_1"),
        ("subscription_data[metadata][tollgate_session]", "chk_1"),
        ("subscription_data[trial_period_days]", "14"),
        ("customer_email", "a@example.test"),
        ("allow_promotion_codes", "true"),
    ];
    for (name, value) in expected {
        assert_eq!(asked[0].field(name), Some(value), "{name}");
    }
    let payment = "payment_intent_data[metadata][tollgate_session]";
    assert_eq!((asked[0].field(payment), asked[1].field(payment)), (None, Some("chk_1")));
    assert_eq!(asked[1].field("customer"), Some("cus_1"));
    assert_eq!(asked[1].field("customer_email"), None, "the two exclude each other");
    assert_eq!(asked[1].field("subscription_data[trial_period_days]"), None);
    let creation: Vec<_> = asked.iter().map(|request| request.field("customer_creation")).collect();
    assert_eq!(creation, [None, None, Some("always")]);
}

#[tokio::test]
async fn products_and_prices_carry_our_ids() {
    let double =
        Double::start(["prod_1", "price_1", "price_2"].map(|id| ok(json!({"id": id})))).await;
    let client = double.client(0);
    let product = ProductNew { id: "prod_ours", name: "Pro & more", description: Some("") };
    assert_eq!(client.product_create(&product, "k1").await.unwrap(), "prod_1");
    let price = PriceNew {
        id: "price_ours",
        product: "prod_1",
        unit_amount: 2999,
        currency: "usd",
        interval: Some(("month", 1)),
        nickname: Some("monthly"),
    };
    assert_eq!(client.price_create(&price, "k2").await.unwrap(), "price_1");
    let pack = PriceNew { interval: None, ..price };
    client.price_create(&pack, "k3").await.unwrap();
    let asked = double.asked();
    assert_eq!(asked[0].field("name"), Some("Pro & more"));
    assert_eq!(asked[0].field("description"), None, "the provider refuses empty texts");
    assert_eq!(asked[0].field("metadata[tollgate_product]"), Some("prod_ours"));
    assert_eq!(asked[1].field("unit_amount"), Some("2999"));
    assert_eq!(asked[1].field("recurring[interval]"), Some("month"));
    assert_eq!(asked[1].field("recurring[interval_count]"), Some("1"));
    assert_eq!(asked[1].field("metadata[tollgate_price]"), Some("price_ours"));
    assert!(asked[2].form.iter().all(|(name, _)| !name.starts_with("recurring")));
}

#[tokio::test]
async fn pitfall_111_deleted_and_unknown_customers_do_not_exist() {
    let missing = json!({"error": {"code": "resource_missing", "message": "no"}});
    let replies = [
        ok(json!({"id": "cus_1", "object": "customer"})),
        ok(json!({"id": "cus_1", "object": "customer", "deleted": true})),
        status(404, missing),
        status(500, json!({})),
    ];
    let double = Double::start(replies).await;
    let client = double.client(0);
    assert_eq!(client.customer_exists("cus_1").await, Ok(true));
    assert_eq!(client.customer_exists("cus_1").await, Ok(false));
    assert_eq!(client.customer_exists("cus_1").await, Ok(false));
    assert!(client.customer_exists("cus_1").await.is_err(), "trouble is not absence");
    assert_eq!(client.customer_exists("../balance").await, Ok(false));
    assert_eq!(double.asked().len(), 4, "an impossible id is not asked for");
}

#[tokio::test]
async fn pitfall_048_long_lists_are_read_to_their_end() {
    let invoice = json!({"id": "in_1", "lines": page_of(&["il_1"], true)});
    let replies = [
        ok(invoice),
        ok(page_of(&["il_1", "il_2"], true)),
        ok(page_of(&["il_3"], false)),
        ok(json!({"id": "sub_1", "status": "active", "items": page_of(&["si_1"], true)})),
        ok(page_of(&["si_1", "si_2"], false)),
    ];
    let double = Double::start(replies).await;
    let client = double.client(0);
    let invoice = client.invoice("in_1").await.unwrap();
    let ids: Vec<_> = invoice.lines.iter().map(|line| line.id.as_str()).collect();
    assert_eq!((ids, invoice.lines_complete), (vec!["il_1", "il_2", "il_3"], true));
    let subscription = client.subscription("sub_1").await.unwrap();
    assert_eq!((subscription.items.len(), subscription.items_complete), (2, true));
    let asked = double.asked();
    assert_eq!(asked[0].field("expand[]"), Some("payments"));
    assert_eq!(asked[1].path, "/v1/invoices/in_1/lines");
    assert_eq!((asked[1].field("limit"), asked[1].field("starting_after")), (Some("100"), None));
    assert_eq!(asked[2].field("starting_after"), Some("il_2"));
    assert_eq!(asked[4].path, "/v1/subscription_items");
    assert_eq!(asked[4].field("subscription"), Some("sub_1"));
}

#[tokio::test]
async fn a_list_that_never_ends_is_left() {
    let stuck = json!({"object": "list", "data": [], "has_more": true});
    let double = Double::start([ok(json!({"id": "in_1"})), ok(stuck)]).await;
    let invoice = double.client(0).invoice("in_1").await.unwrap();
    assert!(!invoice.lines_complete);
}

#[tokio::test]
async fn subscriptions_end_with_their_period_and_come_back() {
    let subscription = |cancel_at: Value| {
        ok(json!({"id": "sub_1", "status": "active", "cancel_at": cancel_at,
            "items": page_of(&["si_1"], false)}))
    };
    let replies = [
        subscription(json!(500)),
        subscription(Value::Null),
        subscription(json!(500)),
        subscription(Value::Null),
        ok(json!({"id": "sub_1", "status": "canceled", "items": page_of(&["si_1"], false)})),
    ];
    let double = Double::start(replies).await;
    let client = double.client(0);
    let ending = client.subscription_renewal("sub_1", Renewal::Ends, "k1").await.unwrap();
    assert!(ending.cancel_at.is_some());
    for key in ["k2", "k3"] {
        let back = client.subscription_renewal("sub_1", Renewal::GoesOn, key).await.unwrap();
        assert_eq!(back.cancel_at, None);
    }
    let ended = client.subscription_cancel("sub_1", "k4").await.unwrap();
    assert!(ended.status.unwrap().is_terminal());
    let asked = double.asked();
    let flags: Vec<_> = asked.iter().map(|request| request.field("cancel_at_period_end")).collect();
    assert_eq!(flags, [Some("true"), Some("false"), Some("false"), None, None]);
    assert_eq!(asked[3].field("cancel_at"), Some(""), "the portal's date is taken away by itself");
    assert_eq!(asked[3].header("idempotency-key"), Some("k3:cancel_at"));
    assert_eq!(
        (asked[4].method.as_str(), asked[4].header("idempotency-key")),
        ("DELETE", Some("k4"))
    );
}

#[tokio::test]
async fn pitfall_040_a_payment_leads_to_its_invoice() {
    let payments = json!({"object": "list", "data": [{"id": "inpay_1", "invoice": "in_1"}]});
    let double = Double::start([ok(payments), ok(page_of(&[], false))]).await;
    let client = double.client(0);
    let found = client.invoice_of_payment_intent("pi_1").await;
    assert_eq!(found, Ok(Some("in_1".to_owned())));
    assert_eq!(client.invoice_of_payment_intent("pi_2").await, Ok(None));
    let asked = &double.asked()[0];
    assert_eq!(asked.path, "/v1/invoice_payments");
    assert_eq!(asked.field("payment[type]"), Some("payment_intent"));
    assert_eq!(asked.field("payment[payment_intent]"), Some("pi_1"));
}

#[tokio::test]
async fn sessions_charges_portals_and_endpoints_are_reached() {
    let replies = [
        ok(json!({"id": "cs_1", "status": "open"})),
        ok(json!({"id": "cs_1", "status": "expired"})),
        ok(json!({"id": "ch_1", "amount": 5, "refunded": true})),
        ok(page_of(&["re_1"], false)),
        ok(json!({"id": "bps_1", "url": "http://127.0.0.1/portal"})),
        ok(json!({"id": "we_1", "secret": "whsec_hidden"})),
    ];
    let double = Double::start(replies).await;
    let client = double.client(0);
    assert_eq!(client.checkout_session("cs_1").await.unwrap().status, SessionStatus::Open);
    let expired = client.checkout_session_expire("cs_1", "k1").await.unwrap();
    assert_eq!(expired.status, SessionStatus::Expired);
    let charge = client.charge("ch_1").await.unwrap();
    assert!(charge.refunded && charge.refunds[0].id == "re_1");
    let portal = client.portal_session_create("cus_1", "http://127.0.0.1/back", "k2").await;
    assert_eq!(portal.as_deref(), Ok("http://127.0.0.1/portal"));
    let events = ["invoice.paid", "charge.refunded"];
    let (id, secret) =
        client.webhook_endpoint_create("http://127.0.0.1/hook", &events, "k3").await.unwrap();
    assert_eq!((id.as_str(), secret.expose_secret()), ("we_1", "whsec_hidden"));
    let asked = double.asked();
    let paths: Vec<_> = asked.iter().map(|request| request.path.as_str()).collect();
    let expected = [
        "/v1/checkout/sessions/cs_1",
        "/v1/checkout/sessions/cs_1/expire",
        "/v1/charges/ch_1",
        "/v1/refunds",
        "/v1/billing_portal/sessions",
        "/v1/webhook_endpoints",
    ];
    assert_eq!(paths, expected);
    assert_eq!(asked[4].field("return_url"), Some("http://127.0.0.1/back"));
    assert_eq!(asked[5].field("enabled_events[1]"), Some("charge.refunded"));
    assert_eq!(asked[5].field("api_version"), Some(API_VERSION));
}
