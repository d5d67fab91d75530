//! What goes with the end of a subscription: its open invoices are voided.

use super::form::Form;
use super::{Client, fields, object_path};
use crate::errors::ProviderError;

impl Client {
    /// The invoices of a subscription that are still to be paid.
    pub async fn invoices_open_of(&self, subscription: &str) -> Result<Vec<String>, ProviderError> {
        let query = Form::new().with("subscription", subscription).with("status", "open");
        let (invoices, _) = self.list("/v1/invoices", &query).await?;
        Ok(invoices.iter().filter_map(|invoice| fields::text(invoice, "/id")).collect())
    }

    /// Makes an open invoice worth nothing, for good.
    pub async fn invoice_void(&self, id: &str, key: &str) -> Result<(), ProviderError> {
        let path = format!("{}/void", object_path("invoices", id)?);
        self.post(&path, Form::new(), key).await.map(drop)
    }
}
