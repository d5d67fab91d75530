//! Signing in to the pages: a single-use link becomes a cookie that scripts cannot read.

use axum::extract::{FromRequestParts, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Redirect, Response};
use domain::codes::Code;
use domain::ids::CustomerId;
use maud::{Markup, html};
use secrecy::ExposeSecret;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use utoipa::{IntoParams, ToSchema};

use super::layout::{Page, Privacy, alert};
use crate::problem::Problem;
use crate::requests::{Form, Params};
use crate::{App, Site};

/// What a browser keeps for us; scripts cannot read any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie {
    /// A signed-in session.
    Session,
    /// Proof that a guest's checkout began in this browser.
    Checkout,
    /// A signed-in operator.
    Admin,
}

impl Cookie {
    const fn name(self) -> &'static str {
        match self {
            Cookie::Session => "tollgate_session",
            Cookie::Checkout => "tollgate_checkout",
            Cookie::Admin => "tollgate_admin",
        }
    }

    /// Where browsers send it: customers come back from the provider's page, operators from
    /// nowhere.
    const fn reach(self) -> &'static str {
        match self {
            Cookie::Session | Cookie::Checkout => "Path=/; HttpOnly; SameSite=Lax",
            Cookie::Admin => "Path=/admin; HttpOnly; SameSite=Strict",
        }
    }

    /// How long browsers keep it: a checkout's proof as long as the provider's page can be paid,
    /// a session until the browser is closed.
    const fn lifetime(self) -> &'static str {
        match self {
            Cookie::Session | Cookie::Admin => "",
            Cookie::Checkout => "; Max-Age=86400",
        }
    }

    /// The value a request brings along.
    pub fn of(self, headers: &HeaderMap) -> Option<&str> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';'));
        let named = pairs.filter_map(|pair| pair.trim().split_once('='));
        let mut values = named.filter(|(name, _)| *name == self.name()).map(|(_, value)| value);
        values.next().filter(|value| !value.is_empty())
    }
}

impl Site {
    /// Makes the browser keep a cookie.
    pub fn keep(&self, response: &mut Response, cookie: Cookie, value: &str) {
        self.set_cookie(response, cookie, value, cookie.lifetime());
    }

    /// Makes the browser forget a cookie.
    pub fn drop_cookie(&self, response: &mut Response, cookie: Cookie) {
        self.set_cookie(response, cookie, "", "; Max-Age=0");
    }

    fn set_cookie(&self, response: &mut Response, cookie: Cookie, value: &str, age: &str) {
        let secure = if self.is_secure() { "; Secure" } else { "" };
        let (name, reach) = (cookie.name(), cookie.reach());
        let text = format!("{name}={value}; {reach}{secure}{age}");
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}

/// A signed-in customer's browser.
pub struct Session {
    pub customer: CustomerId,
    csrf: String,
    token: String,
}

/// Whoever looks at a page.
pub struct Visitor(pub Option<Session>);

impl FromRequestParts<App> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some(token) = Cookie::Session.of(&parts.headers) else {
            return Ok(Self(None));
        };
        let found = app.engine.web_session(token).await?;
        Ok(Self(found.map(|(customer, csrf)| Session { customer, csrf, token: token.to_owned() })))
    }
}

/// What every form of a page sends along.
#[derive(Debug, Deserialize, ToSchema)]
pub struct TokenForm {
    #[serde(default)]
    csrf: String,
}

impl Visitor {
    /// The hidden field that proves a form was ours.
    pub fn csrf_field(&self) -> Markup {
        html! {
            @if let Some(session) = &self.0 {
                input type="hidden" name="csrf" value=(session.csrf);
            }
        }
    }

    /// Refuses forms that another site made the browser send.
    pub fn check_form(&self, headers: &HeaderMap, csrf: &str) -> Result<(), Problem> {
        let is_own = match &self.0 {
            Some(session) => bool::from(session.csrf.as_bytes().ct_eq(csrf.as_bytes())),
            None => true,
        };
        match is_own && !is_foreign(headers) {
            true => Ok(()),
            false => Err(foreign_form()),
        }
    }

    /// The session of a form that only signed-in customers have.
    pub fn signed_in(&self, headers: &HeaderMap, form: &TokenForm) -> Result<&Session, Problem> {
        self.check_form(headers, &form.csrf)?;
        match &self.0 {
            Some(session) => Ok(session),
            None => Err(Problem::new(Code::Unauthorized, "please sign in first")),
        }
    }
}

/// Whether a browser says that another page made it send this.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

pub(super) fn foreign_form() -> Problem {
    Problem::new(Code::Forbidden, "this form is out of date, open the page again")
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EnterParams {
    #[serde(default)]
    token: String,
}

/// Use a sign-in link
#[utoipa::path(
    get, path = "/portal/enter", tag = "pages", operation_id = "page_enter", params(EnterParams),
    security(()),
    responses((status = 303, description = "Signed in"), (status = 401, description = "Used up")),
)]
pub async fn enter(
    State(app): State<App>,
    visitor: Visitor,
    method: Method,
    headers: HeaderMap,
    Params(params): Params<EnterParams>,
) -> Result<Response, Problem> {
    // Whoever only looks ahead must not use the link up.
    let is_ahead = ["sec-purpose", "purpose"].iter().any(|name| headers.contains_key(*name));
    if method == Method::HEAD || is_ahead {
        let headers = [(header::CACHE_CONTROL, "no-store")];
        return Ok((StatusCode::NO_CONTENT, headers).into_response());
    }
    let Some(session) = app.engine.portal_sessions_redeem(&params.token).await? else {
        return Ok(match visitor.0 {
            Some(_) => Redirect::to("/portal").into_response(),
            None => used_up(),
        });
    };
    let mut response = Redirect::to("/portal").into_response();
    app.site.keep(&mut response, Cookie::Session, session.token.expose_secret());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn used_up() -> Response {
    let body = html! {
        h1 { "This link no longer works" }
        (alert("sign-in links work once and for a short time"))
        p { "Ask for a new one where you found it." }
    };
    Page::new("Link used", Privacy::Private, body)
        .with_status(StatusCode::UNAUTHORIZED)
        .into_response()
}

/// Sign out
#[utoipa::path(
    post, path = "/portal/sign-out", tag = "pages", operation_id = "page_sign_out", security(()),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Signed out")),
)]
pub async fn sign_out(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Form(form): Form<TokenForm>,
) -> Result<Response, Problem> {
    let session = visitor.signed_in(&headers, &form)?;
    app.engine.web_session_end(&session.token).await?;
    let mut response = Redirect::to("/").into_response();
    app.site.drop_cookie(&mut response, Cookie::Session);
    app.site.drop_cookie(&mut response, Cookie::Checkout);
    Ok(response)
}
