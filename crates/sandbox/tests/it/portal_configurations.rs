//! Portal configurations and the flows of portal sessions.

use serde_json::json;

use crate::world::{World, id, text};

/// A form, owned because it is put together piece by piece.
type Form = Vec<(String, String)>;

fn form(pairs: &[(&str, &str)]) -> Form {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn post(world: &World, path: &str, form: &Form) -> (u16, serde_json::Value) {
    world.send(world.request("POST", path).form(form)).await
}

#[tokio::test]
async fn configurations_say_what_customers_may_do() {
    let world = World::start().await;
    let price = world.price("2000", Some("month")).await;
    let product = text(&world.look(&format!("/v1/prices/{price}")).await["product"]);
    let features = "features[subscription_update]";
    let mut wanted = form(&[
        ("features[customer_update][enabled]", "true"),
        ("features[customer_update][allowed_updates][]", "email"),
        ("features[invoice_history][enabled]", "true"),
        ("features[payment_method_update][enabled]", "true"),
        ("features[subscription_cancel][enabled]", "true"),
        ("features[subscription_cancel][mode]", "immediately"),
        ("features[subscription_cancel][proration_behavior]", "always_invoice"),
        ("features[subscription_cancel][cancellation_reason][enabled]", "true"),
        ("features[subscription_cancel][cancellation_reason][options][]", "unused"),
        ("business_profile[headline]", "Our shop"),
        ("business_profile[terms_of_service_url]", "https://example.com/terms"),
        ("default_return_url", "https://example.com/account"),
        ("login_page[enabled]", "true"),
        ("metadata[a]", "b"),
        ("name", "Main"),
    ]);
    wanted.extend([
        (format!("{features}[enabled]"), "true".to_owned()),
        (format!("{features}[default_allowed_updates][]"), "price".to_owned()),
        (format!("{features}[products][0][product]"), product.clone()),
        (format!("{features}[products][0][prices][]"), price.clone()),
        (format!("{features}[proration_behavior]"), "always_invoice".to_owned()),
    ]);
    let (status, made) = post(&world, "/v1/billing_portal/configurations", &wanted).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!((&made["is_default"], &made["active"]), (&json!(false), &json!(true)));
    let cancel = &made["features"]["subscription_cancel"];
    assert_eq!(cancel["cancellation_reason"]["options"], json!(["unused"]));
    assert_eq!(made["features"]["subscription_update"]["products"][0]["prices"], json!([price]));
    assert!(text(&made["login_page"]["url"]).starts_with(&world.base));
    let path = format!("/v1/billing_portal/configurations/{}", id(&made));
    let change = form(&[
        ("features[invoice_history][enabled]", "false"),
        ("business_profile[headline]", ""),
        ("active", "false"),
    ]);
    let (_, changed) = post(&world, &path, &change).await;
    assert_eq!(changed["features"]["invoice_history"]["enabled"], false);
    assert_eq!(changed["features"]["subscription_cancel"]["enabled"], true, "the rest stays");
    assert_eq!(changed["business_profile"]["headline"], json!(null));
    let list = world.look("/v1/billing_portal/configurations?active=true").await;
    assert_eq!(list["data"], json!([]));
    let customer = id(&world.make("/v1/customers", &[]).await);
    let session = [("customer", customer.as_str()), ("configuration", &id(&made))];
    let (status, body) = world.post("/v1/billing_portal/sessions", &session).await;
    assert_eq!((status, text(&body["error"]["param"])), (400, "configuration".to_owned()));
    let session = world.make("/v1/billing_portal/sessions", &session[..1]).await;
    let default = format!("/v1/billing_portal/configurations/{}", text(&session["configuration"]));
    assert_eq!(world.look(&default).await["is_default"], true);
    assert_eq!(world.post(&default, &[("active", "false")]).await.0, 400);
    let kinds = world.events().await;
    for kind in ["configuration.created", "configuration.updated", "session.created"] {
        assert!(kinds.contains(&format!("billing_portal.{kind}")), "{kind}: {kinds:?}");
    }
}

#[tokio::test]
async fn contradictory_configurations_are_refused() {
    let world = World::start().await;
    let once = world.price("2000", None).await;
    let product = text(&world.look(&format!("/v1/prices/{once}")).await["product"]);
    let update = "features[subscription_update]";
    let offered = format!("{update}[products][0][product]");
    let priced = format!("{update}[products][0][prices][]");
    let enabled = format!("{update}[enabled]");
    let allowed = format!("{update}[default_allowed_updates][]");
    let cancel = "features[subscription_cancel]";
    let proration = format!("{cancel}[proration_behavior]");
    let reason = format!("{cancel}[cancellation_reason][enabled]");
    let reasons = format!("{cancel}[cancellation_reason][options][]");
    let cases: Vec<(Form, &str)> = vec![
        (form(&[("name", "x")]), "features"),
        (form(&[("features[colour][enabled]", "true")]), "features[colour]"),
        (
            form(&[("features[customer_update][enabled]", "true")]),
            "features[customer_update][allowed_updates]",
        ),
        (
            form(&[(&enabled, "true"), (&allowed, "price")]),
            "features[subscription_update][products]",
        ),
        (
            form(&[
                (&enabled, "true"),
                (&allowed, "price"),
                (&offered, &product),
                (&priced, &once),
            ]),
            "features[subscription_update][products][0][prices]",
        ),
        (
            form(&[(&proration, "always_invoice")]),
            "features[subscription_cancel][proration_behavior]",
        ),
        (
            form(&[(&reason, "true"), (&reasons, "boredom")]),
            "features[subscription_cancel][cancellation_reason][options][0]",
        ),
        (
            form(&[
                ("features[invoice_history][enabled]", "true"),
                ("default_return_url", "javascript:x"),
            ]),
            "default_return_url",
        ),
    ];
    for (wanted, param) in cases {
        let (status, body) = post(&world, "/v1/billing_portal/configurations", &wanted).await;
        let seen = body["error"]["param"].as_str().unwrap_or("");
        assert_eq!((status, seen), (400, param), "{wanted:?} {body}");
    }
    assert_eq!(world.look("/v1/billing_portal/configurations").await["data"], json!([]));
}

#[tokio::test]
async fn flows_lead_to_one_thing() {
    let world = World::start().await;
    let price = world.price("2000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let made = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    let subscription = id(&world.make("/v1/subscriptions", &made).await);
    let of = ("customer", customer.as_str());
    let cancel = [
        of,
        ("flow_data[type]", "subscription_cancel"),
        ("flow_data[subscription_cancel][subscription]", subscription.as_str()),
        ("flow_data[after_completion][type]", "redirect"),
        ("flow_data[after_completion][redirect][return_url]", "https://example.com/bye"),
    ];
    let session = world.make("/v1/billing_portal/sessions", &cancel).await;
    let flow = &session["flow"];
    assert_eq!(flow["subscription_cancel"]["subscription"], json!(subscription));
    assert_eq!(flow["after_completion"]["redirect"]["return_url"], "https://example.com/bye");
    assert_eq!(flow["subscription_update"], json!(null));
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[of, ("flow_data[after_completion][type]", "redirect")], "flow_data[type]"),
        (&[of, ("flow_data[type]", "subscription_cancel")], "flow_data[subscription_cancel]"),
        (
            &[
                of,
                ("flow_data[type]", "subscription_cancel"),
                ("flow_data[subscription_cancel][subscription]", "sub_none"),
            ],
            "flow_data[subscription_cancel][subscription]",
        ),
        (
            &[
                of,
                ("flow_data[type]", "subscription_update"),
                ("flow_data[subscription_update][subscription]", &subscription),
            ],
            "flow_data[type]",
        ),
    ];
    for (wanted, param) in cases {
        let (status, body) = world.post("/v1/billing_portal/sessions", wanted).await;
        let seen = body["error"]["param"].as_str().unwrap_or("");
        assert_eq!((status, seen), (400, param), "{wanted:?} {body}");
    }
}
