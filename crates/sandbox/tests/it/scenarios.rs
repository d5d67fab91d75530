//! One shop's whole life in one run. Every answer and every webhook of it is judged by the schema,
//! as everywhere here; this test counts them and names the events that must have come.

use crate::world::{Shop, World, id, text};

/// Events that a run without them would not be a whole life.
const EXPECTED: [&str; 60] = [
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.failed",
    "charge.pending",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "coupon.created",
    "coupon.deleted",
    "credit_note.created",
    "credit_note.voided",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "customer.updated",
    "entitlements.active_entitlement_summary.updated",
    "invoice.created",
    "invoice.deleted",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.voided",
    "invoiceitem.created",
    "invoiceitem.deleted",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payment_method.attached",
    "payment_method.detached",
    "price.created",
    "price.updated",
    "product.created",
    "product.deleted",
    "product.updated",
    "promotion_code.created",
    "promotion_code.updated",
    "refund.created",
    "refund.updated",
    "setup_intent.created",
    "setup_intent.requires_action",
    "setup_intent.succeeded",
    "subscription_schedule.created",
    "subscription_schedule.released",
    "test_helpers.test_clock.advancing",
    "test_helpers.test_clock.created",
    "test_helpers.test_clock.ready",
];

const COLLECTIONS: [&str; 21] = [
    "balance_transactions",
    "billing/meters",
    "charges",
    "checkout/sessions",
    "coupons",
    "credit_notes",
    "customers",
    "disputes",
    "entitlements/features",
    "events",
    "invoice_payments",
    "invoiceitems",
    "invoices",
    "payment_intents",
    "prices",
    "products",
    "promotion_codes",
    "refunds",
    "setup_intents",
    "subscription_schedules",
    "subscriptions",
];

#[tokio::test]
async fn a_whole_life_of_a_shop_satisfies_the_schema() {
    let world = World::start().await;
    let shop = Shop::open(&[]).await;
    shop.subscribe(&world, &["*"]).await;
    catalogue(&world).await;
    checkouts(&world).await;
    payments(&world).await;
    disputes(&world).await;
    subscriptions(&world).await;
    failures(&world).await;
    invoices(&world).await;
    usage(&world).await;
    test_clocks(&world).await;
    collections(&world).await;

    let seen = world.events_of_every_kind().await;
    shop.wait_for(seen.values().sum()).await;
    let missing: Vec<_> = EXPECTED.iter().filter(|kind| !seen.contains_key(**kind)).collect();
    assert!(missing.is_empty(), "{missing:?} never came, of {seen:?}");
    let judged = world.judged();
    let objects: usize = judged.values().sum();
    let events = shop.hooks().len();
    eprintln!("{objects} objects of {} kinds and {events} events judged", judged.len());
    assert!(1_000 <= objects && 20 <= judged.len(), "only {objects} objects: {judged:?}");
    assert!(200 <= events, "only {events} events");
}

async fn catalogue(world: &World) {
    let product = id(&world.make("/v1/products", &[("name", "Box")]).await);
    let path = format!("/v1/products/{product}");
    world.make(&path, &[("metadata[a]", "b"), ("description", "A box")]).await;
    assert_eq!(world.delete(&path).await.0, 200);
    let price = world.price("500", None).await;
    world.make(&format!("/v1/prices/{price}"), &[("nickname", "small")]).await;
    let form = [("percent_off", "20"), ("duration", "once")];
    let coupon = id(&world.make("/v1/coupons", &form).await);
    let form =
        [("promotion[type]", "coupon"), ("promotion[coupon]", coupon.as_str()), ("code", "FALL")];
    let code = id(&world.make("/v1/promotion_codes", &form).await);
    world.make(&format!("/v1/promotion_codes/{code}"), &[("active", "false")]).await;
    let form = [("amount_off", "500"), ("currency", "usd"), ("duration", "forever")];
    let coupon = id(&world.make("/v1/coupons", &form).await);
    assert_eq!(world.delete(&format!("/v1/coupons/{coupon}")).await.0, 200);
}

