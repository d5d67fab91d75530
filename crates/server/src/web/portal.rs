//! A customer's own page: plan, credits, features, payments, invoices.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use domain::codes::Code;
use domain::subscriptions::Status;
use engine::Subject;
use engine::checkout_sessions::Pace;
use engine::credits::Balance;
use engine::subscriptions::SubscriptionDetail;
use maud::{Markup, html};
use store::invoices::Invoice;
use store::payments::Payment;

use super::layout::{Page, Privacy, alert, day};
use super::pricing::{FeatureNames, words};
use super::sessions::{TokenForm, Visitor};
use crate::App;
use crate::limits::SHOWN_PAYMENTS;
use crate::problem::Problem;
use crate::requests::Form;

/// The signed-in customer's page
#[utoipa::path(
    get, path = "/portal", tag = "pages", operation_id = "page_portal", security(()),
    responses(
        (status = 200, description = "Plan, credits, payments", content_type = "text/html"),
        (status = 401, description = "How to sign in", content_type = "text/html"),
    ),
)]
pub async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response, Problem> {
    Ok(page(&app, &visitor, html! {}).await?.into_response())
}

async fn page(app: &App, visitor: &Visitor, message: Markup) -> Result<Page<'static>, Problem> {
    let Some(session) = &visitor.0 else {
        return Ok(signed_out());
    };
    let subject = Subject::Known(session.customer.clone());
    let newest = || engine::Page::new(Some(SHOWN_PAYMENTS), None);
    let current = app.engine.subscriptions_current(&subject).await?;
    let state = app.engine.customers_state(&subject).await?;
    let unit = domain::credits::DEFAULT_UNIT;
    let balance = app.engine.credits_balance(&subject, unit).await?;
    let owed = app.engine.debts_open(&subject, unit).await?;
    let payments = app.engine.payments_list(&subject, newest()?).await?.data;
    let invoices = app.engine.invoices_list(&subject, newest()?).await?.data;
    let who = state.customer.and_then(|customer| customer.email.or(customer.external_id));
    let names = FeatureNames::load(app).await?;
    let unlocked = state.entitlements.iter().map(|one| names.of(&one.feature));
    let features: BTreeSet<String> = unlocked.collect();
    let body = html! {
        h1 { "Your account" }
        @if let Some(who) = who { p .lead { "Signed in as " (who) } }
        (message)
        (plan(current.as_ref(), visitor))
        (credits(&balance, owed))
        h2 { "Unlocked" }
        @if features.is_empty() {
            p { "Nothing yet. " a href="/pricing" { "See the plans" } "." }
        } @else {
            ul { @for feature in features { li { (feature) } } }
        }
        (payments_table(&payments))
        (invoices_table(&invoices))
        h2 { "Cards and receipts" }
        div .buttons {
            (form("/portal/billing", "Manage billing", false, visitor))
            (form("/portal/sign-out", "Sign out", true, visitor))
        }
    };
    Ok(Page::new("Your account", Privacy::Private, body))
}

fn signed_out() -> Page<'static> {
    let body = html! {
        h1 { "Please sign in" }
        p .lead { "This page belongs to signed-in customers." }
        p {
            "Open the sign-in link you were given. Links work once and for a short time; the "
            "application you came from can make a new one (" code { "POST /v1/portal-sessions" }
            ")."
        }
        p { a href="/pricing" { "See the plans" } }
    };
    Page::new("Please sign in", Privacy::Private, body).with_status(StatusCode::UNAUTHORIZED)
}

fn form(action: &str, label: &str, is_plain: bool, visitor: &Visitor) -> Markup {
    html! {
        form method="post" action=(action) {
            (visitor.csrf_field())
            button .plain[is_plain] type="submit" { (label) }
        }
    }
}

fn plan(current: Option<&SubscriptionDetail>, visitor: &Visitor) -> Markup {
    let Some(detail) = current else {
        return html! {
            h2 { "Plan" }
            p { "You have no subscription. " a href="/pricing" { "See the plans" } "." }
        };
    };
    let row = &detail.subscription;
    let name = detail.product.as_ref().map_or("Unknown plan", |product| product.name.as_str());
    let ends =
        row.ended_at.or(row.cancel_at).or(row.period_end.filter(|_| row.cancel_at_period_end));
    let ending = if row.status.is_live() { "Ends" } else { "Ended" };
    html! {
        h2 { "Plan" }
        dl .facts {
            div { dt { "Plan" } dd { (name) } }
            div { dt { "Status" } dd { (status_text(&row.status)) } }
            @if let Some(price) = &detail.price {
                div { dt { "Price" } dd { (price.amount) } }
            }
            @match (ends, row.period_end) {
                (Some(end), _) => { div { dt { (ending) } dd { (day(end)) } } }
                (None, Some(end)) => { div { dt { "Renews" } dd { (day(end)) } } }
                (None, None) => {}
            }
            @if let Some(end) = row.trial_end.filter(|_| row.status == Status::Trialing) {
                div { dt { "Trial until" } dd { (day(end)) } }
            }
        }
        @if row.status.is_live() {
            div .buttons { @if ends.is_some() {
                (form("/portal/resume", "Keep my plan", false, visitor))
            } @else {
                (form("/portal/cancel", "Cancel at the end of the period", true, visitor))
            } }
        }
    }
}

