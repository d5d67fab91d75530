//! Customers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::customer_balance_transactions as balances;
use crate::discounts::read::{self, Purchase, Wanted};
use crate::discounts::{self, Discount};
use crate::errors::ApiError;
use crate::invoices::papers::{CustomField, custom_fields_view, read_custom_fields};
use crate::params::{Change, MAX_AMOUNT, Metadata, Params};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{cancellations, ids, lists, payment_methods, sources, tax_ids, test_clocks};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Customer {
    pub id: String,
    pub created: i64,
    pub email: Option<String>,
    pub name: Option<String>,
    pub phone: Option<String>,
    pub description: Option<String>,
    pub address: Option<Value>,
    pub shipping: Option<Value>,
    pub preferred_locales: Vec<String>,
    pub tax_exempt: String,
    pub default_payment_method: Option<String>,
    #[serde(default)]
    pub default_source: Option<String>,
    /// The test clock this customer and everything of theirs follows.
    pub test_clock: Option<String>,
    #[serde(default)]
    pub discount: Option<Discount>,
    #[serde(default)]
    pub invoice_footer: Option<String>,
    #[serde(default)]
    pub invoice_custom_fields: Vec<CustomField>,
    /// Negative is credit for the next invoice.
    pub balance: i64,
    /// Settled by the first movement of the balance or the first invoice.
    #[serde(default)]
    pub currency: Option<String>,
    pub invoice_prefix: String,
    pub next_invoice_sequence: i64,
    pub metadata: Metadata,
    /// A deleted customer stays readable as such.
    pub deleted: bool,
}

impl Row for Customer {
    const KIND: &'static str = "customer";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        [self.test_clock.as_deref(), self.email.as_deref()].into_iter().flatten().collect()
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.id)
    }
}

impl Customer {
    pub fn new(now: i64) -> Customer {
        Customer {
            id: ids::object("cus"),
            created: now,
            email: None,
            name: None,
            phone: None,
            description: None,
            address: None,
            shipping: None,
            preferred_locales: Vec::new(),
            tax_exempt: "none".to_owned(),
            default_payment_method: None,
            default_source: None,
            test_clock: None,
            invoice_footer: None,
            invoice_custom_fields: Vec::new(),
            discount: None,
            balance: 0,
            currency: None,
            invoice_prefix: ids::letters(8).to_uppercase(),
            next_invoice_sequence: 1,
            metadata: Metadata::new(),
            deleted: false,
        }
    }
}

pub fn view(customer: &Customer) -> Value {
    if customer.deleted {
        return json!({"id": customer.id, "object": "customer", "deleted": true});
    }
    json!({
        "id": customer.id,
        "object": "customer",
        "address": customer.address,
        "balance": customer.balance,
        "created": customer.created,
        "currency": customer.currency,
        "customer_account": null,
        "default_source": customer.default_source,
        "delinquent": false,
        "description": customer.description,
        "discount": customer.discount.as_ref().map(discounts::view),
        "email": customer.email,
        "invoice_prefix": customer.invoice_prefix,
        "invoice_settings": {
            "custom_fields": custom_fields_view(&customer.invoice_custom_fields),
            "default_payment_method": customer.default_payment_method,
            "footer": customer.invoice_footer,
            "rendering_options": null,
        },
        "livemode": false,
        "metadata": customer.metadata,
        "name": customer.name,
        "next_invoice_sequence": customer.next_invoice_sequence,
        "phone": customer.phone,
        "preferred_locales": customer.preferred_locales,
        "shipping": customer.shipping,
        "tax_exempt": customer.tax_exempt,
        "test_clock": customer.test_clock,
    })
}

/// The customer a parameter names: it must exist and not be deleted.
pub fn live<'a>(state: &'a State, id: &str, param: &str) -> Result<&'a Customer, ApiError> {
    let found = state.customers.get(id).filter(|customer| !customer.deleted);
    found.ok_or_else(|| ApiError::no_such("customer", id, param))
}

/// What a customer pays in.
pub fn currency(customer: &Customer) -> String {
    customer.currency.clone().unwrap_or_else(|| "usd".to_owned())
}

/// The customer in the request's path.
pub fn in_path<'a>(state: &'a State, id: &str) -> Result<&'a Customer, ApiError> {
    let found = state.customers.get(id).filter(|customer| !customer.deleted);
    found.ok_or_else(|| ApiError::not_found("customer", id))
}

