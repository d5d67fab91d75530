//! What all pages share: the frame, the style sheet and the headers that keep them safe.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

const STYLE: &str = include_str!("tollgate.css");

/// Whether a page may be kept by browsers and proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    Public,
    Private,
}

/// Where a page sends the browser by itself, without a script.
pub struct Refresh {
    pub seconds: u32,
    pub to: String,
}

/// A page before it becomes a response.
pub struct Page<'a> {
    pub title: &'a str,
    pub status: StatusCode,
    pub privacy: Privacy,
    pub refresh: Option<Refresh>,
    /// What stands in the bar; the shop's own links where nothing is said.
    pub bar: Option<Markup>,
    pub body: Markup,
}

impl<'a> Page<'a> {
    pub fn new(title: &'a str, privacy: Privacy, body: Markup) -> Self {
        Self { title, status: StatusCode::OK, privacy, refresh: None, bar: None, body }
    }

    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

impl IntoResponse for Page<'_> {
    fn into_response(self) -> Response {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(refresh) = &self.refresh {
                        meta http-equiv="refresh"
                            content={ (refresh.seconds) ";url=" (refresh.to) };
                    }
                    title { (self.title) " · Tollgate" }
                    link rel="stylesheet" href="/assets/tollgate.css";
                    link rel="icon" href="data:,";
                }
                body {
                    a .skip href="#main" { "Skip to content" }
                    header .bar {
                        nav aria-label="Main" {
                            @match &self.bar {
                                Some(bar) => { (bar) }
                                None => {
                                    a .brand href="/" { "Tollgate" }
                                    a href="/pricing" { "Pricing" }
                                    a href="/portal" { "Your account" }
                                }
                            }
                        }
                    }
                    main #main tabindex="-1" { (self.body) }
                }
            }
        };
        let mut response = (self.status, markup).into_response();
        let headers = response.headers_mut();
        secure(headers);
        let cache = match self.privacy {
            Privacy::Public => "no-cache",
            Privacy::Private => "no-store",
        };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        response
    }
}

/// No scripts at all, nothing from elsewhere, no frames. Forms may end at the provider, whose
/// address is not ours to know, so only `form-action` is left open.
fn secure(headers: &mut axum::http::HeaderMap) {
    let policy = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
                  frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
}

/// The style sheet
#[utoipa::path(
    get, path = "/assets/tollgate.css", tag = "pages", security(()),
    responses((status = 200, description = "The pages' style sheet", content_type = "text/css")),
)]
pub async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, STYLE).into_response()
}

/// An error that a person sees.
pub fn problem_page(status: StatusCode, detail: &str) -> Response {
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::UNAUTHORIZED => "Please sign in",
        StatusCode::TOO_MANY_REQUESTS => "Please wait a moment",
        status if status.is_client_error() => "That did not work",
        _ => "Something went wrong",
    };
    let body = html! {
        h1 { (title) }
        (alert(detail))
        p { a href="/pricing" { "See the plans" } " or " a href="/portal" { "your account" } "." }
    };
    Page::new(title, Privacy::Private, body).with_status(status).into_response()
}

/// A message that screen readers announce.
pub fn alert(detail: &str) -> Markup {
    html! { p .alert role="alert" { (sentence(detail)) } }
}

/// Messages are written without capital and full stop; people read sentences.
fn sentence(detail: &str) -> String {
    let mut letters = detail.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => String::new(),
    }
}

/// A day as people write it: 21 November 2026.
pub fn day(at: domain::time::Timestamp) -> String {
    at.date().strftime("%-d %B %Y").to_string()
}

/// The landing page
#[utoipa::path(
    get, path = "/", tag = "pages", security(()),
    responses((status = 200, description = "Where to go from here", content_type = "text/html")),
)]
pub async fn landing() -> Response {
    let body = html! {
        h1 { "Tollgate" }
        p .lead { "Plans, credits and knowledge behind one gate." }
        ul .links {
            li { a href="/pricing" { "Plans and packs" } " — what is for sale" }
            li { a href="/portal" { "Your account" } " — subscription, credits, payments" }
            li { a href="/docs/" { "API reference" } " — try every call" }
            li { a href="/openapi.json" { "OpenAPI document" } " — for programs" }
            li { a href="/health" { "Health" } " — for monitors" }
        }
    };
    Page::new("Welcome", Privacy::Public, body).into_response()
}
