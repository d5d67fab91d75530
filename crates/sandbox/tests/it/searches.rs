//! Searching: every searchable resource, pages, counts, refusals.

use serde_json::{Value, json};

use crate::world::{Answer, World, id, text};

async fn ask(world: &World, resource: &str, query: &str) -> Answer {
    let path = format!("{}/v1/{resource}/search", world.base);
    let url = reqwest::Url::parse_with_params(&path, [("query", query)]).expect("a URL");
    world.send(world.client.get(url).bearer_auth("sk_test_it")).await
}

async fn search(world: &World, resource: &str, query: &str) -> Value {
    let (status, body) = ask(world, resource, query).await;
    assert_eq!(status, 200, "{resource} {query}: {body}");
    assert_eq!(body["object"], "search_result");
    body
}

fn ids(result: &Value) -> Vec<String> {
    result["data"].as_array().expect("data").iter().map(id).collect()
}

#[tokio::test]
async fn every_resource_is_found_by_its_own_fields() {
    let world = World::start().await;
    let price = world.price("1500", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("metadata[order]", "A-1"),
    ];
    let subscription = id(&world.make("/v1/subscriptions", &form).await);
    let invoice = &world.look("/v1/invoices").await["data"][0];
    let charge = id(&world.look("/v1/charges").await["data"][0]);
    let intent = id(&world.look("/v1/payment_intents").await["data"][0]);
    let product = text(&world.look(&format!("/v1/prices/{price}")).await["product"]);
    let number = text(&invoice["number"]);
    let cases = [
        ("customers", "email:'ADA@example.com'".to_owned(), customer.clone()),
        ("products", "active:'true' AND name~'pro'".to_owned(), product.clone()),
        ("prices", format!("product:'{product}' type:'recurring'"), price.clone()),
        ("charges", "amount>1000 payment_method_details.card.last4:4242".to_owned(), charge),
        ("payment_intents", format!("customer:'{customer}' status:'succeeded'"), intent),
        ("subscriptions", "metadata['order']:'A-1' -status:'canceled'".to_owned(), subscription),
        ("invoices", format!("number:'{number}' OR total:1"), id(invoice)),
    ];
    for (resource, query, expected) in cases {
        assert_eq!(ids(&search(&world, resource, &query).await), [expected], "{query}");
    }
    let none = search(&world, "invoices", "status:'open'").await;
    assert_eq!((&none["data"], &none["has_more"]), (&json!([]), &json!(false)));
}

#[tokio::test]
async fn found_objects_come_in_pages() {
    let world = World::start().await;
    for name in ["one", "two", "three"] {
        world.make("/v1/customers", &[("name", name), ("metadata[k]", "v")]).await;
    }
    let path = "/v1/customers/search?query=metadata['k']:'v'&limit=2&expand[]=total_count";
    let first = world.look(path).await;
    assert_eq!((&first["has_more"], &first["total_count"]), (&json!(true), &json!(3)));
    let page = text(&first["next_page"]);
    let second = world.look(&format!("{path}&page={page}")).await;
    assert_eq!(second["data"][0]["name"], "one");
    assert_eq!((&second["has_more"], &second["next_page"]), (&json!(false), &Value::Null));
    let plain = world.look("/v1/customers/search?query=name:'one'").await;
    assert!(plain.get("total_count").is_none());
    let gone = id(&plain["data"][0]);
    world.delete(&format!("/v1/customers/{gone}")).await;
    let after = world.look("/v1/customers/search?query=name:'one'").await;
    assert_eq!(after["data"], json!([]), "the deleted are not found");
}

#[tokio::test]
async fn bad_searches_are_refused() {
    let world = World::start().await;
    for (query, part) in [
        ("colour:'red'", "unsupported search field for resource `customers`"),
        ("email:'a' AND name:'b' OR name:'c'", "AND and OR"),
        ("email", "unable to parse"),
        ("created~'123'", "operator"),
    ] {
        let (status, body) = ask(&world, "customers", query).await;
        let error = &body["error"];
        assert_eq!((status, &error["type"]), (400, &json!("invalid_request_error")), "{query}");
        assert!(text(&error["message"]).contains(part), "{query}: {error}");
    }
    let (status, body) = world.get("/v1/customers/search").await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("query")));
    let (status, body) = world.get("/v1/customers/search?query=name:'x'&page=zzz").await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("page")));
}
