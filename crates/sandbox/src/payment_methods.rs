//! Payment methods: saved cards and bank accounts. Ids such as `pm_card_visa` are templates; using
//! one makes a method.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cards::Card;
use crate::errors::ApiError;
use crate::instruments;
use crate::instruments::Instrument;
use crate::params::{Metadata, Params};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{customers, ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PaymentMethod {
    pub id: String,
    pub created: i64,
    pub customer: Option<String>,
    pub instrument: Instrument,
    /// It was saved with its holder's consent: 3-D Secure, or a mandate.
    pub authenticated: bool,
    pub billing: Billing,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Billing {
    pub email: Option<String>,
    pub name: Option<String>,
    pub phone: Option<String>,
    pub address: Option<Value>,
}

impl Row for PaymentMethod {
    const KIND: &'static str = "payment_method";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        self.customer.as_deref().into_iter().collect()
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }
}

impl PaymentMethod {
    pub fn with(instrument: Instrument, now: i64) -> PaymentMethod {
        PaymentMethod {
            id: ids::object("pm"),
            created: now,
            customer: None,
            instrument,
            authenticated: false,
            billing: Billing::default(),
            metadata: Metadata::new(),
        }
    }

    /// The account is known to be the holder's.
    pub fn verify(&mut self) {
        if let Instrument::UsBankAccount(account) = &mut self.instrument {
            account.verified = true;
        }
    }
}

impl Billing {
    pub fn view(&self) -> Value {
        let empty = json!({
            "city": null, "country": null, "line1": null,
            "line2": null, "postal_code": null, "state": null,
        });
        json!({
            "address": self.address.clone().unwrap_or(empty),
            "email": self.email,
            "name": self.name,
            "phone": self.phone,
            "tax_id": null,
        })
    }

    fn read(&mut self, params: &mut Params) -> Result<(), ApiError> {
        let Some(mut billing) = params.hash("billing_details")? else {
            return Ok(());
        };
        billing.change("email")?.apply(&mut self.email);
        billing.change("name")?.apply(&mut self.name);
        billing.change("phone")?.apply(&mut self.phone);
        billing.address("address")?.apply(&mut self.address);
        billing.ignore(&["tax_id"]);
        billing.finish()
    }
}

pub fn view(method: &PaymentMethod) -> Value {
    let kind = method.instrument.kind();
    json!({
        "id": method.id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": method.billing.view(),
        "created": method.created,
        "customer": method.customer,
        "customer_account": null,
        "livemode": false,
        "metadata": method.metadata,
        "type": kind,
        kind: method.instrument.view(),
    })
}

/// The method an id names; a template id makes a new, unattached one.
pub fn resolve(tx: &mut Tx<'_>, id: &str, param: &str) -> Result<PaymentMethod, ApiError> {
    if let Some(instrument) = Instrument::named(id) {
        let method = PaymentMethod::with(instrument, tx.now);
        tx.state.payment_methods.put(method.clone());
        return Ok(method);
    }
    let found = tx.state.payment_methods.get(id);
    found.cloned().ok_or_else(|| ApiError::no_such("PaymentMethod", id, param))
}

/// The method a charge of this customer uses unless told otherwise.
pub fn default_of(state: &State, customer: &str) -> Option<String> {
    let customer = state.customers.get(customer)?;
    customer.default_payment_method.clone().or_else(|| customer.default_source.clone())
}

/// Attaches and tells of it; answers the id of the method.
pub fn attach_to(tx: &mut Tx<'_>, id: &str, customer: &str) -> Result<String, ApiError> {
    let mut method = resolve(tx, id, "payment_method")?;
    if method.customer.as_deref() == Some(customer) {
        return Ok(method.id);
    }
    if method.customer.is_some() {
        let message = "The payment method you provided has already been attached to a customer.";
        return Err(ApiError::invalid(message).code("payment_method_unexpected_state"));
    }
    if let Some(decline) = method.instrument.card().and_then(Card::refuses_to_attach) {
        return Err(ApiError::card(decline.code, decline.decline_code, decline.message));
    }
    method.customer = Some(customer.to_owned());
    let id = method.id.clone();
    let shown = view(&method);
    tx.state.payment_methods.put(method);
    tx.emit("payment_method.attached", shown);
    Ok(id)
}

pub fn detach_from_customer(tx: &mut Tx<'_>, id: &str) {
    let Some(mut method) = tx.state.payment_methods.get(id).cloned() else {
        return;
    };
    let before = view(&method);
    let Some(customer) = method.customer.take() else {
        return;
    };
    let after = view(&method);
    tx.state.payment_methods.put(method);
    tx.emit_change("payment_method.detached", &before, after);
    let default_of = tx.state.customers.get(&customer).cloned();
    if let Some(mut customer) = default_of {
        customer.default_payment_method.take_if(|default| *default == id);
        customer.default_source.take_if(|default| *default == id);
        tx.state.customers.put(customer);
    }
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let method = read_new(tx, &mut call.params)?;
    call.params.finish()?;
    let answer = view(&method);
    tx.state.payment_methods.put(method);
    Ok(answer)
}

/// What describes a new method, as `POST /v1/payment_methods` and `payment_method_data` have it.
fn read_new(tx: &mut Tx<'_>, params: &mut Params) -> Result<PaymentMethod, ApiError> {
    let instrument = instruments::read(tx, params)?;
    let mut method = PaymentMethod::with(instrument, tx.now);
    method.billing.read(params)?;
    method.metadata = params.metadata()?.fresh();
    params.ignore(&["allow_redisplay", "radar_options"]);
    let billing = &method.billing;
    let missing = match &method.instrument {
        Instrument::Card { .. } => None,
        Instrument::SepaDebit { .. } if billing.email.is_none() => Some("email"),
        _ if billing.name.is_none() => Some("name"),
        _ => None,
    };
    match missing {
        None => Ok(method),
        Some(field) => {
            let name = params.name("billing_details");
            Err(ApiError::missing_parameter(&format!("{name}[{field}]")))
        }
    }
}

/// The method a request names in `payment_method`, or describes in `payment_method_data`.
pub fn read_choice(
    tx: &mut Tx<'_>,
    params: &mut Params,
) -> Result<Option<PaymentMethod>, ApiError> {
    if let Some(id) = params.text("payment_method")? {
        return resolve(tx, &id, "payment_method").map(Some);
    }
    let Some(mut data) = params.hash("payment_method_data")? else {
        return Ok(None);
    };
    let method = read_new(tx, &mut data)?;
    data.finish()?;
    tx.state.payment_methods.put(method.clone());
    Ok(Some(method))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let found = tx.state.payment_methods.get(id);
    Ok(view(found.ok_or_else(|| ApiError::not_found("PaymentMethod", id))?))
}

/// `/v1/customers/{}/payment_methods/{}`
pub fn retrieve_of_customer(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let found = tx.state.payment_methods.get(call.id());
    let own = found.filter(|method| method.customer.as_ref() == Some(&call.parent));
    Ok(view(own.ok_or_else(|| ApiError::not_found("PaymentMethod", call.id()))?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let found = tx.state.payment_methods.get(&id);
    let mut method = found.ok_or_else(|| ApiError::not_found("PaymentMethod", &id))?.clone();
    let before = view(&method);
    method.billing.read(&mut call.params)?;
    call.params.metadata()?.apply(&mut method.metadata);
    match &mut method.instrument {
        Instrument::Card { exp_month, exp_year, .. } => {
            if let Some(mut card) = call.params.hash("card")? {
                *exp_month = card.within("exp_month", 1, 12)?.unwrap_or(*exp_month);
                *exp_year = card.within("exp_year", 2_000, 2_199)?.unwrap_or(*exp_year);
                card.ignore(&["networks"]);
                card.finish()?;
            }
        }
        Instrument::UsBankAccount(account) => {
            if let Some(mut changes) = call.params.hash("us_bank_account")? {
                let holder = changes.word("account_holder_type", &["company", "individual"])?;
                let kind = changes.word("account_type", &["checking", "savings"])?;
                changes.finish()?;
                account.holder_type = holder.map_or(account.holder_type.clone(), str::to_owned);
                account.account_type = kind.map_or(account.account_type.clone(), str::to_owned);
            }
        }
        Instrument::SepaDebit { .. } | Instrument::Boleto { .. } => {}
    }
    call.params.ignore(&["allow_redisplay"]);
    call.params.finish()?;
    let after = view(&method);
    tx.state.payment_methods.put(method);
    tx.emit_change("payment_method.updated", &before, after.clone());
    Ok(after)
}

pub fn attach(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let customer = call.params.required("customer")?;
    call.params.finish()?;
    customers::live(tx.state, &customer, "customer")?;
    let known = Instrument::named(&id).is_some() || tx.state.payment_methods.get(&id).is_some();
    if !known {
        return Err(ApiError::not_found("PaymentMethod", &id));
    }
    let attached = attach_to(tx, &id, &customer)?;
    let found = tx.state.payment_methods.get(&attached);
    Ok(view(found.ok_or_else(|| ApiError::not_found("PaymentMethod", &attached))?))
}

pub fn detach(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    call.params.finish()?;
    let found = tx.state.payment_methods.get(&id);
    if found.ok_or_else(|| ApiError::not_found("PaymentMethod", &id))?.customer.is_none() {
        let message = "The payment method you provided is not attached to a customer so \
                       detachment is impossible.";
        return Err(ApiError::invalid(message).code("payment_method_unexpected_state"));
    }
    detach_from_customer(tx, &id);
    let found = tx.state.payment_methods.get(&id);
    Ok(view(found.ok_or_else(|| ApiError::not_found("PaymentMethod", &id))?))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let customer = call.params.text("customer")?;
    let kind = call.params.text("type")?;
    call.params.ignore(&["allow_redisplay"]);
    lists::page_of(
        call,
        &tx.state.payment_methods,
        customer.as_deref(),
        |method| {
            method.customer.is_some()
                && (customer.is_none() || method.customer == customer)
                && kind.as_ref().is_none_or(|kind| method.instrument.kind() == kind)
        },
        view,
    )
}

/// `/v1/customers/{id}/payment_methods`
pub fn list_of_customer(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let customer = call.id().to_owned();
    if customers::live(tx.state, &customer, "id").is_err() {
        return Err(ApiError::not_found("customer", &customer));
    }
    let kind = call.params.text("type")?;
    call.params.ignore(&["allow_redisplay"]);
    lists::page_of(
        call,
        &tx.state.payment_methods,
        Some(&customer),
        |method| {
            method.customer.as_ref() == Some(&customer)
                && kind.as_ref().is_none_or(|kind| method.instrument.kind() == kind)
        },
        view,
    )
}
