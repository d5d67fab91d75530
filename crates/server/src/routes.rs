//! Every route, in reading order. The OpenAPI document is made from this list, so none escapes it.

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use domain::codes::Code;
use tower::Layer;
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::limits::{API_BODY_BYTES, REQUEST_TIMEOUT};
use crate::problem::{Problem, after_panic, render};
use crate::web::{admin, layout, pay, portal, pricing, sessions};
use crate::{App, api, health, metrics, openapi, payments, requests, subscriptions, webhooks};

fn customers() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::customers::create, api::customers::list))
        .routes(routes!(api::customers::own_state))
        .routes(routes!(api::customers::get))
        .routes(routes!(api::customers::state))
        .routes(routes!(api::portal_sessions::create))
}

fn selling() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::products::create, api::products::list))
        .routes(routes!(api::products::get, api::products::update))
        .routes(routes!(api::prices::create, api::prices::list))
        .routes(routes!(api::prices::get, api::prices::update))
        .routes(routes!(api::checkout_sessions::create))
        .routes(routes!(api::checkout_sessions::get))
        .routes(routes!(api::subscriptions::list))
        .routes(routes!(api::subscriptions::current))
        .routes(routes!(api::subscriptions::cancel))
        .routes(routes!(api::subscriptions::resume))
        .routes(routes!(api::subscriptions::preview))
        .routes(routes!(api::subscriptions::change))
        .routes(routes!(api::payments::list))
        .routes(routes!(api::refunds::create, api::refunds::list))
        .routes(routes!(api::invoices::list))
}

fn using() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::check::check))
        .routes(routes!(api::credits::balance))
        .routes(routes!(api::credits::grant, api::credits::grants))
        .routes(routes!(api::credits::entries))
        .routes(routes!(api::debts::list))
        .routes(routes!(api::credits::consume))
        .routes(routes!(api::credits::hold))
        .routes(routes!(api::credits::hold_get))
        .routes(routes!(api::credits::capture))
        .routes(routes!(api::credits::release))
        .routes(routes!(api::collections::create, api::collections::list))
        .routes(routes!(api::documents::create, api::documents::list))
        .routes(routes!(api::documents::delete))
        .routes(routes!(api::search::search))
}

fn operating() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::events::list))
        .routes(routes!(api::events::get))
        .routes(routes!(api::events::replay_parked))
        .routes(routes!(api::events::replay))
        .routes(routes!(api::events::ignore))
        .routes(routes!(api::provider_calls::list))
        .routes(routes!(api::sync_runs::create, api::sync_runs::list))
        .routes(routes!(api::sync_runs::get))
        .routes(routes!(api::clock::settle))
        .routes(routes!(health::show))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::show))
        .routes(routes!(openapi::document))
}

fn telling() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api::notifications::list))
        .routes(routes!(api::notifications::get))
        .routes(routes!(api::webhook_endpoints::create, api::webhook_endpoints::list))
        .routes(routes!(
            api::webhook_endpoints::get,
            api::webhook_endpoints::update,
            api::webhook_endpoints::delete
        ))
        .routes(routes!(api::webhook_endpoints::rotate_secret))
        .routes(routes!(api::webhook_endpoints::test))
        .routes(routes!(api::deliveries::list))
        .routes(routes!(api::deliveries::redeliver))
}

fn facade() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(payments::products))
        .routes(routes!(payments::plans))
        .routes(routes!(payments::create_checkout_session))
        .routes(routes!(payments::create_checkout_session_onetime))
        .routes(routes!(payments::checkout_amount))
        .routes(routes!(payments::get_user_subscription))
        .routes(routes!(payments::cancel_subscription))
        .routes(routes!(payments::billing_portal_get, payments::billing_portal_post))
        .routes(routes!(subscriptions::status))
        .routes(routes!(subscriptions::preview))
        .routes(routes!(subscriptions::cancel))
        .routes(routes!(webhooks::payments))
        .routes(routes!(webhooks::api_v1))
        .routes(routes!(webhooks::api))
}

fn pages() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(layout::landing))
        .routes(routes!(pricing::show))
        .routes(routes!(pricing::buy))
        .routes(routes!(pay::success))
        .routes(routes!(pay::cancel))
        .routes(routes!(portal::show))
        .routes(routes!(portal::billing))
        .routes(routes!(portal::cancel))
        .routes(routes!(portal::resume))
        .routes(routes!(sessions::enter))
        .routes(routes!(sessions::sign_out))
        .routes(routes!(layout::style))
}

