//! Invoices, as the provider last described them.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::{CustomerId, InvoiceId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;

#[derive(Debug, Clone)]
pub struct Invoice {
    pub id: InvoiceId,
    pub customer_id: CustomerId,
    pub provider: String,
    pub provider_invoice_id: String,
    pub provider_subscription_id: Option<String>,
    pub status: String,
    pub reason: String,
    pub number: Option<String>,
    pub total: Money,
    pub amount_due: i64,
    pub amount_paid: i64,
    pub attempt_count: i64,
    pub hosted_url: Option<String>,
    pub pdf_url: Option<String>,
    pub issued_at: Option<Timestamp>,
    pub paid_at: Option<Timestamp>,
    pub due_at: Option<Timestamp>,
    /// The end of the latest period of a plan that it bills.
    pub covers_until: Option<Timestamp>,
    pub as_of: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "invoices.insert":
        "INSERT INTO invoices (provider_subscription_id, status, reason, number, total, amount_due,
             amount_paid, attempt_count, hosted_url, pdf_url, issued_at, paid_at, due_at,
             covers_until, as_of, updated_at, id, customer_id, provider, provider_invoice_id,
             currency, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    UPDATE = "invoices.update":
        "UPDATE invoices SET provider_subscription_id = ?, status = ?, reason = ?, number = ?,
             total = ?, amount_due = ?, amount_paid = ?, attempt_count = ?, hosted_url = ?,
             pdf_url = ?, issued_at = ?, paid_at = ?, due_at = ?, covers_until = ?, as_of = ?,
             updated_at = ?
         WHERE id = ?";
    FIND = "invoices.find":
        "SELECT * FROM invoices WHERE provider = ? AND provider_invoice_id = ?";
    NEWEST_PAID = "invoices.newest_paid":
        "SELECT * FROM invoices
         WHERE COALESCE(provider, '') = ? AND provider_subscription_id = ? AND status = 'paid'
           AND reason IN (?, ?)
         ORDER BY COALESCE(issued_at, as_of) DESC, provider_invoice_id DESC LIMIT 1";
    OF_SUBSCRIPTION = "invoices.of_subscription":
        "SELECT * FROM invoices
         WHERE COALESCE(provider, '') = ? AND provider_subscription_id = ?
         ORDER BY COALESCE(issued_at, as_of), provider_invoice_id";
    LIST = "invoices.list":
        "SELECT * FROM invoices WHERE customer_id = ? AND id < ? ORDER BY id DESC LIMIT ?";
}

fn invoice(row: &Row) -> Result<Invoice, StoreError> {
    let currency = row.parsed("currency", |text| Currency::parse(text).ok())?;
    Ok(Invoice {
        id: id!(row, "id", InvoiceId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        provider: row.text("provider")?,
        provider_invoice_id: row.text("provider_invoice_id")?,
        provider_subscription_id: row.opt_text("provider_subscription_id")?,
        status: row.text("status")?,
        reason: row.text("reason")?,
        number: row.opt_text("number")?,
        total: Money::new(row.int("total")?, currency),
        amount_due: row.int("amount_due")?,
        amount_paid: row.int("amount_paid")?,
        attempt_count: row.int("attempt_count")?,
        hosted_url: row.opt_text("hosted_url")?,
        pdf_url: row.opt_text("pdf_url")?,
        issued_at: row.opt_time("issued_at")?,
        paid_at: row.opt_time("paid_at")?,
        due_at: row.opt_time("due_at")?,
        covers_until: row.opt_time("covers_until")?,
        as_of: row.time("as_of")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// What both the insert and the update write, in their common order.
fn changing(row: &Invoice) -> Vec<crate::sql::Arg> {
    args![
        &row.provider_subscription_id,
        &row.status,
        &row.reason,
        &row.number,
        row.total.minor(),
        row.amount_due,
        row.amount_paid,
        row.attempt_count,
        &row.hosted_url,
        &row.pdf_url,
        row.issued_at,
        row.paid_at,
        row.due_at,
        row.covers_until,
        row.as_of,
        row.updated_at,
        &row.id
    ]
}

impl Tx {
    pub async fn invoices_insert(&mut self, new: &Invoice) -> Result<(), StoreError> {
        let mut args = changing(new);
        let currency = new.total.currency();
        args.extend(args![
            &new.customer_id,
            &new.provider,
            &new.provider_invoice_id,
            currency.as_str(),
            new.created_at
        ]);
        self.change_one(&INSERT, args).await
    }

    pub async fn invoices_update(&mut self, row: &Invoice) -> Result<(), StoreError> {
        self.change_one(&UPDATE, changing(row)).await
    }

    /// By the provider's id.
    pub async fn invoices_find(
        &mut self,
        provider: &str,
        provider_invoice_id: &str,
    ) -> Result<Option<Invoice>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_invoice_id]).await?;
        row.as_ref().map(invoice).transpose()
    }

    /// The newest paid invoice of a subscription that was made for one of two reasons.
    pub async fn invoices_newest_paid(
        &mut self,
        provider: &str,
        provider_subscription_id: &str,
        reasons: [&str; 2],
    ) -> Result<Option<Invoice>, StoreError> {
        let args = args![provider, provider_subscription_id, reasons[0], reasons[1]];
        self.first(&NEWEST_PAID, args).await?.as_ref().map(invoice).transpose()
    }

    /// Every invoice of a subscription, oldest first.
    pub async fn invoices_of_subscription(
        &mut self,
        provider: &str,
        provider_subscription_id: &str,
    ) -> Result<Vec<Invoice>, StoreError> {
        let args = args![provider, provider_subscription_id];
        self.all(&OF_SUBSCRIPTION, args).await?.iter().map(invoice).collect()
    }

    /// Newest first, after `cursor`.
    pub async fn invoices_list(
        &mut self,
        customer: &CustomerId,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Invoice>, StoreError> {
        self.all(&LIST, args![customer, cursor, limit]).await?.iter().map(invoice).collect()
    }
}
