//! The webhook door: what is proven is stored and acknowledged, everything else is refused.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use server::limits::WEBHOOK_BODY_BYTES;

use crate::servers::{Answer, Server, WEBHOOK_SECRETS, token};

/// Where the three seeds have it.
pub const DOORS: [&str; 3] =
    ["/payments/webhook", "/api/v1/webhooks/stripe", "/api/webhooks/stripe"];
const OLD: &str = WEBHOOK_SECRETS[0];
const NEW: &str = WEBHOOK_SECRETS[1];

fn mac(secret: &str, at: i64, body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// A header as the provider makes it now, or so many seconds from now.
pub fn signature(server: &Server, secret: &str, body: &str, age_seconds: i64) -> String {
    let at = server.engine.clock().wall().seconds() - age_seconds;
    format!("t={at},v1={}", mac(secret, at, body))
}

async fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::builder().method("POST").uri(path);
    for (name, value) in headers {
        request = request.header(*name, value.as_bytes());
    }
    server.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// One delivery as the provider makes it.
pub async fn deliver(server: &Server, body: &str) -> Answer {
    let header = signature(server, NEW, body, 0);
    post(server, DOORS[0], &[("stripe-signature", &header)], body).await
}

/// An event that nothing follows from.
fn event(id: &str, kind: &str) -> Value {
    json!({
        "id": id, "object": "event", "type": kind, "created": 1_790_000_000, "livemode": false,
        "data": {"object": {"id": "x_1", "object": "thing"}},
    })
}

async fn stored(server: &Server, id: &str) -> Option<(String, Option<String>)> {
    let row = server.engine.events_get(id).await.ok()?;
    Some((row.state.as_str().to_owned(), row.reason))
}

#[tokio::test]
async fn pitfall_001_the_signature_is_over_the_bytes_as_they_came() {
    let server = Server::start().await;
    let odd = "{ \"data\" :{\"object\":{ \"object\":\"thing\",\"name\":\"Andr\\u00e9\",\n\t\"id\":\
               \"x\"}},\"created\":1790000000 ,\"type\":\"foo.bar\",\"id\":\"evt_odd\"}\n";
    let header = signature(&server, NEW, odd, 0);
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(odd).unwrap());
    let answer = post(&server, DOORS[0], &[("stripe-signature", &header)], &pretty.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "invalid_signature".into()));
    assert_eq!(stored(&server, "evt_odd").await, None);
    let answer = post(&server, DOORS[0], &[("stripe-signature", &header)], odd).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let row = server.engine.events_get("evt_odd").await.unwrap();
    assert_eq!(row.payload, odd.as_bytes(), "what was proven is what is kept");
}