async fn checkouts(world: &World) {
    let once = world.price("500", None).await;
    let monthly = world.price("2000", Some("month")).await;
    for (price, mode) in [(&once, "payment"), (&monthly, "subscription")] {
        let session = id(&world.session(price, mode, &[]).await);
        let path = format!("/_sandbox/checkout/{session}/complete");
        let declined = [("payment_method", "pm_card_chargeDeclined")];
        assert_eq!(world.post(&path, &declined).await.0, 402);
        world.make(&path, &[("payment_method", "pm_card_visa")]).await;
        world.look(&format!("/v1/checkout/sessions/{session}?expand[]=line_items")).await;
        world.look(&format!("/v1/checkout/sessions/{session}/line_items")).await;
    }
    let abandoned = id(&world.session(&once, "payment", &[]).await);
    world.make(&format!("/v1/checkout/sessions/{abandoned}/expire"), &[]).await;
    let mut late = Vec::new();
    for method in ["pm_usBankAccount_success", "pm_usBankAccount_accountClosed"] {
        let session = id(&world.session(&once, "payment", &[]).await);
        let path = format!("/_sandbox/checkout/{session}/complete");
        world.make(&path, &[("payment_method", method), ("email", "ada@example.com")]).await;
        late.push(format!("/v1/checkout/sessions/{session}?expand[]=payment_intent"));
    }
    assert_eq!(world.advance("1d").await.0, 200);
    for (path, status) in late.iter().zip(["paid", "unpaid"]) {
        assert_eq!(world.look(path).await["payment_status"], status);
    }
    let customer = id(&world.make("/v1/customers", &[("email", "bea@example.com")]).await);
    let form = [
        ("mode", "setup"),
        ("currency", "usd"),
        ("customer", customer.as_str()),
        ("success_url", "http://shop.test/ok"),
    ];
    let session = id(&world.make("/v1/checkout/sessions", &form).await);
    let path = format!("/_sandbox/checkout/{session}/complete");
    let saved = world.make(&path, &[("payment_method", "pm_card_visa")]).await;
    world.look(&format!("/v1/setup_intents/{}", text(&saved["setup_intent"]))).await;
}

async fn disputes(world: &World) {
    for words in ["winning_evidence", "losing_evidence"] {
        let form = [
            ("amount", "4000"),
            ("currency", "usd"),
            ("payment_method", "pm_card_createDispute"),
            ("payment_method_types[]", "card"),
            ("confirm", "true"),
        ];
        let intent = id(&world.make("/v1/payment_intents", &form).await);
        let list = world.look(&format!("/v1/disputes?payment_intent={intent}")).await;
        let path = format!("/v1/disputes/{}", text(&list["data"][0]["id"]));
        world.make(&path, &[("evidence[uncategorized_text]", words)]).await;
        assert_eq!(world.advance("1d").await.0, 200);
        let dispute = world.look(&format!("{path}?expand[]=charge")).await;
        let outcome = if words == "winning_evidence" { "won" } else { "lost" };
        assert_eq!(dispute["status"], outcome);
    }
}

