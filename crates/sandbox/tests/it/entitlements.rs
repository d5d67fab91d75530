//! Features, products that have them, and who is entitled to them.

use serde_json::{Value, json};

use crate::world::{World, id, text};

const EVENT: &str = "entitlements.active_entitlement_summary.updated";

async fn feature(world: &World, key: &str) -> String {
    id(&world.make("/v1/entitlements/features", &[("lookup_key", key), ("name", key)]).await)
}

/// A monthly price of a product with these features.
async fn price_with(world: &World, features: &[&str]) -> (String, String) {
    let price = world.price("1000", Some("month")).await;
    let product = text(&world.look(&format!("/v1/prices/{price}")).await["product"]);
    let path = format!("/v1/products/{product}/features");
    for feature in features {
        world.make(&path, &[("entitlement_feature", *feature)]).await;
    }
    (price, product)
}

async fn keys(world: &World, customer: &str) -> Vec<String> {
    let path = format!("/v1/entitlements/active_entitlements?customer={customer}");
    let list = world.look(&path).await;
    let rows = list["data"].as_array().expect("a list");
    let mut keys: Vec<String> = rows.iter().map(|row| text(&row["lookup_key"])).collect();
    keys.sort();
    keys
}

async fn summaries(world: &World) -> Vec<Value> {
    let list = world.look(&format!("/v1/events?type={EVENT}&limit=100")).await;
    list["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn features_have_keys_of_their_own() {
    let world = World::start().await;
    let sso = feature(&world, "sso").await;
    let form = [("lookup_key", "sso"), ("name", "Other")];
    let (status, body) = world.post("/v1/entitlements/features", &form).await;
    assert_eq!((status, text(&body["error"]["param"])), (400, "lookup_key".to_owned()));
    let path = format!("/v1/entitlements/features/{sso}");
    let form = [("name", "Single sign-on"), ("metadata[a]", "b")];
    let changed = world.make(&path, &form).await;
    assert_eq!(
        (&changed["name"], &changed["metadata"]["a"]),
        (&json!("Single sign-on"), &json!("b"))
    );
    world.make(&path, &[("active", "false")]).await;
    assert_eq!(world.look("/v1/entitlements/features").await["data"], json!([]));
    let list = world.look("/v1/entitlements/features?archived=true&lookup_key=sso").await;
    assert_eq!(list["data"][0]["id"], json!(sso));
    let product = id(&world.make("/v1/products", &[("name", "Pro")]).await);
    let path = format!("/v1/products/{product}/features");
    let (status, body) = world.post(&path, &[("entitlement_feature", &sso)]).await;
    assert_eq!((status, text(&body["error"]["param"])), (400, "entitlement_feature".to_owned()));
    let (status, body) = world.post(&path, &[("entitlement_feature", "feat_none")]).await;
    assert_eq!((status, text(&body["error"]["code"])), (400, "resource_missing".to_owned()));
    assert_eq!(world.post("/v1/products/none/features", &[]).await.0, 404);
}

#[tokio::test]
async fn products_list_and_lose_features() {
    let world = World::start().await;
    let sso = feature(&world, "sso").await;
    let (_, product) = price_with(&world, &[&sso]).await;
    let path = format!("/v1/products/{product}/features");
    let list = world.look(&path).await;
    let row = &list["data"][0];
    assert_eq!(row["entitlement_feature"]["lookup_key"], "sso");
    let one = format!("{path}/{}", id(row));
    assert_eq!(&world.look(&one).await, row);
    assert_eq!(world.post(&path, &[("entitlement_feature", &sso)]).await.0, 400, "twice");
    let elsewhere = id(&world.make("/v1/products", &[("name", "Other")]).await);
    let (status, _) = world.get(&format!("/v1/products/{elsewhere}/features/{}", id(row))).await;
    assert_eq!(status, 404);
    assert_eq!(world.delete(&one).await.1["deleted"], true);
    assert_eq!(world.look(&path).await["data"], json!([]));
}

#[tokio::test]
async fn entitlements_follow_the_subscription() {
    let world = World::start().await;
    let (sso, audit) = (feature(&world, "sso").await, feature(&world, "audit").await);
    let (basic, product) = price_with(&world, &[&sso]).await;
    let (pro, _) = price_with(&world, &[&sso, &audit]).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", basic.as_str())];
    let subscription = world.make("/v1/subscriptions", &form).await;
    assert_eq!(keys(&world, &customer).await, ["sso"]);
    let event = &summaries(&world).await[0];
    assert_eq!(event["data"]["object"]["customer"], json!(customer));
    assert_eq!(event["data"]["object"]["entitlements"]["data"][0]["lookup_key"], "sso");
    assert_eq!(event["data"]["previous_attributes"]["entitlements"]["data"], json!([]));
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let item = id(&subscription["items"]["data"][0]);
    let change = [("items[0][id]", item.as_str()), ("items[0][price]", pro.as_str())];
    world.make(&path, &change).await;
    assert_eq!(keys(&world, &customer).await, ["audit", "sso"]);
    let back = [("items[0][id]", item.as_str()), ("items[0][price]", basic.as_str())];
    world.make(&path, &back).await;
    assert_eq!(keys(&world, &customer).await, ["sso"]);
    // A feature that is attached later comes with the next period.
    let form = [("entitlement_feature", audit.as_str())];
    world.make(&format!("/v1/products/{product}/features"), &form).await;
    assert_eq!(keys(&world, &customer).await, ["sso"]);
    world.advance("period-end").await;
    assert_eq!(keys(&world, &customer).await, ["audit", "sso"]);
    world.delete(&path).await;
    assert_eq!(keys(&world, &customer).await, Vec::<String>::new());
    assert_eq!(summaries(&world).await.len(), 5, "one event per change, none without one");
    let (status, _) = world.get("/v1/entitlements/active_entitlements").await;
    assert_eq!(status, 400, "whose?");
}

#[tokio::test]
async fn a_trial_entitles_and_an_unpaid_start_does_not() {
    let world = World::start().await;
    let sso = feature(&world, "sso").await;
    let (price, _) = price_with(&world, &[&sso]).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("payment_behavior", "default_incomplete"),
    ];
    world.make("/v1/subscriptions", &form).await;
    assert_eq!(keys(&world, &customer).await, Vec::<String>::new());
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("trial_period_days", "7"),
    ];
    world.make("/v1/subscriptions", &form).await;
    assert_eq!(keys(&world, &customer).await, ["sso"]);
    let list = world
        .look(&format!(
            "/v1/entitlements/active_entitlements?customer={customer}&expand[]=data.feature"
        ))
        .await;
    let row = &list["data"][0];
    assert_eq!(row["feature"]["lookup_key"], "sso");
    let one = world.look(&format!("/v1/entitlements/active_entitlements/{}", id(row))).await;
    assert_eq!(one["feature"], json!(sso));
}