#[tokio::test]
async fn pitfall_003_and_row_8_a_secret_is_taken_away_without_losing_events() {
    let server = Server::start().await;
    let (first, second) = (event("evt_1", "foo").to_string(), event("evt_2", "foo").to_string());
    for (secret, body) in [(OLD, &first), (NEW, &second)] {
        let header = signature(&server, secret, body, 0);
        let answer = post(&server, DOORS[0], &[("stripe-signature", &header)], body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let server = server.again(&[NEW]).await;
    let third = event("evt_3", "foo").to_string();
    let header = signature(&server, OLD, &third, 0);
    let answer = post(&server, DOORS[0], &[("stripe-signature", &header)], &third).await;
    assert_eq!(answer.status, 400);
    assert_eq!(deliver(&server, &third).await.status, 200);
    for id in ["evt_1", "evt_2", "evt_3"] {
        assert!(stored(&server, id).await.is_some(), "{id}");
    }
}

#[tokio::test]
async fn pitfall_005_no_header_is_answered_at_once() {
    let server = Server::start().await;
    let body = event("evt_bare", "foo").to_string();
    for door in DOORS {
        let started = Instant::now();
        let answer = post(&server, door, &[], &body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "invalid_signature".into()));
        assert!(started.elapsed() < Duration::from_secs(1), "{door}");
    }
    assert_eq!(stored(&server, "evt_bare").await, None);
}

#[tokio::test]
async fn pitfall_004_a_bad_header_is_answered_at_once() {
    let server = Server::start().await;
    let body = event("evt_bad", "foo").to_string();
    let good = signature(&server, NEW, &body, 0);
    let (time, sign) = good.split_once(',').unwrap();
    let long = "x".repeat(10_000);
    let cases = [
        String::new(),
        sign.to_owned(),
        format!("t=abc,{sign}"),
        format!("{time},{time},{sign}"),
        format!("{time}, {sign}"),
        format!("{time},v1=zz"),
        format!("{good},x={long}"),
        "\u{e9}\u{e9}".to_owned(),
        format!("{time},{}", sign.replace("v1=", "v0=")),
    ];
    for door in DOORS {
        for case in &cases {
            let started = Instant::now();
            let answer = post(&server, door, &[("stripe-signature", case)], &body).await;
            assert_eq!(answer.status, 400, "{door} {case}: {}", answer.text);
            assert!(started.elapsed() < Duration::from_secs(1), "{case}");
        }
    }
    assert_eq!(stored(&server, "evt_bad").await, None);
    let several = format!("{time},v1=bad,x1=unknown,{sign},v1=");
    let answer = post(&server, DOORS[0], &[("stripe-signature", &several)], &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn pitfall_006_and_row_50_nothing_switches_the_proof_off() {
    let server = Server::start().await;
    let without = server.again(&[]).await;
    let empty = server.again(&[""]).await;
    let body = event("evt_unproven", "checkout.session.completed").to_string();
    for (secret, server) in [(NEW, &without), ("", &without), (NEW, &empty), ("", &empty)] {
        let header = signature(server, secret, &body, 0);
        let answer = post(server, DOORS[0], &[("stripe-signature", &header)], &body).await;
        assert_eq!(answer.status, 400, "{secret:?}: {}", answer.text);
    }
    let key = format!("Bearer {}", server.key);
    let user = format!("Bearer {}", token("anna"));
    let forged = signature(&server, "whsec_forged", &body, 0);
    for headers in [
        vec![("authorization", key.as_str())],
        vec![("authorization", &user)],
        vec![("cookie", "debug=1; stripe-signature=off")],
        vec![("x-webhook-secret", "whsec_forged"), ("stripe-signature", &forged)],
        vec![("stripe-webhook-secret", "whsec_forged"), ("stripe-signature", &forged)],
    ] {
        for door in DOORS {
            let path = format!("{door}?verify=false&debug=1&secret=whsec_forged");
            let answer = post(&server, &path, &headers, &body).await;
            assert_eq!(answer.status, 400, "{headers:?}: {}", answer.text);
        }
    }
    assert_eq!(stored(&server, "evt_unproven").await, None);
}

#[tokio::test]
async fn pitfall_007_a_retry_is_signed_anew_and_old_proof_is_refused() {
    let server = Server::start().await;
    let body = event("evt_again", "foo").to_string();
    for (age, expected) in [(299, 200), (301, 400), (-301, 400), (0, 200), (-299, 200)] {
        let header = signature(&server, NEW, &body, age);
        let answer = post(&server, DOORS[0], &[("stripe-signature", &header)], &body).await;
        assert_eq!(answer.status, expected, "{age}: {}", answer.text);
    }
    let page = engine::Page::new(Some(100), None).unwrap();
    assert_eq!(server.engine.events_list(page, None).await.unwrap().data.len(), 1);
}

#[tokio::test]
async fn pitfall_008_neither_sign_in_nor_limit_nor_redirect_stands_in_the_way() {
    let server = Server::start().await;
    for door in DOORS {
        for path in [door.to_owned(), format!("{door}/")] {
            let body = event(&format!("evt_{}", path.replace('/', "_")), "foo").to_string();
            let header = signature(&server, NEW, &body, 0);
            let answer = post(&server, &path, &[("stripe-signature", &header)], &body).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
    }
    let started = Instant::now();
    for number in 0..500 {
        let answer = deliver(&server, &event(&format!("evt_{number}"), "foo").to_string()).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.text);
    }
    println!("500 events took {:?}", started.elapsed());
}

#[tokio::test]
async fn pitfall_009_proxy_headers_are_nobodys_business() {
    let server = Server::start().await;
    let many = vec!["10.0.0.1"; 20].join(", ");
    for (number, forwarded) in
        ["1.2.3.4:5678", "[::1]:80", "::1", "garbage \u{7f}", ",,,", "", &many].iter().enumerate()
    {
        let body = event(&format!("evt_{number}"), "foo").to_string();
        let header = signature(&server, NEW, &body, 0);
        // DEL is no character of a header; what reaches us is what a server would let through.
        let forwarded = forwarded.replace('\u{7f}', "?");
        let headers = [
            ("stripe-signature", header.as_str()),
            ("x-forwarded-for", &forwarded),
            ("x-real-ip", &forwarded),
            ("forwarded", "for=\"_hidden\";;proto=gopher"),
            ("x-forwarded-proto", "gopher"),
        ];
        let answer = post(&server, DOORS[0], &headers, &body).await;
        assert_eq!(answer.status, 200, "{forwarded}: {}", answer.text);
    }
}

#[tokio::test]
async fn pitfall_010_and_row_55_unknown_kinds_are_stored_and_ignored() {
    let server = Server::start().await;
    let kinds = [
        "foo.bar.baz",
        "radar.early_fraud_warning.created",
        "customer.moon_phase.changed",
        "v1.something.brand_new",
        "invoice_rendering_template.archived",
    ];
    for kind in kinds {
        let id = format!("evt_{kind}");
        let answer = deliver(&server, &event(&id, kind).to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"received": true})));
        let (state, reason) = stored(&server, &id).await.unwrap();
        assert_eq!(state, "ignored", "{kind}: {reason:?}");
        assert!(reason.is_some(), "{kind}");
    }
    assert!(!server.engine.apply_next().await.unwrap(), "nothing of it is to be done");
}

