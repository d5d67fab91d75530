//! The form that pays: e-mail, a payment method, terms. What is wrong is said beside its field.

use maud::{Markup, html};

use crate::checkout_sessions::{CheckoutSession, Mode};
use crate::errors::ApiError;
use crate::pages::checkout::{Typed, Way};
use crate::state::State;
use crate::{completions, currencies};

/// Which field an error belongs beside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Email,
    Number,
    Expiry,
    Cvc,
    Account,
    TaxId,
    Terms,
    /// No field is wrong, but it cannot go on.
    Button,
}

impl Field {
    fn of(error: &ApiError, way: Way) -> Field {
        let of_way = match way {
            Way::Card => Field::Number,
            Way::Bank => Field::Account,
            Way::Boleto => Field::TaxId,
        };
        match (error.code_name(), error.param_name()) {
            (Some("expired_card"), _) | (_, Some("card_expiry")) => Field::Expiry,
            (Some("incorrect_cvc"), _) | (_, Some("card_cvc")) => Field::Cvc,
            (_, Some("email" | "customer_email")) => Field::Email,
            (_, Some("terms")) => Field::Terms,
            (_, Some("card_number" | "bank_account" | "tax_id" | "payment_method")) => of_way,
            _ if error.status() == 402 => of_way,
            _ => Field::Button,
        }
    }
}

/// The reason beside the field it belongs to; the field points at it.
struct Problem<'a>(Option<(Field, &'a ApiError)>);

impl Problem<'_> {
    fn id_at(&self, field: Field) -> Option<&'static str> {
        let (place, _) = self.0?;
        (place == field).then_some("decline")
    }

    fn said_at(&self, field: Field) -> Markup {
        match self.0 {
            Some((place, error)) if place == field => {
                html! { p class="alert" role="alert" id="decline" { (error.message()) } }
            }
            _ => html! {},
        }
    }
}

/// A text field, with what is wrong with it.
struct Input<'a> {
    name: &'a str,
    label: &'a str,
    value: &'a str,
    example: &'a str,
    numeric: bool,
    required: bool,
    field: Field,
}

impl Input<'_> {
    fn shown(&self, problem: &Problem<'_>, help: Option<&str>) -> Markup {
        let wrong = problem.id_at(self.field);
        let described: Vec<&str> = help.into_iter().chain(wrong).collect();
        let described = Some(described.join(" ")).filter(|ids| !ids.is_empty());
        html! {
            label for=(self.name) { (self.label) }
            input id=(self.name) name=(self.name) value=(self.value) placeholder=(self.example)
                inputmode=[self.numeric.then_some("numeric")] autocomplete="off" maxlength="42"
                required[self.required] autofocus[wrong.is_some()]
                aria-describedby=[described] aria-invalid=[wrong.map(|_| "true")];
            (problem.said_at(self.field))
        }
    }
}

pub fn form(
    state: &State,
    session: &CheckoutSession,
    error: Option<&ApiError>,
    typed: &Typed,
) -> Markup {
    let ways = if completions::needs_card(session) { Way::offered(session) } else { Vec::new() };
    let chosen = Way::chosen(session, &typed.method);
    // A refused promotion code is said at its own box.
    let error = error.filter(|error| error.param_name() != Some("code"));
    let place = |error| match Field::of(error, chosen) {
        Field::Number | Field::Account | Field::TaxId if ways.is_empty() => Field::Button,
        field => field,
    };
    let problem = Problem(error.map(|error| (place(error), error)));
    let alone = ways.len() == 1;
    let text = |place: &str| {
        html! { @if let Some(text) = session.collections.text(place) { p { (text) } } }
    };
    html! {
        form method="post" action={ "/c/pay/" (session.id) } {
            (email(state, session, &problem, typed))
            @if 1 < ways.len() { (choice(&ways, chosen)) }
            @for way in &ways {
                div class={ "way by_" (way.name()) } {
                    @match way {
                        Way::Card => (card(&problem, typed, alone)),
                        Way::Bank => (bank_account(session, &problem, typed, alone)),
                        Way::Boleto => (boleto(&problem, typed, alone)),
                    }
                }
            }
            @if !ways.is_empty() {
                label for="name" { "Name" }
                input id="name" name="name" value=(typed.name) autocomplete="name"
                    maxlength="200";
            }
            (terms(session, &problem, typed))
            (text("submit"))
            (problem.said_at(Field::Button))
            button class="main" id="pay" type="submit" { (button(session)) }
            (text("after_submit"))
        }
    }
}

