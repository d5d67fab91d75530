//! Payments: what was paid, failed or given back.

use axum::Json;
use axum::extract::State;
use domain::payments::dispute_takes;
use serde::Serialize;
use store::disputes::Dispute;
use store::payments::Payment;
use utoipa::ToSchema;

use super::{CustomerPageParams, ListView, time_text};
use crate::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::Params;

#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentView {
    id: String,
    status: &'static str,
    /// In the currency's smallest unit.
    amount: i64,
    amount_refunded: i64,
    /// What a bank has taken, or is about to: disputes that are open or lost.
    amount_disputed: i64,
    /// The newest dispute's, in the provider's words; null where nobody disputes it.
    dispute_status: Option<String>,
    currency: String,
    price: Option<String>,
    description: Option<String>,
    paid_at: Option<String>,
    created_at: String,
}

impl PaymentView {
    fn of(row: Payment, disputes: &[Dispute]) -> Self {
        let own = || disputes.iter().filter(|dispute| dispute.payment_id == row.id);
        let taken = own().filter(|dispute| dispute_takes(&dispute.status));
        let disputed: i64 = taken.map(|dispute| dispute.amount.minor()).sum();
        Self {
            amount_disputed: disputed.min(row.amount.minor()),
            dispute_status: own().next_back().map(|dispute| dispute.status.clone()),
            id: row.id.to_string(),
            status: row.status.as_str(),
            amount: row.amount.minor(),
            amount_refunded: row.amount_refunded,
            currency: row.amount.currency().to_string(),
            price: row.price_id.map(|id| id.to_string()),
            description: row.description,
            paid_at: time_text(row.paid_at),
            created_at: row.created_at.to_string(),
        }
    }
}

/// List a customer's payments, newest first
#[utoipa::path(
    get, path = "/v1/payments", tag = "payments", operation_id = "payments_list",
    params(CustomerPageParams),
    responses((status = 200, description = "One page", body = ListView<PaymentView>)),
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerPageParams>,
) -> Result<Json<ListView<PaymentView>>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let listed = app.engine.payments_list(&subject, params.page()?).await?;
    let disputes = app.engine.disputes_list(&subject).await?;
    Ok(Json(ListView::of(listed, |row| PaymentView::of(row, &disputes))))
}
