//! Customers and their counterparts at the provider.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id, opt_id};
use crate::sql::{Arg, args, statements};
use domain::ids::CustomerId;
use domain::time::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Someone who may buy. E-mail is information, never a key.
#[derive(Debug, Clone)]
pub struct Customer {
    pub id: CustomerId,
    pub external_id: Option<String>,
    pub email: Option<String>,
    pub name: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "customers.insert":
        "INSERT INTO customers (id, external_id, email, name, metadata, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    GET = "customers.get": "SELECT * FROM customers WHERE id = ?";
    FIND = "customers.find": "SELECT * FROM customers WHERE external_id = ?";
    FIND_FOLD = "customers.find_fold":
        "SELECT r.external_id,
             (SELECT c.id FROM customers c WHERE c.external_id = r.external_id) AS id
         FROM ROWS(external_id VARCHAR(255))";
    LIST = "customers.list": "SELECT * FROM customers WHERE id < ? ORDER BY id DESC LIMIT ?";
    FILL = "customers.fill":
        "UPDATE customers SET email = COALESCE(email, ?), name = COALESCE(name, ?), updated_at = ?
         WHERE id = ? AND external_id IS NULL AND (email IS NULL OR name IS NULL)";
    LOCK = "customers.lock": "SELECT id FROM customers WHERE id = ? FOR NO KEY UPDATE";
    LOCK_FOLD = "customers.lock_fold":
        "SELECT c.* FROM ROWS(id VARCHAR(255)) CROSS JOIN customers c WHERE c.id = r.id
         ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED";
    LINK = "provider_customers.insert":
        "INSERT INTO provider_customers
             (provider, provider_customer_id, customer_id, generation, created_at)
         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    LINKED = "provider_customers.current":
        "SELECT provider_customer_id, generation, deleted_at FROM provider_customers
         WHERE provider = ? AND customer_id = ? ORDER BY generation DESC LIMIT 1";
    LOSE = "provider_customers.lose":
        "UPDATE provider_customers SET deleted_at = ?
         WHERE provider = ? AND provider_customer_id = ? AND deleted_at IS NULL";
    COUNTERPARTS = "provider_customers.all":
        "SELECT provider_customer_id FROM provider_customers
         WHERE provider = ? AND customer_id = ? ORDER BY generation";
    OWNER = "provider_customers.owner":
        "SELECT c.* FROM customers c JOIN provider_customers p ON p.customer_id = c.id
         WHERE p.provider = ? AND p.provider_customer_id = ?";
    OWNER_FOLD = "provider_customers.owner_fold":
        "SELECT r.provider_customer_id,
             (SELECT p.customer_id FROM provider_customers p
              WHERE p.provider = r.provider AND p.provider_customer_id = r.provider_customer_id)
             AS customer_id
         FROM ROWS(provider VARCHAR(64), provider_customer_id VARCHAR(255))";
}

#[derive(Serialize)]
struct CounterpartRow<'a> {
    provider: &'a str,
    provider_customer_id: &'a str,
}