fn button(session: &CheckoutSession) -> String {
    let total = session.amount_total();
    let amount = currencies::show(total, &session.currency);
    match (session.mode, session.submit_type.as_deref()) {
        (Mode::Setup, _) => "Save".to_owned(),
        (Mode::Subscription, _) if session.has_trial() => "Start trial".to_owned(),
        (Mode::Subscription, _) => "Subscribe".to_owned(),
        (Mode::Payment, _) if total == 0 => "Complete order".to_owned(),
        (Mode::Payment, Some("book")) => format!("Book for {amount}"),
        (Mode::Payment, Some("donate")) => format!("Donate {amount}"),
        (Mode::Payment, _) => format!("Pay {amount}"),
    }
}

fn email(state: &State, session: &CheckoutSession, problem: &Problem<'_>, typed: &Typed) -> Markup {
    let customer = session.customer.as_ref().and_then(|id| state.customers.get(id));
    let known = customer.and_then(|customer| customer.email.clone());
    let locked = known.or_else(|| session.customer_email.clone());
    let wrong = problem.id_at(Field::Email);
    html! {
        label for="email" { "E-mail" }
        @if let Some(email) = &locked {
            input id="email" name="email" type="email" value=(email) readonly
                autocomplete="email";
        } @else {
            input id="email" name="email" type="email" value=(typed.email) required
                autocomplete="email" autofocus[wrong.is_some()] aria-describedby=[wrong]
                aria-invalid=[wrong.map(|_| "true")];
        }
        (problem.said_at(Field::Email))
    }
}

/// Without scripts the fields of every way are there; the style hides those not chosen.
fn choice(ways: &[Way], chosen: Way) -> Markup {
    html! {
        fieldset {
            legend { "Pay with" }
            @for way in ways {
                @let id = format!("method_{}", way.name());
                label class="choice" for=(id) {
                    input type="radio" id=(id) name="method" value=(way.name())
                        checked[*way == chosen];
                    @match way {
                        Way::Card => "Card",
                        Way::Bank => "Bank account",
                        Way::Boleto => "Boleto",
                    }
                }
            }
        }
    }
}

/// `alone`: there is no other way, so the browser can insist on these fields.
fn card(problem: &Problem<'_>, typed: &Typed, alone: bool) -> Markup {
    let input = |name, label, value, example, field| {
        Input { name, label, value, example, numeric: true, required: alone, field }
            .shown(problem, None)
    };
    let (number, expiry, cvc) = (&typed.card_number, &typed.card_expiry, &typed.card_cvc);
    html! {
        (input("card_number", "Card number", number, "4242 4242 4242 4242", Field::Number))
        div class="pair" {
            div { (input("card_expiry", "Expiry (MM / YY)", expiry, "12 / 34", Field::Expiry)) }
            div { (input("card_cvc", "CVC", cvc, "123", Field::Cvc)) }
        }
    }
}

fn bank_account(
    session: &CheckoutSession,
    problem: &Problem<'_>,
    typed: &Typed,
    alone: bool,
) -> Markup {
    let is_iban = session.types().iter().any(|kind| kind == "sepa_debit");
    let (label, example) = match is_iban {
        true => ("IBAN", "AT61 1904 3002 3457 3201"),
        false => ("Account number", "000123456789"),
    };
    let input = Input {
        name: "bank_account",
        label,
        value: &typed.bank_account,
        example,
        numeric: !is_iban,
        required: alone,
        field: Field::Account,
    };
    html! {
        (input.shown(problem, Some("bank_help")))
        p class="muted" id="bank_help" {
            @if is_iban {
                "AT61 1904 3002 3457 3201 pays, AT86 1904 3002 3547 3202 fails. "
            } @else {
                "000123456789 pays, 000111111116 fails, 000000000009 never ends. "
            }
            "With the button you allow the debit; the money comes later."
        }
    }
}

fn boleto(problem: &Problem<'_>, typed: &Typed, alone: bool) -> Markup {
    let input = Input {
        name: "tax_id",
        label: "CPF or CNPJ",
        value: &typed.tax_id,
        example: "000.000.000-00",
        numeric: false,
        required: alone,
        field: Field::TaxId,
    };
    html! {
        (input.shown(problem, Some("boleto_help")))
        p class="muted" id="boleto_help" { "You get a voucher; the money comes once it is paid." }
    }
}

fn terms(session: &CheckoutSession, problem: &Problem<'_>, typed: &Typed) -> Markup {
    if !session.collections.terms_required {
        return html! {};
    }
    let text = session.collections.text("terms_of_service_acceptance");
    let wrong = problem.id_at(Field::Terms);
    html! {
        label class="choice" for="terms" {
            input type="checkbox" id="terms" name="terms" value="accepted" required
                checked[typed.terms == "accepted"] aria-describedby=[wrong]
                aria-invalid=[wrong.map(|_| "true")];
            span { (text.unwrap_or("I agree to the shop's terms of service.")) }
        }
        (problem.said_at(Field::Terms))
    }
}
