//! Prices: an amount that never changes, and what paying it grants.

use crate::clock::random;
use crate::failures::{Failure, Offer, mirror_refused};
use crate::lists::{Listed, Page};
use crate::products::{self, Shown};
use crate::{Engine, PROVIDER};
use domain::catalogue::{Billing, Grants, check_price};
use domain::codes::Code;
use domain::ids::PriceId;
use domain::money::{Currency, Money};
use domain::time::{Interval, Unit};
use providers::stripe::products::PriceNew;
use store::Tx;
use store::prices::Price;
use store::products::Product;

const NICKNAME_LENGTH_MAX: usize = 250;

#[derive(Debug, Clone)]
pub struct NewPrice {
    /// Our id or the provider's.
    pub product: String,
    pub unit_amount: i64,
    pub currency: String,
    /// Every how many of which unit it recurs; none is paid once.
    pub interval: Option<(String, u32)>,
    pub nickname: Option<String>,
    pub trial_days: u32,
    pub grants: Grants,
}

pub(crate) fn not_found(id: &str) -> Failure {
    let shown: String = id.chars().take(64).collect();
    Failure::refused(Code::PriceNotFound, format!("no such price: {shown}"))
}

/// By our id or the provider's.
pub(crate) async fn find(tx: &mut Tx, id: &str) -> Result<Price, Failure> {
    if let Ok(ours) = PriceId::parse(id)
        && let Some(price) = tx.prices_get(&ours).await?
    {
        return Ok(price);
    }
    tx.prices_find(PROVIDER, id).await?.ok_or_else(|| not_found(id))
}

fn billing(interval: Option<&(String, u32)>) -> Result<Billing, Failure> {
    let Some((word, count)) = interval else {
        return Ok(Billing::OneTime);
    };
    let unit = Unit::parse(word)
        .ok_or_else(|| Failure::invalid("interval", "interval must be day, week, month or year"))?;
    Ok(Billing::Recurring(Interval { unit, count: *count }))
}

impl Engine {
    pub async fn prices_create(&self, new: NewPrice) -> Result<Price, Failure> {
        let currency = Currency::parse(&new.currency)?;
        let billing = billing(new.interval.as_ref())?;
        check_price(new.unit_amount, billing, &new.grants, new.trial_days)?;
        if new.nickname.as_ref().is_some_and(|text| NICKNAME_LENGTH_MAX < text.len()) {
            let detail = format!("nickname must be at most {NICKNAME_LENGTH_MAX} bytes");
            return Err(Failure::invalid("nickname", detail));
        }
        let now = self.clock().now();
        let mut tx = self.store().begin("prices.create").await?;
        let product = products::find(&mut tx, &new.product).await?;
        for grant in &new.grants.features {
            tx.features_ensure(&grant.feature, &grant.feature, now).await?;
        }
        let mut price = Price {
            id: PriceId::new(self.clock().wall(), random()),
            product_id: product.id.clone(),
            amount: Money::new(new.unit_amount, currency),
            billing,
            nickname: new.nickname,
            active: self.inner.provider.is_none(),
            trial_days: new.trial_days,
            grants: new.grants,
            provider: PROVIDER.to_owned(),
            provider_price_id: None,
            created_at: now,
            updated_at: now,
        };
        tx.prices_insert(&price).await?;
        tx.commit().await?;
        match self.price_mirror(&product, &price).await {
            Ok(Some(id)) => {
                price.provider_price_id = Some(id);
                price.active = true;
                Ok(price)
            }
            Ok(None) => Ok(price),
            Err(error) => {
                let mut tx = self.store().begin("prices.forget").await?;
                tx.prices_forget(&price.id).await?;
                tx.commit().await?;
                Err(error)
            }
        }
    }

    /// Makes the price known to the provider, as products are.
    pub(crate) async fn price_mirror(
        &self,
        product: &Product,
        price: &Price,
    ) -> Result<Option<String>, Failure> {
        let (Some(provider), Some(mirror)) = (&self.inner.provider, &product.provider_product_id)
        else {
            return Ok(None);
        };
        let currency = price.amount.currency();
        let new = PriceNew {
            id: price.id.as_str(),
            product: mirror,
            unit_amount: price.amount.minor(),
            currency: currency.as_str(),
            interval: match price.billing {
                Billing::OneTime => None,
                Billing::Recurring(every) => Some((every.unit.as_str(), every.count)),
            },
            nickname: price.nickname.as_deref(),
        };
        let key = format!("tollgate-price-{}", price.id);
        let id = provider.price_create(&new, &key).await.map_err(mirror_refused)?;
        let mut tx = self.store().begin("prices.link").await?;
        tx.prices_link(&price.id, &id, self.clock().now()).await?;
        tx.commit().await?;
        Ok(Some(id))
    }

    pub async fn prices_get(&self, id: &str) -> Result<Price, Failure> {
        let mut tx = self.store().read("prices.get").await?;
        find(&mut tx, id).await
    }

    /// Of one product where it is named, by our id or the provider's.
    pub async fn prices_list(
        &self,
        page: Page,
        product: Option<&str>,
        shown: Shown,
    ) -> Result<Listed<Price>, Failure> {
        let mut tx = self.store().read("prices.list").await?;
        let product = match product {
            None => None,
            Some(id) => Some(products::find(&mut tx, id).await?.id),
        };
        let only_active = shown == Shown::Active;
        let rows =
            tx.prices_list(product.as_ref(), page.cursor(), page.fetch(), only_active).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    /// Takes a price off sale, or puts it back; those who pay it already keep paying it.
    pub async fn prices_set_active(&self, id: &str, active: bool) -> Result<Price, Failure> {
        let mut tx = self.store().begin("prices.set_active").await?;
        let price = find(&mut tx, id).await?;
        tx.prices_set_active(&price.id, active, self.clock().now()).await?;
        tx.commit().await?;
        Ok(Price { active, ..price })
    }

    /// What is for sale that helps: every active price that fits.
    pub(crate) async fn offers(
        &self,
        tx: &mut Tx,
        helps: impl Fn(&Grants) -> bool,
    ) -> Result<Vec<Offer>, Failure> {
        let products = tx.products_active().await?;
        let mut offers = Vec::new();
        for price in tx.prices_active().await? {
            let product = products.iter().find(|product| product.id == price.product_id);
            if let Some(product) = product
                && 0 < price.amount.minor()
                && helps(&price.grants)
            {
                offers.push(Offer {
                    price: price.id,
                    product: product.name.clone(),
                    amount: price.amount,
                    billing: price.billing,
                });
            }
        }
        Ok(offers)
    }
}
