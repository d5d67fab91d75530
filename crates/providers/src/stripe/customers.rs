//! Customers as the provider keeps them.

use super::form::Form;
use super::{Client, fields, object_path, unreadable};
use crate::errors::ProviderError;

/// A customer to create. `id` is ours and travels in the metadata.
#[derive(Debug, Clone)]
pub struct CustomerNew<'a> {
    pub id: &'a str,
    pub email: Option<&'a str>,
    pub name: Option<&'a str>,
}

impl Client {
    /// Creates a customer and answers the provider's id.
    pub async fn customer_create(
        &self,
        customer: &CustomerNew<'_>,
        key: &str,
    ) -> Result<String, ProviderError> {
        let form = Form::new()
            .with_some("email", customer.email)
            .with_some("name", customer.name)
            .with("metadata[tollgate_customer]", customer.id);
        let answer = self.post("/v1/customers", form, key).await?;
        fields::text(&answer, "/id").ok_or_else(|| unreadable("the id of the customer"))
    }

    /// The customer that was created for one of ours, if any. The search lags behind by a minute,
    /// so it says nothing about what was created just now.
    pub async fn customer_find(&self, id: &str) -> Result<Option<String>, ProviderError> {
        let query = format!("metadata['tollgate_customer']:'{id}'");
        let form = Form::new().with("query", &query).with("limit", "1");
        let answer = self.get("/v1/customers/search", form).await?;
        Ok(fields::text(&answer, "/data/0/id"))
    }

    /// Whether a customer can still be used: deleted ones answer too, and say so.
    pub async fn customer_exists(&self, id: &str) -> Result<bool, ProviderError> {
        let answer = match object_path("customers", id) {
            Ok(path) => self.get(&path, Form::new()).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(customer) => Ok(!fields::flag(&customer, "/deleted")),
            Err(ProviderError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
