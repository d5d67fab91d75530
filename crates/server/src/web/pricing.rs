//! What is for sale, for people: plans, packs and a button for each price.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, State};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use domain::catalogue::{Billing, CreditGrant, FeatureGrant};
use domain::codes::Code;
use domain::ids::PriceId;
use domain::time::{Interval, Unit};
use engine::Subject;
use engine::checkout_sessions::{Buyer, CheckoutRequest, Pace, TrialRule, Wanted};
use engine::products::Offering;
use maud::{Markup, html};
use secrecy::ExposeSecret;
use serde::Deserialize;
use store::features::Feature;
use store::prices::Price;
use utoipa::{IntoParams, ToSchema};

use super::layout::{Page, Privacy, alert};
use super::sessions::{Cookie, Visitor};
use crate::App;
use crate::problem::Problem;
use crate::requests::{Form, Params};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PricingParams {
    /// `canceled` after leaving the provider's page.
    notice: Option<String>,
}

/// What a buy button sends.
#[derive(Debug, Deserialize, ToSchema)]
pub struct BuyForm {
    #[serde(default)]
    price: String,
    #[serde(default)]
    csrf: String,
}

/// What is for sale
#[utoipa::path(
    get, path = "/pricing", tag = "pages", operation_id = "page_pricing", security(()),
    params(PricingParams),
    responses((status = 200, description = "Plans and packs", content_type = "text/html")),
)]
pub async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Params(params): Params<PricingParams>,
) -> Result<Response, Problem> {
    let notice = match params.notice.as_deref() {
        Some("canceled") => html! { p .notice role="status" { "Nothing was charged." } },
        _ => html! {},
    };
    Ok(page(&app, &visitor, notice).await?.into_response())
}

/// Buy: on to the provider's page
#[utoipa::path(
    post, path = "/pricing/checkout", tag = "pages", operation_id = "page_buy", security(()),
    request_body(content = BuyForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "The provider's page"),
        (status = 409, description = "Already subscribed"),
    ),
)]
pub async fn buy(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    extensions: Extensions,
    Form(form): Form<BuyForm>,
) -> Result<Response, Problem> {
    visitor.check_form(&headers, &form.csrf)?;
    let buyer = match &visitor.0 {
        Some(session) => Buyer::Subject(Subject::Known(session.customer.clone())),
        None => Buyer::Guest {
            address: guest_address(&headers, &extensions, app.site.trusted_proxies),
            browser: Cookie::Checkout.of(&headers).map(str::to_owned),
        },
    };
    let request = CheckoutRequest {
        buyer,
        price: form.price,
        product: None,
        wanted: Wanted::Any,
        trial: TrialRule::ByPrice,
        quantity: 1,
        // A guest is signed in by our own page, wherever the shop's front end is.
        success_url: Some(app.site.page("/pay/success")),
        cancel_url: Some(app.site.page("/pay/cancel")),
        email: None,
        idempotency_key: None,
        pace: Pace::Limited,
    };
    let problem = match app.engine.checkout_create(request).await {
        Ok(checkout) => match checkout.session.url {
            Some(url) => {
                let mut response = Redirect::to(&url).into_response();
                if let Some(secret) = &checkout.browser {
                    app.site.keep(&mut response, Cookie::Checkout, secret.expose_secret());
                }
                return Ok(response);
            }
            None => Problem::new(Code::ProviderUnavailable, "the payment page is not ready"),
        },
        Err(failure) => Problem::from(failure),
    };
    let page = page(&app, &visitor, alert(&problem.detail)).await?;
    let mut response = page.with_status(problem.status()).into_response();
    problem.tell_pause(response.headers_mut());
    Ok(response)
}

/// Who is limited: the peer, or whom our own proxies heard from. What stands further left in the
/// header was written by anybody.
pub fn guest_address(headers: &HeaderMap, extensions: &Extensions, proxies: usize) -> String {
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok());
    let told: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let heard = match proxies {
        0 => None,
        count => told.iter().rev().nth(count - 1).and_then(|text| text.parse::<IpAddr>().ok()),
    };
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    heard.or(peer).map_or_else(|| "unknown".into(), |address| address.to_string())
}

