//! The printable pages of an invoice and of a credit note, and the receipt of a charge.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use crate::app::App;
use crate::invoices::{self, Invoice, Status};
use crate::state::State;
use crate::{clock, credit_notes, currencies, pages};

pub async fn show(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Response {
    let found = app.read(&app.holder_of(&id), |state| {
        let invoice = state.invoices.get(&id).filter(|row| row.finalized_at.is_some())?;
        Some(Page::of(state, invoice))
    });
    match found {
        None => pages::not_found(),
        Some(page) => page.render(),
    }
}

pub async fn show_credit_note(
    Shared(app): Shared<Arc<App>>,
    Path((_, id)): Path<(String, String)>,
) -> Response {
    let found = app.read(&app.holder_of(&id), |state| {
        let note = state.credit_notes.get(&id)?;
        Some((credit_notes::render::view(state, note), note.currency.clone()))
    });
    match found {
        None => pages::not_found(),
        Some((note, currency)) => render_credit_note(&note, &currency),
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

/// What the page shows: the invoice as the API shows it, and what it only refers to.
struct Page {
    shown: Value,
    status: Status,
    currency: String,
    created: i64,
    due_date: Option<i64>,
    account_tax_ids: Vec<String>,
    notes: Vec<Value>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn amount(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or(0)
}

fn entries<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn sum(values: &[Value]) -> i64 {
    values.iter().fold(0_i64, |sum, value| sum.saturating_add(amount(value, "amount")))
}

impl Page {
    fn of(state: &State, invoice: &Invoice) -> Page {
        let own = invoice.paper.account_tax_ids.iter().filter_map(|id| state.tax_ids.get(id));
        let notes = state.credit_notes.of(&invoice.id);
        Page {
            shown: invoices::render::view(state, invoice),
            status: invoice.status,
            currency: invoice.currency.clone(),
            created: invoice.effective_at.or(invoice.finalized_at).unwrap_or(invoice.created),
            due_date: invoice.due_date,
            account_tax_ids: own.map(|tax_id| tax_id.value.clone()).collect(),
            notes: notes.map(|note| credit_notes::render::view(state, note)).collect(),
        }
    }

    fn render(&self) -> Response {
        let number = text(&self.shown, "number");
        let body = html! {
            h1 { "Invoice " (number) }
            (self.head())
            (self.lines())
            @if !self.notes.is_empty() { (self.credits()) }
            @let footer = text(&self.shown, "footer");
            @if !footer.is_empty() { p class="muted" { (footer) } }
        };
        pages::page(StatusCode::OK, &format!("Invoice {number}"), body)
    }

    fn head(&self) -> Markup {
        let shown = &self.shown;
        let address = &shown["customer_address"];
        html! {
            p {
                "Date: " (clock::date(self.created)) br;
                @if let Some(due) = self.due_date { "Due: " (clock::date(due)) br; }
                "Status: " strong { (status_in_words(self.status)) } br;
                "From: " (text(shown, "account_name"))
                @for tax_id in &self.account_tax_ids { ", tax ID " (tax_id) }
            }
            p {
                "To: " (text(shown, "customer_name")) " " (text(shown, "customer_email"))
                @for part in ["line1", "line2", "postal_code", "city", "state", "country"] {
                    @if address[part].is_string() { br; (text(address, part)) }
                }
                @for tax_id in entries(shown, "customer_tax_ids") {
                    br; "Tax ID " (text(tax_id, "value"))
                }
                @for field in entries(shown, "custom_fields") {
                    br; (text(field, "name")) ": " (text(field, "value"))
                }
            }
            @let description = text(shown, "description");
            @if !description.is_empty() { p { (description) } }
        }
    }

    fn lines(&self) -> Markup {
        html! {
            table {
                thead {
                    tr {
                        th scope="col" { "Item" }
                        th scope="col" class="amount" { "Quantity" }
                        th scope="col" class="amount" { "Amount" }
                    }
                }
                tbody {
                    @for line in entries(&self.shown["lines"], "data") {
                        tr {
                            td {
                                (text(line, "description")) br;
                                span class="muted" {
                                    (clock::date(amount(&line["period"], "start"))) " – "
                                    (clock::date(amount(&line["period"], "end")))
                                }
                            }
                            td class="amount" { (amount(line, "quantity")) }
                            td class="amount" { (self.money(amount(line, "amount"))) }
                        }
                    }
                }
                tfoot {
                    @for (name, amount, always) in self.totals() {
                        @if always || amount != 0 {
                            tr {
                                th scope="row" colspan="2" { (name) }
                                td class="amount" { (self.money(amount)) }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Names, amounts and whether a zero is worth a row.
    fn totals(&self) -> Vec<(&'static str, i64, bool)> {
        let shown = &self.shown;
        let balance = amount(shown, "ending_balance") - amount(shown, "starting_balance");
        vec![
            ("Subtotal", amount(shown, "subtotal"), true),
            ("Discounts", -sum(entries(shown, "total_discount_amounts")), false),
            ("Taxes", sum(entries(shown, "total_taxes")), false),
            ("Total", amount(shown, "total"), true),
            ("Customer balance", -balance, false),
            ("Credit notes", -amount(shown, "pre_payment_credit_notes_amount"), false),
            ("Due", amount(shown, "amount_due"), true),
            ("Paid", amount(shown, "amount_paid"), true),
            ("Remaining", amount(shown, "amount_remaining"), false),
            ("Credited after payment", amount(shown, "post_payment_credit_notes_amount"), false),
        ]
    }

    fn credits(&self) -> Markup {
        html! {
            h2 { "Credit notes" }
            ul {
                @for note in &self.notes {
                    li {
                        a href=(text(note, "pdf")) { (text(note, "number")) } ": "
                        (self.money(amount(note, "amount")))
                        @if text(note, "status") == "void" { " (void)" }
                    }
                }
            }
        }
    }

    fn money(&self, amount: i64) -> String {
        currencies::show(amount, &self.currency)
    }
}

fn render_credit_note(note: &Value, currency: &str) -> Response {
    let show = |amount: i64| currencies::show(amount, currency);
    let number = text(note, "number");
    let rows = [
        ("Total", amount(note, "total")),
        ("Taken off the invoice", amount(note, "pre_payment_amount")),
        ("Given back", amount(note, "post_payment_amount")),
    ];
    let body = html! {
        h1 { "Credit note " (number) }
        p {
            "Date: " (clock::date(amount(note, "effective_at"))) br;
            "Status: " strong { @if text(note, "status") == "void" { "Void" } @else { "Issued" } }
        }
        @let memo = text(note, "memo");
        @if !memo.is_empty() { p { (memo) } }
        table {
            thead { tr { th scope="col" { "Item" } th scope="col" class="amount" { "Amount" } } }
            tbody {
                @for line in entries(&note["lines"], "data") {
                    tr {
                        td { (text(line, "description")) }
                        td class="amount" { (show(amount(line, "amount"))) }
                    }
                }
            }
            tfoot {
                @for (name, amount) in rows {
                    tr { th scope="row" { (name) } td class="amount" { (show(amount)) } }
                }
            }
        }
    };
    pages::page(StatusCode::OK, &format!("Credit note {number}"), body)
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
