//! The test cards by what they do. One can be chosen: the next Checkout page is filled with it.

use std::sync::Arc;

use axum::extract::{Form, State as Shared};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::app::App;
use crate::{cards, dashboard, pages};

/// A card as people look for it: its number, what it does, the end of its `pm_card_…` name.
type Described = (&'static str, &'static str, &'static str);

const GROUPS: &[(&str, &[Described])] = &[
    ("Pays", PAYING),
    ("Is declined", DECLINED),
    ("Asks for 3-D Secure", AUTHENTICATING),
    ("Is disputed", DISPUTED),
    ("Refunds that take their time, money that does not", SLOW),
    ("Fraud and checks", CHECKED),
];

const PAYING: &[Described] = &[
    ("4242424242424242", "Visa, pays", "visa"),
    ("4000056655665556", "Visa debit, pays", "visa_debit"),
    ("5555555555554444", "Mastercard, pays", "mastercard"),
    ("378282246310005", "American Express, pays", "amex"),
    ("6011111111111117", "Discover, pays", "discover"),
    ("3056930009020004", "Diners Club, pays", "diners"),
    ("3566002020360505", "JCB, pays", "jcb"),
    ("6200000000000005", "UnionPay, pays", "unionpay"),
];
const DECLINED: &[Described] = &[
    ("4000000000000002", "Is declined", "chargeDeclined"),
    ("4000000000009995", "Has insufficient funds", "chargeDeclinedInsufficientFunds"),
    ("4000000000009987", "Was lost", "chargeDeclinedLostCard"),
    ("4000000000009979", "Was stolen", "chargeDeclinedStolenCard"),
    ("4000000000000069", "Has expired", "chargeDeclinedExpiredCard"),
    ("4000000000000127", "Has another security code", "chargeDeclinedIncorrectCvc"),
    ("4000000000000119", "Meets an error at the bank", "chargeDeclinedProcessingError"),
    ("4000000000006975", "Was used too often", "visa_chargeDeclinedVelocityLimitExceeded"),
    ("4000000000000341", "Can be saved, but charging it fails", "chargeCustomerFail"),
];
const AUTHENTICATING: &[Described] = &[
    ("4000002760003184", "Asks on every payment", "authenticationRequired"),
    ("4000002500003155", "Asks until it is saved", "authenticationRequiredOnSetup"),
    (
        "4000003800000446",
        "Asks while the buyer is there, renews without",
        "authenticationRequiredSetupForOffSession",
    ),
    (
        "4000008260003178",
        "Asks, then has insufficient funds",
        "authenticationRequiredChargeDeclinedInsufficientFunds",
    ),
    ("4000000000003220", "Asks, as 3-D Secure 2", "threeDSecure2Required"),
    ("4000008400001629", "Asks, then is declined", "threeDSecureRequiredChargeDeclined"),
    ("4000000000003055", "Could ask, does not", "threeDSecureOptional"),
];
const DISPUTED: &[Described] = &[
    ("4000000000000259", "Pays, then is disputed as fraudulent", "createDispute"),
    ("4000000000002685", "Pays, then nothing arrived", "createDisputeProductNotReceived"),
    ("4000000000001976", "Pays, then the bank asks", "createDisputeInquiry"),
    ("4000000404000079", "Pays, then is disputed twice", "createMultipleDisputes"),
];
const SLOW: &[Described] = &[
    ("4000000000007726", "A refund is pending first", "pendingRefund"),
    ("4000000000005126", "A refund succeeds, then fails", "refundFail"),
    ("4000000000000077", "The money is available at once", "bypassPending"),
];
const CHECKED: &[Described] = &[
    ("4100000000000019", "Is blocked as fraud", "radarBlock"),
    ("4000000000009235", "Pays, with an elevated risk", "riskLevelElevated"),
    ("4000000000000101", "Pays, the code's check fails", "cvcCheckFail"),
    ("4000000000000036", "Pays, the postal code's check fails", "avsZipFail"),
];

/// The groups with the cards that this sandbox has.
fn groups() -> impl Iterator<Item = (&'static str, Vec<Described>)> {
    let groups = GROUPS.iter().map(|(label, members)| {
        let there = members.iter().filter(|(number, _, _)| cards::by_number(number).is_some());
        (*label, there.copied().collect::<Vec<Described>>())
    });
    groups.filter(|(_, members)| !members.is_empty())
}

/// `4242 4242 4242 4242`.
pub fn spaced(number: &str) -> String {
    let mut spaced = String::new();
    for (place, digit) in number.chars().enumerate() {
        if place != 0 && place % 4 == 0 {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    spaced
}

pub async fn show(Shared(app): Shared<Arc<App>>) -> Response {
    let chosen = app.board.notes().card;
    let body = html! {
        p {
            "Any future date and any code will do. Programs pay with the names, such as "
            code { "pm_card_visa" } "."
        }
        @if let Some(number) = chosen {
            form method="post" action="/_sandbox/forms/card" {
                p {
                    "The next Checkout page is filled with " strong { (spaced(number)) }
                    ". "
                    button type="submit" class="small" name="number" value="" { "Forget it" }
                }
            }
        }
        @for (label, members) in groups() { (section(label, &members)) }
    };
    dashboard::page(&app, "/_sandbox/cards", "Cards", body)
}

fn section(label: &str, members: &[Described]) -> Markup {
    html! {
        h2 { (label) }
        table {
            thead {
                tr {
                    th scope="col" { "Number" }
                    th scope="col" { "What it does" }
                    th scope="col" { "Name" }
                    th scope="col" { "Use" }
                }
            }
            tbody { @for card in members { (row(*card)) } }
        }
    }
}

fn row((number, what, name): Described) -> Markup {
    let shown = spaced(number);
    html! {
        tr {
            td { (shown) }
            td { (what) }
            td { code { "pm_card_" (name) } }
            td {
                form method="post" action="/_sandbox/forms/card" {
                    div class="row" {
                        button type="submit" class="small" name="number" value=(number)
                            aria-label={ "Choose " (shown) } { "Choose" }
                        button type="button" class="small" hidden data-copy=(number)
                            aria-label={ "Copy " (shown) } { "Copy" }
                    }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub struct Choice {
    number: String,
}

pub async fn choose(Shared(app): Shared<Arc<App>>, Form(choice): Form<Choice>) -> Response {
    app.board.notes().card = cards::by_number(&choice.number).map(|card| card.number);
    pages::go("/_sandbox/cards")
}
