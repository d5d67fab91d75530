//! Products: what is sold, without an amount.

use crate::customers::metadata_text;
use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::ProductId;
use domain::time::Timestamp;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub struct Product {
    pub id: ProductId,
    pub name: String,
    pub description: Option<String>,
    pub active: bool,
    pub metadata: BTreeMap<String, String>,
    pub provider: String,
    pub provider_product_id: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "products.insert":
        "INSERT INTO products (id, name, description, active, metadata, provider,
             provider_product_id, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    GET = "products.get": "SELECT * FROM products WHERE id = ?";
    FIND = "products.find": "SELECT * FROM products WHERE provider = ? AND provider_product_id = ?";
    LIST = "products.list":
        "SELECT * FROM products WHERE id < ? AND active >= ? ORDER BY id DESC LIMIT ?";
    ACTIVE = "products.active": "SELECT * FROM products WHERE active = 1 ORDER BY id";
    SET_ACTIVE = "products.set_active":
        "UPDATE products SET active = ?, updated_at = ? WHERE id = ?";
    UNMIRRORED = "products.unmirrored":
        "SELECT * FROM products WHERE provider = ? AND provider_product_id IS NULL ORDER BY id";
    FORGET = "products.forget": "DELETE FROM products WHERE id = ? AND provider_product_id IS NULL";
    KNOWN = "products.known":
        "SELECT * FROM products
         WHERE provider = ? AND provider_product_id IS NOT NULL AND id > ? ORDER BY id LIMIT ?";
    UPDATE = "products.update":
        "UPDATE products SET name = ?, description = ?, active = ?, updated_at = ? WHERE id = ?";
    LINK = "products.link":
        "UPDATE products SET provider_product_id = ?, active = 1, updated_at = ? WHERE id = ?";
}

fn product(row: &Row) -> Result<Product, StoreError> {
    Ok(Product {
        id: id!(row, "id", ProductId)?,
        name: row.text("name")?,
        description: row.opt_text("description")?,
        active: row.flag("active")?,
        metadata: row.parsed("metadata", |text| serde_json::from_str(text).ok())?,
        provider: row.text("provider")?,
        provider_product_id: row.opt_text("provider_product_id")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Tx {
    pub async fn products_insert(&mut self, new: &Product) -> Result<(), StoreError> {
        let args = args![
            &new.id,
            &new.name,
            &new.description,
            new.active,
            metadata_text(&new.metadata),
            &new.provider,
            &new.provider_product_id,
            new.created_at,
            new.updated_at
        ];
        self.change_one(&INSERT, args).await
    }

    pub async fn products_get(&mut self, id: &ProductId) -> Result<Option<Product>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(product).transpose()
    }

    /// By the provider's id.
    pub async fn products_find(
        &mut self,
        provider: &str,
        provider_product_id: &str,
    ) -> Result<Option<Product>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_product_id]).await?;
        row.as_ref().map(product).transpose()
    }

    /// Newest first, after `cursor`; `only_active` hides what is not for sale.
    pub async fn products_list(
        &mut self,
        cursor: &str,
        limit: u32,
        only_active: bool,
    ) -> Result<Vec<Product>, StoreError> {
        self.all(&LIST, args![cursor, only_active, limit]).await?.iter().map(product).collect()
    }

    /// Everything for sale, oldest first.
    pub async fn products_active(&mut self) -> Result<Vec<Product>, StoreError> {
        self.all(&ACTIVE, args![]).await?.iter().map(product).collect()
    }

    pub async fn products_set_active(
        &mut self,
        id: &ProductId,
        active: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&SET_ACTIVE, args![active, now, id]).await
    }

    /// The provider has it now: from here on it is for sale.
    pub async fn products_link(
        &mut self,
        id: &ProductId,
        provider_product_id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.change_one(&LINK, args![provider_product_id, now, id]).await
    }

    /// What the provider knows, oldest first, after an id of ours.
    pub async fn products_known(
        &mut self,
        provider: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Product>, StoreError> {
        let rows = self.all(&KNOWN, args![provider, after, limit]).await?;
        rows.iter().map(product).collect()
    }

    /// Writes what the merchant changed at the provider.
    pub async fn products_update(&mut self, row: &Product) -> Result<(), StoreError> {
        let args = args![&row.name, &row.description, row.active, row.updated_at, &row.id];
        self.change_one(&UPDATE, args).await
    }

    /// What the provider does not know yet.
    pub async fn products_unmirrored(
        &mut self,
        provider: &str,
    ) -> Result<Vec<Product>, StoreError> {
        self.all(&UNMIRRORED, args![provider]).await?.iter().map(product).collect()
    }

    /// The provider never had it: nothing half-created stays.
    pub async fn products_forget(&mut self, id: &ProductId) -> Result<bool, StoreError> {
        self.change_if(&FORGET, args![id]).await
    }
}