async fn page(app: &App, visitor: &Visitor, message: Markup) -> Result<Page<'static>, Problem> {
    let offerings = app.engine.catalogue().await?;
    let names = FeatureNames::load(app).await?;
    let current = match &visitor.0 {
        Some(session) => {
            let subject = Subject::Known(session.customer.clone());
            let detail = app.engine.subscriptions_current(&subject).await?;
            let row = detail.map(|detail| detail.subscription);
            row.filter(|row| row.status.is_live()).and_then(|row| row.price_id)
        }
        None => None,
    };
    let is_plan = |offering: &&Offering| {
        offering.prices.iter().any(|price| matches!(price.billing, Billing::Recurring(_)))
    };
    let (plans, packs): (Vec<_>, Vec<_>) = offerings.iter().partition(is_plan);
    let body = html! {
        h1 { "Plans and packs" }
        p .lead { "Change or cancel whenever you like. Card data goes to the payment page only." }
        (message)
        @for (title, offerings) in [("Plans", plans), ("Packs", packs)] {
            @if !offerings.is_empty() {
                h2 { (title) }
                div .cards {
                    @for offering in offerings {
                        (card(offering, &names, current.as_ref(), visitor))
                    }
                }
            }
        }
        @if offerings.is_empty() { p { "Nothing is for sale yet." } }
    };
    let privacy = if visitor.0.is_some() { Privacy::Private } else { Privacy::Public };
    Ok(Page::new("Pricing", privacy, body).with_status(StatusCode::OK))
}

fn card(
    offering: &Offering,
    names: &FeatureNames,
    current: Option<&PriceId>,
    visitor: &Visitor,
) -> Markup {
    let product = &offering.product;
    let is_current = offering.prices.iter().any(|price| Some(&price.id) == current);
    html! {
        section .card .current[is_current] aria-label=(product.name) {
            h3 { (product.name) }
            @if let Some(description) = &product.description { p .soft { (description) } }
            @if let Some(price) = offering.prices.first() {
                ul {
                    @for grant in &price.grants.credits {
                        li { (credits_text(grant, price.billing)) }
                    }
                    @for grant in &price.grants.features { li { (feature_text(grant, names)) } }
                }
            }
            @for price in &offering.prices {
                div .offer { (offer(&product.name, price, current, visitor)) }
            }
        }
    }
}

fn offer(name: &str, price: &Price, current: Option<&PriceId>, visitor: &Visitor) -> Markup {
    let is_free = price.amount.minor() == 0;
    let verb = match price.billing {
        Billing::Recurring(_) if is_free => "Start",
        Billing::Recurring(_) => "Subscribe",
        Billing::OneTime => "Buy",
    };
    let every = match price.billing {
        Billing::OneTime => "once".to_owned(),
        Billing::Recurring(interval) => every_text(interval),
    };
    let label = format!("{verb} {name}, {} {every}", price.amount);
    html! {
        p .price {
            @if is_free { "Free" } @else { (price.amount) " " small { (every) } }
        }
        @if is_free { p .soft { "No payment needed." } }
        @if 0 < price.trial_days { p .soft { (price.trial_days) " days free first." } }
        @if Some(&price.id) == current {
            p { span .badge { "Current plan" } }
        } @else {
            form method="post" action="/pricing/checkout" data-price=(sold_as(price)) {
                (visitor.csrf_field())
                input type="hidden" name="price" value=(price.id);
                button type="submit" aria-label=(label) { (verb) }
            }
        }
    }
}

/// The name that programs know the price by.
fn sold_as(price: &Price) -> &str {
    price.provider_price_id.as_deref().unwrap_or(price.id.as_str())
}

fn unit_text(unit: Unit) -> &'static str {
    match unit {
        Unit::Day => "day",
        Unit::Week => "week",
        Unit::Month => "month",
        Unit::Year => "year",
    }
}

fn every_text(interval: Interval) -> String {
    match interval.count {
        1 => format!("per {}", unit_text(interval.unit)),
        count => format!("every {count} {}s", unit_text(interval.unit)),
    }
}

fn credits_text(grant: &CreditGrant, billing: Billing) -> String {
    let amount = grant.amount.get();
    match billing {
        Billing::OneTime => format!("{amount} {}, kept until used", grant.unit),
        Billing::Recurring(_) => format!("{amount} {} {}", grant.unit, every_text(grant.every)),
    }
}

fn feature_text(grant: &FeatureGrant, names: &FeatureNames) -> String {
    let name = names.of(&grant.feature);
    match grant.days {
        Some(1) => format!("{name} for a day"),
        Some(days) => format!("{name} for {days} days"),
        None => name,
    }
}

/// What the catalogue calls its features.
pub struct FeatureNames(Vec<Feature>);

impl FeatureNames {
    pub async fn load(app: &App) -> Result<Self, Problem> {
        Ok(Self(app.engine.features_list().await?))
    }

    /// Its name, or its key as words where nobody named it.
    pub fn of(&self, key: &str) -> String {
        let named = self.0.iter().find(|feature| feature.id == key);
        match named.map(|feature| feature.name.trim()) {
            Some(name) if !name.is_empty() && name != key => name.to_owned(),
            _ => words(key),
        }
    }
}

/// `knowledge_base` as people read it.
pub fn words(key: &str) -> String {
    let words = key.replace(['_', '-', '.'], " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => format!("{}{}", first.to_uppercase(), letters.as_str()),
        None => words,
    }
}