async fn payments(world: &World) {
    let pay = async |method: &str| {
        let form = [
            ("amount", "1500"),
            ("currency", "usd"),
            ("payment_method", method),
            ("payment_method_types[]", "card"),
            ("confirm", "true"),
        ];
        world.post("/v1/payment_intents", &form).await
    };
    let (_, paid) = pay("pm_card_visa").await;
    let form = [("payment_intent", paid["id"].as_str().expect("an id")), ("amount", "500")];
    let refund = id(&world.make("/v1/refunds", &form).await);
    world.make(&format!("/v1/refunds/{refund}"), &[("metadata[why]", "too much")]).await;
    world.make("/v1/refunds", &form[..1]).await;
    assert_eq!(world.post("/v1/refunds", &form[..1]).await.0, 400, "nothing is left");
    let (status, waiting) = pay("pm_card_authenticationRequired").await;
    assert_eq!((status, text(&waiting["status"]).as_str()), (200, "requires_action"));
    world.make(&format!("/v1/payment_intents/{}/cancel", id(&waiting)), &[]).await;
    assert_eq!(pay("pm_card_chargeDeclined").await.0, 402);
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("payment_method", "pm_card_mastercard")];
    let form = [&form[..], &[("confirm", "true"), ("payment_method_types[]", "card")]].concat();
    let intent = world.make("/v1/setup_intents", &form).await;
    let form = [
        ("payment_method", "pm_card_authenticationRequired"),
        ("confirm", "true"),
        ("payment_method_types[]", "card"),
    ];
    let waiting = world.make("/v1/setup_intents", &form).await;
    assert_eq!(waiting["status"], "requires_action");
    let method = text(&intent["payment_method"]);
    world.make(&format!("/v1/payment_methods/{method}/detach"), &[]).await;
}

async fn subscriptions(world: &World) {
    let customer = world.payer("pm_card_visa").await;
    let basic = world.price("1000", Some("month")).await;
    let pro = world.price("3000", Some("month")).await;
    let form = [("customer", customer.as_str()), ("items[0][price]", basic.as_str())];
    let trial = [&form[..], &[("trial_period_days", "14")]].concat();
    let subscription = world.make("/v1/subscriptions", &trial).await;
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    assert_eq!(world.advance("12d").await.0, 200);
    assert_eq!(world.advance("3d").await.0, 200);
    let item = text(&subscription["items"]["data"][0]["id"]);
    let change = [("items[0][id]", item.as_str()), ("items[0][price]", pro.as_str())];
    world.make(&path, &change).await;
    assert_eq!(world.advance("1mo").await.0, 200);
    world.make(&path, &[("cancel_at_period_end", "true")]).await;
    world.look(&format!("{path}?expand[]=latest_invoice.payments&expand[]=customer")).await;
    assert_eq!(world.advance("1mo").await.0, 200);
    assert_eq!(world.look(&path).await["status"], "canceled");
    let form = [
        ("customer", customer.as_str()),
        ("start_date", "now"),
        ("phases[0][items][0][price]", basic.as_str()),
        ("phases[0][duration][interval]", "month"),
        ("phases[0][duration][interval_count]", "2"),
    ];
    let schedule = id(&world.make("/v1/subscription_schedules", &form).await);
    world.make(&format!("/v1/subscription_schedules/{schedule}/release"), &[]).await;
}

async fn failures(world: &World) {
    let customer = world.payer("pm_card_chargeCustomerFail").await;
    let monthly = world.price("2500", Some("month")).await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", monthly.as_str()),
        ("trial_period_days", "7"),
    ];
    let subscription = id(&world.make("/v1/subscriptions", &form).await);
    assert_eq!(world.advance("8d").await.0, 200);
    let path = format!("/v1/subscriptions/{subscription}");
    let late = world.look(&path).await;
    assert_eq!(late["status"], "past_due");
    world.give_card(&customer, "pm_card_visa").await;
    world.make(&format!("/v1/invoices/{}/pay", text(&late["latest_invoice"])), &[]).await;
    assert_eq!(world.look(&path).await["status"], "active");
    assert_eq!(world.delete(&path).await.0, 200);
    assert_eq!(world.delete(&format!("/v1/customers/{customer}")).await.0, 200);
    assert_eq!(world.look(&format!("/v1/customers/{customer}")).await["deleted"], true);
}

