//! The hosted Checkout page.

mod forms;
mod orders;

use std::sync::Arc;

use axum::extract::{Form, Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::app::App;
use crate::cards::Presence;
use crate::checkout_sessions::{CheckoutSession, Mode, Status};
use crate::clock::DAY;
use crate::completions::{self, Buyer, Outcome};
use crate::errors::ApiError;
use crate::instruments::Instrument;
use crate::state::State;
use crate::transactions::Cause;
use crate::{dashboard, discounts, pages};

/// How the buyer pays: each way has fields of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Card,
    Bank,
    Boleto,
}

impl Way {
    fn offered(session: &CheckoutSession) -> Vec<Way> {
        let types = session.types();
        let takes = |kind: &str| types.iter().any(|known| known == kind);
        let mut ways = Vec::new();
        if takes("card") {
            ways.push(Way::Card);
        }
        if takes("sepa_debit") || takes("us_bank_account") {
            ways.push(Way::Bank);
        }
        if takes("boleto") {
            ways.push(Way::Boleto);
        }
        ways
    }

    /// The way the buyer chose, or the first one.
    fn chosen(session: &CheckoutSession, name: &str) -> Way {
        let ways = Way::offered(session);
        let named = ways.iter().find(|way| way.name() == name);
        named.or(ways.first()).copied().unwrap_or(Way::Card)
    }

    fn name(self) -> &'static str {
        match self {
            Way::Card => "card",
            Way::Bank => "bank",
            Way::Boleto => "boleto",
        }
    }
}

/// The form of the page. Its field names are relied upon by browser tests.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    email: String,
    /// The way to pay, where the buyer can choose: `card`, `bank` or `boleto`.
    method: String,
    card_number: String,
    card_expiry: String,
    card_cvc: String,
    bank_account: String,
    tax_id: String,
    name: String,
    terms: String,
    /// The promotion code has a form of its own; empty takes the applied one back.
    code: String,
}

impl Typed {
    /// An empty form, or one that the card chosen on the dashboard fills.
    fn prefilled(app: &App) -> Typed {
        match app.board.notes().card {
            None => Typed::default(),
            Some(number) => Typed {
                card_number: dashboard::cards::spaced(number),
                card_expiry: "12 / 40".to_owned(),
                card_cvc: "123".to_owned(),
                ..Typed::default()
            },
        }
    }

    /// What may be shown again: numbers of cards and accounts are not repeated.
    fn without_numbers(self) -> Typed {
        Typed {
            card_number: String::new(),
            card_expiry: String::new(),
            card_cvc: String::new(),
            bank_account: String::new(),
            tax_id: String::new(),
            ..self
        }
    }
}