#[tokio::test]
async fn pitfall_011_events_without_an_object_id_are_stored_and_ignored() {
    let server = Server::start().await;
    for (kind, object) in [
        ("invoice.upcoming", json!({"object": "invoice", "customer": "cus_1", "lines": {}})),
        ("balance.available", json!({"object": "balance", "available": []})),
        ("balance.available", Value::Null),
    ] {
        let mut told = event(&format!("evt_{}_{kind}", object.is_null()), kind);
        told["data"]["object"] = object;
        assert_eq!(deliver(&server, &told.to_string()).await.status, 200, "{kind}");
        let (state, _) = stored(&server, told["id"].as_str().unwrap()).await.unwrap();
        assert_eq!(state, "ignored", "{kind}");
    }
    assert!(!server.engine.apply_next().await.unwrap(), "nothing is tried again");
}

#[tokio::test]
async fn pitfall_012_a_silent_provider_does_not_slow_the_door() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    // It takes every call and never answers.
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let key = crate::servers::PROVIDER_KEY.to_owned().into();
    let server = Server::with_client(server::serve::client(key, &base).unwrap()).await;
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let engine = server.engine.clone();
    tokio::spawn(async move { engine.run(stopped).await });
    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        // What a thin event is about has to be fetched.
        let mut told = event(&format!("evt_{number}"), "v1.customer.subscription.updated");
        told["object"] = json!("v2.core.event");
        told["related_object"] = json!({"id": format!("sub_{number}"), "type": "subscription"});
        let started = Instant::now();
        assert_eq!(deliver(&server, &told.to_string()).await.status, 200);
        slowest = slowest.max(started.elapsed());
    }
    println!("slowest of 20 acknowledgements: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let (state, _) = stored(&server, "evt_0").await.unwrap();
    assert_eq!(state, "pending", "nothing was made up");
}

