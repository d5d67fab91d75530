//! Collections: documents that share an owner, a required feature and a vector size.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id, opt_id};
use crate::sql::{args, statements};
use domain::ids::{CollectionId, CustomerId};
use domain::time::Timestamp;

#[derive(Debug, Clone)]
pub struct Collection {
    pub id: CollectionId,
    /// Empty for what the merchant sells.
    pub owner: Option<CustomerId>,
    pub name: String,
    /// Without this feature nothing of it may be read or written.
    pub feature: String,
    /// Credits per answered search.
    pub search_cost: i64,
    pub dimensions: u32,
    /// Grows with every change of its documents, so that a cached index knows its age.
    pub generation: i64,
    pub created_at: Timestamp,
}

statements! {
    INSERT = "collections.insert":
        "INSERT INTO collections (id, owner, name, feature, search_cost, dimensions, generation,
             created_at)
         VALUES (?, ?, ?, ?, ?, ?, 0, ?) ON CONFLICT DO NOTHING";
    GET = "collections.get": "SELECT * FROM collections WHERE id = ?";
    FIND = "collections.find": "SELECT * FROM collections WHERE owner = ? AND name = ?";
    LIST = "collections.list": "SELECT * FROM collections WHERE id < ? ORDER BY id DESC LIMIT ?";
    LIST_VISIBLE = "collections.list_visible":
        "SELECT * FROM collections WHERE owner IN ('', ?) AND id < ? ORDER BY id DESC LIMIT ?";
    TOUCH = "collections.touch":
        "UPDATE collections SET generation = generation + 1 WHERE id = ?";
}

fn collection(row: &Row) -> Result<Collection, StoreError> {
    let owner = match row.text("owner")?.as_str() {
        "" => None,
        _ => opt_id!(row, "owner", CustomerId)?,
    };
    Ok(Collection {
        id: id!(row, "id", CollectionId)?,
        owner,
        name: row.text("name")?,
        feature: row.text("feature")?,
        search_cost: row.int("search_cost")?,
        dimensions: row.small("dimensions")?,
        generation: row.int("generation")?,
        created_at: row.time("created_at")?,
    })
}

fn owner_text(owner: Option<&CustomerId>) -> &str {
    owner.map_or("", |id| id.as_str())
}

impl Tx {
    /// Adds a collection; `false` where its owner has one of that name.
    pub async fn collections_insert(&mut self, new: &Collection) -> Result<bool, StoreError> {
        let args = args![
            &new.id,
            owner_text(new.owner.as_ref()),
            &new.name,
            &new.feature,
            new.search_cost,
            new.dimensions,
            new.created_at
        ];
        self.change_if(&INSERT, args).await
    }

    pub async fn collections_get(
        &mut self,
        id: &CollectionId,
    ) -> Result<Option<Collection>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(collection).transpose()
    }

    /// By name, of one owner; no owner is the merchant.
    pub async fn collections_find(
        &mut self,
        owner: Option<&CustomerId>,
        name: &str,
    ) -> Result<Option<Collection>, StoreError> {
        let row = self.first(&FIND, args![owner_text(owner), name]).await?;
        row.as_ref().map(collection).transpose()
    }

    /// Newest first, after `cursor`.
    pub async fn collections_list(
        &mut self,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Collection>, StoreError> {
        self.all(&LIST, args![cursor, limit]).await?.iter().map(collection).collect()
    }

    /// The customer's own and the merchant's.
    pub async fn collections_list_visible(
        &mut self,
        customer: &CustomerId,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Collection>, StoreError> {
        let rows = self.all(&LIST_VISIBLE, args![customer, cursor, limit]).await?;
        rows.iter().map(collection).collect()
    }

    /// Makes every cached index of it old; also the lock that orders its writers.
    pub async fn collections_touch(&mut self, id: &CollectionId) -> Result<(), StoreError> {
        self.change_one(&TOUCH, args![id]).await
    }
}