/// Stores a customer and tells of it.
pub fn save(tx: &mut Tx<'_>, customer: Customer) -> Value {
    let before = tx.state.customers.get(&customer.id).map(view);
    let after = view(&customer);
    tx.state.customers.put(customer);
    match before {
        None => tx.emit("customer.created", after.clone()),
        Some(before) => tx.emit_change("customer.updated", &before, after.clone()),
    }
    after
}

fn read_email(params: &mut Params) -> Result<Change<String>, ApiError> {
    let change = params.change("email")?;
    let is_address = |text: &str| {
        let parts = text.trim().rsplit_once('@');
        parts.is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !text.trim().contains(char::is_whitespace)
        })
    };
    match &change {
        Change::Set(text) if !is_address(text) => {
            let shown: String = text.chars().take(100).collect();
            let message = format!("Invalid email address: {shown}");
            Err(ApiError::invalid(message).code("email_invalid").param("email"))
        }
        _ => Ok(change),
    }
}

fn read(params: &mut Params, customer: &mut Customer) -> Result<Option<String>, ApiError> {
    read_email(params)?.apply(&mut customer.email);
    params.change("name")?.apply(&mut customer.name);
    params.change("phone")?.apply(&mut customer.phone);
    params.change("description")?.apply(&mut customer.description);
    params.address("address")?.apply(&mut customer.address);
    if let Some(mut shipping) = params.hash("shipping")? {
        let address = shipping.address("address")?.set();
        let name = shipping.text("name")?;
        let phone = shipping.text("phone")?;
        shipping.finish()?;
        customer.shipping = Some(json!({"address": address, "name": name, "phone": phone}));
    }
    if let Some(locales) = params.texts("preferred_locales")? {
        customer.preferred_locales = locales;
    }
    if let Some(tax_exempt) = params.word("tax_exempt", &["exempt", "none", "reverse"])? {
        customer.tax_exempt = tax_exempt.to_owned();
    }
    if let Some(sequence) = params.within("next_invoice_sequence", 1, 999_999_999)? {
        customer.next_invoice_sequence = sequence;
    }
    if let Some(balance) = params.within("balance", -MAX_AMOUNT, MAX_AMOUNT)? {
        customer.balance = balance;
    }
    params.metadata()?.apply(&mut customer.metadata);
    let mut default = None;
    if let Some(mut settings) = params.hash("invoice_settings")? {
        match settings.change("default_payment_method")? {
            Change::Keep => {}
            Change::Clear => customer.default_payment_method = None,
            Change::Set(id) => default = Some(id),
        }
        settings.change("footer")?.apply(&mut customer.invoice_footer);
        if let Some(fields) = read_custom_fields(&mut settings)? {
            customer.invoice_custom_fields = fields;
        }
        settings.ignore(&["rendering_options"]);
        settings.finish()?;
    }
    params.ignore(&["business_name", "individual_name", "invoice_prefix", "tax", "validate"]);
    params.refuse(&["cash_balance"])?;
    Ok(default)
}

/// `coupon` or `promotion_code`, as the API took them here until 2025 and the Dashboard still does.
fn read_discount(
    state: &State,
    params: &mut Params,
    customer: &Customer,
) -> Result<Change<Wanted>, ApiError> {
    let purchase = Purchase { customer: Some(&customer.id), currency: None, amount: None };
    let coupon = params.change("coupon")?;
    let promotion_code = params.change("promotion_code")?;
    match (coupon, promotion_code) {
        (Change::Keep, Change::Keep) => Ok(Change::Keep),
        (Change::Set(_), Change::Set(_)) => {
            let message = "You may only specify one of these parameters: coupon, promotion_code.";
            Err(ApiError::invalid(message).param("coupon"))
        }
        (Change::Set(id), _) => read::by_coupon(state, &id, "coupon", purchase).map(Change::Set),
        (_, Change::Set(id)) => {
            read::by_promotion_code(state, &id, "promotion_code", purchase).map(Change::Set)
        }
        _ => Ok(Change::Clear),
    }
}

