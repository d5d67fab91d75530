//! `/v1/…/search`: what each resource can be searched by, and pages of what was found. Objects are
//! found at once; the real index lags behind by up to a minute.

mod queries;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::charges::Charge;
use crate::customers::Customer;
use crate::errors::ApiError;
use crate::invoices::Invoice;
use crate::lists;
use crate::params::Metadata;
use crate::payment_intents::PaymentIntent;
use crate::prices::Price;
use crate::products::Product;
use crate::requests::Call;
use crate::search::queries::{Kind, Query};
use crate::state::{Row, State, Table};
use crate::subscriptions::Subscription;
use crate::transactions::Tx;
use crate::{
    charges as charge_rows, customers as customer_rows, invoices as invoice_rows,
    payment_intents as intent_rows, prices as price_rows, products as product_rows,
    subscriptions as subscription_rows,
};

use Kind::{Number, Text, Token};

/// A searchable resource.
struct Resource<'a, T: Row> {
    noun: &'static str,
    table: &'a Table<T>,
    fields: &'static [(&'static str, Kind)],
    metadata: fn(&T) -> &Metadata,
    field: fn(&State, &T, &str) -> Value,
    view: fn(&State, &T) -> Value,
}

fn search<T: Row>(
    state: &State,
    call: &mut Call,
    resource: &Resource<'_, T>,
    shown: impl Fn(&T) -> bool,
) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let query = params.required("query")?;
    let limit = lists::limit(params)?;
    let page = params.text("page")?;
    params.finish()?;
    let query = Query::parse(&query, resource.noun, resource.fields)?;
    let fits = |row: &&T| {
        shown(row)
            && query.fits(|clause| match &clause.key {
                Some(key) => json!((resource.metadata)(row).get(key)),
                None => (resource.field)(state, row, &clause.field),
            })
    };
    let mut found: Vec<&T> = match &page {
        None => resource.table.newest_first().filter(fits).take(limit + 1).collect(),
        Some(page) => {
            let last = cursor(page).unwrap_or_default();
            let refused = || ApiError::invalid(format!("Invalid page: {page}")).param("page");
            let last = resource.table.place(&last).ok_or_else(refused)?;
            let rows = resource.table.listed(None, i64::MIN, last).rev();
            rows.filter(fits).take(limit + 1).collect()
        }
    };
    let has_more = limit < found.len();
    found.truncate(limit);
    let next_page = found.last().filter(|_| has_more);
    let mut result = json!({
        "object": "search_result",
        "data": found.iter().map(|row| (resource.view)(state, row)).collect::<Vec<Value>>(),
        "has_more": has_more,
        "next_page": next_page.map(|row| URL_SAFE_NO_PAD.encode(row.id())),
        "url": call.path,
    });
    if call.takes_expansion("total_count") {
        let total_count = resource.table.newest_first().filter(fits).count();
        result["total_count"] = json!(total_count);
    }
    Ok(result)
}

/// The id behind a page: the last one of the page before.
fn cursor(page: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(page).ok()?).ok()
}

pub fn customers(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let resource = Resource {
        noun: "customers",
        table: &tx.state.customers,
        fields: &[("created", Number), ("email", Text), ("name", Text), ("phone", Text)],
        metadata: |row: &Customer| &row.metadata,
        field: |_, row, field| match field {
            "created" => json!(row.created),
            "email" => json!(row.email),
            "name" => json!(row.name),
            "phone" => json!(row.phone),
            _ => Value::Null,
        },
        view: |_, row| customer_rows::view(row),
    };
    search(tx.state, call, &resource, |row| !row.deleted)
}

pub fn products(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let resource = Resource {
        noun: "products",
        table: &tx.state.products,
        fields: &[
            ("active", Token),
            ("description", Text),
            ("name", Text),
            ("shippable", Token),
            ("url", Text),
        ],
        metadata: |row: &Product| &row.metadata,
        field: |_, row, field| match field {
            "active" => json!(row.active),
            "description" => json!(row.description),
            "name" => json!(row.name),
            "shippable" => json!(row.shippable),
            "url" => json!(row.url),
            _ => Value::Null,
        },
        view: |_, row| product_rows::view(row),
    };
    search(tx.state, call, &resource, |_| true)
}

