//! A product of the provider's becomes ours, follows its changes, or goes off sale.

use super::catalogue::{Pulled, Wanted, cell, end, flag};
use crate::clock::random;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::ids::ProductId;
use domain::time::Timestamp;
use providers::stripe::products as told;
use store::Tx;
use store::products::Product;

/// Our own id, which we write on what we make at the provider.
const PRODUCT_KEY: &str = "tollgate_product";

impl Engine {
    pub(super) async fn product_pull(
        &self,
        found: &told::Product,
        wanted: Wanted,
        dry_run: bool,
    ) -> Result<Pulled, Failure> {
        let now = self.clock().now();
        let mut tx = self.store().begin("sync_runs.product").await?;
        let held = match tx.products_find(PROVIDER, &found.id).await? {
            Some(held) => held,
            None => match self.product_new(&mut tx, found, wanted, now).await? {
                Some(pulled) => {
                    end(tx, dry_run).await?;
                    return Ok(pulled);
                }
                None => return Ok(Pulled::Foreign),
            },
        };
        let mut row = held.clone();
        row.name = if found.name.is_empty() { row.name } else { found.name.clone() };
        row.description = found.description.clone().or(row.description);
        row.active = held.active && found.active;
        row.updated_at = now;
        let mut cells = Vec::new();
        cell(&mut cells, "name", Some(&held.name), Some(&row.name));
        cell(&mut cells, "description", held.description.as_deref(), row.description.as_deref());
        if held.active != row.active {
            cells.push(("active", flag(held.active), flag(row.active)));
        }
        if cells.is_empty() {
            return Ok(Pulled::Equal);
        }
        tx.products_update(&row).await?;
        end(tx, dry_run).await?;
        Ok(Pulled::Changed(cells))
    }

    /// A product we had not heard of; one that we were making when we died is linked instead.
    async fn product_new(
        &self,
        tx: &mut Tx,
        found: &told::Product,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Option<Pulled>, Failure> {
        let ours = found.metadata.get(PRODUCT_KEY).and_then(|id| ProductId::parse(id).ok());
        if let Some(id) = ours
            && let Some(row) = tx.products_get(&id).await?
        {
            return Ok(match row.provider_product_id {
                Some(other) => Some(Pulled::Unusable(format!("it claims to be {other}"))),
                None => {
                    tx.products_link(&row.id, &found.id, now).await?;
                    let linked = ("provider_id", None, Some(found.id.clone()));
                    Some(Pulled::Changed(vec![linked]))
                }
            });
        }
        if !wanted.takes(&found.metadata) {
            return Ok(None);
        }
        let product = Product {
            id: ProductId::new(self.clock().wall(), random()),
            name: found.name.clone(),
            description: found.description.clone(),
            active: found.active,
            metadata: found.metadata.clone(),
            provider: PROVIDER.to_owned(),
            provider_product_id: Some(found.id.clone()),
            created_at: now,
            updated_at: now,
        };
        tx.products_insert(&product).await?;
        Ok(Some(Pulled::Created))
    }

    pub(super) async fn product_gone(
        &self,
        row: &Product,
        dry_run: bool,
    ) -> Result<Pulled, Failure> {
        if !row.active {
            return Ok(Pulled::Equal);
        }
        let mut tx = self.store().begin("sync_runs.product_gone").await?;
        tx.products_set_active(&row.id, false, self.clock().now()).await?;
        end(tx, dry_run).await?;
        Ok(Pulled::Changed(vec![("active", flag(true), Some("deleted".to_owned()))]))
    }
}
