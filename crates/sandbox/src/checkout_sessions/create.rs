//! Creating a checkout session: everything the page will need is read and checked here.

use crate::adjustments::Adjustments;
use crate::automatic_taxes::{self, AutomaticTax};
use crate::checkout_sessions::collections;
use crate::checkout_sessions::collections::Collections;
use crate::checkout_sessions::{
    CheckoutSession, LineItem, Mode, PaymentData, Status, SubscriptionData, amounts, discounts,
    view,
};
use crate::clock::DAY;
use crate::errors::ApiError;
use crate::instruments;
use crate::params::{MAX_AMOUNT, Params};
use crate::payment_intents;
use crate::prices::{self, Price, Recurring};
use crate::products::{self, Product};
use crate::requests::Call;
use crate::setup_intents;
use crate::setup_intents::SetupIntent;
use crate::state::State;
use crate::tax_rates;
use crate::transactions::Tx;
use crate::{currencies, currency_options, customers, ids, subscriptions};
use serde_json::Value;

const LEAST_LIFE_SECONDS: i64 = 30 * 60;
const MAX_LINE_ITEMS: usize = 100;

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let mode = read_mode(params)?;
    let allowed_types = instruments::read_allowed(params)?;
    let (line_items, currency) = match mode {
        Mode::Setup => (Vec::new(), setup_currency(params, allowed_types.as_deref())?),
        Mode::Payment | Mode::Subscription => read_line_items(tx, params, mode)?,
    };
    if let Some(types) = &allowed_types {
        instruments::check_currency(types, &currency)?;
    }
    let mut session = CheckoutSession {
        id: ids::object("cs_test"),
        created: tx.now,
        expires_at: tx.now + DAY,
        mode,
        status: Status::Open,
        paid: false,
        unpaid: false,
        awaiting: None,
        allowed_types,
        excluded_types: params.texts("excluded_payment_method_types")?,
        currency,
        line_items,
        customer: None,
        customer_email: None,
        buyer_email: None,
        buyer_name: None,
        creates_customer: mode == Mode::Subscription,
        client_reference_id: params.text("client_reference_id")?,
        success_url: None,
        cancel_url: None,
        allow_promotion_codes: params.boolean("allow_promotion_codes")?,
        discounts: Vec::new(),
        automatic_tax: AutomaticTax::Off,
        buyer_address: None,
        collects_card_always: true,
        locale: params.text("locale")?,
        submit_type: None,
        collections: Collections::default(),
        payment: PaymentData::default(),
        subscription_data: SubscriptionData::default(),
        metadata: params.metadata()?.fresh(),
        payment_intent: None,
        setup_intent: None,
        subscription: None,
        invoice: None,
        authenticating: None,
    };
    read_buyer(tx, params, &mut session)?;
    read_page(params, &mut session, tx.now)?;
    read_payment_data(params, &mut session)?;
    read_subscription_data(tx.state, params, &mut session, tx.now)?;
    session.collections = collections::read(params, session.customer.is_some())?;
    let setup = read_setup_data(params, &session, tx.now)?;
    discounts::read(tx.state, params, &mut session)?;
    read_automatic_tax(tx.state, params, &mut session)?;
    ignore_and_refuse(params)?;
    params.finish()?;
    amounts::settle(tx.state, &mut session);
    check_total(&session)?;
    if let Some(intent) = setup {
        setup_intents::announce(tx, &intent);
        session.setup_intent = Some(intent.id);
    }
    let shown = view(tx.state, &session);
    tx.state.checkout_sessions.put(session);
    Ok(shown)
}

fn read_mode(params: &mut Params) -> Result<Mode, ApiError> {
    match params.word("mode", &["payment", "setup", "subscription"])? {
        None => Err(ApiError::missing_parameter("mode")),
        Some("payment") => Ok(Mode::Payment),
        Some("subscription") => Ok(Mode::Subscription),
        Some(_) => Ok(Mode::Setup),
    }
}

/// Nothing is sold, but the currency decides what can be saved.
fn setup_currency(params: &mut Params, types: Option<&[String]>) -> Result<String, ApiError> {
    if params.has("line_items") {
        let message = "You can not pass `line_items` in `setup` mode.";
        return Err(ApiError::invalid(message).param("line_items"));
    }
    if params.has("currency") {
        return currencies::required(params);
    }
    let only = types.and_then(|types| types.iter().find_map(|kind| instruments::currency_of(kind)));
    match (types, only) {
        (None, _) => Err(ApiError::missing_parameter("currency")),
        (Some(_), only) => Ok(only.unwrap_or("usd").to_owned()),
    }
}

