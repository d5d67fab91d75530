//! The list of routes: every one is documented, and answers strangers as it says.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::servers::{Server, token};

/// Everything that needs no token. The list may only grow on purpose.
const PUBLIC: &[&str] = &[
    "GET /",
    "GET /admin",
    "GET /admin/audits",
    "GET /admin/calls",
    "GET /admin/deliveries",
    "GET /admin/events",
    "GET /admin/events/{id}",
    "GET /admin/sync-runs",
    "GET /assets/tollgate.css",
    "GET /health",
    "GET /health/ready",
    "GET /openapi.json",
    "GET /pay/cancel",
    "GET /pay/success",
    "GET /payments/get-plans",
    "GET /payments/products",
    "GET /portal",
    "GET /portal/enter",
    "GET /pricing",
    "GET /v1/prices",
    "GET /v1/prices/{id}",
    "GET /v1/products",
    "GET /v1/products/{id}",
    "POST /admin/events/replay",
    "POST /admin/events/{id}/ignore",
    "POST /admin/events/{id}/replay",
    "POST /admin/sign-in",
    "POST /admin/sign-out",
    "POST /api/v1/webhooks/stripe",
    "POST /api/webhooks/stripe",
    "POST /payments/webhook",
    "POST /portal/billing",
    "POST /portal/cancel",
    "POST /portal/resume",
    "POST /portal/sign-out",
    "POST /pricing/checkout",
];

struct Operation {
    method: String,
    path: String,
    security: Vec<String>,
}

fn operations() -> Vec<Operation> {
    let document: Value =
        serde_json::from_str(&server::routes::document().to_json().unwrap()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().expect("every operation says who");
            let names = security.iter().flat_map(|one| one.as_object().unwrap().keys().cloned());
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                security: names.collect(),
            });
        }
    }
    found
}

#[test]
fn the_public_routes_are_exactly_these() {
    let public: BTreeSet<String> = operations()
        .iter()
        .filter(|one| one.security.is_empty())
        .map(|one| format!("{} {}", one.method, one.path))
        .collect();
    let expected: BTreeSet<String> = PUBLIC.iter().map(|one| (*one).to_owned()).collect();
    assert_eq!(public, expected);
}

#[test]
fn the_document_is_openapi_3_1_with_unique_operation_ids() {
    let text = server::routes::document().to_json().unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().expect("every operation has an id");
            assert!(ids.insert(id.to_owned()), "{id} is used twice");
            assert!(operation["summary"].is_string(), "{id} has no summary");
        }
    }
    for noun in ["customers", "check", "search", "documents", "events", "credits/holds"] {
        assert!(text.contains(&format!("\"/v1/{noun}\"")), "{noun}");
    }
}

#[test]
fn refusals_have_the_schema_of_their_face() {
    let text = server::routes::document().to_json().unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let content = |method: &str, path: &str, status: &str| {
        document["paths"][path][method]["responses"][status]["content"].clone()
    };
    let schema = |content: &Value| {
        let schema = &content["application/problem+json"]["schema"]["$ref"];
        schema.as_str().unwrap_or_default().to_owned()
    };
    for path in ["/v1/credits/consume", "/v1/credits/holds", "/v1/search", "/v1/documents"] {
        let shortage = content("post", path, "402");
        assert_eq!(schema(&shortage), "#/components/schemas/PaymentProblem", "{path}");
        let other = content("post", path, "default");
        assert_eq!(schema(&other), "#/components/schemas/Problem", "{path}");
    }
    let late = content("post", "/v1/clock/settle", "504");
    assert_eq!(schema(&late), "#/components/schemas/Problem");
    assert!(content("get", "/portal", "default")["text/html"].is_object());
    assert!(content("get", "/payments/get-plans", "default")["application/json"].is_object());
    for part in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not defined");
    }
}

#[tokio::test]
async fn row_19_every_other_route_asks_who_is_there() {
    let server = Server::start().await;
    let anna = token("anna");
    for one in operations().iter().filter(|one| !one.security.is_empty()) {
        let path = one.path.replace("{id}", "some_id");
        let body = if one.method == "GET" || one.method == "DELETE" { "" } else { "{}" };
        for token in ["", "garbage", "a.b.c", "sk_test_invented"] {
            let answer = server.call(&one.method, &path, token, body).await;
            assert_eq!(answer.status, 401, "{} {path} with {token:?}", one.method);
        }
        if one.security == ["server_key"] {
            let answer = server.call(&one.method, &path, &anna, body).await;
            assert_eq!(answer.status, 403, "{} {path}", one.method);
        }
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let server = Server::start().await;
    let answer = server.call("GET", "/openapi.json", "", "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.json()["paths"]["/payments/webhook"]["post"].is_object());
    let page = server.call("GET", "/docs/", "", "").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    assert!(page.text.contains("swagger"), "{}", page.text);
    assert!(!page.text.contains("<script>"), "inline scripts would be blocked");
    let script = server.call("GET", "/docs/swagger-initializer.js", "", "").await;
    assert!(script.text.contains("/openapi.json"), "{}", script.text);
}
