//! Products: saved here and mirrored to the provider, or not at all.

use crate::clock::random;
use crate::customers::check_metadata;
use crate::failures::{Failure, mirror_refused};
use crate::lists::{Listed, Page};
use crate::{Engine, PROVIDER};
use domain::codes::Code;
use domain::ids::ProductId;
use providers::stripe::products::ProductNew;
use std::collections::BTreeMap;
use store::Tx;
use store::prices::Price;
use store::products::Product;

const NAME_LENGTH_MAX: usize = 250;
const DESCRIPTION_LENGTH_MAX: usize = 5_000;

#[derive(Debug, Clone, Default)]
pub struct NewProduct {
    pub name: String,
    pub description: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// Which rows of the catalogue are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Only what is for sale.
    Active,
    Everything,
}

/// A product with the prices it is sold at.
#[derive(Debug, Clone)]
pub struct Offering {
    pub product: Product,
    pub prices: Vec<Price>,
}

pub(crate) fn not_found(id: &str) -> Failure {
    let shown: String = id.chars().take(64).collect();
    Failure::refused(Code::ProductNotFound, format!("no such product: {shown}"))
}

/// By our id or the provider's.
pub(crate) async fn find(tx: &mut Tx, id: &str) -> Result<Product, Failure> {
    if let Ok(ours) = ProductId::parse(id)
        && let Some(product) = tx.products_get(&ours).await?
    {
        return Ok(product);
    }
    tx.products_find(PROVIDER, id).await?.ok_or_else(|| not_found(id))
}

impl Engine {
    pub async fn products_create(&self, new: NewProduct) -> Result<Product, Failure> {
        if new.name.trim().is_empty() || NAME_LENGTH_MAX < new.name.len() {
            let detail = format!("name must be 1 to {NAME_LENGTH_MAX} bytes");
            return Err(Failure::invalid("name", detail));
        }
        if new.description.as_ref().is_some_and(|text| DESCRIPTION_LENGTH_MAX < text.len()) {
            let detail = format!("description must be at most {DESCRIPTION_LENGTH_MAX} bytes");
            return Err(Failure::invalid("description", detail));
        }
        check_metadata(&new.metadata)?;
        let now = self.clock().now();
        let mut product = Product {
            id: ProductId::new(self.clock().wall(), random()),
            name: new.name,
            description: new.description,
            active: self.inner.provider.is_none(),
            metadata: new.metadata,
            provider: PROVIDER.to_owned(),
            provider_product_id: None,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.store().begin("products.create").await?;
        tx.products_insert(&product).await?;
        tx.commit().await?;
        match self.product_mirror(&product).await {
            Ok(Some(id)) => {
                product.provider_product_id = Some(id);
                product.active = true;
                Ok(product)
            }
            Ok(None) => Ok(product),
            Err(error) => {
                let mut tx = self.store().begin("products.forget").await?;
                tx.products_forget(&product.id).await?;
                tx.commit().await?;
                Err(error)
            }
        }
    }

    /// Makes the product known to the provider, under a key that its id decides: a process that
    /// died in between is finished by the next one.
    async fn product_mirror(&self, product: &Product) -> Result<Option<String>, Failure> {
        let Some(provider) = &self.inner.provider else {
            return Ok(None);
        };
        let mirror = ProductNew {
            id: product.id.as_str(),
            name: &product.name,
            description: product.description.as_deref(),
        };
        let key = format!("tollgate-product-{}", product.id);
        let id = provider.product_create(&mirror, &key).await.map_err(mirror_refused)?;
        let mut tx = self.store().begin("products.link").await?;
        tx.products_link(&product.id, &id, self.clock().now()).await?;
        tx.commit().await?;
        Ok(Some(id))
    }

    /// Finishes what the provider does not know yet: a process died, or payments were switched off.
    pub async fn catalogue_finish(&self) -> Result<(), Failure> {
        let mut tx = self.store().read("catalogue.finish").await?;
        let products = tx.products_unmirrored(PROVIDER).await?;
        drop(tx);
        for product in &products {
            self.product_mirror(product).await?;
        }
        let mut tx = self.store().read("catalogue.finish").await?;
        let prices = tx.prices_unmirrored(PROVIDER).await?;
        drop(tx);
        for price in &prices {
            let mut tx = self.store().read("catalogue.finish").await?;
            let product = tx.products_get(&price.product_id).await?;
            drop(tx);
            if let Some(product) = product {
                self.price_mirror(&product, price).await?;
            }
        }
        Ok(())
    }

    pub async fn products_get(&self, id: &str) -> Result<Product, Failure> {
        let mut tx = self.store().read("products.get").await?;
        find(&mut tx, id).await
    }

    pub async fn products_list(
        &self,
        page: Page,
        shown: Shown,
    ) -> Result<Listed<Product>, Failure> {
        let mut tx = self.store().read("products.list").await?;
        let only_active = shown == Shown::Active;
        let rows = tx.products_list(page.cursor(), page.fetch(), only_active).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    /// Takes a product off sale, or puts it back.
    pub async fn products_set_active(&self, id: &str, active: bool) -> Result<Product, Failure> {
        let mut tx = self.store().begin("products.set_active").await?;
        let product = find(&mut tx, id).await?;
        let updated_at = self.clock().now();
        tx.products_set_active(&product.id, active, updated_at).await?;
        tx.commit().await?;
        Ok(Product { active, updated_at, ..product })
    }

    /// Everything for sale, from our own database: it works while the provider is down.
    pub async fn catalogue(&self) -> Result<Vec<Offering>, Failure> {
        let mut tx = self.store().read("catalogue").await?;
        let prices = tx.prices_active().await?;
        let products = tx.products_active().await?;
        let offering = |product: Product| {
            let own = prices.iter().filter(|price| price.product_id == product.id);
            Offering { prices: own.cloned().collect(), product }
        };
        let sold = products.into_iter().map(offering);
        Ok(sold.filter(|offering| !offering.prices.is_empty()).collect())
    }
}
