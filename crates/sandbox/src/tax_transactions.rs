//! Tax transactions: a calculation that became a sale, and what was taken back of one.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adjustments::sum;
use crate::errors::ApiError;
use crate::params::{MAX_AMOUNT, Metadata, Params};
use crate::percents;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::tax_calculations::{self, CalculationLine, Details};
use crate::transactions::Tx;
use crate::{ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaxTransaction {
    pub id: String,
    pub created: i64,
    pub currency: String,
    pub customer: Option<String>,
    pub details: Details,
    pub lines: Vec<TransactionLine>,
    pub shipping: Option<TransactionLine>,
    pub ship_from: Option<Value>,
    pub reference: String,
    pub posted_at: i64,
    pub tax_date: i64,
    /// The transaction this one takes back.
    pub original: Option<String>,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransactionLine {
    pub id: String,
    pub amount: i64,
    pub tax: i64,
    pub quantity: i64,
    pub reference: String,
    pub product: Option<String>,
    pub inclusive: bool,
    pub tax_code: String,
    /// The line this one takes back.
    pub original: Option<String>,
    pub metadata: Metadata,
}

impl Row for TaxTransaction {
    const KIND: &'static str = "tax.transaction";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        self.original.as_deref().into_iter().collect()
    }
}

impl TransactionLine {
    fn of(line: &CalculationLine) -> TransactionLine {
        TransactionLine {
            id: ids::object("tax_li"),
            amount: line.amount,
            tax: line.tax(),
            quantity: line.quantity,
            reference: line.reference.clone(),
            product: line.product.clone(),
            inclusive: line.inclusive,
            tax_code: line.tax_code.clone(),
            original: None,
            metadata: line.metadata.clone(),
        }
    }

    /// What was paid for the line, with its tax.
    fn total(&self) -> i64 {
        if self.inclusive { self.amount } else { self.amount.saturating_add(self.tax) }
    }

    fn reversal(&self, amount: i64, tax: i64) -> TransactionLine {
        TransactionLine {
            id: ids::object("tax_li"),
            amount,
            tax,
            original: Some(self.id.clone()),
            ..self.clone()
        }
    }

    fn behavior(&self) -> &'static str {
        if self.inclusive { "inclusive" } else { "exclusive" }
    }
}

fn view(transaction: &TaxTransaction) -> Value {
    let reversal = transaction.original.as_ref();
    let shipping = transaction.shipping.as_ref().map(|line| {
        json!({
            "amount": line.amount,
            "amount_tax": line.tax,
            "tax_behavior": line.behavior(),
            "tax_code": line.tax_code,
        })
    });
    json!({
        "id": transaction.id,
        "object": "tax.transaction",
        "created": transaction.created,
        "currency": transaction.currency,
        "customer": transaction.customer,
        "customer_details": tax_calculations::details_view(&transaction.details),
        "livemode": false,
        "metadata": transaction.metadata,
        "posted_at": transaction.posted_at,
        "reference": transaction.reference,
        "reversal": reversal.map(|original| json!({"original_transaction": original})),
        "ship_from_details":
            transaction.ship_from.as_ref().map(|address| json!({"address": address})),
        "shipping_cost": shipping,
        "tax_date": transaction.tax_date,
        "type": if reversal.is_some() { "reversal" } else { "transaction" },
    })
}

fn line_view(line: &TransactionLine) -> Value {
    let reversal = line.original.as_ref();
    json!({
        "id": line.id,
        "object": "tax.transaction_line_item",
        "amount": line.amount,
        "amount_tax": line.tax,
        "livemode": false,
        "metadata": line.metadata,
        "product": line.product,
        "quantity": line.quantity,
        "reference": line.reference,
        "reversal": reversal.map(|original| json!({"original_line_item": original})),
        "tax_behavior": line.behavior(),
        "tax_code": line.tax_code,
        "type": if reversal.is_some() { "reversal" } else { "transaction" },
    })
}

/// `line_items` is shown only when asked for.
pub fn lines_view(transaction: &TaxTransaction) -> Value {
    let lines = transaction.lines.iter().map(line_view).collect();
    lists::whole(lines, format!("/v1/tax/transactions/{}/line_items", transaction.id))
}

