//! The demonstration: a small catalogue, one customer and one sold collection.
//!
//! Every part is looked for before it is made, so a start that was cut off is finished by the next.

use crate::collections::NewCollection;
use crate::customers::NewCustomer;
use crate::documents::{DocumentOwner, NewDocument};
use crate::failures::Failure;
use crate::lists::Page;
use crate::prices::NewPrice;
use crate::products::{NewProduct, Shown};
use crate::{Engine, Subject};
use domain::catalogue::{CreditGrant, FeatureGrant, Grants};
use domain::credits::{Credits, DEFAULT_UNIT};
use domain::time::Interval;
use std::collections::BTreeMap;
use store::customers::Customer;
use store::products::Product;

/// What the demonstration is about.
#[derive(Debug, Clone)]
pub struct Demo {
    pub customer: Customer,
}

/// The demonstration customer as the application would call them.
pub const CUSTOMER: &str = "demo";
/// The collection that is sold.
pub const COLLECTION: &str = "handbook";
const MARK: &str = "demo";

struct DemoPrice {
    unit_amount: i64,
    every: Option<&'static str>,
    nickname: &'static str,
    credits: i64,
    features: &'static [(&'static str, Option<u32>)],
}

struct DemoProduct {
    key: &'static str,
    name: &'static str,
    description: &'static str,
    prices: &'static [DemoPrice],
}

const PRO_FEATURES: &[(&str, Option<u32>)] = &[("api_access", None), ("knowledge_base", None)];

const CATALOGUE: &[DemoProduct] = &[
    DemoProduct {
        key: "free",
        name: "Free",
        description: "Look around; nothing to pay",
        prices: &[DemoPrice {
            unit_amount: 0,
            every: Some("month"),
            nickname: "Free",
            credits: 0,
            features: &[],
        }],
    },
    DemoProduct {
        key: "pro",
        name: "Pro",
        description: "API access, the knowledge base and 100 credits every month",
        prices: &[
            DemoPrice {
                unit_amount: 2999,
                every: Some("month"),
                nickname: "Pro monthly",
                credits: 100,
                features: PRO_FEATURES,
            },
            DemoPrice {
                unit_amount: 29_990,
                every: Some("year"),
                nickname: "Pro yearly",
                credits: 100,
                features: PRO_FEATURES,
            },
        ],
    },
    DemoProduct {
        key: "credits-100",
        name: "100 Credits",
        description: "100 credits that are kept until used",
        prices: &[DemoPrice {
            unit_amount: 1999,
            every: None,
            nickname: "100 Credits",
            credits: 100,
            features: &[],
        }],
    },
    DemoProduct {
        key: "rag-access",
        name: "RAG Access",
        description: "The knowledge base for 30 days",
        prices: &[DemoPrice {
            unit_amount: 4900,
            every: None,
            nickname: "RAG Access",
            credits: 0,
            features: &[("knowledge_base", Some(30))],
        }],
    },
];

const DOCUMENTS: &[(&str, &str)] = &[
    (
        "renewals.md",
        "A plan renews by itself at the end of its period. Cancel at any time: access stays until \
         the period that is paid for ends, and nothing is charged after that.",
    ),
    (
        "credits.md",
        "Credits of a plan are refilled every month and do not add up. Credits of a pack are kept \
         until they are used. A plan's credits are always used first.",
    ),
    (
        "refunds.md",
        "When a payment is refunded, what it granted is withdrawn. Credits that were spent already \
         are recorded, never hidden.",
    ),
];

impl Engine {
    /// Makes whatever part of the demonstration is missing.
    pub async fn demo_seed(&self) -> Result<Demo, Failure> {
        let mut tx = self.store().begin("demo.features").await?;
        let now = self.clock().now();
        tx.features_ensure("api_access", "API access", now).await?;
        tx.features_ensure("knowledge_base", "Knowledge base", now).await?;
        tx.commit().await?;
        self.catalogue_finish().await?;
        let page = Page::new(Some(100), None)?;
        let existing = self.products_list(page, Shown::Everything).await?.data;
        for demo in CATALOGUE {
            let marked = |product: &&Product| {
                product.metadata.get(MARK).map(String::as_str) == Some(demo.key)
            };
            let product = match existing.iter().find(marked) {
                Some(product) => product.clone(),
                None => self.demo_product(demo).await?,
            };
            self.demo_prices(&product, demo).await?;
        }
        let customer = self.demo_customer().await?;
        self.demo_collection().await?;
        Ok(Demo { customer })
    }

    async fn demo_product(&self, demo: &DemoProduct) -> Result<Product, Failure> {
        let new = NewProduct {
            name: demo.name.to_owned(),
            description: Some(demo.description.to_owned()),
            metadata: BTreeMap::from([(MARK.to_owned(), demo.key.to_owned())]),
        };
        self.products_create(new).await
    }

    async fn demo_prices(&self, product: &Product, demo: &DemoProduct) -> Result<(), Failure> {
        let page = Page::new(Some(100), None)?;
        let id = product.id.as_str();
        let existing = self.prices_list(page, Some(id), Shown::Everything).await?.data;
        for price in demo.prices {
            if existing.iter().any(|held| held.nickname.as_deref() == Some(price.nickname)) {
                continue;
            }
            let credit = |amount| CreditGrant {
                unit: DEFAULT_UNIT.to_owned(),
                amount,
                every: Interval::MONTH,
                trial_amount: None,
            };
            let feature = |(key, days): &(&str, Option<u32>)| FeatureGrant {
                feature: (*key).to_owned(),
                days: *days,
            };
            let new = NewPrice {
                product: id.to_owned(),
                unit_amount: price.unit_amount,
                currency: "usd".to_owned(),
                interval: price.every.map(|unit| (unit.to_owned(), 1)),
                nickname: Some(price.nickname.to_owned()),
                trial_days: 0,
                grants: Grants {
                    credits: Credits::new(price.credits).map(credit).into_iter().collect(),
                    features: price.features.iter().map(feature).collect(),
                },
            };
            self.prices_create(new).await?;
        }
        Ok(())
    }

    async fn demo_customer(&self) -> Result<Customer, Failure> {
        let mut tx = self.store().read("demo.customer").await?;
        if let Some(customer) = tx.customers_find(CUSTOMER).await? {
            return Ok(customer);
        }
        drop(tx);
        self.customers_create(NewCustomer {
            external_id: Some(CUSTOMER.to_owned()),
            email: Some("demo@example.com".to_owned()),
            name: Some("Demo customer".to_owned()),
            ..NewCustomer::default()
        })
        .await
    }

    async fn demo_collection(&self) -> Result<(), Failure> {
        let mut tx = self.store().read("demo.collection").await?;
        let found = tx.collections_find(None, COLLECTION).await?;
        drop(tx);
        let collection = match found {
            Some(collection) => collection,
            None => {
                self.collections_create(NewCollection {
                    owner: None::<Subject>,
                    name: COLLECTION.to_owned(),
                    feature: "knowledge_base".to_owned(),
                    search_cost: 0,
                    dimensions: None,
                })
                .await?
            }
        };
        let held = self
            .documents_list(&DocumentOwner::Merchant, Some(COLLECTION), Page::first())
            .await?
            .data;
        for (source, content) in DOCUMENTS {
            if held.iter().any(|document| document.source.as_deref() == Some(source)) {
                continue;
            }
            let new = NewDocument {
                collection: Some(collection.id.to_string()),
                content: (*content).to_owned(),
                embedding: None,
                source: Some((*source).to_owned()),
            };
            self.documents_add(&DocumentOwner::Merchant, new).await?;
        }
        Ok(())
    }
}
