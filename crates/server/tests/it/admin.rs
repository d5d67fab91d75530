//! The operator's pages: only an admin key opens them, only our own forms change anything, and what
//! an event says is shown as text.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Request;
use domain::ids::{CustomerId, InboxEventId};
use secrecy::ExposeSecret;
use serde_json::json;
use store::api_keys::KeyScope;
use store::customers::Customer;
use store::inbox::{InboxEvent, InboxState};

use crate::servers::{Answer, Server};

pub async fn get(server: &Server, path: &str, cookie: &str) -> Answer {
    let request = Request::get(path).header("accept", "text/html").header("cookie", cookie);
    server.send(request.body(Body::empty()).unwrap()).await
}

async fn submit(server: &Server, path: &str, cookie: &str, form: &[(&str, &str)]) -> Answer {
    submit_from(server, path, cookie, form, "same-origin").await
}

async fn submit_from(
    server: &Server,
    path: &str,
    cookie: &str,
    form: &[(&str, &str)],
    site: &str,
) -> Answer {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::post(path)
        .header("accept", "text/html")
        .header("cookie", cookie)
        .header("sec-fetch-site", site)
        .header("content-type", "application/x-www-form-urlencoded");
    server.send(request.body(Body::from(body)).unwrap()).await
}

async fn key(server: &Server, scope: KeyScope) -> (String, String) {
    let (key, secret) = server.engine.api_keys_create("night shift", scope).await.unwrap();
    (key.id.to_string(), secret.expose_secret().to_owned())
}

fn csrf_of(page: &Answer) -> String {
    let (_, rest) = page.text.split_once("name=\"csrf\" value=\"").expect("forms have a token");
    rest.split('"').next().unwrap().to_owned()
}

/// A signed-in operator: the key's id, the cookie, the forms' token.
pub async fn operator(server: &Server) -> (String, String, String) {
    let (id, secret) = key(server, KeyScope::Admin).await;
    let answer = submit(server, "/admin/sign-in", "", &[("key", &secret)]).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/admin"));
    let set = answer.header("set-cookie").to_owned();
    let cookie = set.split(';').next().unwrap().to_owned();
    let page = get(server, "/admin", &cookie).await;
    assert_eq!(page.status, 200, "{}", page.text);
    (id, cookie, csrf_of(&page))
}

pub struct Told<'a> {
    name: &'a str,
    kind: &'a str,
    key: &'a str,
    state: InboxState,
    reason: &'a str,
    payload: String,
}

/// An event as the door would have stored it.
pub async fn told(server: &Server, told: Told<'_>) -> String {
    let now = server.engine.clock().wall();
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    let row = InboxEvent {
        id: InboxEventId::new(now, random),
        provider: "stripe".into(),
        provider_event_id: told.name.into(),
        kind: told.kind.into(),
        ordering_key: told.key.into(),
        object_id: Some(format!("in_of_{}", told.name)),
        api_version: Some("2025-03-31.basil".into()),
        payload: told.payload.into_bytes(),
        headers: Some(
            json!({ "user-agent": "Tests/1.0", "stripe-signature": "t=1,v1=0" }).to_string(),
        ),
        state: told.state,
        reason: Some(told.reason.to_owned()).filter(|text| !text.is_empty()),
        attempts: 0,
        lease_token: 0,
        occurred_at: now,
        received_at: now,
        applied_at: None,
    };
    let mut tx = server.engine.store().begin("test").await.unwrap();
    assert!(tx.inbox_insert(&row).await.unwrap());
    tx.commit().await.unwrap();
    row.id.to_string()
}

pub fn parked(name: &str) -> Told<'_> {
    Told {
        name,
        kind: "invoice.paid",
        key: "cus_theirs",
        state: InboxState::Parked,
        reason: "price price_1 is not known",
        payload: json!({ "id": name, "object": "event" }).to_string(),
    }
}

