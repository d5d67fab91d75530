//! The OpenAPI document: what the handlers say, plus what is the same for all of them.

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use crate::problem::{API_VERSION, OfferView};

const PROBLEM: &str = "application/problem+json";

/// An error of our own API (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemView {
    /// `urn:tollgate:error:` and the code.
    r#type: String,
    title: String,
    status: u16,
    /// For people; the wording may change.
    detail: String,
    /// For programs; never changes its meaning.
    code: String,
    request_id: String,
    /// Whether the same request may end better later.
    retryable: bool,
    /// The field, header or parameter to blame.
    param: Option<String>,
    /// Seconds to wait.
    retry_after: Option<u64>,
}

/// Too few credits, or a feature that is not unlocked: what is missing, and what to buy.
#[derive(Serialize, ToSchema)]
#[schema(as = PaymentProblem)]
pub struct PaymentProblemView {
    #[serde(flatten)]
    problem: ProblemView,
    /// With `insufficient_credits`: the unit that is short.
    unit: Option<String>,
    required: Option<i64>,
    available: Option<i64>,
    /// With `not_entitled`: the feature, and why not.
    feature: Option<String>,
    reason: Option<String>,
    offers: Vec<OfferView>,
}

/// An error of the `/payments` façade.
#[derive(Serialize, ToSchema)]
#[schema(as = Detail)]
pub struct DetailView {
    detail: String,
    code: String,
}

/// The rendered document.
#[derive(Clone)]
pub struct Document(Bytes);

impl Document {
    pub fn new(document: OpenApi) -> Self {
        let text = document.to_json().unwrap_or_else(|_| "{}".into());
        Self(Bytes::from(text))
    }
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "operations", operation_id = "openapi", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")),
)]
pub async fn document(Extension(document): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.0).into_response()
}

const DESCRIPTION: &str = "Plans, credits, signed webhooks and gated retrieval.\n\n\
    Authenticate with `Authorization: Bearer …`: a server key (`sk_…`) names any customer by \
    `customer` (in the query of GET and DELETE, in the body of POST); an end user's JWT is the \
    customer itself and leaves `customer` out. Lists are `{data, next_cursor}`. Errors are \
    problem+json with a stable `code`. Every answer carries `Request-Id` and `Tollgate-Version`. \
    POSTs that take an `Idempotency-Key` can be repeated safely.";

/// The groups of the reference, in reading order.
const TAGS: [(&str, &str); 14] = [
    ("customers", "Who buys"),
    ("catalogue", "What is for sale, and what paying grants"),
    ("checkout", "On the way to the provider's page"),
    ("subscriptions", "Plans that renew"),
    ("payments", "What was paid and billed"),
    ("access", "May this customer use that feature now, and why"),
    ("credits", "Balance, lots, ledger, holds"),
    ("knowledge", "Documents, and search for the entitled"),
    ("events", "What the provider told us, and the clock"),
    ("notifications", "What happened here, and who of your servers hears of it"),
    ("operations", "Health, and this document"),
    ("payments façade", "The routes and shapes of the first two seeds"),
    ("webhooks", "Signed events: three addresses, one inbox"),
    ("pages", "Server-rendered pages for customers and operators"),
];

/// The document before any route.
pub fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Tollgate")
        .version(API_VERSION)
        .description(Some(DESCRIPTION))
        .build();
    let scheme = |format: &str, description: &str| {
        let http = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format(format);
        SecurityScheme::Http(http.description(Some(description)).build())
    };
    let components = ComponentsBuilder::new()
        .security_scheme("server_key", scheme("sk_…", "The merchant's own servers"))
        .security_scheme("customer_token", scheme("JWT", "An end user; the customer is its `sub`"))
        .schema("Problem", ProblemView::schema())
        .schema("PaymentProblem", PaymentProblemView::schema())
        .schema("OfferView", OfferView::schema())
        .schema("Detail", DetailView::schema())
        .build();
    let tags = TAGS.map(|(name, description)| {
        TagBuilder::new().name(name).description(Some(description)).build()
    });
    OpenApiBuilder::new().info(info).tags(Some(tags)).components(Some(components)).build()
}

/// Adds what holds for every operation: who may call it, and what errors look like.
pub fn finish(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let is_api = path.starts_with("/v1/");
        for operation in operations(item) {
            let is_page = operation.tags.iter().flatten().any(|tag| tag == "pages");
            let responses = &mut operation.responses.responses;
            let default = ResponseBuilder::new().description("A refusal").build();
            responses.entry("default".into()).or_insert(default.into());
            for (status, response) in responses {
                let is_refusal = status == "default" || "400" <= status.as_str();
                if let RefOr::T(response) = response
                    && is_refusal
                    && response.content.is_empty()
                {
                    let (kind, schema) = match (is_page, is_api, status.as_str()) {
                        (true, _, _) => ("text/html", None),
                        (false, true, "402") => (PROBLEM, Some("PaymentProblem")),
                        (false, true, _) => (PROBLEM, Some("Problem")),
                        (false, false, _) => ("application/json", Some("Detail")),
                    };
                    let content = ContentBuilder::new().schema(schema.map(Ref::from_schema_name));
                    response.content.insert(kind.into(), content.build().into());
                }
            }
            if operation.security.is_none() {
                operation.security = Some(anyone_signed_in());
            }
        }
    }
    document
}

fn anyone_signed_in() -> Vec<SecurityRequirement> {
    ["server_key", "customer_token"]
        .map(|name| SecurityRequirement::new(name, Vec::<String>::new()))
        .into()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
        .into_iter()
        .flatten()
}
