//! What the simulated shop sells.

use anyhow::Result;
use domain::catalogue::{CreditGrant, FeatureGrant, Grants};
use domain::credits::Credits;
use domain::time::Interval;
use engine::Engine;
use engine::prices::NewPrice;
use engine::products::NewProduct;

/// A price as the books know it.
#[derive(Debug, Clone)]
pub struct Sold {
    pub nickname: &'static str,
    pub amount: i64,
    /// `month` or `year`; none is paid once.
    pub every: Option<&'static str>,
    /// How many credits, once or every month.
    pub credits: i64,
    pub features: &'static [(&'static str, Option<u32>)],
    pub id: String,
    pub provider_id: String,
    /// Ours.
    pub product: String,
}

#[derive(Debug, Clone)]
pub struct Catalogue {
    pub prices: Vec<Sold>,
}

impl Catalogue {
    pub fn named(&self, nickname: &str) -> Option<&Sold> {
        self.prices.iter().find(|price| price.nickname == nickname)
    }

    /// By the provider's id.
    pub fn price(&self, provider_id: &str) -> Option<&Sold> {
        self.prices.iter().find(|price| price.provider_id == provider_id)
    }
}

type Line = (&'static str, i64, Option<&'static str>, i64, &'static [(&'static str, Option<u32>)]);

const ALL: &[(&str, Option<u32>)] = &[("api_access", None), ("knowledge_base", None)];
const SHELF: &[(&str, &[Line])] = &[
    ("Pack", &[("pack", 1999, None, 100, &[])]),
    ("Access", &[("access", 4900, None, 0, &[("knowledge_base", Some(30))])]),
    ("Basic", &[("basic-monthly", 999, Some("month"), 40, &[("api_access", None)])]),
    (
        "Pro",
        &[
            ("pro-monthly", 2999, Some("month"), 100, ALL),
            ("pro-yearly", 29_990, Some("year"), 100, ALL),
        ],
    ),
];

pub async fn make(engine: &Engine) -> Result<Catalogue> {
    let mut prices = Vec::new();
    for (product, lines) in SHELF {
        let new = NewProduct { name: (*product).to_owned(), ..NewProduct::default() };
        let product = engine.products_create(new).await?.id.to_string();
        for (nickname, amount, every, credits, features) in *lines {
            let new = NewPrice {
                product: product.clone(),
                unit_amount: *amount,
                currency: "usd".to_owned(),
                interval: every.map(|unit| (unit.to_owned(), 1)),
                nickname: Some((*nickname).to_owned()),
                trial_days: 0,
                grants: grants(*credits, features),
            };
            let price = engine.prices_create(new).await?;
            prices.push(Sold {
                nickname,
                amount: *amount,
                every: *every,
                credits: *credits,
                features,
                id: price.id.to_string(),
                provider_id: price.provider_price_id.unwrap_or_default(),
                product: product.clone(),
            });
        }
    }
    Ok(Catalogue { prices })
}

fn grants(credits: i64, features: &[(&str, Option<u32>)]) -> Grants {
    let credit = |amount| CreditGrant {
        unit: "credits".to_owned(),
        amount,
        every: Interval::MONTH,
        trial_amount: None,
    };
    let feature = |(key, days): &(&str, Option<u32>)| FeatureGrant {
        feature: (*key).to_owned(),
        days: *days,
    };
    Grants {
        credits: Credits::new(credits).map(credit).into_iter().collect(),
        features: features.iter().map(feature).collect(),
    }
}