#[tokio::test]
async fn only_an_admin_key_opens_the_operators_pages() {
    let server = Server::start().await;
    for path in [
        "/admin",
        "/admin/events",
        "/admin/events/inbox_1",
        "/admin/calls",
        "/admin/deliveries",
        "/admin/sync-runs",
        "/admin/audits",
    ] {
        for cookie in ["", "tollgate_admin=invented"] {
            let page = get(&server, path, cookie).await;
            assert_eq!(page.status, 401, "{path}");
            assert!(page.text.contains("name=\"key\" type=\"password\""), "{path}");
            assert!(page.text.contains(&format!("name=\"next\" value=\"{path}\"")), "{path}");
            assert_eq!(page.header("cache-control"), "no-store");
        }
    }
    let (_, server_key) = key(&server, KeyScope::Server).await;
    for wrong in ["", "sk_test_invented", server_key.as_str(), server.key.as_str()] {
        let refused = submit(&server, "/admin/sign-in", "", &[("key", wrong)]).await;
        assert_eq!(refused.status, 401);
        assert!(refused.header("set-cookie").is_empty());
        assert!(refused.text.contains("That is no valid admin key."), "{}", refused.text);
        assert!(wrong.is_empty() || !refused.text.contains(wrong), "a key is never shown");
    }
    // An admin key opens the API too; the session's cookie does not.
    let (_, admin) = key(&server, KeyScope::Admin).await;
    assert_eq!(server.call("GET", "/v1/events", &admin, "").await.status, 200);
    let (_, cookie, _) = operator(&server).await;
    assert_eq!(get(&server, "/v1/events", &cookie).await.status, 401);
}

#[tokio::test]
async fn signing_in_keeps_the_cookie_from_scripts_and_other_sites() {
    let server = Server::start().await;
    let (_, secret) = key(&server, KeyScope::Admin).await;
    let form = [("key", secret.as_str()), ("next", "/admin/events?state=parked")];
    let answer = submit(&server, "/admin/sign-in", "", &form).await;
    assert_eq!(answer.header("location"), "/admin/events?state=parked");
    let set = answer.header("set-cookie");
    for part in ["tollgate_admin=", "Path=/admin", "HttpOnly", "SameSite=Strict"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains(&secret));
    for next in ["https://elsewhere.test/", "//elsewhere.test", "/admin//elsewhere.test", "/"] {
        let form = [("key", secret.as_str()), ("next", next)];
        let answer = submit(&server, "/admin/sign-in", "", &form).await;
        assert_eq!(answer.header("location"), "/admin", "{next}");
    }
    let form = [("key", secret.as_str())];
    let foreign = submit_from(&server, "/admin/sign-in", "", &form, "cross-site").await;
    assert_eq!(foreign.status, 403);
    assert!(foreign.header("set-cookie").is_empty());
}

#[tokio::test]
async fn guessing_is_slowed_down_by_address() {
    let server = Server::start().await;
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let answer = submit(&server, "/admin/sign-in", "", &[("key", "sk_test_wrong")]).await;
        statuses.push(answer.status.as_u16());
        if answer.status == 429 {
            assert!(!answer.header("retry-after").is_empty());
        }
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses[10..], [429; 2]);
}

#[tokio::test]
async fn a_session_ends_with_its_sign_out_or_its_key() {
    let server = Server::start().await;
    let (_, cookie, csrf) = operator(&server).await;
    let out = submit(&server, "/admin/sign-out", &cookie, &[("csrf", &csrf)]).await;
    assert_eq!((out.status.as_u16(), out.header("location")), (303, "/admin"));
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(get(&server, "/admin", &cookie).await.status, 401);

    let (id, cookie, _) = operator(&server).await;
    assert_eq!(get(&server, "/admin", &cookie).await.status, 200);
    server.engine.api_keys_revoke(&id).await.unwrap();
    assert_eq!(get(&server, "/admin", &cookie).await.status, 401, "its key was revoked");
}

#[tokio::test]
async fn a_form_without_our_token_changes_nothing() {
    let server = Server::start().await;
    let (_, cookie, csrf) = operator(&server).await;
    let id = told(&server, parked("evt_1")).await;
    let other = operator(&server).await;
    for path in [
        format!("/admin/events/{id}/replay"),
        format!("/admin/events/{id}/ignore"),
        "/admin/events/replay".to_owned(),
        "/admin/sign-out".to_owned(),
    ] {
        for forged in ["", "forged", other.2.as_str()] {
            let answer = submit(&server, &path, &cookie, &[("csrf", forged)]).await;
            assert_eq!(answer.status, 403, "{path}");
        }
        for site in ["cross-site", "same-site"] {
            let answer = submit_from(&server, &path, &cookie, &[("csrf", &csrf)], site).await;
            assert_eq!(answer.status, 403, "{path} from {site}");
        }
        let stranger = submit(&server, &path, "", &[("csrf", &csrf)]).await;
        assert_eq!(stranger.status, 401, "{path}");
    }
    let detail = server.engine.event_detail(&id).await.unwrap();
    assert_eq!(detail.event.state, InboxState::Parked);
    assert!(detail.audits.is_empty());
    assert_eq!(get(&server, "/admin", &cookie).await.status, 200, "nobody was signed out");
}

