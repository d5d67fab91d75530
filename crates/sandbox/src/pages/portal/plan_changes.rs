//! The portal's plan change: choose, see what is due, confirm.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Form, Path, Query, State as Shared};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::home::{challenge, name_of};
use super::{Visit, act, ask, failed, forbidden, leave, look, not_allowed, page, pair};
use crate::app::App;
use crate::errors::ApiError;
use crate::invoices::{self, Status as InvoiceStatus};
use crate::portal_flows::Kind;
use crate::prices::Price;
use crate::state::State;
use crate::subscriptions::{self, Status, Subscription, SubscriptionItem};
use crate::transactions::Tx;
use crate::{clock, currencies, pages, prices};

const TITLE: &str = "Change your plan";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    subscription: String,
    price: String,
    quantity: String,
}

/// What a change would do, seen by making it and undoing it.
struct Preview {
    due_now: i64,
    /// Lines of the invoice that is due now.
    now: Vec<(String, i64)>,
    /// What waits for the next invoice.
    later: Vec<(String, i64)>,
    currency: String,
    name: String,
    period_end: i64,
    trialing: bool,
}

pub async fn show(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Query(choice): Query<Choice>,
) -> Response {
    look(&app, &token, |state, visit| render_choice(state, visit, &choice))
}

/// The only item of the subscription that the page can change.
fn item_of<'a>(visit: &Visit, row: &'a Subscription) -> Option<&'a SubscriptionItem> {
    let flow = visit.session.flow.as_ref();
    let flow = flow.filter(|flow| flow.subscription.as_deref() == Some(&row.id));
    match flow.and_then(|flow| flow.item.as_ref()) {
        Some(wanted) => row.items.iter().find(|item| item.id == wanted.id),
        None if row.items.len() == 1 => row.items.first(),
        None => None,
    }
}

/// Prices of the configuration that are sold in the subscription's currency.
fn offers(state: &State, visit: &Visit, row: &Subscription) -> Vec<Price> {
    let products = visit.features.update.products.iter();
    let ids = products.flat_map(|product| &product.prices);
    let found = ids.filter_map(|id| prices::in_currency(state, id, &row.currency).ok());
    found.filter(|price| price.active).collect()
}

fn label_of(state: &State, price: &Price) -> String {
    let name = state.products.get(&price.product).map_or("", |product| &product.name);
    let interval = crate::billing::interval_name(price);
    if price.is_metered() {
        return format!("{name} — by usage");
    }
    match price.amount(1) {
        Ok(amount) => {
            format!("{name} — {} / {interval}", currencies::show(amount, &price.currency))
        }
        Err(_) => format!("{name} / {interval}"),
    }
}

fn render_choice(state: &State, visit: &Visit, choice: &Choice) -> Response {
    let Some(row) = visit.subscription(state, &choice.subscription) else {
        return pages::not_found();
    };
    let update = &visit.features.update;
    if !update.enabled {
        return not_allowed(visit, TITLE);
    }
    let Some(item) = item_of(visit, row) else {
        let why = ApiError::invalid("A plan of several parts cannot be changed here.");
        return page(visit, TITLE, Some(&why), html! {});
    };
    let changes_price = update.allows("price");
    let adjustable = update.offer(&item.price).filter(|offer| offer.adjustable);
    let adjustable = adjustable.filter(|_| update.allows("quantity"));
    let body = html! {
        p { "You have " strong { (name_of(state, row)) } "." }
        form method="get" action=(visit.path("/confirm")) {
            input type="hidden" name="subscription" value=(row.id);
            @if changes_price {
                fieldset {
                    legend { "Plans" }
                    @for price in offers(state, visit, row) {
                        label class="choice" {
                            input type="radio" name="price" value=(price.id) required
                                checked[price.id == item.price];
                            " " (label_of(state, &price))
                            @if price.id == item.price { " (your plan)" }
                        }
                    }
                }
            }
            @if let Some(offer) = adjustable {
                label for="quantity" { "Quantity" }
                input id="quantity" name="quantity" type="number" min=(offer.minimum)
                    max=[offer.maximum] value=(item.quantity) required;
            }
            button class="main" id="preview" type="submit" { "Continue" }
        }
    };
    page(visit, TITLE, None, body)
}