pub fn prices(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let resource = Resource {
        noun: "prices",
        table: &tx.state.prices,
        fields: &[
            ("active", Token),
            ("currency", Token),
            ("lookup_key", Text),
            ("product", Text),
            ("type", Token),
        ],
        metadata: |row: &Price| &row.metadata,
        field: |_, row, field| match field {
            "active" => json!(row.active),
            "currency" => json!(row.currency),
            "lookup_key" => json!(row.lookup_key),
            "product" => json!(row.product),
            "type" => json!(if row.recurring.is_some() { "recurring" } else { "one_time" }),
            _ => Value::Null,
        },
        view: |_, row| price_rows::view(row),
    };
    search(tx.state, call, &resource, |_| true)
}

pub fn charges(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let resource = Resource {
        noun: "charges",
        table: &tx.state.charges,
        fields: &[
            ("amount", Number),
            ("billing_details.address.postal_code", Token),
            ("created", Number),
            ("currency", Token),
            ("customer", Token),
            ("disputed", Token),
            ("payment_method_details.card.brand", Token),
            ("payment_method_details.card.exp_month", Number),
            ("payment_method_details.card.exp_year", Number),
            ("payment_method_details.card.fingerprint", Token),
            ("payment_method_details.card.last4", Token),
            ("payment_method_details.sepa_debit.last4", Token),
            ("payment_method_details.us_bank_account.last4", Token),
            ("refunded", Token),
            ("status", Token),
        ],
        metadata: |row: &Charge| &row.metadata,
        field: |state, row, field| match field {
            "amount" => json!(row.amount),
            "created" => json!(row.created),
            "currency" => json!(row.currency),
            "customer" => json!(row.customer),
            nested => pointed(&charge_rows::view(state, row), nested),
        },
        view: charge_rows::view,
    };
    search(tx.state, call, &resource, |_| true)
}

/// The value at a path such as `payment_method_details.card.last4`.
fn pointed(shown: &Value, path: &str) -> Value {
    let pointer = format!("/{}", path.replace('.', "/"));
    shown.pointer(&pointer).cloned().unwrap_or_default()
}

pub fn payment_intents(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let resource = Resource {
        noun: "payment_intents",
        table: &tx.state.payment_intents,
        fields: &[
            ("amount", Number),
            ("created", Number),
            ("currency", Token),
            ("customer", Token),
            ("status", Token),
        ],
        metadata: |row: &PaymentIntent| &row.metadata,
        field: |_, row, field| match field {
            "amount" => json!(row.amount),
            "created" => json!(row.created),
            "currency" => json!(row.currency),
            "customer" => json!(row.customer),
            "status" => json!(row.status),
            _ => Value::Null,
        },
        view: intent_rows::view,
    };
    search(tx.state, call, &resource, |_| true)
}

pub fn subscriptions(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let resource = Resource {
        noun: "subscriptions",
        table: &tx.state.subscriptions,
        fields: &[("canceled_at", Number), ("created", Number), ("status", Token)],
        metadata: |row: &Subscription| &row.metadata,
        field: |_, row, field| match field {
            "canceled_at" => json!(row.canceled_at),
            "created" => json!(row.created),
            "status" => json!(row.status),
            _ => Value::Null,
        },
        view: subscription_rows::view,
    };
    search(tx.state, call, &resource, |_| true)
}

pub fn invoices(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let resource = Resource {
        noun: "invoices",
        table: &tx.state.invoices,
        fields: &[
            ("created", Number),
            ("currency", Token),
            ("customer", Token),
            ("last_finalization_error_code", Token),
            ("last_finalization_error_type", Token),
            ("number", Text),
            ("receipt_number", Text),
            ("status", Text),
            ("subscription", Text),
            ("total", Number),
        ],
        metadata: |row: &Invoice| &row.metadata,
        field: |_, row, field| match field {
            "created" => json!(row.created),
            "currency" => json!(row.currency),
            "customer" => json!(row.customer),
            "number" => json!(row.number),
            "status" => json!(row.status),
            "subscription" => json!(row.subscription),
            "total" => json!(row.total()),
            _ => Value::Null,
        },
        view: invoice_rows::render::view,
    };
    search(tx.state, call, &resource, |_| true)
}