#[tokio::test]
async fn row_48_three_addresses_lead_to_one_intake() {
    let server = Server::start().await;
    let body = event("evt_three", "foo.bar").to_string();
    let header = signature(&server, NEW, &body, 0);
    let long = json!({"received": true, "status": "success", "event_type": "foo.bar"});
    for (door, expected) in DOORS.into_iter().zip([json!({"received": true}), long.clone(), long]) {
        for path in [door.to_owned(), format!("{door}/")] {
            let answer = post(&server, &path, &[("stripe-signature", &header)], &body).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (200, expected.clone()), "{path}");
        }
    }
    let page = engine::Page::new(Some(100), None).unwrap();
    assert_eq!(server.engine.events_list(page, None).await.unwrap().data.len(), 1);
}

#[tokio::test]
async fn row_49_one_changed_byte_is_refused() {
    let server = Server::start().await;
    let body = event("evt_changed", "foo").to_string();
    let good = signature(&server, NEW, &body, 0);
    let old = signature(&server, NEW, &body, 360);
    let other = signature(&server, "whsec_other", &body, 0);
    let changed = body.replace("x_1", "x_2");
    let cases =
        [(&changed, Some(&good)), (&body, None), (&body, Some(&other)), (&body, Some(&old))];
    for door in DOORS {
        for (body, header) in cases {
            let headers: Vec<_> =
                header.iter().map(|header| ("stripe-signature", header.as_str())).collect();
            let answer = post(&server, door, &headers, body).await;
            assert_eq!(answer.status, 400, "{door}: {}", answer.text);
            assert!(answer.json()["detail"].is_string(), "{}", answer.text);
        }
    }
    assert_eq!(stored(&server, "evt_changed").await, None);
}

#[tokio::test]
async fn row_58_a_body_over_the_limit_is_refused() {
    let server = Server::start().await;
    let mut large = event("evt_large", "foo");
    large["data"]["object"]["padding"] = json!("x".repeat(WEBHOOK_BODY_BYTES));
    for door in DOORS {
        let body = large.to_string();
        let header = signature(&server, NEW, &body, 0);
        let answer = post(&server, door, &[("stripe-signature", &header)], &body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (413, "payload_too_large".into()));
    }
    assert_eq!(stored(&server, "evt_large").await, None);
    large["data"]["object"]["padding"] = json!("x".repeat(WEBHOOK_BODY_BYTES - 1_000));
    assert_eq!(deliver(&server, &large.to_string()).await.status, 200);
}

#[tokio::test]
async fn row_59_the_log_tells_what_became_of_an_event() {
    let server = Server::start().await;
    deliver(&server, &event("evt_logged", "foo.bar").to_string()).await;
    deliver(&server, &event("evt_poison", "invoice.paid").to_string()).await;
    let path = "/v1/events/evt_logged";
    assert_eq!(server.call("GET", path, "", "").await.status, 401);
    assert_eq!(server.call("GET", path, &token("anna"), "").await.status, 403);
    let told = server.call("GET", path, &server.key, "").await.json();
    assert_eq!(
        (&told["provider_event_id"], &told["kind"]),
        (&json!("evt_logged"), &json!("foo.bar"))
    );
    assert_eq!((&told["state"], &told["attempts"]), (&json!("ignored"), &json!(0)));
    for time in ["received_at", "applied_at", "occurred_at"] {
        assert!(told[time].is_string(), "{time}: {told}");
    }
    assert!(told["reason"].is_string(), "{told}");
    let parked = server.call("GET", "/v1/events?state=parked", &server.key, "").await.json();
    assert_eq!(parked["data"][0]["provider_event_id"], "evt_poison", "{parked}");
    assert!(!parked.to_string().contains("\"payload\""), "it holds personal data");
    let path = format!("/v1/events/{}", told["id"].as_str().unwrap());
    assert_eq!(server.call("GET", &path, &server.key, "").await.json()["kind"], "foo.bar");
}

#[tokio::test]
async fn what_is_no_event_is_refused_even_if_it_is_proven() {
    let server = Server::start().await;
    let deep = "[".repeat(50_000);
    for body in
        ["", "not an event", "{}", "[]", "null", "\"evt\"", "{\"id\":7,\"type\":\"x\"}", &deep]
    {
        let answer = deliver(&server, body).await;
        let found = (answer.status.as_u16(), answer.code());
        assert_eq!(found, (400, "invalid_payload".into()), "{}", answer.text);
    }
}
