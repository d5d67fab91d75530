//! The account that our key belongs to, and what the key may see of it.

use super::form::Form;
use super::{Client, fields, unreadable};
use crate::errors::ProviderError;

/// What we read by id when an event leaves a doubt. A restricted key that may not see one of them
/// would leave events unapplied.
const READ: [&str; 7] = [
    "charges",
    "checkout/sessions",
    "customers",
    "events",
    "invoice_payments",
    "invoices",
    "subscriptions",
];

impl Client {
    /// The id of our own account.
    pub async fn account(&self) -> Result<String, ProviderError> {
        let answer = self.get("/v1/account", Form::new()).await?;
        fields::text(&answer, "/id").ok_or_else(|| unreadable("the id of the account"))
    }

    /// Whether the key may do only some things.
    pub fn is_restricted(&self) -> bool {
        self.is_restricted
    }

    /// What a restricted key is not allowed to see though we need it; nothing for other keys.
    pub async fn forbidden(&self) -> Result<Vec<&'static str>, ProviderError> {
        let mut forbidden = Vec::new();
        if !self.is_restricted {
            return Ok(forbidden);
        }
        for collection in READ {
            let query = Form::new().with("limit", "1");
            match self.get(&format!("/v1/{collection}"), query).await {
                Ok(_) => {}
                Err(ProviderError::Unauthorized) => forbidden.push(collection),
                // It was let in and asked for more.
                Err(ProviderError::Refused { .. } | ProviderError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        // A key that is not known at all lacks no permission: it is another mistake.
        if forbidden.len() == READ.len() {
            return Err(ProviderError::Unauthorized);
        }
        Ok(forbidden)
    }
}