/// References are the caller's: each is used once.
fn read_reference(state: &State, params: &mut Params) -> Result<String, ApiError> {
    let reference = params.required("reference")?;
    if state.tax_transactions.oldest_first().any(|row| row.reference == reference) {
        let message = format!("A tax transaction with the reference {reference} exists already.");
        let error = ApiError::invalid(message).code("resource_already_exists");
        return Err(error.param("reference"));
    }
    Ok(reference)
}

pub fn create_from_calculation(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let id = params.required("calculation")?;
    let calculation = tx.state.tax_calculations.get(&id).cloned();
    let calculation =
        calculation.ok_or_else(|| ApiError::no_such("tax calculation", &id, "calculation"))?;
    if calculation.expires_at <= tx.now {
        let message = format!("The tax calculation {id} has expired.");
        return Err(ApiError::invalid(message).param("calculation"));
    }
    let transaction = TaxTransaction {
        id: ids::object("tax"),
        created: tx.now,
        currency: calculation.currency,
        customer: calculation.customer,
        details: calculation.details,
        lines: calculation.lines.iter().map(TransactionLine::of).collect(),
        shipping: calculation.shipping.as_ref().map(TransactionLine::of),
        ship_from: calculation.ship_from,
        reference: read_reference(tx.state, params)?,
        posted_at: params.timestamp("posted_at")?.unwrap_or(tx.now),
        tax_date: calculation.tax_date,
        original: None,
        metadata: params.metadata()?.fresh(),
    };
    params.finish()?;
    let shown = view(&transaction);
    tx.state.tax_transactions.put(transaction);
    Ok(shown)
}

pub fn create_reversal(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let mode = params.word("mode", &["full", "partial"])?;
    let full = mode.ok_or_else(|| ApiError::missing_parameter("mode"))? == "full";
    let id = params.required("original_transaction")?;
    let found = tx.state.tax_transactions.get(&id).cloned();
    let original =
        found.ok_or_else(|| ApiError::no_such("tax transaction", &id, "original_transaction"))?;
    if original.original.is_some() {
        let message = "A reversal cannot be reversed.";
        return Err(ApiError::invalid(message).param("original_transaction"));
    }
    let mut reversal = original.clone();
    reversal.id = ids::object("tax");
    reversal.created = tx.now;
    reversal.posted_at = tx.now;
    reversal.original = Some(id);
    reversal.reference = read_reference(tx.state, params)?;
    reversal.metadata = params.metadata()?.fresh();
    if full {
        reversal.lines = original.lines.iter().map(|line| rest(tx.state, line)).collect();
        reversal.shipping = original.shipping.as_ref().map(|line| rest(tx.state, line));
    } else {
        reversal.shipping = read_shipping(tx.state, params, &original)?;
        reversal.lines = read_parts(tx.state, params, &original, reversal.shipping.is_some())?;
    }
    params.finish()?;
    let all = || reversal.lines.iter().chain(&reversal.shipping);
    if all().all(|line| line.amount == 0 && line.tax == 0) {
        let message = "There is nothing left of this transaction to be reversed.";
        return Err(ApiError::invalid(message).param("original_transaction"));
    }
    let shown = view(&reversal);
    tx.state.tax_transactions.put(reversal);
    Ok(shown)
}

/// What earlier reversals took back of a line: amount and tax, both negative.
fn reversed(state: &State, line: &TransactionLine) -> (i64, i64) {
    let rows =
        state.tax_transactions.oldest_first().flat_map(|row| row.lines.iter().chain(&row.shipping));
    let same: Vec<&TransactionLine> =
        rows.filter(|other| other.original.as_deref() == Some(line.id.as_str())).collect();
    (sum(same.iter().map(|other| other.amount)), sum(same.iter().map(|other| other.tax)))
}

/// The reversal of all that is left of a line.
fn rest(state: &State, line: &TransactionLine) -> TransactionLine {
    let (amount, tax) = reversed(state, line);
    let left = |whole: i64, gone: i64| whole.saturating_add(gone).saturating_neg();
    line.reversal(left(line.amount, amount), left(line.tax, tax))
}

