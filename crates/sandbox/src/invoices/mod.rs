//! Invoices: draft, open, paid, void, uncollectible. `billing` decides when; this file does it.

pub mod amounts;
pub mod attachments;
pub mod discounts;
pub mod dues;
pub mod lines;
pub mod papers;
pub mod previews;
pub mod render;
pub mod settlements;
pub mod terms;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adjustments::Adjustments;
use crate::automatic_taxes::{self, AutomaticTax};
use crate::billing::{self, Collected};
use crate::cards::Presence;
use crate::costs::UnitAmount;
use crate::customers::Customer;
use crate::errors::ApiError;
use crate::invoice_payments::{self, InvoicePayment};
use crate::invoices::papers::{Paper, Recipient};
use crate::invoices::render::{line_views, view};
use crate::params::{Metadata, Params};
use crate::payment_intents::{self, PaymentIntent};
use crate::requests::Call;
use crate::state::{Row, State, Timed, Timer};
use crate::subscriptions::Subscription;
use crate::transactions::Tx;
use crate::{
    currencies, customers, ids, invoice_items, lists, net_amounts, payment_methods, usages,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invoice {
    pub id: String,
    pub created: i64,
    pub number: Option<String>,
    pub status: Status,
    pub customer: String,
    pub customer_email: Option<String>,
    pub customer_name: Option<String>,
    pub currency: String,
    pub billing_reason: String,
    pub subscription: Option<String>,
    pub subscription_metadata: Metadata,
    pub lines: Vec<Line>,
    pub period_start: i64,
    pub period_end: i64,
    pub starting_balance: i64,
    pub ending_balance: Option<i64>,
    pub collection_method: String,
    pub due_date: Option<i64>,
    pub auto_advance: bool,
    pub default_payment_method: Option<String>,
    pub description: Option<String>,
    pub attempt_count: i64,
    pub next_payment_attempt: Option<i64>,
    pub paid_out_of_band: bool,
    #[serde(default)]
    pub amount_paid: i64,
    #[serde(default)]
    pub amount_overpaid: i64,
    /// When a draft becomes final; none leaves it to the default.
    #[serde(default)]
    pub finalizes_at: Option<i64>,
    #[serde(default)]
    pub effective_at: Option<i64>,
    #[serde(default)]
    pub due_notice_sent: bool,
    #[serde(default)]
    pub overdue_sent: bool,
    /// Credit notes that lowered what is to be paid.
    #[serde(default)]
    pub pre_payment_credit: i64,
    /// Credit notes on what had been paid.
    #[serde(default)]
    pub post_payment_credit: i64,
    #[serde(default)]
    pub discounts: Vec<String>,
    #[serde(default)]
    pub default_tax_rates: Vec<String>,
    #[serde(default)]
    pub automatic_tax: AutomaticTax,
    pub finalized_at: Option<i64>,
    pub paid_at: Option<i64>,
    pub voided_at: Option<i64>,
    pub marked_uncollectible_at: Option<i64>,
    #[serde(default)]
    pub paper: Paper,
    pub metadata: Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Draft,
    Open,
    Paid,
    Uncollectible,
    Void,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Status::Draft => "draft",
            Status::Open => "open",
            Status::Paid => "paid",
            Status::Uncollectible => "uncollectible",
            Status::Void => "void",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub id: String,
    pub amount: i64,
    pub description: Option<String>,
    pub quantity: i64,
    pub price: Option<String>,
    pub product: Option<String>,
    pub unit: Option<UnitAmount>,
    pub period_start: i64,
    pub period_end: i64,
    pub subscription: Option<String>,
    pub subscription_item: Option<String>,
    pub invoice_item: Option<String>,
    pub proration: bool,
    pub metadata: Metadata,
    #[serde(default)]
    pub adjustments: Adjustments,
}

impl Row for Invoice {
    const KIND: &'static str = "invoice";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        let subscription = self.subscription.as_deref();
        let links = [Some(self.customer.as_str()), subscription, Some(self.status.word())];
        links.into_iter().flatten().collect()
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

impl Timed for Invoice {
    fn timer(&self) -> Timer {
        Timer::Invoice(self.id.clone())
    }

    fn due_at(&self) -> Option<i64> {
        self.next_due()
    }
}

impl Invoice {
    pub fn new(customer: &Customer, currency: &str, reason: &str, now: i64) -> Invoice {
        Invoice {
            id: ids::object("in"),
            created: now,
            number: None,
            status: Status::Draft,
            customer: customer.id.clone(),
            customer_email: customer.email.clone(),
            customer_name: customer.name.clone(),
            currency: currency.to_owned(),
            billing_reason: reason.to_owned(),
            subscription: None,
            subscription_metadata: Metadata::new(),
            lines: Vec::new(),
            period_start: now,
            period_end: now,
            starting_balance: 0,
            ending_balance: None,
            collection_method: "charge_automatically".to_owned(),
            due_date: None,
            auto_advance: true,
            default_payment_method: None,
            description: None,
            attempt_count: 0,
            next_payment_attempt: None,
            paid_out_of_band: false,
            amount_paid: 0,
            amount_overpaid: 0,
            finalizes_at: None,
            effective_at: None,
            due_notice_sent: false,
            overdue_sent: false,
            pre_payment_credit: 0,
            post_payment_credit: 0,
            discounts: customer.discount.iter().map(|discount| discount.id.clone()).collect(),
            default_tax_rates: Vec::new(),
            automatic_tax: AutomaticTax::Off,
            finalized_at: None,
            paid_at: None,
            voided_at: None,
            marked_uncollectible_at: None,
            paper: Paper::of(customer),
            metadata: Metadata::new(),
        }
    }

    /// The total after the customer's balance; nothing where that is too little to be charged.
    pub fn amount_due(&self) -> i64 {
        let due = self.total().saturating_add(self.starting_balance);
        if due < currencies::least_charge(&self.currency) {
            return 0;
        }
        due.saturating_sub(self.pre_payment_credit).max(0)
    }

    pub fn attach_to(&mut self, subscription: &Subscription) {
        self.subscription = Some(subscription.id.clone());
        self.subscription_metadata = subscription.metadata.clone();
        self.collection_method = subscription.collection_method.clone();
        self.default_tax_rates = subscription.default_tax_rates.clone();
        self.automatic_tax = subscription.automatic_tax;
        // Its own discounts come instead of the customer's, not on top.
        if !subscription.discounts.is_empty() {
            self.discounts = subscription.discounts.clone();
        }
    }
}

/// Stores a new draft and tells of it.
pub fn announce(tx: &mut Tx<'_>, mut invoice: Invoice) {
    amounts::settle(tx.state, &mut invoice);
    let shown = view(tx.state, &invoice);
    net_amounts::remember(tx, &invoice);
    tx.state.invoices.put(invoice);
    tx.emit("invoice.created", shown);
}

/// Stores a changed invoice and tells of it under the change's own name.
pub fn save(tx: &mut Tx<'_>, invoice: &Invoice, event: &str) -> Value {
    let shown = view(tx.state, invoice);
    tx.state.invoices.put(invoice.clone());
    tx.emit(event, shown.clone());
    shown
}

/// Draft -> open, with a number and, where money is due, a payment intent; nothing due -> paid.
pub fn finalize(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let mut invoice = find(tx.state, id)?.clone();
    if invoice.status != Status::Draft {
        let message = "This invoice is already finalized, you can't re-finalize it.";
        return Err(ApiError::invalid(message).code("invoice_not_editable"));
    }
    let mut customer = customers::live(tx.state, &invoice.customer, "customer")?.clone();
    usages::refresh(tx.state, &mut invoice)?;
    let number = format!("{}-{:04}", customer.invoice_prefix, customer.next_invoice_sequence);
    invoice.number.get_or_insert(number);
    customer.next_invoice_sequence = customer.next_invoice_sequence.saturating_add(1);
    if invoice.automatic_tax.is_on()
        && automatic_taxes::location_of(tx.state, &invoice.customer).is_none()
    {
        invoice.automatic_tax = AutomaticTax::Lost;
    }
    amounts::settle(tx.state, &mut invoice);
    invoice.starting_balance = settlements::usable_balance(&customer, &invoice.currency);
    invoice.paper.recipient = Some(Recipient::of(tx.state, &customer));
    tx.state.customers.put(customer);
    settlements::apply_balance(tx, &mut invoice)?;
    invoice.status = Status::Open;
    invoice.finalized_at = Some(tx.now);
    net_amounts::remember(tx, &invoice);
    crate::discounts::use_up(tx, &invoice);
    terms::replace_revised(tx, &invoice)?;
    let due = invoice.amount_due();
    if 0 < due {
        dues::plan_collection(&mut invoice, tx.now);
        let intent = intent_for(&invoice, due, tx.now);
        invoice_payments::open(tx, &invoice, &intent);
        save(tx, &invoice, "invoice.finalized");
        payment_intents::announce(tx, intent);
        dues::send_if_automatic(tx, &invoice);
        return Ok(());
    }
    save(tx, &invoice, "invoice.finalized");
    mark_paid(tx, id)
}

fn intent_for(invoice: &Invoice, due: i64, now: i64) -> PaymentIntent {
    let mut intent = PaymentIntent::new(due, &invoice.currency, now);
    intent.customer = Some(invoice.customer.clone());
    intent.invoice = Some(invoice.id.clone());
    intent.description = Some(
        match invoice.billing_reason.as_str() {
            "subscription_create" => "Subscription creation",
            "subscription_cycle" | "subscription_update" => "Subscription update",
            _ => "Payment for Invoice",
        }
        .to_owned(),
    );
    intent.receipt_email = invoice.customer_email.clone();
    intent.setup_future_usage = invoice.subscription.as_ref().map(|_| "off_session".to_owned());
    intent
}

/// Open -> paid. The subscription hears of it before the invoice's own events.
pub fn mark_paid(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let mut invoice = find(tx.state, id)?.clone();
    invoice.status = Status::Paid;
    invoice.amount_paid = invoice.amount_due();
    invoice.paid_at = Some(tx.now);
    invoice.next_payment_attempt = None;
    tx.state.invoices.put(invoice.clone());
    billing::invoice_paid(tx, &invoice);
    let shown = view(tx.state, &invoice);
    tx.emit_all(&["invoice.paid", "invoice.payment_succeeded"], shown);
    if !invoice.paid_out_of_band {
        invoice_payments::mark_paid(tx, id);
    }
    Ok(())
}

pub fn find<'a>(state: &'a State, id: &str) -> Result<&'a Invoice, ApiError> {
    state.invoices.get(id).ok_or_else(|| ApiError::not_found("invoice", id))
}