pub async fn show(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Response {
    let now = app.clock.now();
    let typed = Typed::prefilled(&app);
    app.read(&app.holder_of(&id), |state| match state.checkout_sessions.get(&id) {
        None => pages::not_found(),
        Some(session) => render(state, session, now, None, &typed),
    })
}

pub async fn submit(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
    Form(typed): Form<Typed>,
) -> Response {
    let now = app.clock.now();
    let Some(session) =
        app.read(&app.holder_of(&id), |state| state.checkout_sessions.get(&id).cloned())
    else {
        return pages::not_found();
    };
    let outcome = match read(&session, &typed, now) {
        Ok(buyer) => {
            app.run(&app.holder_of(&id), Cause::default(), |tx| {
                completions::complete(tx, &id, buyer, Presence::OnSession)
            })
            .await
        }
        Err(error) => Err(error),
    };
    let typed = typed.without_numbers();
    if outcome.is_ok() {
        // The card chosen on the dashboard was for this page.
        app.board.notes().card = None;
    }
    match outcome {
        Ok(Outcome::NeedsAuthentication) => pages::go(&format!("/c/pay/{id}/authenticate")),
        Ok(Outcome::Completed) => leave(&app, &id),
        Err(error) => again(&app, &id, &error, &typed),
    }
}

/// The buyer's promotion code: applied, taken back, or refused beside its box.
pub async fn submit_code(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
    Form(typed): Form<Typed>,
) -> Response {
    let account = app.holder_of(&id);
    if app.read(&account, |state| state.checkout_sessions.get(&id).is_none()) {
        return pages::not_found();
    }
    let applied = app.run(&account, Cause::default(), |tx| match typed.code.trim() {
        "" => discounts::remove_code(tx, &id),
        code => discounts::apply_code(tx, &id, code),
    });
    match applied.await {
        Ok(()) => pages::go(&format!("/c/pay/{id}")),
        Err(error) => {
            let typed = Typed { code: typed.code, ..Typed::prefilled(&app) };
            again(&app, &id, &error.param("code"), &typed)
        }
    }
}

/// The page again, with the reason why the payment did not go through.
pub fn show_error(app: &App, id: &str, error: &ApiError) -> Response {
    again(app, id, error, &Typed::default())
}

fn again(app: &App, id: &str, error: &ApiError, typed: &Typed) -> Response {
    let now = app.clock.now();
    app.read(&app.holder_of(id), |state| match state.checkout_sessions.get(id) {
        None => pages::not_found(),
        // The button was pressed twice: the first time it worked.
        Some(session) if session.status == Status::Complete => go_on(session),
        Some(session) => render(state, session, now, Some(error), typed),
    })
}

/// On to the shop, or to our own thanks where it has no page.
pub fn leave(app: &App, id: &str) -> Response {
    app.read(&app.holder_of(id), |state| {
        state.checkout_sessions.get(id).map_or_else(pages::not_found, go_on)
    })
}

fn go_on(session: &CheckoutSession) -> Response {
    match session.success_target() {
        Some(target) => pages::go(&target),
        None => pages::go(&format!("/c/pay/{}", session.id)),
    }
}

fn refuse(message: &str, field: &str) -> ApiError {
    ApiError::invalid(message).param(field)
}

/// Checks what the buyer typed before anything is tried.
fn read(session: &CheckoutSession, typed: &Typed, now: i64) -> Result<Buyer, ApiError> {
    let text = |value: &str| Some(value.trim().to_owned()).filter(|text| !text.is_empty());
    let email = text(&typed.email);
    let known = session.customer.is_some() || session.customer_email.is_some();
    let valid = |email: &String| email.len() <= 500 && email.contains('@');
    if !known && !email.as_ref().is_some_and(valid) {
        return Err(refuse("Enter your e-mail address.", "email"));
    }
    let instrument = match Way::chosen(session, &typed.method) {
        _ if !completions::needs_card(session) => None,
        Way::Card => Some(read_card(typed, now)?),
        Way::Bank => Some(read_account(typed)?),
        Way::Boleto => Some(read_boleto(typed)?),
    };
    if session.collections.terms_required && typed.terms != "accepted" {
        return Err(refuse("Accept the terms to go on.", "terms"));
    }
    let name = text(&typed.name).map(|name| name.chars().take(200).collect());
    Ok(Buyer { instrument, email: email.filter(valid), name })
}

fn read_card(typed: &Typed, now: i64) -> Result<Instrument, ApiError> {
    if typed.card_number.trim().is_empty() {
        return Err(refuse("Enter a card number.", "card_number"));
    }
    let instrument = Instrument::typed(&typed.card_number).ok_or_else(|| {
        let message = "Your card number is not one of the test cards. Real cards are not taken \
                       here.";
        refuse(message, "card_number")
    })?;
    if instrument.card().is_none() {
        return Ok(instrument);
    }
    if !is_in_future(&typed.card_expiry, now) {
        let message = "Your card's expiration date is incomplete or in the past.";
        return Err(refuse(message, "card_expiry"));
    }
    let cvc = typed.card_cvc.trim();
    if !(3..=4).contains(&cvc.len()) || !cvc.chars().all(|sign| sign.is_ascii_digit()) {
        return Err(refuse("Your card's security code is incomplete.", "card_cvc"));
    }
    Ok(instrument)
}

fn read_account(typed: &Typed) -> Result<Instrument, ApiError> {
    if typed.bank_account.trim().is_empty() {
        return Err(refuse("Enter an account.", "bank_account"));
    }
    let account = Instrument::typed(&typed.bank_account).filter(Instrument::needs_mandate);
    account.ok_or_else(|| {
        let message = "This is not one of the test accounts. Real accounts are not debited here.";
        refuse(message, "bank_account")
    })
}

fn read_boleto(typed: &Typed) -> Result<Instrument, ApiError> {
    let boleto = Instrument::boleto(typed.tax_id.trim());
    boleto.ok_or_else(|| refuse("Enter a CPF or CNPJ of 11 or 14 digits.", "tax_id"))
}

/// `MM / YY`: a card is good until the end of that month.
fn is_in_future(text: &str, now: i64) -> bool {
    expiry(text, now).is_some()
}

/// Month and year, where the card is still good.
pub fn expiry(text: &str, now: i64) -> Option<(i8, i16)> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if digits.len() != 4 && digits.len() != 6 {
        return None;
    }
    let (month, year) = digits.split_at(2);
    let (month, year) = (month.parse::<i8>().ok()?, year.parse::<i16>().ok()?);
    let year = if year < 100 { 2_000 + year } else { year };
    let first = jiff::civil::Date::new(year, month, 1).ok()?;
    let last = first.last_of_month().to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    (now < last.timestamp().as_second() + DAY).then_some((month, year))
}

