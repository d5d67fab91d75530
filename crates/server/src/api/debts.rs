//! Debts: credits that were spent before their money went back.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{CustomerPageParams, ListView};
use crate::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::Params;

#[derive(Debug, Serialize, ToSchema)]
pub struct DebtView {
    id: String,
    unit: String,
    /// The lot whose money went back.
    grant: String,
    /// What was spent of it; zero where the money came again.
    amount: i64,
    /// What later lots have paid.
    settled: i64,
    created_at: String,
    updated_at: String,
}

impl From<store::debts::Debt> for DebtView {
    fn from(row: store::debts::Debt) -> Self {
        Self {
            id: row.id.to_string(),
            unit: row.unit,
            grant: row.grant_id.to_string(),
            amount: row.amount,
            settled: row.settled,
            created_at: row.created_at.to_string(),
            updated_at: row.updated_at.to_string(),
        }
    }
}

/// List what a customer owes in credits, newest first
#[utoipa::path(
    get, path = "/v1/credits/debts", tag = "credits", operation_id = "credits_debts",
    params(CustomerPageParams),
    responses((status = 200, description = "One page", body = ListView<DebtView>)),
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerPageParams>,
) -> Result<Json<ListView<DebtView>>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let listed = app.engine.debts_list(&subject, params.page()?).await?;
    Ok(Json(ListView::of(listed, DebtView::from)))
}
