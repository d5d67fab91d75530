//! Pages: safe headers, escaped text, and nothing for strangers.

use axum::body::Body;
use axum::http::Request;
use secrecy::ExposeSecret;

use crate::servers::{Answer, Server};

async fn get(server: &Server, path: &str, cookie: &str) -> Answer {
    let request = Request::get(path).header("accept", "text/html").header("cookie", cookie);
    server.send(request.body(Body::empty()).unwrap()).await
}

async fn submit(server: &Server, path: &str, cookie: &str, form: &str) -> Answer {
    let request = Request::post(path)
        .header("accept", "text/html")
        .header("cookie", cookie)
        .header("content-type", "application/x-www-form-urlencoded");
    server.send(request.body(Body::from(form.to_owned())).unwrap()).await
}

/// Signs in and returns the cookie and the page's form token.
async fn sign_in(server: &Server, customer: &str) -> (String, String) {
    let subject = engine::Subject::Own(customer.into());
    let link = server.engine.portal_sessions_create(&subject).await.unwrap();
    let path = format!("/portal/enter?token={}", link.token.expose_secret());
    let ahead = Request::head(&path).body(Body::empty()).unwrap();
    assert_eq!(server.send(ahead).await.status, 204, "a preview leaves the link alone");
    let answer = get(server, &path, "").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/portal"));
    let set = answer.header("set-cookie");
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let page = get(server, "/portal", &cookie).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let (_, rest) = page.text.split_once("name=\"csrf\" value=\"").expect("forms have a token");
    let csrf = rest.split('"').next().unwrap().to_owned();
    assert_eq!(get(server, &path, "").await.status, 401, "links work once");
    (cookie, csrf)
}

#[tokio::test]
async fn pages_carry_safe_headers() {
    let server = Server::start().await;
    for path in ["/", "/pricing", "/pay/success?session_id=cs_1", "/portal", "/nothing"] {
        let page = get(&server, path, "").await;
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert!(!page.header("referrer-policy").is_empty(), "{path}");
        assert!(page.text.contains("<html lang=\"en\">") && !page.text.contains("<script"));
        assert!(page.text.contains("<title>") && page.text.contains("viewport"), "{path}");
    }
    assert_eq!(get(&server, "/portal", "").await.header("cache-control"), "no-store");
    assert_eq!(get(&server, "/assets/tollgate.css", "").await.status, 200);
}

#[tokio::test]
async fn what_a_stranger_writes_is_escaped() {
    let server = Server::start().await;
    let path = "/pay/success?session_id=%3Cscript%3Ealert(1)%3C%2Fscript%3E%22";
    let page = get(&server, path, "").await;
    assert_eq!(page.status, 200);
    assert!(!page.text.contains("<script>"), "{}", page.text);
}

#[tokio::test]
async fn signing_in_and_out() {
    let server = Server::start().await;
    let (cookie, csrf) = sign_in(&server, "anna").await;
    assert_eq!(get(&server, "/portal", "tollgate_session=invented").await.status, 401);
    let forged = submit(&server, "/portal/sign-out", &cookie, "csrf=wrong").await;
    assert_eq!(forged.status, 403);
    assert_eq!(submit(&server, "/portal/sign-out", &cookie, "").await.status, 403);
    assert_eq!(submit(&server, "/portal/sign-out", "", "csrf=x").await.status, 401);
    assert_eq!(get(&server, "/portal", &cookie).await.status, 200);
    let gone = submit(&server, "/portal/sign-out", &cookie, &format!("csrf={csrf}")).await;
    assert_eq!(gone.status, 303);
    assert_eq!(get(&server, "/portal", &cookie).await.status, 401);
}

#[tokio::test]
async fn a_failed_purchase_is_told_in_the_page() {
    let server = Server::start().await;
    let page = submit(&server, "/pricing/checkout", "", "price=price_1").await;
    assert_eq!(page.status, 503);
    assert!(page.text.contains("role=\"alert\"") && page.text.contains("<h1>"), "{}", page.text);
}

#[tokio::test]
async fn features_are_shown_by_their_names() {
    let (server, _) = Server::with_provider().await;
    let page = get(&server, "/pricing", "").await;
    assert!(page.text.contains("<li>API access</li>"), "{}", page.text);
    assert!(page.text.contains("Knowledge base for 30 days"), "{}", page.text);
}

/// A guest's purchase of the pack, as a proxy passes it on.
async fn buy_pack(server: &Server, forwarded: &str, cookie: &str) -> Answer {
    let prices = server.engine.catalogue().await.unwrap();
    let pack = prices.iter().find(|one| one.product.name == "100 Credits").unwrap();
    let request = Request::post("/pricing/checkout")
        .header("accept", "text/html")
        .header("cookie", cookie)
        .header("x-forwarded-for", forwarded)
        .header("content-type", "application/x-www-form-urlencoded");
    let form = format!("price={}", pack.prices[0].id);
    server.send(request.body(Body::from(form)).unwrap()).await
}

#[tokio::test]
async fn guests_behind_our_proxy_are_limited_one_by_one() {
    let (server, _) = Server::with_provider().await;
    for number in 0..6 {
        // What stands to the left was written by the guest.
        let bought = buy_pack(&server, &format!("10.0.0.{number}, 192.0.2.1"), "").await;
        let expected = if number < 5 { 303 } else { 429 };
        assert_eq!(bought.status, expected, "{number}: {}", bought.text);
    }
    let other = buy_pack(&server, "192.0.2.1, 192.0.2.2", "").await;
    assert_eq!(other.status, 303, "{}", other.text);
}

#[tokio::test]
async fn a_guest_comes_back_to_our_own_pages() {
    let (server, base) = Server::with_provider().await;
    let bought = buy_pack(&server, "192.0.2.1", "").await;
    let kept = bought.header("set-cookie").to_owned();
    assert!(kept.starts_with("tollgate_checkout=") && kept.contains("Max-Age=86400"), "{kept}");
    let sessions = server::dev::local_client().unwrap().get(format!("{base}/v1/checkout/sessions"));
    let sessions = sessions.bearer_auth(crate::servers::PROVIDER_KEY).send().await.unwrap();
    let sessions: serde_json::Value = sessions.json().await.unwrap();
    let session = &sessions["data"][0];
    assert_eq!(session["cancel_url"], "http://shop.test/pay/cancel");
    let success = session["success_url"].as_str().unwrap();
    assert!(success.starts_with("http://shop.test/pay/success?session_id="), "{success}");
    let canceled = get(&server, "/pay/cancel", "").await;
    let page = get(&server, canceled.header("location"), "").await;
    assert!(page.text.contains("Nothing was charged."), "{}", page.text);
}
