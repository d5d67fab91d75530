//! Invoices: the provider's bills, with links to its own pages.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{CustomerPageParams, ListView, time_text};
use crate::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::Params;

#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceView {
    id: String,
    number: Option<String>,
    status: String,
    reason: String,
    /// In the currency's smallest unit.
    total: i64,
    amount_due: i64,
    amount_paid: i64,
    currency: String,
    hosted_url: Option<String>,
    pdf_url: Option<String>,
    issued_at: Option<String>,
    paid_at: Option<String>,
}

impl From<store::invoices::Invoice> for InvoiceView {
    fn from(row: store::invoices::Invoice) -> Self {
        Self {
            id: row.id.to_string(),
            number: row.number,
            status: row.status,
            reason: row.reason,
            total: row.total.minor(),
            amount_due: row.amount_due,
            amount_paid: row.amount_paid,
            currency: row.total.currency().to_string(),
            hosted_url: row.hosted_url,
            pdf_url: row.pdf_url,
            issued_at: time_text(row.issued_at),
            paid_at: time_text(row.paid_at),
        }
    }
}

/// List a customer's invoices, newest first
#[utoipa::path(
    get, path = "/v1/invoices", tag = "payments", operation_id = "invoices_list",
    params(CustomerPageParams),
    responses((status = 200, description = "One page", body = ListView<InvoiceView>)),
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerPageParams>,
) -> Result<Json<ListView<InvoiceView>>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let listed = app.engine.invoices_list(&subject, params.page()?).await?;
    Ok(Json(ListView::of(listed, InvoiceView::from)))
}
