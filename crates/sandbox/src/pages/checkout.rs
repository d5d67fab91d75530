//! The hosted Checkout page.

use std::sync::Arc;

use axum::extract::{Form, Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::app::App;
use crate::cards::Presence;
use crate::checkout_sessions::{CheckoutSession, Mode, Status};
use crate::clock::{self, DAY};
use crate::completions::{self, Buyer, Outcome};
use crate::errors::ApiError;
use crate::instruments::Instrument;
use crate::state::State;
use crate::transactions::Cause;
use crate::{currencies, dashboard, pages};

/// The form of the page. Its field names are relied upon by browser tests.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    email: String,
    card_number: String,
    card_expiry: String,
    card_cvc: String,
    name: String,
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

    /// What may be shown again: card numbers are not repeated.
    fn without_card(self) -> Typed {
        Typed { email: self.email, name: self.name, ..Typed::default() }
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
    let typed = typed.without_card();
    if outcome.is_ok() {
        // The card chosen on the dashboard was for this page.
        app.board.notes().card = None;
    }
    match outcome {
        Ok(Outcome::NeedsAuthentication) => pages::go(&format!("/c/pay/{id}/authenticate")),
        Ok(Outcome::Completed) => leave(&app, &id),
        Err(error) => {
            app.read(&app.holder_of(&id), |state| match state.checkout_sessions.get(&id) {
                None => pages::not_found(),
                // The button was pressed twice: the first time it worked.
                Some(session) if session.status == Status::Complete => go_on(session),
                Some(session) => render(state, session, now, Some(&error), &typed),
            })
        }
    }
}

/// The page again, with the reason why the payment did not go through.
pub fn show_error(app: &App, id: &str, error: &ApiError) -> Response {
    let now = app.clock.now();
    app.read(&app.holder_of(id), |state| match state.checkout_sessions.get(id) {
        None => pages::not_found(),
        Some(session) if session.status == Status::Complete => go_on(session),
        Some(session) => render(state, session, now, Some(error), &Typed::default()),
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

fn refuse(message: &str) -> ApiError {
    ApiError::invalid(message)
}

/// Checks what the buyer typed before anything is tried.
fn read(session: &CheckoutSession, typed: &Typed, now: i64) -> Result<Buyer, ApiError> {
    let text = |value: &str| Some(value.trim().to_owned()).filter(|text| !text.is_empty());
    let email = text(&typed.email);
    let known = session.customer.is_some() || session.customer_email.is_some();
    let valid = |email: &String| email.len() <= 500 && email.contains('@');
    if !known && !email.as_ref().is_some_and(valid) {
        return Err(refuse("Enter your e-mail address."));
    }
    let instrument =
        if completions::needs_card(session) { Some(read_card(typed, now)?) } else { None };
    let name = text(&typed.name).map(|name| name.chars().take(200).collect());
    Ok(Buyer { instrument, email: email.filter(valid), name })
}

fn read_card(typed: &Typed, now: i64) -> Result<Instrument, ApiError> {
    if typed.card_number.trim().is_empty() {
        return Err(refuse("Enter a card number."));
    }
    let instrument = Instrument::typed(&typed.card_number).ok_or_else(|| {
        refuse("Your card number is not one of the test cards. Real cards are not taken here.")
    })?;
    if instrument.card().is_none() {
        return Ok(instrument);
    }
    if !is_in_future(&typed.card_expiry, now) {
        return Err(refuse("Your card's expiration date is incomplete or in the past."));
    }
    let cvc = typed.card_cvc.trim();
    if !(3..=4).contains(&cvc.len()) || !cvc.chars().all(|sign| sign.is_ascii_digit()) {
        return Err(refuse("Your card's security code is incomplete."));
    }
    Ok(instrument)
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

fn render(
    state: &State,
    session: &CheckoutSession,
    now: i64,
    error: Option<&ApiError>,
    typed: &Typed,
) -> Response {
    match session.status {
        Status::Complete => {
            return pages::message(
                StatusCode::OK,
                "Payment complete",
                "This checkout is finished. You can close this page.",
            );
        }
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
        (summary(state, session, now))
        @if let Some(error) = error {
            p class="alert" role="alert" id="decline" { (error.message()) }
        }
        (form(state, session, typed))
        @if let Some(cancel) = &session.cancel_url {
            nav { p { a id="cancel" href=(cancel) { "Back to the shop" } } }
        }
        (test_cards())
    };
    pages::page(status, title, body)
}

fn summary(state: &State, session: &CheckoutSession, now: i64) -> Markup {
    let currency = &session.currency;
    let show = |amount: i64| currencies::show(amount, currency);
    let every = |price: &str| {
        let recurring = state.prices.get(price)?.recurring?;
        let name = recurring.interval.name();
        Some(match recurring.interval_count {
            1 => format!("per {name}"),
            count => format!("every {count} {name}s"),
        })
    };
    let recurring = session.line_items.iter().filter(|line| line.recurring);
    let later = recurring.fold(0_i64, |sum, line| sum.saturating_add(line.amount));
    let first = session.line_items.iter().find(|line| line.recurring);
    let rhythm = first.and_then(|line| every(&line.price)).unwrap_or_default();
    html! {
        table {
            caption class="muted" { "Your order" }
            thead { tr { th scope="col" { "Item" } th scope="col" class="amount" { "Amount" } } }
            tbody {
                @for line in &session.line_items {
                    tr {
                        td {
                            (line.description)
                            @if line.quantity != 1 { " × " (line.quantity) }
                            @if let Some(every) = every(&line.price) {
                                " " span class="muted" { (every) }
                            }
                        }
                        td class="amount" { (show(line.amount)) }
                    }
                }
            }
            tfoot {
                tr {
                    th scope="row" { "Due today" }
                    td class="amount" id="total" { strong { (show(session.amount_total())) } }
                }
            }
        }
        @if let Some(end) = trial_end(session, now) {
            p id="trial" {
                "Free until " (clock::date(end)) ", then " (show(later)) " " (rhythm)
                ". Cancel before that day and you pay nothing."
            }
        }
    }
}

fn trial_end(session: &CheckoutSession, now: i64) -> Option<i64> {
    if session.mode != Mode::Subscription {
        return None;
    }
    let data = &session.subscription_data;
    data.trial_end.or(data.trial_period_days.map(|days| now + days * DAY))
}

fn form(state: &State, session: &CheckoutSession, typed: &Typed) -> Markup {
    let customer = session.customer.as_ref().and_then(|id| state.customers.get(id));
    let known = customer.and_then(|customer| customer.email.clone());
    let locked = known.or_else(|| session.customer_email.clone());
    let button = match (session.mode, session.has_trial()) {
        (Mode::Subscription, true) => "Start trial".to_owned(),
        (Mode::Subscription, false) => "Subscribe".to_owned(),
        (Mode::Setup, _) => "Save".to_owned(),
        (Mode::Payment, _) => {
            format!("Pay {}", currencies::show(session.amount_total(), &session.currency))
        }
    };
    html! {
        form method="post" action={ "/c/pay/" (session.id) } {
            label for="email" { "E-mail" }
            @if let Some(email) = &locked {
                input id="email" name="email" type="email" value=(email) readonly
                    autocomplete="email";
            } @else {
                input id="email" name="email" type="email" value=(typed.email) required
                    autocomplete="email";
            }
            @if completions::needs_card(session) {
                label for="card_number" { "Card number" }
                input id="card_number" name="card_number" value=(typed.card_number)
                    inputmode="numeric" required
                    autocomplete="off" placeholder="4242 4242 4242 4242" maxlength="30";
                div class="pair" {
                    div {
                        label for="card_expiry" { "Expiry (MM / YY)" }
                        input id="card_expiry" name="card_expiry" value=(typed.card_expiry)
                            inputmode="numeric" required
                            autocomplete="off" placeholder="12 / 34" maxlength="9";
                    }
                    div {
                        label for="card_cvc" { "CVC" }
                        input id="card_cvc" name="card_cvc" value=(typed.card_cvc)
                            inputmode="numeric" required
                            autocomplete="off" placeholder="123" maxlength="4";
                    }
                }
                label for="name" { "Name on card" }
                input id="name" name="name" value=(typed.name) autocomplete="name"
                    maxlength="200";
            }
            button class="main" id="pay" type="submit" { (button) }
        }
    }
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
