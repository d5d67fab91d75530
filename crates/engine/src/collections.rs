//! Collections: sold by the merchant, or a customer's own.

use crate::clock::random;
use crate::failures::Failure;
use crate::lists::{Listed, Page};
use crate::{Engine, Subject};
use domain::catalogue::check_feature_key;
use domain::codes::Code;
use domain::ids::{CollectionId, CustomerId};
use store::Tx;
use store::collections::Collection;

/// The collection meant where none is named: the customer's own.
pub(crate) const PRIVATE_NAME: &str = "default";
/// What text embedding models of the field return.
pub(crate) const DIMENSIONS_DEFAULT: u32 = 1536;
const NAME_LENGTH_MAX: usize = 100;
const SEARCH_COST_MAX: i64 = 1_000_000;

#[derive(Debug, Clone)]
pub struct NewCollection {
    /// Empty for what the merchant sells.
    pub owner: Option<Subject>,
    pub name: String,
    pub feature: String,
    pub search_cost: i64,
    pub dimensions: Option<u32>,
}

pub(crate) fn not_found() -> Failure {
    Failure::refused(Code::CollectionNotFound, "no such collection")
}

impl Engine {
    pub async fn collections_create(&self, new: NewCollection) -> Result<Collection, Failure> {
        check_feature_key(&new.feature)?;
        if new.name.is_empty() || NAME_LENGTH_MAX < new.name.len() || new.name.starts_with("col_") {
            let detail =
                format!("name must be 1 to {NAME_LENGTH_MAX} bytes and not begin with col_");
            return Err(Failure::invalid("name", detail));
        }
        if !(0..=SEARCH_COST_MAX).contains(&new.search_cost) {
            let detail = format!("search_cost must be from 0 to {SEARCH_COST_MAX}");
            return Err(Failure::invalid("search_cost", detail));
        }
        let dimensions = new.dimensions.unwrap_or(DIMENSIONS_DEFAULT);
        if dimensions == 0 || retrieval::embedding::MOST_DIMENSIONS < dimensions as usize {
            return Err(Failure::invalid("dimensions", "dimensions must be from 1 to 4096"));
        }
        let mut tx = self.store().begin("collections.create").await?;
        let owner = match &new.owner {
            None => None,
            Some(subject) => Some(self.customer_ensured(&mut tx, subject, None).await?.id),
        };
        let now = self.clock().now();
        let feature = new.feature.clone();
        tx.features_ensure(&feature, &feature, now).await?;
        let collection = Collection {
            id: CollectionId::new(self.clock().wall(), random()),
            owner,
            name: new.name,
            feature,
            search_cost: new.search_cost,
            dimensions,
            generation: 0,
            created_at: now,
        };
        if !tx.collections_insert(&collection).await? {
            let detail = "a collection of this name exists";
            return Err(Failure::refused(Code::AlreadyExists, detail));
        }
        tx.commit().await?;
        Ok(collection)
    }

    /// Everything for the merchant; for a customer, their own and what is sold.
    pub async fn collections_list(
        &self,
        subject: Option<&Subject>,
        page: Page,
    ) -> Result<Listed<Collection>, Failure> {
        let mut tx = self.store().read("collections.list").await?;
        let rows = match subject {
            None => tx.collections_list(page.cursor(), page.fetch()).await?,
            Some(subject) => {
                let customer = self.customer(&mut tx, subject).await?;
                let nobody = CustomerId::new(self.clock().wall(), [0; 10]);
                let id = customer.map_or(nobody, |customer| customer.id);
                tx.collections_list_visible(&id, page.cursor(), page.fetch()).await?
            }
        };
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    pub async fn collections_get(
        &self,
        subject: Option<&Subject>,
        id: &str,
    ) -> Result<Collection, Failure> {
        let mut tx = self.store().read("collections.get").await?;
        let Some(subject) = subject else {
            let found = match CollectionId::parse(id) {
                Ok(id) => tx.collections_get(&id).await?,
                Err(_) => tx.collections_find(None, id).await?,
            };
            return found.ok_or_else(not_found);
        };
        let customer = self.customer(&mut tx, subject).await?.map(|customer| customer.id);
        visible(&mut tx, customer.as_ref(), Some(id)).await?.ok_or_else(not_found)
    }
}

/// A collection that this customer may know of: their own first, then what is sold. Somebody
/// else's is not found, like one that does not exist.
pub(crate) async fn visible(
    tx: &mut Tx,
    customer: Option<&CustomerId>,
    named: Option<&str>,
) -> Result<Option<Collection>, Failure> {
    let Some(named) = named else {
        return match customer {
            Some(id) => Ok(tx.collections_find(Some(id), PRIVATE_NAME).await?),
            None => Ok(None),
        };
    };
    if let Ok(id) = CollectionId::parse(named) {
        let found = tx.collections_get(&id).await?;
        return Ok(found.filter(|one| one.owner.is_none() || one.owner.as_ref() == customer));
    }
    if let Some(id) = customer
        && let Some(own) = tx.collections_find(Some(id), named).await?
    {
        return Ok(Some(own));
    }
    Ok(tx.collections_find(None, named).await?)
}