/// Makes the change as the configuration says.
fn change(tx: &mut Tx<'_>, visit: &Visit, choice: &Choice) -> Result<(), ApiError> {
    let id = choice.subscription.as_str();
    let found = visit.subscription(tx.state, id);
    let row = found.ok_or_else(|| ApiError::not_found("subscription", id))?;
    let item = item_of(visit, row).ok_or_else(forbidden)?;
    let update = &visit.features.update;
    let price = if choice.price.is_empty() { item.price.clone() } else { choice.price.clone() };
    if !update.enabled || (price != item.price && !update.allows("price")) {
        return Err(forbidden());
    }
    let offer = update.offer(&price);
    if price != item.price && offer.is_none() {
        return Err(forbidden());
    }
    let mut form = vec![pair("items[0][id]", &item.id), pair("items[0][price]", &price)];
    if !choice.quantity.is_empty() {
        let quantity = choice.quantity.parse::<i64>().ok();
        let quantity = quantity.ok_or_else(|| ApiError::invalid("Enter a quantity."))?;
        let asked = visit.session.flow.as_ref().and_then(|flow| flow.item.as_ref()?.quantity);
        let fits = offer.is_some_and(|offer| {
            offer.adjustable
                && update.allows("quantity")
                && offer.minimum <= quantity
                && offer.maximum.is_none_or(|maximum| quantity <= maximum)
        });
        if quantity != item.quantity && !fits && asked != Some(quantity) {
            return Err(ApiError::invalid("This quantity is not offered."));
        }
        form.push(pair("items[0][quantity]", &quantity.to_string()));
    }
    form.push(pair("proration_behavior", &update.proration));
    if update.billing_cycle_anchor.as_deref() == Some("now") {
        form.push(pair("billing_cycle_anchor", "now"));
    }
    if row.status == Status::Trialing && update.ends_trial {
        form.push(pair("trial_end", "now"));
    }
    for (position, discount) in flow_discounts(visit).enumerate() {
        let (kind, value) = discount;
        form.push((format!("discounts[{position}][{kind}]"), value));
    }
    ask(tx, subscriptions::update::update, id, &form).map(|_| ())
}

/// Discounts that a flow brings along.
fn flow_discounts(visit: &Visit) -> impl Iterator<Item = (&'static str, String)> {
    let flow = visit.session.flow.iter().filter(|flow| !flow.done);
    flow.flat_map(|flow| &flow.discounts).filter_map(|discount| {
        let coupon = discount.coupon.clone().map(|id| ("coupon", id));
        coupon.or_else(|| discount.promotion_code.clone().map(|id| ("promotion_code", id)))
    })
}

async fn preview(app: &App, token: &str, choice: &Choice) -> Result<Preview, ApiError> {
    let mut seen = None;
    let undone = || ApiError::invalid("Only a preview.");
    let outcome = act(app, token, |tx, visit| -> Result<(), ApiError> {
        let waiting = pending(tx.state, &visit.session.customer);
        let waiting: HashSet<String> = waiting.map(|(id, _, _)| id).collect();
        let before = visit.subscription(tx.state, &choice.subscription);
        let before = before.and_then(|row| row.latest_invoice.clone());
        // An error that keeps its effects would keep the change.
        change(tx, visit, choice).map_err(|error| {
            if error.status() == 404 { error } else { ApiError::invalid(error.message()) }
        })?;
        let row = subscriptions::find(tx.state, &choice.subscription)?;
        let invoice = row.latest_invoice.as_ref().filter(|id| before.as_ref() != Some(id));
        let invoice = invoice.and_then(|id| tx.state.invoices.get(id));
        let lines = invoice.into_iter().flat_map(|invoice| &invoice.lines);
        let later = pending(tx.state, &visit.session.customer);
        seen = Some(Preview {
            due_now: invoice.map_or(0, invoices::Invoice::amount_due),
            now: lines
                .map(|line| (line.description.clone().unwrap_or_default(), line.amount))
                .collect(),
            later: later
                .filter(|(id, _, _)| !waiting.contains(id))
                .map(|(_, description, amount)| (description, amount))
                .collect(),
            currency: row.currency.clone(),
            name: name_of(tx.state, row),
            period_end: row.period_end(),
            trialing: row.status == Status::Trialing,
        });
        Err(undone())
    });
    let outcome = outcome.await;
    seen.ok_or_else(|| outcome.err().unwrap_or_else(undone))
}