fn set_default(tx: &Tx<'_>, customer: &mut Customer, id: &str) -> Result<(), ApiError> {
    let param = "invoice_settings[default_payment_method]";
    let attached = tx
        .state
        .payment_methods
        .get(id)
        .is_some_and(|method| method.customer.as_ref() == Some(&customer.id));
    if !attached {
        return Err(ApiError::no_such("PaymentMethod", id, param));
    }
    customer.default_payment_method = Some(id.to_owned());
    Ok(())
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut customer = Customer::new(tx.now);
    if let Some(test_clock) = call.params.text("test_clock")? {
        customer.created = test_clocks::join(tx.state, &test_clock)?;
        customer.test_clock = Some(test_clock);
    }
    let card = sources::read(tx, &mut call.params, &mut customer)?;
    let default = read(&mut call.params, &mut customer)?;
    let attach = call.params.text("payment_method")?;
    let tax_ids = tax_ids::read_data(&mut call.params)?;
    let discount = read_discount(tx.state, &mut call.params, &customer)?;
    call.params.finish()?;
    let id = customer.id.clone();
    save(tx, customer.clone());
    sources::settle(tx, card, &id, None)?;
    if let Some(wanted) = discount.set() {
        discounts::set_on_customer(tx, &mut customer, wanted);
        tx.state.customers.put(customer);
    }
    balances::record_setting(tx, &id, balances::Kind::Initial, 0);
    tax_ids::add_all(tx, &id, tax_ids)?;
    let attached = match &attach {
        None => None,
        Some(method) => Some((method, payment_methods::attach_to(tx, method, &id)?)),
    };
    let mut customer = live(tx.state, &id, "id")?.clone();
    if let Some(wanted) = default {
        // `payment_method=pm_card_visa` became a method of its own: the default follows it.
        let resolved = match &attached {
            Some((method, id)) if **method == wanted => id.clone(),
            _ => wanted,
        };
        set_default(tx, &mut customer, &resolved)?;
        tx.state.customers.put(customer.clone());
    }
    Ok(view(&customer))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let found = tx.state.customers.get(id).ok_or_else(|| ApiError::not_found("customer", id))?;
    Ok(view(found))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let mut customer = tx
        .state
        .customers
        .get(&id)
        .filter(|customer| !customer.deleted)
        .ok_or_else(|| ApiError::not_found("customer", &id))?
        .clone();
    let balance = customer.balance;
    let source = customer.default_source.clone();
    let card = sources::read(tx, &mut call.params, &mut customer)?;
    let default = read(&mut call.params, &mut customer)?;
    let discount = read_discount(tx.state, &mut call.params, &customer)?;
    call.params.finish()?;
    match discount {
        Change::Keep => {}
        Change::Clear => discounts::take_from_customer(tx, &mut customer),
        Change::Set(wanted) => discounts::set_on_customer(tx, &mut customer, wanted),
    }
    if let Some(method) = default {
        set_default(tx, &mut customer, &method)?;
    }
    let answer = save(tx, customer);
    sources::settle(tx, card, &id, source.as_deref())?;
    balances::record_setting(tx, &id, balances::Kind::Adjustment, balance);
    Ok(answer)
}

pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    call.params.finish()?;
    if tx.state.customers.get(&id).is_none_or(|customer| customer.deleted) {
        return Err(ApiError::not_found("customer", &id));
    }
    delete_now(tx, &id);
    let customer = tx.state.customers.get(&id).ok_or_else(|| ApiError::not_found("customer", &id));
    Ok(view(customer?))
}

/// Deleting a customer ends everything they have.
pub fn delete_now(tx: &mut Tx<'_>, id: &str) {
    let subscriptions: Vec<String> = tx
        .state
        .subscriptions
        .of(id)
        .filter(|subscription| !subscription.status.is_final())
        .map(|subscription| subscription.id.clone())
        .collect();
    for subscription in subscriptions {
        cancellations::end_now(tx, &subscription, "cancellation_requested");
    }
    let methods: Vec<String> =
        tx.state.payment_methods.of(id).map(|method| method.id.clone()).collect();
    for method in methods {
        payment_methods::detach_from_customer(tx, &method);
    }
    let found = tx.state.customers.get(id).filter(|customer| !customer.deleted);
    if let Some(mut customer) = found.cloned() {
        let last = view(&customer);
        customer.deleted = true;
        tx.state.customers.put(customer);
        tx.emit("customer.deleted", last);
    }
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let email = call.params.text("email")?;
    let test_clock = call.params.text("test_clock")?;
    lists::page_of(
        call,
        &tx.state.customers,
        test_clock.as_deref().or(email.as_deref()),
        |customer| {
            !customer.deleted
                && customer.test_clock == test_clock
                && created.contains(customer.created)
                && email.as_ref().is_none_or(|email| customer.email.as_ref() == Some(email))
        },
        view,
    )
}
