//! The provider's own hosted portal.

use super::form::Form;
use super::{Client, fields, unreadable};
use crate::errors::ProviderError;

impl Client {
    /// A short-lived address at which the customer manages cards and subscriptions.
    pub async fn portal_session_create(
        &self,
        customer: &str,
        return_url: &str,
        key: &str,
    ) -> Result<String, ProviderError> {
        let form = Form::new().with("customer", customer).with("return_url", return_url);
        let answer = self.post("/v1/billing_portal/sessions", form, key).await?;
        fields::text(&answer, "/url").ok_or_else(|| unreadable("the address of the portal"))
    }
}
