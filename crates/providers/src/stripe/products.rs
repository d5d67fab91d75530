//! Products and their prices: what we sell has to be known to the provider first.

use std::collections::BTreeMap;

use serde_json::Value;

use super::form::Form;
use super::{Client, fields, object_path, unreadable};
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

/// A product as the provider has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    /// Archived ones are not.
    pub active: bool,
    pub metadata: BTreeMap<String, String>,
}

/// A price as the provider has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    pub id: String,
    pub product: Option<String>,
    /// Absent where there is no one amount: tiers, amounts the buyer chooses.
    pub unit_amount: Option<i64>,
    pub currency: Option<String>,
    /// Every how many of which unit it recurs; none for a price that is paid once.
    pub interval: Option<(String, i64)>,
    /// Whether what is used decides the amount.
    pub metered: bool,
    pub nickname: Option<String>,
    pub active: bool,
    pub metadata: BTreeMap<String, String>,
}

impl Client {
    /// One product; none where it was deleted.
    pub async fn product(&self, id: &str) -> Result<Option<Product>, ProviderError> {
        let answer = match object_path("products", id) {
            Ok(path) => self.get(&path, Form::new()).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(object) if fields::flag(&object, "/deleted") => Ok(None),
            Ok(object) => {
                read_product(&object).map(Some).ok_or_else(|| unreadable("the id of the product"))
            }
            Err(ProviderError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One price; none where the provider has no such price.
    pub async fn price(&self, id: &str) -> Result<Option<Price>, ProviderError> {
        let answer = match object_path("prices", id) {
            Ok(path) => self.get(&path, Form::new()).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(object) => {
                read_price(&object).map(Some).ok_or_else(|| unreadable("the id of the price"))
            }
            Err(ProviderError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

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

/// None when it has no id.
pub(super) fn read_product(object: &Value) -> Option<Product> {
    Some(Product {
        id: fields::text(object, "/id")?,
        name: fields::text(object, "/name").unwrap_or_default(),
        description: fields::text(object, "/description"),
        active: fields::flag(object, "/active"),
        metadata: fields::map(object, "/metadata"),
    })
}

/// None when it has no id.
pub(super) fn read_price(object: &Value) -> Option<Price> {
    let interval = fields::text(object, "/recurring/interval")
        .map(|unit| (unit, fields::integer(object, "/recurring/interval_count").unwrap_or(1)));
    Some(Price {
        id: fields::text(object, "/id")?,
        product: fields::reference(object, "/product"),
        unit_amount: fields::integer(object, "/unit_amount"),
        currency: fields::text(object, "/currency"),
        interval,
        metered: fields::text(object, "/recurring/usage_type").as_deref() == Some("metered"),
        nickname: fields::text(object, "/nickname"),
        active: fields::flag(object, "/active"),
        metadata: fields::map(object, "/metadata"),
    })
}
