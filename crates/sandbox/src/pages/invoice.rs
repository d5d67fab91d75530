//! The printable page of an invoice, and the receipt of a charge.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use maud::html;

use crate::app::App;
use crate::invoices::{Invoice, Status};
use crate::{clock, currencies, pages};

pub async fn show(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Response {
    let invoice = app.read(&app.holder_of(&id), |state| state.invoices.get(&id).cloned());
    match invoice.filter(|invoice| invoice.finalized_at.is_some()) {
        None => pages::not_found(),
        Some(invoice) => render(&invoice),
    }
}

pub fn status_in_words(status: Status) -> &'static str {
    match status {
        Status::Draft => "Draft",
        Status::Open => "Open",
        Status::Paid => "Paid",
        Status::Uncollectible => "Uncollectible",
        Status::Void => "Void",
    }
}

fn render(invoice: &Invoice) -> Response {
    let show = |amount: i64| currencies::show(amount, &invoice.currency);
    let number = invoice.number.as_deref().unwrap_or(&invoice.id);
    let body = html! {
        h1 { "Invoice " (number) }
        p {
            "Date: " (clock::date(invoice.created)) br;
            "Status: " strong { (status_in_words(invoice.status)) } br;
            "To: " (invoice.customer_name.as_deref().unwrap_or_default()) " "
            (invoice.customer_email.as_deref().unwrap_or_default())
        }
        table {
            thead { tr { th scope="col" { "Item" } th scope="col" class="amount" { "Amount" } } }
            tbody {
                @for line in &invoice.lines {
                    tr {
                        td {
                            (line.description.as_deref().unwrap_or_default()) br;
                            span class="muted" {
                                (clock::date(line.period_start)) " – "
                                (clock::date(line.period_end))
                            }
                        }
                        td class="amount" { (show(line.amount)) }
                    }
                }
            }
            tfoot {
                tr {
                    th scope="row" { "Total" }
                    td class="amount" { strong { (show(invoice.total())) } }
                }
                tr { th scope="row" { "Due" } td class="amount" { (show(invoice.amount_due())) } }
                tr { th scope="row" { "Paid" } td class="amount" { (show(invoice.amount_paid)) } }
            }
        }
    };
    pages::page(StatusCode::OK, &format!("Invoice {number}"), body)
}

pub async fn receipt(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Response {
    let charge = app.read(&app.holder_of(&id), |state| state.charges.get(&id).cloned());
    match charge.filter(|charge| charge.failure.is_none()) {
        None => pages::not_found(),
        Some(charge) => {
            let amount = currencies::show(charge.amount, &charge.currency);
            let text = format!("{amount} paid on {}.", clock::date(charge.created));
            pages::message(StatusCode::OK, "Receipt", &text)
        }
    }
}