async fn invoices(world: &World) {
    let customer = world.payer("pm_card_visa").await;
    let draft = async || {
        let form = [("customer", customer.as_str()), ("amount", "900"), ("currency", "usd")];
        world.make("/v1/invoiceitems", &form).await;
        let form = [("customer", customer.as_str()), ("pending_invoice_items_behavior", "include")];
        format!("/v1/invoices/{}", id(&world.make("/v1/invoices", &form).await))
    };
    for action in ["pay", "void", "mark_uncollectible"] {
        let path = draft().await;
        world.make(&format!("{path}/finalize"), &[]).await;
        world.look(&format!("{path}/lines")).await;
        world.make(&format!("{path}/{action}"), &[]).await;
    }
    let path = draft().await;
    assert_eq!(world.delete(&path).await.0, 200);
    let form = [("customer", customer.as_str()), ("amount", "100"), ("currency", "usd")];
    let item = id(&world.make("/v1/invoiceitems", &form).await);
    assert_eq!(world.delete(&format!("/v1/invoiceitems/{item}")).await.0, 200);
    let path = draft().await;
    let open = id(&world.make(&format!("{path}/finalize"), &[]).await);
    let form = [
        ("invoice", open.as_str()),
        ("lines[0][type]", "custom_line_item"),
        ("lines[0][description]", "a part"),
        ("lines[0][quantity]", "1"),
        ("lines[0][unit_amount]", "300"),
    ];
    let note = id(&world.make("/v1/credit_notes", &form).await);
    world.make(&format!("/v1/credit_notes/{note}/void"), &[]).await;
}

async fn usage(world: &World) {
    let form = [
        ("display_name", "Calls"),
        ("event_name", "calls"),
        ("default_aggregation[formula]", "sum"),
    ];
    let meter = id(&world.make("/v1/billing/meters", &form).await);
    let customer = world.payer("pm_card_visa").await;
    let form = [
        ("event_name", "calls"),
        ("payload[stripe_customer_id]", customer.as_str()),
        ("payload[value]", "7"),
    ];
    world.make("/v1/billing/meter_events", &form).await;
    let form = [("name", "Export"), ("lookup_key", "export")];
    let feature = id(&world.make("/v1/entitlements/features", &form).await);
    let price = world.price("700", Some("month")).await;
    let product = text(&world.look(&format!("/v1/prices/{price}")).await["product"]);
    let path = format!("/v1/products/{product}/features");
    world.make(&path, &[("entitlement_feature", feature.as_str())]).await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    world.make("/v1/subscriptions", &form).await;
    world.look(&format!("/v1/entitlements/active_entitlements?customer={customer}")).await;
    world.make(&format!("/v1/billing/meters/{meter}/deactivate"), &[]).await;
}

async fn test_clocks(world: &World) {
    let form = [("frozen_time", "1800000000"), ("name", "spring")];
    let clock = id(&world.make("/v1/test_helpers/test_clocks", &form).await);
    let path = format!("/v1/test_helpers/test_clocks/{clock}");
    world.make(&format!("{path}/advance"), &[("frozen_time", "1802678400")]).await;
    for _ in 0..100 {
        if world.look(&path).await["status"] == "ready" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(world.look(&path).await["frozen_time"], 1_802_678_400);
}

async fn collections(world: &World) {
    for collection in COLLECTIONS {
        let list = world.look(&format!("/v1/{collection}?limit=100")).await;
        let elements = list["data"].as_array().expect("a list");
        assert!(!elements.is_empty(), "no {collection}");
        // What can be listed can be retrieved.
        world.look(&format!("/v1/{collection}/{}", id(&elements[0]))).await;
    }
    world.look("/v1/account").await;
    world.look("/v1/balance").await;
}

#[tokio::test]
async fn an_objects_own_id_and_its_metadata_cannot_be_expanded() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let path = format!("/v1/customers/{customer}");
    world.make(&path, &[("metadata[friend]", customer.as_str())]).await;
    for field in ["id", "metadata.friend", "metadata"] {
        let (status, body) = world.get(&format!("{path}?expand[]={field}")).await;
        assert_eq!((status, &body["error"]["param"]), (400, &"expand".into()), "{field}: {body}");
    }
}