fn customer(row: &Row) -> Result<Customer, StoreError> {
    Ok(Customer {
        id: id!(row, "id", CustomerId)?,
        external_id: row.opt_text("external_id")?,
        email: row.opt_text("email")?,
        name: row.opt_text("name")?,
        metadata: row.parsed("metadata", |text| serde_json::from_str(text).ok())?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// What the application calls a customer.
#[derive(Debug, Serialize)]
pub struct ExternalId<'a> {
    pub external_id: &'a str,
}

/// Metadata as the text that only we parse.
pub(crate) fn metadata_text(metadata: &BTreeMap<String, String>) -> String {
    serde_json::json!(metadata).to_string()
}

impl Tx {
    /// Adds a customer; `false` where the external id is taken.
    pub async fn customers_insert(&mut self, new: &Customer) -> Result<bool, StoreError> {
        let metadata = metadata_text(&new.metadata);
        let args = args![
            &new.id,
            &new.external_id,
            &new.email,
            &new.name,
            metadata,
            new.created_at,
            new.updated_at
        ];
        self.change_if(&INSERT, args).await
    }

    pub async fn customers_get(&mut self, id: &CustomerId) -> Result<Option<Customer>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(customer).transpose()
    }

    pub async fn customers_find(
        &mut self,
        external_id: &str,
    ) -> Result<Option<Customer>, StoreError> {
        self.first(&FIND, args![external_id]).await?.as_ref().map(customer).transpose()
    }

    /// Which customers the application knows by these ids of its own.
    pub async fn customers_find_fold(
        &mut self,
        external_ids: &[ExternalId<'_>],
    ) -> Result<HashMap<String, CustomerId>, StoreError> {
        if external_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.all(&FIND_FOLD, vec![Arg::rows(external_ids)?]).await?;
        let found = |row: &Row| -> Result<Option<(String, CustomerId)>, StoreError> {
            let id = opt_id!(row, "id", CustomerId)?;
            id.map(|id| Ok((row.text("external_id")?, id))).transpose()
        };
        rows.iter().filter_map(|row| found(row).transpose()).collect()
    }

    /// Newest first, after `cursor`.
    pub async fn customers_list(
        &mut self,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Customer>, StoreError> {
        self.all(&LIST, args![cursor, limit]).await?.iter().map(customer).collect()
    }

    /// Adds what a guest has told of themselves where nothing is known yet.
    pub async fn customers_fill(
        &mut self,
        id: &CustomerId,
        email: Option<&str>,
        name: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&FILL, args![email, name, now, id]).await
    }

    /// Taken before a customer's subscriptions, payments or entitlements are judged and changed.
    pub async fn customers_lock(&mut self, id: &CustomerId) -> Result<(), StoreError> {
        self.first(&LOCK, args![id]).await.map(drop)
    }

    /// Those of the customers that nobody else holds, for whom everybody in the fold would wait.
    pub async fn customers_lock_fold(
        &mut self,
        ids: &[CustomerId],
    ) -> Result<Vec<Customer>, StoreError> {
        let ids = Arg::ids(ids.iter().map(CustomerId::as_str))?;
        self.all(&LOCK_FOLD, vec![ids]).await?.iter().map(customer).collect()
    }

    /// Links a provider's customer; `false` where either side is linked already.
    pub async fn customers_link(
        &mut self,
        provider: &str,
        provider_customer_id: &str,
        customer: &CustomerId,
        generation: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = args![provider, provider_customer_id, customer, generation, now];
        self.change_if(&LINK, args).await
    }

    /// The newest counterpart at the provider and its generation.
    pub async fn customers_linked(
        &mut self,
        provider: &str,
        customer: &CustomerId,
    ) -> Result<Option<(String, i64)>, StoreError> {
        let row = self.first(&LINKED, args![provider, customer]).await?;
        row.map(|row| Ok((row.text("provider_customer_id")?, row.int("generation")?))).transpose()
    }

    /// Remembers that the provider no longer has this customer.
    pub async fn customers_lose(
        &mut self,
        provider: &str,
        provider_customer_id: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&LOSE, args![now, provider, provider_customer_id]).await
    }

    /// Every counterpart the customer has ever had at the provider, oldest first.
    pub async fn customers_counterparts(
        &mut self,
        provider: &str,
        customer: &CustomerId,
    ) -> Result<Vec<String>, StoreError> {
        let rows = self.all(&COUNTERPARTS, args![provider, customer]).await?;
        rows.iter().map(|row| row.text("provider_customer_id")).collect()
    }

    /// Whose counterpart that is.
    pub async fn customers_owner(
        &mut self,
        provider: &str,
        provider_customer_id: &str,
    ) -> Result<Option<Customer>, StoreError> {
        let row = self.first(&OWNER, args![provider, provider_customer_id]).await?;
        row.as_ref().map(customer).transpose()
    }

    /// Whose counterparts these are, as far as they are anybody's.
    pub async fn customers_owner_fold(
        &mut self,
        provider: &str,
        provider_customer_ids: &[&str],
    ) -> Result<HashMap<String, CustomerId>, StoreError> {
        let rows: Vec<_> = provider_customer_ids
            .iter()
            .map(|id| CounterpartRow { provider, provider_customer_id: id })
            .collect();
        let rows = self.all(&OWNER_FOLD, vec![Arg::rows(&rows)?]).await?;
        let found = |row: &Row| -> Result<Option<(String, CustomerId)>, StoreError> {
            let owner = opt_id!(row, "customer_id", CustomerId)?;
            owner.map(|owner| Ok((row.text("provider_customer_id")?, owner))).transpose()
        };
        rows.iter().filter_map(|row| found(row).transpose()).collect()
    }
}
