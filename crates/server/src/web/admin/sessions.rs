//! Signing in to the operator's pages with an admin key, which no address ever holds.

use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use secrecy::ExposeSecret;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::sessions::{foreign_form, is_foreign};
use super::{AdminForm, SignedIn};
use crate::App;
use crate::problem::Problem;
use crate::requests::Form;
use crate::web::layout::{Page, Privacy, alert};
use crate::web::pricing::guest_address;
use crate::web::sessions::Cookie;

/// What the sign-in form sends.
#[derive(Deserialize, ToSchema)]
pub struct SignInForm {
    #[serde(default)]
    key: String,
    /// Where the operator wanted to go.
    #[serde(default)]
    next: String,
}

/// The page of whoever is not signed in.
pub(super) fn form(next: &str, message: Markup) -> Page<'static> {
    let body = html! {
        h1 { "Operator sign-in" }
        (message)
        form .narrow method="post" action="/admin/sign-in" {
            input type="hidden" name="next" value=(ours(next).unwrap_or(""));
            label for="key" { "Admin key" }
            input #key name="key" type="password" autocomplete="current-password" required
                spellcheck="false" autocapitalize="off" aria-describedby="key-hint";
            p #key-hint .soft {
                code { "tollgate keys create --scope admin --name …" }
                " makes one. A server key does not open these pages."
            }
            button type="submit" { "Sign in" }
        }
    };
    let mut page = Page::new("Operator sign-in", Privacy::Private, body);
    page.bar = Some(html! { a .brand href="/admin" { "Tollgate operator" } });
    page.with_status(StatusCode::UNAUTHORIZED)
}

/// One of our own operator's pages, and nothing that only looks like one.
fn ours(next: &str) -> Option<&str> {
    let rest = next.strip_prefix("/admin")?;
    let goes_on = rest.is_empty() || rest.starts_with('/') || rest.starts_with('?');
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (goes_on && is_plain && !rest.starts_with("//")).then_some(next)
}

/// Sign in with an admin key
#[utoipa::path(
    post, path = "/admin/sign-in", tag = "pages", operation_id = "admin_sign_in", security(()),
    request_body(content = SignInForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "Signed in"),
        (status = 401, description = "Not an admin key", content_type = "text/html"),
        (status = 429, description = "Too many attempts", content_type = "text/html"),
    ),
)]
pub async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    Form(sent): Form<SignInForm>,
) -> Result<Response, Problem> {
    if is_foreign(&headers) {
        return Err(foreign_form());
    }
    let from = guest_address(&headers, &extensions, app.site.trusted_proxies);
    let token = match app.engine.admin_sign_in(&sent.key, &from).await {
        Ok(Some(token)) => token,
        Ok(None) => {
            return Ok(form(&sent.next, alert("that is no valid admin key")).into_response());
        }
        Err(failure) => {
            let problem = Problem::from(failure);
            let page = form(&sent.next, alert(&problem.detail)).with_status(problem.status());
            let mut response = page.into_response();
            problem.tell_pause(response.headers_mut());
            return Ok(response);
        }
    };
    let mut response = Redirect::to(ours(&sent.next).unwrap_or("/admin")).into_response();
    app.site.keep(&mut response, Cookie::Admin, token.expose_secret());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Sign the operator out
#[utoipa::path(
    post, path = "/admin/sign-out", tag = "pages", operation_id = "admin_sign_out", security(()),
    request_body(content = AdminForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Signed out")),
)]
pub async fn sign_out(
    State(app): State<App>,
    signed_in: SignedIn,
    headers: HeaderMap,
    Form(sent): Form<AdminForm>,
) -> Result<Response, Problem> {
    signed_in.check(&headers, &sent.csrf)?;
    app.engine.admin_sign_out(&signed_in.token).await?;
    let mut response = Redirect::to("/admin").into_response();
    app.site.drop_cookie(&mut response, Cookie::Admin);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::ours;

    #[test]
    fn after_signing_in_only_our_own_pages_are_gone_to() {
        for good in ["/admin", "/admin/events?state=parked", "/admin/events/inbox_1"] {
            assert_eq!(ours(good), Some(good));
        }
        for bad in
            ["", "/", "/administrator", "//admin", "/admin//x", "/admin\\x", "https://x/admin"]
        {
            assert_eq!(ours(bad), None, "{bad}");
        }
    }
}
