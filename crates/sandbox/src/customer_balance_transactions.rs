//! The customer's invoice balance: a ledger of credits (negative) and debits (positive) that the
//! next invoice takes in. Nothing else changes `Customer::balance`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::customers;
use crate::errors::ApiError;
use crate::params::{MAX_AMOUNT, Metadata};
use crate::requests::Call;
use crate::state::Row;
use crate::transactions::Tx;
use crate::{currencies, ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CustomerBalanceTransaction {
    pub id: String,
    pub created: i64,
    pub customer: String,
    pub amount: i64,
    pub currency: String,
    pub ending_balance: i64,
    pub kind: Kind,
    pub description: Option<String>,
    pub invoice: Option<String>,
    pub credit_note: Option<String>,
    pub metadata: Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Adjustment,
    AppliedToInvoice,
    CreditNote,
    Initial,
    InvoiceOverpaid,
    /// Too little to be charged, or a negative total: it moves to the balance.
    InvoiceTooSmall,
    UnappliedFromInvoice,
}

impl Row for CustomerBalanceTransaction {
    const KIND: &'static str = "customer_balance_transaction";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.customer]
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

/// What moves a balance, before it has happened.
#[derive(Debug)]
pub struct Movement {
    pub kind: Kind,
    pub amount: i64,
    pub invoice: Option<String>,
    pub credit_note: Option<String>,
}

impl Movement {
    pub fn of_invoice(kind: Kind, amount: i64, invoice: &str) -> Movement {
        Movement { kind, amount, invoice: Some(invoice.to_owned()), credit_note: None }
    }

    fn by_hand(kind: Kind, amount: i64) -> Movement {
        Movement { kind, amount, invoice: None, credit_note: None }
    }
}

pub fn view(row: &CustomerBalanceTransaction) -> Value {
    json!({
        "id": row.id,
        "object": "customer_balance_transaction",
        "amount": row.amount,
        "checkout_session": null,
        "created": row.created,
        "credit_note": row.credit_note,
        "currency": row.currency,
        "customer": row.customer,
        "customer_account": null,
        "description": row.description,
        "ending_balance": row.ending_balance,
        "invoice": row.invoice,
        "livemode": false,
        "metadata": row.metadata,
        "type": row.kind,
    })
}

/// Moves a customer's balance, keeps the reason and tells of the customer's change. The first
/// movement settles the balance's currency.
pub fn post(
    tx: &mut Tx<'_>,
    customer: &str,
    currency: &str,
    movement: Movement,
) -> Result<CustomerBalanceTransaction, ApiError> {
    let mut customer = customers::live(tx.state, customer, "customer")?.clone();
    customer.balance = customer.balance.saturating_add(movement.amount);
    customer.currency.get_or_insert_with(|| currency.to_owned());
    let row = record(tx, &customer.id, currency, customer.balance, movement);
    customers::save(tx, customer);
    Ok(row)
}

/// Keeps a movement that has already reached the customer.
fn record(
    tx: &mut Tx<'_>,
    customer: &str,
    currency: &str,
    ending_balance: i64,
    movement: Movement,
) -> CustomerBalanceTransaction {
    let row = CustomerBalanceTransaction {
        id: ids::object("cbtxn"),
        created: tx.now,
        customer: customer.to_owned(),
        amount: movement.amount,
        currency: currency.to_owned(),
        ending_balance,
        kind: movement.kind,
        description: None,
        invoice: movement.invoice,
        credit_note: movement.credit_note,
        metadata: Metadata::new(),
    };
    tx.state.customer_balance_transactions.put(row.clone());
    row
}

/// The caller set `balance` itself: the ledger says what that changed.
pub fn record_setting(tx: &mut Tx<'_>, customer: &str, kind: Kind, before: i64) {
    let Some(found) = tx.state.customers.get(customer) else {
        return;
    };
    let (after, currency) = (found.balance, found.currency.clone());
    if after != before {
        let currency = currency.unwrap_or_else(|| "usd".to_owned());
        let movement = Movement::by_hand(kind, after.saturating_sub(before));
        record(tx, customer, &currency, after, movement);
    }
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let customer = customers::in_path(tx.state, call.id())?.clone();
    let params = &mut call.params;
    let amount = params
        .within("amount", -MAX_AMOUNT, MAX_AMOUNT)?
        .ok_or_else(|| ApiError::missing_parameter("amount"))?;
    let currency = currencies::required(params)?;
    let description = params.text("description")?;
    let metadata = params.metadata()?.fresh();
    params.finish()?;
    if amount == 0 {
        let message = "The amount of a balance transaction must not be zero.";
        return Err(ApiError::invalid(message).param("amount"));
    }
    if let Some(own) = customer.currency.as_ref().filter(|own| **own != currency) {
        let message = format!(
            "The currency of this balance transaction ({currency}) must be the customer's \
             currency ({own})."
        );
        return Err(ApiError::invalid(message).param("currency"));
    }
    let movement = Movement::by_hand(Kind::Adjustment, amount);
    let mut row = post(tx, &customer.id, &currency, movement)?;
    row.description = description;
    row.metadata = metadata;
    let answer = view(&row);
    tx.state.customer_balance_transactions.put(row);
    Ok(answer)
}

fn find(tx: &Tx<'_>, call: &Call) -> Result<CustomerBalanceTransaction, ApiError> {
    let found = tx.state.customer_balance_transactions.get(call.id());
    let own = found.filter(|row| row.customer == call.parent).cloned();
    own.ok_or_else(|| ApiError::not_found("customer balance transaction", call.id()))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(view(&find(tx, call)?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut row = find(tx, call)?;
    call.params.change("description")?.apply(&mut row.description);
    call.params.metadata()?.apply(&mut row.metadata);
    call.params.finish()?;
    let answer = view(&row);
    tx.state.customer_balance_transactions.put(row);
    Ok(answer)
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let customer = customers::in_path(tx.state, call.id())?.id.clone();
    let created = lists::range(&mut call.params, "created")?;
    let invoice = call.params.text("invoice")?;
    lists::page_of(
        call,
        &tx.state.customer_balance_transactions,
        Some(&customer),
        |row| created.contains(row.created) && (invoice.is_none() || row.invoice == invoice),
        view,
    )
}