fn admin_pages() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(admin::overview::show))
        .routes(routes!(admin::sessions::sign_in))
        .routes(routes!(admin::sessions::sign_out))
        .routes(routes!(admin::events::list))
        .routes(routes!(admin::events::replay_parked))
        .routes(routes!(admin::events::show))
        .routes(routes!(admin::events::replay))
        .routes(routes!(admin::events::ignore))
        .routes(routes!(admin::provider_calls::list))
        .routes(routes!(admin::deliveries::list))
        .routes(routes!(admin::sync_runs::list))
        .routes(routes!(admin::audits::list))
}

fn listed() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(customers())
        .merge(selling())
        .merge(using())
        .merge(operating())
        .merge(telling())
        .merge(facade())
        .merge(pages())
        .merge(admin_pages())
}

/// The document of all routes.
pub fn document() -> utoipa::openapi::OpenApi {
    openapi::finish(listed().into_openapi())
}

/// The whole face of the server, ready to be served.
pub fn router(app: App) -> Router {
    let (routes, document) = listed().split_for_parts();
    let document = openapi::Document::new(openapi::finish(document));
    let routes = routes.merge(reference()).fallback(nothing_here);
    behind_layers(routes.layer(axum::Extension(document)), app)
}

/// Routes behind everything that each request passes on its way in and out. The benchmark puts the
/// least there is behind it, to tell its cost from that of the work.
pub fn behind_layers(routes: Router<App>, app: App) -> Router {
    let inner = routes
        .layer(middleware::from_fn(plain_address))
        .layer(middleware::from_fn_with_state(app.clone(), known_host))
        .layer(DefaultBodyLimit::max(API_BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, REQUEST_TIMEOUT))
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(middleware::from_fn(log))
        .layer(middleware::from_fn(render))
        .with_state(app);
    Router::new().fallback_service(MapRequestLayer::new(without_slash).layer(inner))
}

/// The reference page, from the binary itself. It needs its own scripts and inline styles.
fn reference() -> Router<App> {
    let page = SwaggerUi::new("/docs").config(Config::from("/openapi.json"));
    let policy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
                  frame-ancestors 'none'; base-uri 'none'";
    Router::from(page).layer(SetResponseHeaderLayer::overriding(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    ))
}

async fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "there is nothing at this address")
}

/// Refuses requests that reached us under a name that is not ours.
async fn known_host(State(app): State<App>, request: Request, next: Next) -> Response {
    use axum::response::IntoResponse;
    let header = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = header.or_else(|| request.uri().authority().map(|name| name.as_str()));
    if app.site.answers_to(host.unwrap_or_default()) {
        return next.run(request).await;
    }
    Problem::new(Code::InvalidHost, "this host is not served here").on("Host").into_response()
}

/// Refuses addresses that hold U+0000, wherever a handler would have decoded it.
async fn plain_address(request: Request, next: Next) -> Response {
    use axum::response::IntoResponse;
    let uri = request.uri();
    let has_nul = |text: &str| text.contains("%00");
    if has_nul(uri.path()) || uri.query().is_some_and(has_nul) {
        return requests::has_nul("address").into_response();
    }
    next.run(request).await
}

/// One line per request, with the route's pattern: addresses themselves may hold personal data.
async fn log(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let status = response.status().as_u16();
    let millis = started.elapsed().as_millis();
    if response.status().is_server_error() {
        tracing::warn!(http.method = %method, http.route = route, http.status = status,
            http.millis = millis, "request failed");
    } else {
        tracing::debug!(http.method = %method, http.route = route, http.status = status,
            http.millis = millis, "request answered");
    }
    response
}

/// The seeds' clients write some addresses with a slash at the end and some without; a redirect
/// would lose the body of a webhook, so both are the same address.
fn without_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path();
    let Some(shorter) = path.strip_suffix('/').filter(|rest| !rest.is_empty()) else {
        return request;
    };
    if path.starts_with("/docs") {
        return request;
    }
    let text = match uri.query() {
        Some(query) => format!("{shorter}?{query}"),
        None => shorter.to_owned(),
    };
    if let Ok(uri) = text.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}