/// Amounts of a reversal are negative and not more than what is left.
fn checked(
    state: &State,
    hash: &Params,
    line: &TransactionLine,
    amount: i64,
    tax: i64,
) -> Result<TransactionLine, ApiError> {
    let all = rest(state, line);
    for (key, wanted, most) in [("amount", amount, all.amount), ("amount_tax", tax, all.tax)] {
        let within =
            if most < 0 { most <= wanted && wanted <= 0 } else { 0 <= wanted && wanted <= most };
        if !within {
            return Err(hash.invalid(key, "More than is left of the line, or not negative"));
        }
    }
    Ok(line.reversal(amount, tax))
}

fn read_amounts(hash: &mut Params) -> Result<(i64, i64), ApiError> {
    let amount = hash.within("amount", -MAX_AMOUNT, MAX_AMOUNT)?;
    let tax = hash.within("amount_tax", -MAX_AMOUNT, MAX_AMOUNT)?;
    let amount = amount.ok_or_else(|| ApiError::missing_parameter(&hash.name("amount")))?;
    let tax = tax.ok_or_else(|| ApiError::missing_parameter(&hash.name("amount_tax")))?;
    Ok((amount, tax))
}

fn read_shipping(
    state: &State,
    params: &mut Params,
    original: &TaxTransaction,
) -> Result<Option<TransactionLine>, ApiError> {
    let Some(mut hash) = params.hash("shipping_cost")? else {
        return Ok(None);
    };
    let line = original.shipping.as_ref();
    let line = line.ok_or_else(|| hash.invalid("amount", "The transaction has no shipping"))?;
    let (amount, tax) = read_amounts(&mut hash)?;
    hash.finish()?;
    checked(state, &hash, line, amount, tax).map(Some)
}

/// `line_items`, or `flat_amount` divided among all lines.
fn read_parts(
    state: &State,
    params: &mut Params,
    original: &TaxTransaction,
    has_shipping: bool,
) -> Result<Vec<TransactionLine>, ApiError> {
    let flat = params.within("flat_amount", -MAX_AMOUNT, -1)?;
    let hashes = params.hashes("line_items")?;
    if let Some(flat) = flat {
        return read_flat(state, params, original, flat);
    }
    if hashes.is_empty() && !has_shipping {
        return Err(ApiError::missing_parameter("line_items"));
    }
    let mut parts = Vec::new();
    for mut hash in hashes {
        let id = hash.required("original_line_item")?;
        let line = original.lines.iter().find(|line| line.id == id);
        let param = hash.name("original_line_item");
        let line = line.ok_or_else(|| ApiError::no_such("line item", &id, &param))?;
        let (amount, tax) = read_amounts(&mut hash)?;
        let mut part = checked(state, &hash, line, amount, tax)?;
        part.reference = hash.required("reference")?;
        part.quantity = hash.within("quantity", 1, 999_999)?.unwrap_or(line.quantity);
        part.metadata = hash.metadata()?.fresh();
        hash.finish()?;
        parts.push(part);
    }
    Ok(parts)
}

fn read_flat(
    state: &State,
    params: &Params,
    original: &TaxTransaction,
    flat: i64,
) -> Result<Vec<TransactionLine>, ApiError> {
    let left: Vec<TransactionLine> = original.lines.iter().map(|line| rest(state, line)).collect();
    let whole = sum(left.iter().map(TransactionLine::total)).saturating_neg();
    if whole < flat.saturating_neg() {
        return Err(params.invalid("flat_amount", "More than is left of the transaction"));
    }
    let weights: Vec<i64> = left.iter().map(|line| line.total().saturating_neg().max(0)).collect();
    let shares = crate::adjustments::spread(flat.saturating_neg(), &weights);
    let parts = left.iter().zip(shares).filter(|(_, share)| *share != 0).map(|(line, share)| {
        let tax = percents::ratio(line.tax, share, line.total().saturating_neg());
        let net = share.saturating_neg();
        let amount = if line.inclusive { net } else { net.saturating_sub(tax) };
        TransactionLine { amount, tax, ..line.clone() }
    });
    Ok(parts.collect())
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a TaxTransaction, ApiError> {
    state.tax_transactions.get(id).ok_or_else(|| ApiError::not_found("tax transaction", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(find(tx.state, call.id())?))
}

pub fn line_items(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let lines = find(tx.state, call.id())?.lines.iter().map(line_view).collect();
    lists::page_of_values(call, lines)
}