/// A session in setup mode has its setup intent from the start.
fn read_setup_data(
    params: &mut Params,
    session: &CheckoutSession,
    now: i64,
) -> Result<Option<SetupIntent>, ApiError> {
    let data = params.hash("setup_intent_data")?;
    if session.mode != Mode::Setup {
        if data.is_some() {
            let message = "You can only pass `setup_intent_data` in `setup` mode.";
            return Err(ApiError::invalid(message).param("setup_intent_data"));
        }
        return Ok(None);
    }
    let mut intent = SetupIntent::new(now);
    intent.customer = session.customer.clone();
    intent.allowed_types = Some(session.types());
    if let Some(mut data) = data {
        intent.description = data.text("description")?;
        intent.metadata = data.metadata()?.fresh();
        data.refuse(&["on_behalf_of"])?;
        data.finish()?;
    }
    Ok(Some(intent))
}

fn ignore_and_refuse(params: &mut Params) -> Result<(), ApiError> {
    params.ignore(&[
        "adaptive_pricing",
        "branding_settings",
        "integration_identifier",
        "origin_context",
        "payment_method_options",
        "redirect_on_completion",
        "tax_id_collection",
        "wallet_options",
    ]);
    params.refuse(&[
        "after_expiration",
        "invoice_creation",
        "name_collection",
        "optional_items",
        "payment_method_data",
        "permissions",
        "return_url",
        "shipping_options",
    ])
}

/// Stripe takes no payment below its least charge, but it does take nothing at all.
pub(super) fn check_total(session: &CheckoutSession) -> Result<(), ApiError> {
    let total = session.amount_total();
    let least = currencies::least_charge(&session.currency);
    if MAX_AMOUNT < total {
        let message = "The total amount of the Checkout Session is too large.";
        return Err(ApiError::invalid(message).code("amount_too_large"));
    }
    if 0 < total && total < least {
        let least = currencies::show(least, &session.currency);
        let message =
            format!("The Checkout Session's total amount due must add up to at least {least}");
        return Err(ApiError::invalid(message).code("amount_too_small"));
    }
    Ok(())
}

fn read_line_items(
    tx: &mut Tx<'_>,
    params: &mut Params,
    mode: Mode,
) -> Result<(Vec<LineItem>, String), ApiError> {
    let hashes = params.hashes("line_items")?;
    if hashes.is_empty() {
        return Err(ApiError::missing_parameter("line_items"));
    }
    if MAX_LINE_ITEMS < hashes.len() {
        return Err(params.invalid("line_items", "Too many line items"));
    }
    let currency = params.text("currency")?;
    let mut lines: Vec<LineItem> = Vec::new();
    let mut chosen: Vec<Price> = Vec::new();
    for mut hash in hashes {
        let price = line_price(tx, &mut hash)?;
        let quantity = subscriptions::create::read_quantity(&mut hash, &price)?;
        let quantity = match quantity {
            None if price.is_metered() => 0,
            None => return Err(ApiError::missing_parameter(&hash.name("quantity"))),
            Some(0) => return Err(hash.invalid("quantity", "Invalid quantity")),
            Some(quantity) => quantity,
        };
        hash.ignore(&["adjustable_quantity"]);
        let tax_rates = tax_rates::read_list(tx.state, &mut hash, "tax_rates")?;
        hash.refuse(&["dynamic_tax_rates"])?;
        hash.finish()?;
        if price.recurring.is_some() && mode == Mode::Payment {
            let message = "You specified `payment` mode but passed a recurring price. Either \
                           switch to `subscription` mode or use only one-time prices.";
            return Err(ApiError::invalid(message).param("line_items"));
        }
        let name = tx.state.products.get(&price.product).map(|product| product.name.clone());
        lines.push(LineItem {
            id: ids::object("li"),
            price: price.id.clone(),
            description: name.unwrap_or_default(),
            quantity,
            amount: 0,
            recurring: price.recurring.is_some(),
            adjustments: Adjustments {
                tax_rates: tax_rates.unwrap_or_default(),
                ..Adjustments::default()
            },
        });
        chosen.push(price);
    }
    let chosen = currency_options::in_one_currency(chosen, currency.as_deref(), "line_items")?;
    check_together(&chosen, mode)?;
    for (line, price) in lines.iter_mut().zip(&chosen) {
        line.amount = if price.is_metered() { 0 } else { price.amount(line.quantity)? };
    }
    Ok((lines, chosen[0].currency.clone()))
}

