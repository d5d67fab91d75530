//! What the buyer gets for how much: lines, totals, what comes later, and the box for promotion
//! codes.

use maud::{Markup, html};

use crate::adjustments;
use crate::checkout_sessions::{CheckoutSession, LineItem, Mode, amounts};
use crate::clock::{self, DAY};
use crate::coupons::Duration;
use crate::currencies;
use crate::errors::ApiError;
use crate::prices::Price;
use crate::state::State;

/// A price's rhythm, such as `per month`.
fn every(state: &State, price: &str) -> Option<String> {
    let recurring = state.prices.get(price)?.recurring?;
    let name = recurring.interval.name();
    Some(match recurring.interval_count {
        1 => format!("per {name}"),
        count => format!("every {count} {name}s"),
    })
}

fn is_metered(state: &State, line: &LineItem) -> bool {
    state.prices.get(&line.price).is_some_and(Price::is_metered)
}

pub fn summary(state: &State, session: &CheckoutSession, now: i64) -> Markup {
    if session.mode == Mode::Setup {
        return html! { p { "Nothing is charged today; what you enter is saved for later." } };
    }
    let show = |amount: i64| currencies::show(amount, &session.currency);
    html! {
        table {
            caption class="muted" { "Your order" }
            thead { tr { th scope="col" { "Item" } th scope="col" class="amount" { "Amount" } } }
            tbody {
                @for line in &session.line_items {
                    @let metered = is_metered(state, line);
                    tr {
                        td {
                            (line.description)
                            @if line.quantity != 1 && !metered { " × " (line.quantity) }
                            @if let Some(every) = every(state, &line.price) {
                                " " span class="muted" { (every) }
                            }
                        }
                        td class="amount" {
                            @if metered { "by usage" } @else { (show(line.amount)) }
                        }
                    }
                }
            }
            tfoot { (sums(state, session)) }
        }
        @if session.mode == Mode::Subscription { (later(state, session, now)) }
    }
}

fn sums(state: &State, session: &CheckoutSession) -> Markup {
    let show = |amount: i64| currencies::show(amount, &session.currency);
    let discount = session.amount_discount();
    let lines = || session.line_items.iter().map(|line| &line.adjustments);
    let included = adjustments::sum(lines().map(|line| line.inclusive_tax()));
    let added = adjustments::sum(lines().map(|line| line.exclusive_tax()));
    let row = |name: &str, id: &str, amount: &str| {
        html! { tr { th scope="row" { (name) } td class="amount" id=(id) { (amount) } } }
    };
    html! {
        (row("Subtotal", "subtotal", &show(session.amount_subtotal())))
        @if discount != 0 {
            @let name = format!("Discount{}", discount_names(state, session));
            (row(&name, "discount", &show(-discount)))
        }
        @if added != 0 { (row("Tax", "tax", &show(added))) }
        @if included != 0 { (row("Tax (included)", "tax_included", &show(included))) }
        tr {
            th scope="row" { "Due today" }
            td class="amount" id="total" { strong { (show(session.amount_total())) } }
        }
    }
}

fn discount_names(state: &State, session: &CheckoutSession) -> String {
    let names = session.discounts.iter().filter_map(|found| match &found.promotion_code {
        Some(id) => state.promotion_codes.get(id).map(|promotion| promotion.code.clone()),
        None => state.coupons.get(&found.coupon).and_then(|coupon| coupon.name.clone()),
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

fn trial_end(session: &CheckoutSession, now: i64) -> Option<i64> {
    let data = &session.subscription_data;
    data.trial_end.or(data.trial_period_days.map(|days| now + days * DAY))
}

/// What a period costs once the trial, one-time prices and coupons for the start are over.
fn regular_amount(state: &State, session: &CheckoutSession) -> i64 {
    let mut later = session.clone();
    later.subscription_data.trial_end = None;
    later.subscription_data.trial_period_days = None;
    later.line_items.retain(|line| line.recurring);
    later.discounts.retain(|found| {
        state.coupons.get(&found.coupon).is_some_and(|coupon| coupon.duration != Duration::Once)
    });
    amounts::settle(state, &mut later);
    later.amount_total()
}

fn later(state: &State, session: &CheckoutSession, now: i64) -> Markup {
    let first = session.line_items.iter().find(|line| line.recurring);
    let rhythm = first.and_then(|line| every(state, &line.price)).unwrap_or_default();
    let regular = regular_amount(state, session);
    let metered = session.line_items.iter().any(|line| is_metered(state, line));
    let usage = if metered { " plus usage" } else { "" };
    let amount = format!("{} {rhythm}{usage}", currencies::show(regular, &session.currency));
    match trial_end(session, now) {
        Some(end) => html! {
            p id="trial" {
                "Free until " (clock::date(end)) ", then " (amount)
                ". Cancel before that day and you pay nothing."
            }
        },
        None if regular != session.amount_total() || metered => html! {
            p id="later" { "Then " (amount) " until you cancel." }
        },
        None => html! {},
    }
}

/// The box for a promotion code, or the code that is applied.
pub fn code_box(
    state: &State,
    session: &CheckoutSession,
    typed: &str,
    error: Option<&ApiError>,
) -> Markup {
    if session.allow_promotion_codes != Some(true) || session.mode == Mode::Setup {
        return html! {};
    }
    let error = error.filter(|error| error.param_name() == Some("code"));
    let applied = session.discounts.first().and_then(|found| found.promotion_code.as_ref());
    let applied = applied.and_then(|id| state.promotion_codes.get(id));
    html! {
        form method="post" action={ "/c/pay/" (session.id) "/code" } {
            @match applied {
                Some(promotion) => {
                    p id="applied_code" {
                        "Promotion code " strong { (promotion.code) } " is applied. "
                        button type="submit" id="remove_code" name="code" value="" { "Remove" }
                    }
                }
                None => {
                    label for="code" { "Promotion code" }
                    div class="row" {
                        input class="grow" id="code" name="code" value=(typed) required
                            maxlength="500" autocomplete="off" autofocus[error.is_some()]
                            aria-invalid=[error.map(|_| "true")]
                            aria-describedby=[error.map(|_| "code_error")];
                        button type="submit" id="apply_code" { "Apply" }
                    }
                }
            }
            @if let Some(error) = error {
                p class="alert" role="alert" id="code_error" { (error.message()) }
            }
        }
    }
}