#[tokio::test]
async fn replay_and_ignore_say_what_they_did_and_who_did_it() {
    let server = Server::start().await;
    let (key_id, cookie, csrf) = operator(&server).await;
    let first = told(&server, parked("evt_1")).await;
    let page = get(&server, "/admin/events/evt_1", &cookie).await;
    for part in ["price price_1 is not known", "Tests/1.0", "2025-03-31.basil", "parked", &first] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    let form = [("csrf", csrf.as_str()), ("reason", "the price is there now")];
    let path = format!("/admin/events/{first}/replay");
    let answer = submit(&server, &path, &cookie, &form).await;
    let expected = format!("/admin/events/{first}?done=replayed");
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, expected.as_str()));
    let page = get(&server, &expected, &cookie).await;
    let written = "the price is there now (was parked: price price_1 is not known)";
    for part in ["The event is in line again.", "event.replay", "night shift", &key_id, written] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    let again = submit(&server, &path, &cookie, &form).await;
    assert_eq!(again.status, 409);
    assert!(again.text.contains("The event is due already."), "{}", again.text);

    let form = [("csrf", csrf.as_str()), ("reason", "a <b>test</b>")];
    let path = format!("/admin/events/{first}/ignore");
    assert_eq!(submit(&server, &path, &cookie, &form).await.status, 303);
    let page = get(&server, &format!("/admin/events/{first}?done=ignored"), &cookie).await;
    assert!(page.text.contains("set aside by an operator: a &lt;b&gt;test&lt;/b&gt;"));
    let long = "x".repeat(300);
    let form = [("csrf", csrf.as_str()), ("reason", long.as_str())];
    let refused = submit(&server, &format!("/admin/events/{first}/replay"), &cookie, &form).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    let log = get(&server, "/admin/audits", &cookie).await;
    for part in ["event.replay", "event.ignore", "admin.sign_in"] {
        assert!(log.text.contains(part), "{part}");
    }
    let missing = get(&server, "/admin/events/evt_nothing", &cookie).await;
    assert_eq!(missing.status, 404);
    assert!(missing.text.contains("No such event."), "{}", missing.text);
}

#[tokio::test]
async fn all_parked_events_of_a_kind_and_reason_are_replayed_at_once() {
    let server = Server::start().await;
    let (_, cookie, csrf) = operator(&server).await;
    for number in 1..=3 {
        told(&server, parked(&format!("evt_{number}"))).await;
    }
    let reason = "another reason";
    told(&server, Told { reason, ..parked("evt_other") }).await;
    let page = get(&server, "/admin", &cookie).await;
    assert!(page.text.contains("Replay all 3 of invoice.paid"), "{}", page.text);
    let form = [
        ("csrf", csrf.as_str()),
        ("kind", "invoice.paid"),
        ("parked_because", "price price_1 is not known"),
    ];
    let answer = submit(&server, "/admin/events/replay", &cookie, &form).await;
    assert_eq!(answer.header("location"), "/admin?done=all");
    let page = get(&server, "/admin?done=all", &cookie).await;
    assert!(page.text.contains("in line again"), "{}", page.text);
    assert!(page.text.contains("another reason") && !page.text.contains("price_1"));
    for (name, state) in [("evt_1", InboxState::Pending), ("evt_other", InboxState::Parked)] {
        let detail = server.engine.event_detail(name).await.unwrap();
        assert_eq!(detail.event.state, state, "{name}");
    }
    let detail = server.engine.event_detail("evt_3").await.unwrap();
    assert_eq!(detail.audits.len(), 1, "each event knows what was done to it");
}