fn check_together(prices: &[Price], mode: Mode) -> Result<(), ApiError> {
    let refuse = |message: &str| Err(ApiError::invalid(message).param("line_items"));
    if prices.iter().any(|price| price.currency != prices[0].currency) {
        return refuse("All prices of a Checkout Session must use the same currency.");
    }
    let recurring: Vec<_> = prices.iter().filter_map(|price| price.recurring).collect();
    if mode == Mode::Subscription && recurring.is_empty() {
        return refuse("You must provide at least one recurring price in `subscription` mode.");
    }
    let interval = |recurring: &Recurring| (recurring.interval, recurring.interval_count);
    if recurring.iter().any(|other| interval(other) != interval(&recurring[0])) {
        return refuse(
            "Checkout does not support multiple prices with different billing intervals.",
        );
    }
    Ok(())
}

fn line_price(tx: &mut Tx<'_>, hash: &mut Params) -> Result<Price, ApiError> {
    let param = hash.name("price");
    let id = hash.text("price")?;
    let data = hash.hash("price_data")?;
    match (id, data) {
        (Some(id), None) => {
            let price = prices::existing(tx.state, &id, &param)?;
            if !price.active {
                let message = format!(
                    "The price specified is inactive. This field only accepts active prices: {id}"
                );
                return Err(ApiError::invalid(message).param(&param));
            }
            Ok(price.clone())
        }
        (None, Some(data)) => inline_price(tx, data),
        _ => Err(ApiError::missing_parameter(&param)),
    }
}

/// `price_data` makes a price, and `product_data` a product, that nobody can buy again.
fn inline_price(tx: &mut Tx<'_>, mut data: Params) -> Result<Price, ApiError> {
    let product = data.text("product")?;
    let product_data = data.hash("product_data")?;
    let mut price = prices::from_params(tx, &mut data, "")?;
    price.active = false;
    let param = data.name("product");
    data.finish()?;
    price.product = match (product, product_data) {
        (Some(id), None) => products::existing(tx.state, &id, &param)?.id.clone(),
        (None, Some(mut data)) => {
            let mut product = Product::new(data.required("name")?, tx.now);
            products::read(&mut data, &mut product)?;
            data.finish()?;
            product.active = false;
            let id = product.id.clone();
            products::save(tx, product);
            id
        }
        _ => return Err(ApiError::missing_parameter(&param)),
    };
    prices::save(tx, price.clone());
    Ok(price)
}

fn read_buyer(
    tx: &Tx<'_>,
    params: &mut Params,
    session: &mut CheckoutSession,
) -> Result<(), ApiError> {
    session.customer = params.text("customer")?;
    session.customer_email = params.text("customer_email")?;
    let creation = params.word("customer_creation", &["always", "if_required"])?;
    if let Some(customer) = &session.customer {
        customers::live(tx.state, customer, "customer")?;
        if session.customer_email.is_some() || creation.is_some() {
            let message = "You may only specify one of these parameters: customer, \
                           customer_creation, customer_email.";
            return Err(ApiError::invalid(message).param("customer"));
        }
    }
    if let Some(email) = &session.customer_email
        && !email.contains('@')
    {
        let message = format!("Invalid email address: {email}");
        return Err(ApiError::invalid(message).code("email_invalid").param("customer_email"));
    }
    if creation.is_some() && session.mode == Mode::Subscription {
        let message = "`customer_creation` can only be used in `payment` and `setup` mode.";
        return Err(ApiError::invalid(message).param("customer_creation"));
    }
    session.creates_customer |= creation == Some("always");
    Ok(())
}

fn read_page(params: &mut Params, session: &mut CheckoutSession, now: i64) -> Result<(), ApiError> {
    let hosted = params.word("ui_mode", &["elements", "embedded_page", "form", "hosted_page"])?;
    if hosted.is_some_and(|mode| mode != "hosted_page") {
        let message = "The sandbox has a hosted page only.";
        return Err(ApiError::invalid(message).param("ui_mode"));
    }
    session.success_url = Some(
        read_url(params, "success_url")?
            .ok_or_else(|| ApiError::missing_parameter("success_url"))?,
    );
    session.cancel_url = read_url(params, "cancel_url")?;
    if let Some(at) = params.timestamp("expires_at")? {
        if at < now + LEAST_LIFE_SECONDS || now + DAY < at {
            let message = "The `expires_at` timestamp must be between 30 minutes and 24 hours \
                           from Checkout Session creation.";
            return Err(ApiError::invalid(message).param("expires_at"));
        }
        session.expires_at = at;
    }
    let words = ["always", "if_required"];
    let collection = params.word("payment_method_collection", &words)?;
    session.collects_card_always = collection != Some("if_required");
    let types = ["auto", "book", "donate", "pay", "subscribe"];
    session.submit_type = params.word("submit_type", &types)?.map(str::to_owned);
    Ok(())
}