/// Id, description and amount of what waits for the customer's next invoice.
fn pending<'a>(
    state: &'a State,
    customer: &'a str,
) -> impl Iterator<Item = (String, String, i64)> + 'a {
    let waiting = state.invoice_items.oldest_first();
    let waiting = waiting.filter(move |item| item.customer == customer && item.invoice.is_none());
    waiting.map(|item| {
        let description = item.line.description.clone().unwrap_or_default();
        (item.id.clone(), description, item.line.amount)
    })
}

pub async fn confirm(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Query(choice): Query<Choice>,
) -> Response {
    match preview(&app, &token, &choice).await {
        Ok(preview) => look(&app, &token, |_, visit| render_preview(visit, &choice, &preview)),
        Err(error) => {
            let again = |_: &State, visit: &Visit| page(visit, TITLE, Some(&error), html! {});
            failed(&error, look(&app, &token, again))
        }
    }
}

fn render_preview(visit: &Visit, choice: &Choice, preview: &Preview) -> Response {
    let show = |amount: i64| currencies::show(amount, &preview.currency);
    let body = html! {
        p { "Your new plan: " strong { (preview.name) } }
        (amounts("Due now", &preview.now, &preview.currency))
        p id="due_now" { "Due now: " strong { (show(preview.due_now)) } }
        (amounts("On your next invoice", &preview.later, &preview.currency))
        p class="muted" {
            @if preview.trialing { "Your trial goes on until " }
            @else { "Your plan renews on " }
            (clock::date(preview.period_end)) "."
        }
        form method="post" action=(visit.path("/confirm")) {
            input type="hidden" name="subscription" value=(choice.subscription);
            input type="hidden" name="price" value=(choice.price);
            input type="hidden" name="quantity" value=(choice.quantity);
            button class="main" id="confirm_change" type="submit" { "Confirm" }
        }
    };
    page(visit, "Confirm your new plan", None, body)
}

fn amounts(caption: &str, rows: &[(String, i64)], currency: &str) -> Markup {
    html! {
        @if !rows.is_empty() {
            table {
                caption class="muted" { (caption) }
                thead {
                    tr { th scope="col" { "Item" } th scope="col" class="amount" { "Amount" } }
                }
                tbody {
                    @for (description, amount) in rows {
                        tr {
                            td { (description) }
                            td class="amount" { (currencies::show(*amount, currency)) }
                        }
                    }
                }
            }
        }
    }
}

pub async fn submit(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Form(choice): Form<Choice>,
) -> Response {
    let outcome = act(&app, &token, |tx, visit| {
        change(tx, visit, &choice)?;
        let row = subscriptions::find(tx.state, &choice.subscription)?;
        let invoice = row.latest_invoice.clone();
        let open = invoice.filter(|id| {
            let found = tx.state.invoices.get(id);
            found.is_some_and(|invoice| invoice.status == InvoiceStatus::Open)
        });
        Ok(open)
    });
    let open = match outcome.await {
        Ok(open) => open,
        Err(error) => {
            let again = |_: &State, visit: &Visit| page(visit, TITLE, Some(&error), html! {});
            return failed(&error, look(&app, &token, again));
        }
    };
    let done = match open {
        None => Ok(()),
        // The renewal-like attempt failed; the customer is here, so their bank can ask them.
        Some(invoice) => match pay(&app, &token, &invoice).await {
            Ok(()) => Ok(()),
            Err(error) => match challenge(&app, &token, &invoice).await {
                Some(step) => return pages::go(&step),
                None => Err(error),
            },
        },
    };
    if let Err(error) = done {
        return look(&app, &token, |_, visit| page(visit, TITLE, Some(&error), html! {}));
    }
    let flow = leave(&app, &token, Kind::SubscriptionUpdateConfirm);
    let straight = act(&app, &token, |_, visit| {
        let flow = visit.session.flow.as_ref();
        Ok(flow.is_some_and(|flow| flow.kind == Kind::SubscriptionUpdate))
    });
    if straight.await.unwrap_or(false) {
        return leave(&app, &token, Kind::SubscriptionUpdate).await;
    }
    flow.await
}

async fn pay(app: &App, token: &str, invoice: &str) -> Result<(), ApiError> {
    act(app, token, |tx, _| {
        ask(tx, invoices::pay, invoice, &[pair("off_session", "false")]).map(|_| ())
    })
    .await
}