/// The invoice's default payment, while it has one.
pub fn payment_of<'a>(state: &'a State, id: &str) -> Option<&'a InvoicePayment> {
    state.invoice_payments.of(id).rfind(|payment| !payment.attached)
}

fn read_default_method(
    state: &State,
    params: &mut Params,
    invoice: &mut Invoice,
) -> Result<(), ApiError> {
    let Some(id) = params.text("default_payment_method")? else {
        return Ok(());
    };
    let owner = state.payment_methods.get(&id).and_then(|method| method.customer.as_ref());
    if owner != Some(&invoice.customer) {
        return Err(ApiError::no_such("PaymentMethod", &id, "default_payment_method"));
    }
    invoice.default_payment_method = Some(id);
    Ok(())
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let mut invoice = match terms::read_revised(tx, params)? {
        Some(revision) => revision,
        None => {
            let customer = params.required("customer")?;
            let customer = customers::live(tx.state, &customer, "customer")?;
            let own = params.has("currency").then(|| currencies::required(params)).transpose()?;
            let currency = own.unwrap_or_else(|| customers::currency(customer));
            Invoice::new(customer, &currency, "manual", tx.now)
        }
    };
    invoice.auto_advance = false;
    params.change("description")?.apply(&mut invoice.description);
    params.metadata()?.apply(&mut invoice.metadata);
    terms::read_subscription(tx.state, params, &mut invoice)?;
    terms::read(params, &mut invoice, tx.now)?;
    terms::check_due(&invoice)?;
    read_default_method(tx.state, params, &mut invoice)?;
    let pending =
        params.word("pending_invoice_items_behavior", &["exclude", "include"])? == Some("include");
    discounts::read(tx, params, &mut invoice)?;
    amounts::read_taxes(tx.state, params, &mut invoice)?;
    invoice.paper.read(tx.state, params)?;
    params.ignore(&["payment_settings", "rendering"]);
    params.finish()?;
    if pending {
        let subscription = invoice.subscription.clone();
        invoice_items::take_pending(tx, &mut invoice, subscription.as_deref());
    }
    let shown = view(tx.state, &invoice);
    announce(tx, invoice);
    Ok(shown)
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(tx.state, find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut invoice = find(tx.state, call.id())?.clone();
    let before = view(tx.state, &invoice);
    terms::check_editable(&call.params, &invoice)?;
    call.params.change("description")?.apply(&mut invoice.description);
    call.params.metadata()?.apply(&mut invoice.metadata);
    terms::read(&mut call.params, &mut invoice, tx.now)?;
    terms::check_due(&invoice)?;
    read_default_method(tx.state, &mut call.params, &mut invoice)?;
    discounts::read(tx, &mut call.params, &mut invoice)?;
    amounts::read_taxes(tx.state, &mut call.params, &mut invoice)?;
    invoice.paper.read(tx.state, &mut call.params)?;
    call.params.ignore(&["payment_settings", "rendering"]);
    call.params.finish()?;
    let after = view(tx.state, &invoice);
    tx.state.invoices.put(invoice);
    tx.emit_change("invoice.updated", &before, after.clone());
    Ok(after)
}

pub fn finalize_now(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let auto_advance = call.params.boolean("auto_advance")?;
    call.params.finish()?;
    if find(tx.state, &id)?.automatic_tax.is_on() {
        automatic_taxes::require_location(tx.state, &find(tx.state, &id)?.customer)?;
    }
    let mut invoice = find(tx.state, &id)?.clone();
    invoice.auto_advance = auto_advance.unwrap_or(invoice.auto_advance);
    tx.state.invoices.put(invoice);
    finalize(tx, &id)?;
    Ok(view(tx.state, find(tx.state, &id)?))
}

pub fn pay(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let params = &mut call.params;
    let method = params.text("payment_method")?;
    let out_of_band = params.boolean("paid_out_of_band")?.unwrap_or(false);
    let off_session = params.boolean("off_session")?.unwrap_or(true);
    params.refuse(&["source", "mandate", "forgive"])?;
    params.finish()?;
    let mut invoice = find(tx.state, &id)?.clone();
    settlements::check_not_processing(tx.state, &id)?;
    match invoice.status {
        Status::Draft => finalize(tx, &id)?,
        Status::Open | Status::Uncollectible => {}
        Status::Paid => {
            return Err(ApiError::invalid("Invoice is already paid").code("invoice_already_paid"));
        }
        Status::Void => return Err(not_payable()),
    }
    if find(tx.state, &id)?.status == Status::Paid {
        return Ok(view(tx.state, find(tx.state, &id)?));
    }
    if out_of_band {
        invoice = find(tx.state, &id)?.clone();
        invoice.paid_out_of_band = true;
        tx.state.invoices.put(invoice);
        cancel_intent(tx, &id);
        mark_paid(tx, &id)?;
        return Ok(view(tx.state, find(tx.state, &id)?));
    }
    let method = match method {
        Some(method) => Some(method),
        None => billing::method_for(tx.state, find(tx.state, &id)?),
    };
    let Some(method) = method else {
        let message = "There is no `default_payment_method` set on this Customer or Invoice. \
                       Please attach a payment method first.";
        return Err(ApiError::invalid(message).code("invoice_payment_intent_requires_action"));
    };
    let method = payment_methods::resolve(tx, &method, "payment_method")?;
    let presence = if off_session { Presence::OffSession } else { Presence::OnSession };
    match billing::collect(tx, &id, Some(&method), presence)? {
        Collected::Paid | Collected::Processing => Ok(view(tx.state, find(tx.state, &id)?)),
        Collected::NeedsAuthentication => {
            let message = "This payment requires additional user action before it can be \
                           completed successfully.";
            let error = ApiError::card("invoice_payment_intent_requires_action", None, message);
            Err(error.keeping_effects())
        }
        Collected::Failed(error) => Err(error.keeping_effects()),
    }
}

pub fn not_payable() -> ApiError {
    ApiError::invalid("Invoices with this status cannot be changed so.")
        .code("invoice_not_editable")
}

pub fn cancel_intent(tx: &mut Tx<'_>, id: &str) {
    let payment = payment_of(tx.state, id).map(|payment| payment.payment_intent.clone());
    let intent = payment.and_then(|intent| tx.state.payment_intents.get(&intent).cloned());
    if let Some(mut intent) = intent
        && !intent.is_succeeded()
    {
        payment_intents::cancel_now(tx, &mut intent, Some("void_invoice"));
        invoice_payments::cancel(tx, id);
    }
}

pub fn void_now(tx: &mut Tx<'_>, id: &str) -> Result<Value, ApiError> {
    let mut invoice = find(tx.state, id)?.clone();
    if !matches!(invoice.status, Status::Open | Status::Uncollectible) {
        return Err(not_payable());
    }
    cancel_intent(tx, id);
    settlements::return_balance(tx, &invoice)?;
    invoice.status = Status::Void;
    invoice.voided_at = Some(tx.now);
    invoice.next_payment_attempt = None;
    let shown = save(tx, &invoice, "invoice.voided");
    billing::invoice_void(tx, &invoice);
    Ok(shown)
}

/// What `pause_collection` does to an invoice once it is open.
pub fn give_up(tx: &mut Tx<'_>, id: &str, behavior: &str) -> Result<(), ApiError> {
    if find(tx.state, id)?.status != Status::Open {
        return Ok(());
    }
    if behavior == "void" { void_now(tx, id) } else { mark_uncollectible_now(tx, id) }.map(|_| ())
}

pub fn void(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    settlements::check_not_processing(tx.state, call.id())?;
    void_now(tx, call.id())
}

pub fn mark_uncollectible(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    settlements::check_not_processing(tx.state, call.id())?;
    mark_uncollectible_now(tx, call.id())
}

fn mark_uncollectible_now(tx: &mut Tx<'_>, id: &str) -> Result<Value, ApiError> {
    let mut invoice = find(tx.state, id)?.clone();
    if invoice.status != Status::Open {
        return Err(not_payable());
    }
    invoice.status = Status::Uncollectible;
    invoice.marked_uncollectible_at = Some(tx.now);
    invoice.next_payment_attempt = None;
    Ok(save(tx, &invoice, "invoice.marked_uncollectible"))
}

pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let invoice = find(tx.state, call.id())?.clone();
    if invoice.status != Status::Draft || invoice.subscription.is_some() {
        let message = "You can only delete draft invoices that are not of a subscription.";
        return Err(ApiError::invalid(message).code("invoice_not_editable"));
    }
    let shown = view(tx.state, &invoice);
    invoice_items::release(tx, &invoice.id);
    tx.state.invoices.remove(&invoice.id);
    tx.emit("invoice.deleted", shown);
    Ok(json!({"id": invoice.id, "object": "invoice", "deleted": true}))
}

/// `/v1/invoices/{id}/lines`: always complete.
pub fn lines(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let lines = line_views(find(tx.state, call.id())?);
    lists::page_of_values(call, lines)
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let created = lists::range(params, "created")?;
    let customer = params.text("customer")?;
    let subscription = params.text("subscription")?;
    let status = params.text("status")?;
    let collection_method = params.text("collection_method")?;
    let state = &*tx.state;
    lists::page_of(
        call,
        &state.invoices,
        subscription.as_deref().or(customer.as_deref()).or(status.as_deref()),
        |invoice| {
            created.contains(invoice.created)
                && customer.as_ref().is_none_or(|customer| invoice.customer == *customer)
                && (subscription.is_none() || invoice.subscription == subscription)
                && status.as_ref().is_none_or(|status| invoice.status.word() == status)
                && collection_method.as_ref().is_none_or(|way| invoice.collection_method == *way)
        },
        |invoice| view(state, invoice),
    )
}