/// Only web addresses: the page links to them.
fn read_url(params: &mut Params, key: &str) -> Result<Option<String>, ApiError> {
    let Some(text) = params.text(key)? else {
        return Ok(None);
    };
    let parsed = url::Url::parse(&text.replace("{CHECKOUT_SESSION_ID}", "id"));
    match parsed {
        Ok(url) if matches!(url.scheme(), "http" | "https") && !text.contains(char::is_control) => {
            Ok(Some(text))
        }
        _ => Err(params.invalid(key, "Not a valid URL").code("url_invalid")),
    }
}

fn read_payment_data(params: &mut Params, session: &mut CheckoutSession) -> Result<(), ApiError> {
    let Some(mut data) = params.hash("payment_intent_data")? else {
        return Ok(());
    };
    if session.mode != Mode::Payment {
        let message = "You can only pass `payment_intent_data` in `payment` mode.";
        return Err(ApiError::invalid(message).param("payment_intent_data"));
    }
    let payment = &mut session.payment;
    payment.description = data.text("description")?;
    payment.receipt_email = data.text("receipt_email")?;
    payment.statement_descriptor = data.text("statement_descriptor")?;
    let usage = data.word("setup_future_usage", &["off_session", "on_session"])?;
    payment.setup_future_usage = usage.map(str::to_owned);
    payment.metadata = data.metadata()?.fresh();
    payment.statement_descriptor_suffix = data.text("statement_descriptor_suffix")?;
    payment.transfer_group = data.text("transfer_group")?;
    let ways = ["automatic", "automatic_async", "manual"];
    payment.capture_method = data.word("capture_method", &ways)?.map(str::to_owned);
    payment.shipping = payment_intents::changes::read_shipping(&mut data)?;
    data.refuse(&["application_fee_amount", "on_behalf_of", "transfer_data"])?;
    data.finish()
}

fn read_subscription_data(
    state: &State,
    params: &mut Params,
    session: &mut CheckoutSession,
    now: i64,
) -> Result<(), ApiError> {
    let Some(mut data) = params.hash("subscription_data")? else {
        return Ok(());
    };
    if session.mode != Mode::Subscription {
        let message = "You can only pass `subscription_data` in `subscription` mode.";
        return Err(ApiError::invalid(message).param("subscription_data"));
    }
    let wanted = &mut session.subscription_data;
    wanted.description = data.text("description")?;
    wanted.trial_period_days = data.within("trial_period_days", 1, 730)?;
    wanted.trial_end = data.timestamp("trial_end")?;
    if wanted.trial_end.is_some_and(|end| end < now + 2 * DAY) {
        let message = "The `trial_end` date has to be at least 2 days in the future.";
        return Err(ApiError::invalid(message).param("subscription_data[trial_end]"));
    }
    let missing = subscriptions::create::read_trial_settings(&mut data)?;
    wanted.missing_payment_method = missing.map(str::to_owned);
    wanted.metadata = data.metadata()?.fresh();
    data.ignore(&["proration_behavior", "billing_mode", "invoice_settings"]);
    wanted.default_tax_rates =
        tax_rates::read_list(state, &mut data, "default_tax_rates")?.unwrap_or_default();
    data.refuse(&["billing_cycle_anchor", "on_behalf_of", "transfer_data"])?;
    data.refuse(&["application_fee_percent"])?;
    data.finish()
}

/// A known customer must be somewhere, or be allowed to say on the page where.
fn read_automatic_tax(
    state: &State,
    params: &mut Params,
    session: &mut CheckoutSession,
) -> Result<(), ApiError> {
    let mut asks = false;
    if let Some(mut update) = params.hash("customer_update")? {
        asks = update.word("address", &["auto", "never"])? == Some("auto");
        asks |= update.word("shipping", &["auto", "never"])? == Some("auto");
        update.word("name", &["auto", "never"])?;
        update.finish()?;
        if session.customer.is_none() {
            let message = "`customer_update` can only be used with `customer`.";
            return Err(ApiError::invalid(message).param("customer_update"));
        }
    }
    session.automatic_tax = automatic_taxes::read(params)?.unwrap_or_default();
    if !session.automatic_tax.is_on() {
        return Ok(());
    }
    for line in &session.line_items {
        automatic_taxes::check_alone(session.automatic_tax, &line.adjustments.tax_rates)?;
    }
    automatic_taxes::check_alone(
        session.automatic_tax,
        &session.subscription_data.default_tax_rates,
    )?;
    match &session.customer {
        Some(customer) if !asks => automatic_taxes::require_location(state, customer),
        _ => Ok(()),
    }
}
