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
