//! Outgoing webhooks through the API: endpoints, their secrets, and what was delivered to them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::servers::Server;

type Inbox = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// A server of the merchant's that takes everything.
async fn receiver() -> (String, Inbox) {
    let inbox = Inbox::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let take = |State(inbox): State<Inbox>, headers: HeaderMap, body: String| async move {
        let message = serde_json::from_str(&body).unwrap();
        inbox.lock().unwrap().push((headers, message));
    };
    let router = Router::new().fallback(take).with_state(inbox.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, inbox)
}

async fn call(server: &Server, method: &str, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = server.call(method, path, &server.key, &body).await;
    let value = if answer.text.is_empty() { Value::Null } else { answer.json() };
    (answer.status.as_u16(), value)
}

#[tokio::test]
async fn an_endpoint_lives_from_its_secret_to_its_end() {
    let server = Server::start().await;
    let (url, inbox) = receiver().await;
    let new = json!({ "url": url, "kinds": ["invoice.paid"], "description": "the shop" });
    let (status, made) = call(&server, "POST", "/v1/webhook-endpoints", new).await;
    assert_eq!(status, 201, "{made}");
    assert!(made["secret"].as_str().unwrap().starts_with("hooksec_"), "{made}");
    let path = format!("/v1/webhook-endpoints/{}", made["id"].as_str().unwrap());
    let (_, shown) = call(&server, "GET", &path, Value::Null).await;
    assert_eq!(shown["secret"], Value::Null, "a secret is shown once");
    assert_eq!((&shown["status"], &shown["kinds"]), (&json!("enabled"), &json!(["invoice.paid"])));
    let (_, list) = call(&server, "GET", "/v1/webhook-endpoints", Value::Null).await;
    assert_eq!(list["data"], json!([shown]));

    let (status, delivery) = call(&server, "POST", &format!("{path}/test"), json!({})).await;
    assert_eq!((status, &delivery["state"]), (202, &json!("pending")), "{delivery}");
    server.engine.deliver_due().await.unwrap();
    let (headers, message) = inbox.lock().unwrap()[0].clone();
    assert!(headers["tollgate-signature"].to_str().unwrap().starts_with("t="));
    assert_eq!(message["id"], delivery["notification"]);
    let notification = format!("/v1/notifications/{}", delivery["notification"].as_str().unwrap());
    let (_, told) = call(&server, "GET", &notification, Value::Null).await;
    assert_eq!(told["notification"], message, "what is shown is what was sent");
    assert_eq!(told["deliveries"][0]["state"], "delivered");

    let again = format!("/v1/deliveries/{}/redeliver", delivery["id"].as_str().unwrap());
    assert_eq!(call(&server, "POST", &again, json!({})).await.0, 202);
    let (status, pending) = call(&server, "POST", &again, json!({})).await;
    assert_eq!((status, &pending["code"]), (409, &json!("delivery_pending")));
    let off = json!({ "status": "disabled" });
    let (_, changed) = call(&server, "PATCH", &path, off).await;
    assert_eq!((&changed["status"], &changed["url"]), (&json!("disabled"), &made["url"]));
    server.engine.deliver_due().await.unwrap();
    assert_eq!(inbox.lock().unwrap().len(), 1);
    let failed = format!("/v1/deliveries?receiver={}&state=failed", made["id"].as_str().unwrap());
    let (_, failed) = call(&server, "GET", &failed, Value::Null).await;
    assert_eq!(failed["data"][0]["error"], "the endpoint is disabled");

    let rotate = format!("{path}/rotate-secret");
    let (_, rotated) = call(&server, "POST", &rotate, json!({ "keep_previous_seconds": 0 })).await;
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(call(&server, "DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(call(&server, "DELETE", &path, Value::Null).await.0, 404);
}

#[tokio::test]
async fn what_an_endpoint_cannot_be_is_refused_by_name() {
    let server = Server::start().await;
    let url = "https://shop.example.com/hook";
    let cases = [
        (json!({ "url": "shop.example.com" }), "url"),
        (json!({ "url": "ftp://shop.example.com" }), "url"),
        (json!({ "url": "https://me:secret@shop.example.com" }), "url"),
        (json!({ "url": url, "kinds": [] }), "kinds"),
        (json!({ "url": url, "kinds": ["invoice.shredded"] }), "kinds"),
        (json!({ "url": url, "description": "" }), "description"),
        (json!({ "url": url, "secret": "mine" }), "secret"),
    ];
    for (body, param) in cases {
        let (status, refused) = call(&server, "POST", "/v1/webhook-endpoints", body.clone()).await;
        assert_eq!((status, &refused["param"]), (422, &json!(param)), "{body} {refused}");
    }
    for count in 0..16 {
        let body = json!({ "url": url });
        let (status, _) = call(&server, "POST", "/v1/webhook-endpoints", body).await;
        assert_eq!(status, 201, "{count}");
    }
    let (status, full) =
        call(&server, "POST", "/v1/webhook-endpoints", json!({ "url": url })).await;
    assert_eq!((status, &full["code"]), (409, &json!("too_many_endpoints")));
    for query in ["receiver=anna", "state=lost", "limit=0"] {
        let (status, _) =
            call(&server, "GET", &format!("/v1/deliveries?{query}"), Value::Null).await;
        assert_eq!(status, 422, "{query}");
    }
    for query in ["kind=nothing", "kind=invoice.paid&customer=anna"] {
        let path = format!("/v1/notifications?{query}");
        assert_eq!(call(&server, "GET", &path, Value::Null).await.0, 422, "{query}");
    }
    let unknown = "/v1/notifications?customer=nobody";
    assert_eq!(call(&server, "GET", unknown, Value::Null).await.0, 404);
    assert_eq!(call(&server, "GET", "/v1/notifications/event_1", Value::Null).await.0, 404);
}