fn status_text(status: &Status) -> String {
    match status {
        Status::PastDue => "Payment overdue".into(),
        Status::Trialing => "Trial".into(),
        other => words(other.as_str()),
    }
}

fn credits(balance: &Balance, owed: i64) -> Markup {
    html! {
        h2 { "Credits" }
        dl .facts {
            div { dt { "Total" } dd { (balance.total) " credits" } }
            div { dt { "Monthly" } dd { (balance.monthly) } }
            div { dt { "Purchased" } dd { (balance.purchased) } }
            @if 0 < owed { div { dt { "Owed" } dd { (owed) } } }
            @if 0 < balance.held { div { dt { "Reserved" } dd { (balance.held) } } }
        }
    }
}

fn payments_table(payments: &[Payment]) -> Markup {
    html! {
        h2 #payments { "Payments" }
        @if payments.is_empty() { p { "No payments yet." } } @else {
            div .scroll role="region" aria-labelledby="payments" tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "Date" }
                        th scope="col" { "For" }
                        th scope="col" { "Status" }
                        th scope="col" .number { "Amount" }
                    } }
                    tbody { @for payment in payments { tr {
                        td { (day(payment.paid_at.unwrap_or(payment.created_at))) }
                        td { (payment.description.as_deref().unwrap_or("Payment")) }
                        td { (words(payment.status.as_str())) }
                        td .number { (payment.amount) }
                    } } }
                }
            }
        }
    }
}

fn invoices_table(invoices: &[Invoice]) -> Markup {
    html! {
        h2 #invoices { "Invoices" }
        @if invoices.is_empty() { p { "No invoices yet." } } @else {
            div .scroll role="region" aria-labelledby="invoices" tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "Invoice" }
                        th scope="col" { "Date" }
                        th scope="col" { "Status" }
                        th scope="col" .number { "Total" }
                    } }
                    tbody { @for invoice in invoices { tr {
                        td { (invoice_link(invoice)) }
                        td { (day(invoice.issued_at.unwrap_or(invoice.created_at))) }
                        td { (words(&invoice.status)) }
                        td .number { (invoice.total) }
                    } } }
                }
            }
        }
    }
}

fn invoice_link(invoice: &Invoice) -> Markup {
    let name = invoice.number.as_deref().unwrap_or("Invoice");
    html! {
        @match &invoice.hosted_url {
            Some(url) if is_web_address(url) => { a href=(url) rel="noreferrer" { (name) } }
            _ => { (name) }
        }
    }
}

/// A link from elsewhere may lead to a page, never run a script.
fn is_web_address(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// On to the provider's pages for cards and receipts
#[utoipa::path(
    post, path = "/portal/billing", tag = "pages", operation_id = "page_billing", security(()),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "The provider's pages")),
)]
pub async fn billing(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Form(form): Form<TokenForm>,
) -> Result<Response, Problem> {
    let session = visitor.signed_in(&headers, &form)?;
    let subject = Subject::Known(session.customer.clone());
    let back = app.site.page("/portal");
    match app.engine.billing_portal_url(&subject, Some(back)).await {
        Ok(url) => Ok(Redirect::to(&url).into_response()),
        Err(failure) => again(&app, &visitor, failure.into()).await,
    }
}

/// Cancel at the end of the period
#[utoipa::path(
    post, path = "/portal/cancel", tag = "pages", operation_id = "page_cancel_plan", security(()),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Back to the account")),
)]
pub async fn cancel(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Form(form): Form<TokenForm>,
) -> Result<Response, Problem> {
    let session = visitor.signed_in(&headers, &form)?;
    let subject = Subject::Known(session.customer.clone());
    match app.engine.subscriptions_cancel(&subject, None).await {
        Ok(_) => Ok(Redirect::to("/portal").into_response()),
        Err(failure) => again(&app, &visitor, failure.into()).await,
    }
}

/// Take a cancellation back
#[utoipa::path(
    post, path = "/portal/resume", tag = "pages", operation_id = "page_resume_plan", security(()),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Back to the account")),
)]
pub async fn resume(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Form(form): Form<TokenForm>,
) -> Result<Response, Problem> {
    let session = visitor.signed_in(&headers, &form)?;
    let subject = Subject::Known(session.customer.clone());
    match app.engine.subscriptions_resume(&subject, None, Pace::Limited).await {
        Ok(_) => Ok(Redirect::to("/portal").into_response()),
        Err(failure) => again(&app, &visitor, failure.into()).await,
    }
}

/// The page again, saying what did not work.
async fn again(app: &App, visitor: &Visitor, problem: Problem) -> Result<Response, Problem> {
    let detail = match problem.code {
        Code::CustomerNotFound => "there is nothing to manage before the first payment",
        _ => &problem.detail,
    };
    let status = problem.status();
    Ok(page(app, visitor, alert(detail)).await?.with_status(status).into_response())
}
