//! Lists, one page at a time, for whoever compares everything: nothing is cut off in silence.

use domain::time::Timestamp;
use serde_json::Value;

use super::form::Form;
use super::products::{Price, Product, read_price, read_product};
use super::{
    Client, checkout_sessions, disputes, fields, invoices, payments, refunds, subscriptions,
    unreadable,
};
use crate::errors::ProviderError;
use crate::facts::{Charge, CheckoutSession, CreditNote, Dispute, Invoice, Refund, Subscription};

const PAGE_ROWS: &str = "100";

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The provider's id of one customer; refunds and disputes are not listed by it.
    pub customer: Option<String>,
    /// One charge, for what lists by it: refunds and disputes.
    pub charge: Option<String>,
    /// Nothing that was made before.
    pub created_from: Option<Timestamp>,
}

/// One page, newest first.
#[derive(Debug, Clone)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// How many objects could not be read.
    pub unreadable: usize,
    /// What the next page comes after; none on the last one.
    pub next: Option<String>,
}

/// Which events are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliveries {
    All,
    /// Only those that an endpoint has not taken.
    Undelivered,
}

impl Client {
    /// Subscriptions in every state.
    pub async fn subscriptions_page(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<Page<Subscription>, ProviderError> {
        let query = form(filter).with("status", "all");
        self.page("/v1/subscriptions", query, after, subscriptions::read).await
    }

    /// Invoices with their payments; lines may be cut off and say so.
    pub async fn invoices_page(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<Page<Invoice>, ProviderError> {
        let query = form(filter).with("expand[]", "data.payments");
        self.page("/v1/invoices", query, after, invoices::read).await
    }

    pub async fn checkout_sessions_page(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<Page<CheckoutSession>, ProviderError> {
        let path = "/v1/checkout/sessions";
        self.page(path, form(filter), after, checkout_sessions::read).await
    }

    pub async fn charges_page(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<Page<Charge>, ProviderError> {
        self.page("/v1/charges", form(filter), after, payments::read).await
    }

    /// Refunds, each with the customer whose charge it gives back.
    pub async fn refunds_page(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<Page<(Refund, Option<String>)>, ProviderError> {
        let query = form(filter).with("expand[]", "data.charge");
        let read = |object: &Value| Some((refunds::read(object)?, customer_of_charge(object)));
        self.page("/v1/refunds", query, after, read).await
    }

    /// Disputes, each with the customer whose charge it is about.
    pub async fn disputes_page(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<Page<(Dispute, Option<String>)>, ProviderError> {
        let query = form(filter).with("expand[]", "data.charge");
        let read = |object: &Value| Some((disputes::read(object)?, customer_of_charge(object)));
        self.page("/v1/disputes", query, after, read).await
    }

    pub async fn credit_notes_page(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<Page<CreditNote>, ProviderError> {
        self.page("/v1/credit_notes", form(filter), after, refunds::read_credit_note).await
    }

    /// Products, archived ones too.
    pub async fn products_page(&self, after: Option<&str>) -> Result<Page<Product>, ProviderError> {
        self.page("/v1/products", Form::new(), after, read_product).await
    }

    /// Prices, archived ones too.
    pub async fn prices_page(&self, after: Option<&str>) -> Result<Page<Price>, ProviderError> {
        self.page("/v1/prices", Form::new(), after, read_price).await
    }

    /// Events as they would be delivered; the provider keeps them for thirty days.
    pub async fn events_page(
        &self,
        deliveries: Deliveries,
        created_from: Timestamp,
        after: Option<&str>,
    ) -> Result<Page<Vec<u8>>, ProviderError> {
        let filter = Filter { created_from: Some(created_from), ..Filter::default() };
        let query = match deliveries {
            Deliveries::All => form(&filter),
            Deliveries::Undelivered => form(&filter).with("delivery_success", "false"),
        };
        self.page("/v1/events", query, after, |event| Some(event.to_string().into_bytes())).await
    }

    async fn page<T>(
        &self,
        path: &str,
        query: Form,
        after: Option<&str>,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Page<T>, ProviderError> {
        let query = query.with("limit", PAGE_ROWS).with_some("starting_after", after);
        let answer = self.get(path, query).await?;
        if !answer.pointer("/data").is_some_and(Value::is_array) {
            return Err(unreadable("the list"));
        }
        let (objects, complete) = fields::list(&answer, "");
        let rows: Vec<T> = objects.iter().filter_map(read).collect();
        let next = match (complete, objects.last()) {
            (true, _) => None,
            // A list that says it goes on without saying where would end here unseen.
            (false, last) => {
                let last = last.and_then(|object| fields::text(object, "/id"));
                Some(last.ok_or_else(|| unreadable("where the list goes on"))?)
            }
        };
        Ok(Page { unreadable: objects.len() - rows.len(), rows, next })
    }
}

fn form(filter: &Filter) -> Form {
    let from = filter.created_from.map(|at| at.seconds().to_string());
    Form::new()
        .with_some("customer", filter.customer.as_deref())
        .with_some("charge", filter.charge.as_deref())
        .with_some("created[gte]", from.as_deref())
}

/// A charge that stands there whole.
fn customer_of_charge(object: &Value) -> Option<String> {
    fields::reference(object, "/charge/customer")
}
