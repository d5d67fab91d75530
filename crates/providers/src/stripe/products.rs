//! Products and their prices: what we sell has to be known to the provider first.

use super::form::Form;
use super::{Client, fields, unreadable};
use crate::errors::ProviderError;

/// A product to create. `id` is ours and travels in the metadata.
#[derive(Debug, Clone)]
pub struct ProductNew<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub description: Option<&'a str>,
}

/// A price to create. `id` is ours; `product` is the provider's id.
#[derive(Debug, Clone)]
pub struct PriceNew<'a> {
    pub id: &'a str,
    pub product: &'a str,
    pub unit_amount: i64,
    pub currency: &'a str,
    /// Every how many of which unit it recurs; none for a price that is paid once.
    pub interval: Option<(&'a str, u32)>,
    pub nickname: Option<&'a str>,
}

impl Client {
    /// Creates a product and answers the provider's id.
    pub async fn product_create(
        &self,
        product: &ProductNew<'_>,
        key: &str,
    ) -> Result<String, ProviderError> {
        let form = Form::new()
            .with("name", product.name)
            .with_some("description", product.description.filter(|text| !text.is_empty()))
            .with("metadata[tollgate_product]", product.id);
        let answer = self.post("/v1/products", form, key).await?;
        fields::text(&answer, "/id").ok_or_else(|| unreadable("the id of the product"))
    }

    /// Creates a price and answers the provider's id.
    pub async fn price_create(
        &self,
        price: &PriceNew<'_>,
        key: &str,
    ) -> Result<String, ProviderError> {
        let mut form = Form::new()
            .with("product", price.product)
            .with("currency", price.currency)
            .with("unit_amount", &price.unit_amount.to_string())
            .with_some("nickname", price.nickname.filter(|text| !text.is_empty()))
            .with("metadata[tollgate_price]", price.id);
        if let Some((unit, count)) = price.interval {
            form = form
                .with("recurring[interval]", unit)
                .with("recurring[interval_count]", &count.to_string());
        }
        let answer = self.post("/v1/prices", form, key).await?;
        fields::text(&answer, "/id").ok_or_else(|| unreadable("the id of the price"))
    }
}