/// What a finished session says to somebody who comes back.
fn finished(session: &CheckoutSession) -> Response {
    let (title, text) = match (session.mode, session.awaiting.is_some()) {
        (_, true) => (
            "Payment on its way",
            "This checkout is finished. The bank will say within days whether it pays.",
        ),
        (Mode::Setup, false) => {
            ("Payment method saved", "This checkout is finished. You can close this page.")
        }
        (_, false) => ("Payment complete", "This checkout is finished. You can close this page."),
    };
    pages::message(StatusCode::OK, title, text)
}

fn render(
    state: &State,
    session: &CheckoutSession,
    now: i64,
    error: Option<&ApiError>,
    typed: &Typed,
) -> Response {
    match session.status {
        Status::Complete => return finished(session),
        Status::Expired => {
            return pages::message(
                StatusCode::GONE,
                "This checkout has expired",
                "Go back to the shop and start again.",
            );
        }
        Status::Open => {}
    }
    let status = match error {
        None => StatusCode::OK,
        Some(error) => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST),
    };
    let title = match session.mode {
        Mode::Payment => "Pay",
        Mode::Setup => "Save a payment method",
        Mode::Subscription => "Subscribe",
    };
    let body = html! {
        h1 { (title) }
        (orders::summary(state, session, now))
        (orders::code_box(state, session, &typed.code, error))
        (forms::form(state, session, error, typed))
        @if let Some(cancel) = &session.cancel_url {
            nav { p { a id="cancel" href=(cancel) { "Back to the shop" } } }
        }
        @if Way::offered(session).contains(&Way::Card) && completions::needs_card(session) {
            (test_cards())
        }
    };
    pages::page(status, title, body)
}

pub fn test_cards() -> Markup {
    let cards = [
        ("4242 4242 4242 4242", "succeeds"),
        ("4000 0000 0000 0002", "is declined"),
        ("4000 0000 0000 9995", "has insufficient funds"),
        ("4000 0000 0000 0069", "has expired"),
        ("4000 0000 0000 0341", "can be saved, but charging it fails"),
        ("4000 0027 6000 3184", "always asks for 3-D Secure"),
        ("4000 0025 0000 3155", "asks for 3-D Secure once"),
    ];
    html! {
        details {
            summary { "Test cards" }
            table {
                thead { tr { th scope="col" { "Number" } th scope="col" { "What it does" } } }
                tbody {
                    @for (number, what) in cards { tr { td { (number) } td { (what) } } }
                }
            }
            p class="muted" { "Any future expiry date and any CVC will do." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_in_future;

    #[test]
    fn expiry_dates() {
        let now = 1_769_853_600; // 2026-01-31T10:00:00Z
        for good in ["01/26", "12 / 34", "122034", "02/2026"] {
            assert!(is_in_future(good, now), "{good}");
        }
        for bad in ["", "12", "13/34", "12/25", "00/30", "12/3", "99999999"] {
            assert!(!is_in_future(bad, now), "{bad}");
        }
    }
}