#[tokio::test]
async fn what_an_event_says_is_text() {
    let server = Server::start().await;
    let (_, cookie, _) = operator(&server).await;
    let evil = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'";
    let payload = json!({ "id": "evt_evil", "type": evil, "data": { "object": { "n": evil } } });
    let id = told(
        &server,
        Told {
            kind: evil,
            key: evil,
            reason: evil,
            payload: payload.to_string(),
            ..parked("evt_evil")
        },
    )
    .await;
    let search = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect::<String>();
    for path in [
        "/admin".to_owned(),
        "/admin/events".to_owned(),
        format!("/admin/events/{id}"),
        format!("/admin/events?kind={search}&about={search}&customer={search}&state={search}"),
        format!("/admin/events?cursor={search}"),
        format!("/admin/events/{search}"),
        format!("/admin?done={search}"),
    ] {
        let page = get(&server, &path, &cookie).await;
        assert!(page.status.as_u16() < 500, "{path}: {}", page.status);
        for part in ["<script", "<img", "onerror=alert(2)>"] {
            assert!(!page.text.contains(part), "{path}: {}", page.text);
        }
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
    }
    let page = get(&server, &format!("/admin/events/{id}"), &cookie).await;
    assert!(page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{}", page.text);
}

#[tokio::test]
async fn the_list_is_filtered_and_paged() {
    let server = Server::start().await;
    let (_, cookie, _) = operator(&server).await;
    let now = server.engine.clock().wall();
    let customer = Customer {
        id: CustomerId::new(now, [7; 10]),
        external_id: Some("anna".into()),
        email: None,
        name: None,
        metadata: BTreeMap::new(),
        created_at: now,
        updated_at: now,
    };
    let mut tx = server.engine.store().begin("test").await.unwrap();
    tx.customers_insert(&customer).await.unwrap();
    tx.customers_link("stripe", "cus_anna", &customer.id, 0, now).await.unwrap();
    tx.commit().await.unwrap();
    let applied = InboxState::Applied;
    told(&server, Told { key: "cus_anna", state: applied, reason: "", ..parked("evt_anna") }).await;
    for number in 0..60 {
        told(&server, parked(&format!("evt_{number}"))).await;
    }
    let rows = |page: &Answer| page.text.matches("href=\"/admin/events/inbox_").count();
    let all = get(&server, "/admin/events", &cookie).await;
    assert_eq!(rows(&all), 50, "{}", all.text);
    let (_, rest) = all.text.split_once("<a href=\"/admin/events?cursor=").expect("there is more");
    let older = format!("/admin/events?cursor={}", rest.split('"').next().unwrap());
    assert_eq!(rows(&get(&server, &older, &cookie).await), 11);
    for (query, expected) in [
        ("state=applied", 1),
        ("customer=anna", 1),
        ("customer=cus_anna", 1),
        ("customer=nobody", 0),
        ("state=applied&kind=invoice.*&customer=anna&about=", 1),
        ("kind=charge.*", 0),
        ("about=evt_7", 1),
        ("about=in_of_evt_7&state=parked", 1),
    ] {
        let page = get(&server, &format!("/admin/events?{query}"), &cookie).await;
        assert_eq!((page.status.as_u16(), rows(&page)), (200, expected), "{query}");
    }
    let wrong = get(&server, "/admin/events?state=lost", &cookie).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text.contains("State must be pending"), "{}", wrong.text);
}

#[tokio::test]
async fn the_api_shows_and_does_the_same() {
    let server = Server::start().await;
    told(&server, parked("evt_1")).await;
    let listed = server.call("GET", "/v1/events?state=parked", &server.key, "").await.json();
    assert_eq!(listed["data"][0]["reason"], "price price_1 is not known");
    assert!(listed["data"][0].get("payload").is_none(), "lists hold no personal data");
    let one = server.call("GET", "/v1/events/evt_1", &server.key, "").await.json();
    assert_eq!(one["payload"]["id"], "evt_1");
    assert_eq!(one["headers"]["user-agent"], "Tests/1.0");
    let body = r#"{"reason":"mended"}"#;
    let replayed = server.call("POST", "/v1/events/evt_1/replay", &server.key, body).await;
    assert_eq!(replayed.status, 200, "{}", replayed.text);
    let replayed = replayed.json();
    assert_eq!(replayed["state"], "pending");
    assert_eq!(replayed["audits"][0]["actor_name"], "tests");
    assert_eq!(replayed["audits"][0]["action"], "event.replay");
    let ignored = server.call("POST", "/v1/events/evt_1/ignore", &server.key, "").await;
    assert_eq!(ignored.json()["state"], "ignored", "{}", ignored.text);
    let unknown = server.call("POST", "/v1/events/evt_1/ignore", &server.key, r#"{"x":1}"#).await;
    assert_eq!(unknown.status, 422);
    told(&server, parked("evt_2")).await;
    let body = r#"{"kind":"invoice.paid","reason":"all of them"}"#;
    let done = server.call("POST", "/v1/events/replay", &server.key, body).await;
    assert_eq!(done.json(), json!({ "replayed": 1, "more": false }), "{}", done.text);
}
