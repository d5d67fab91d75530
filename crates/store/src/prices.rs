//! Prices: an immutable amount and what paying it grants.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::catalogue::{Billing, CreditGrant, FeatureGrant, Grants};
use domain::credits::Credits;
use domain::ids::{PriceId, ProductId};
use domain::money::{Currency, Money};
use domain::time::{Interval, Timestamp, Unit};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone)]
pub struct Price {
    pub id: PriceId,
    pub product_id: ProductId,
    pub amount: Money,
    pub billing: Billing,
    pub nickname: Option<String>,
    pub active: bool,
    pub trial_days: u32,
    pub grants: Grants,
    pub provider: String,
    pub provider_price_id: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "prices.insert":
        "INSERT INTO prices (id, product_id, unit_amount, currency, interval_unit, interval_count,
             nickname, active, trial_days, grants, provider, provider_price_id, created_at,
             updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    GET = "prices.get": "SELECT * FROM prices WHERE id = ?";
    FIND = "prices.find": "SELECT * FROM prices WHERE provider = ? AND provider_price_id = ?";
    PRODUCT_NAME = "prices.product_name":
        "SELECT (SELECT p.name FROM products p WHERE p.id = r.product_id) AS name
         FROM prices r WHERE r.id = ?";
    LIST = "prices.list":
        "SELECT * FROM prices WHERE id < ? AND active >= ? ORDER BY id DESC LIMIT ?";
    LIST_OF = "prices.list_of":
        "SELECT * FROM prices WHERE product_id = ? AND id < ? AND active >= ?
         ORDER BY id DESC LIMIT ?";
    ACTIVE = "prices.active":
        "SELECT p.* FROM prices p JOIN products d ON d.id = p.product_id
         WHERE p.active = 1 AND d.active = 1 ORDER BY p.id";
    SET_ACTIVE = "prices.set_active": "UPDATE prices SET active = ?, updated_at = ? WHERE id = ?";
    UNMIRRORED = "prices.unmirrored":
        "SELECT * FROM prices WHERE provider = ? AND provider_price_id IS NULL ORDER BY id";
    FORGET = "prices.forget": "DELETE FROM prices WHERE id = ? AND provider_price_id IS NULL";
    KNOWN = "prices.known":
        "SELECT * FROM prices
         WHERE provider = ? AND provider_price_id IS NOT NULL AND id > ? ORDER BY id LIMIT ?";
    UPDATE = "prices.update":
        "UPDATE prices SET nickname = ?, active = ?, trial_days = ?, grants = ?, updated_at = ?
         WHERE id = ?";
    LINK = "prices.link":
        "UPDATE prices SET provider_price_id = ?, active = 1, updated_at = ? WHERE id = ?";
}

/// The row shape of `Grants`.
#[derive(Serialize, Deserialize)]
struct GrantsText {
    #[serde(default)]
    credits: Vec<CreditText>,
    #[serde(default)]
    features: Vec<FeatureText>,
}

#[derive(Serialize, Deserialize)]
struct CreditText {
    unit: String,
    amount: i64,
    every: String,
    every_count: u32,
    trial_amount: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct FeatureText {
    feature: String,
    days: Option<u32>,
}

pub(crate) fn grants_text(grants: &Grants) -> String {
    let credits = grants.credits.iter().map(|grant| CreditText {
        unit: grant.unit.clone(),
        amount: grant.amount.get(),
        every: grant.every.unit.as_str().to_owned(),
        every_count: grant.every.count,
        trial_amount: grant.trial_amount,
    });
    let features = grants
        .features
        .iter()
        .map(|grant| FeatureText { feature: grant.feature.clone(), days: grant.days });
    serde_json::json!(GrantsText { credits: credits.collect(), features: features.collect() })
        .to_string()
}

pub(crate) fn grants_parse(text: &str) -> Option<Grants> {
    let row: GrantsText = serde_json::from_str(text).ok()?;
    let credit = |grant: CreditText| {
        Some(CreditGrant {
            amount: Credits::new(grant.amount).ok()?,
            every: Interval { unit: Unit::parse(&grant.every)?, count: grant.every_count },
            unit: grant.unit,
            trial_amount: grant.trial_amount,
        })
    };
    let credits = row.credits.into_iter().map(credit).collect::<Option<Vec<_>>>()?;
    let feature = |grant: FeatureText| FeatureGrant { feature: grant.feature, days: grant.days };
    Some(Grants { credits, features: row.features.into_iter().map(feature).collect() })
}

fn price(row: &Row) -> Result<Price, StoreError> {
    let currency = row.parsed("currency", |text| Currency::parse(text).ok())?;
    let billing = match row.opt_parsed("interval_unit", Unit::parse)? {
        None => Billing::OneTime,
        Some(unit) => Billing::Recurring(Interval { unit, count: row.small("interval_count")? }),
    };
    Ok(Price {
        id: id!(row, "id", PriceId)?,
        product_id: id!(row, "product_id", ProductId)?,
        amount: Money::new(row.int("unit_amount")?, currency),
        billing,
        nickname: row.opt_text("nickname")?,
        active: row.flag("active")?,
        trial_days: row.small("trial_days")?,
        grants: row.parsed("grants", grants_parse)?,
        provider: row.text("provider")?,
        provider_price_id: row.opt_text("provider_price_id")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Tx {
    pub async fn prices_insert(&mut self, new: &Price) -> Result<(), StoreError> {
        let (unit, count) = match new.billing {
            Billing::OneTime => (None, 1),
            Billing::Recurring(interval) => (Some(interval.unit.as_str()), interval.count),
        };
        let currency = new.amount.currency();
        let args = args![
            &new.id,
            &new.product_id,
            new.amount.minor(),
            currency.as_str(),
            unit,
            count,
            &new.nickname,
            new.active,
            new.trial_days,
            grants_text(&new.grants),
            &new.provider,
            &new.provider_price_id,
            new.created_at,
            new.updated_at
        ];
        self.change_one(&INSERT, args).await
    }

    pub async fn prices_get(&mut self, id: &PriceId) -> Result<Option<Price>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(price).transpose()
    }

    /// What the product is called that the price is for.
    pub async fn prices_product_name(
        &mut self,
        id: &PriceId,
    ) -> Result<Option<String>, StoreError> {
        let row = self.first(&PRODUCT_NAME, args![id]).await?;
        Ok(row.map(|row| row.opt_text("name")).transpose()?.flatten())
    }

    /// By the provider's id.
    pub async fn prices_find(
        &mut self,
        provider: &str,
        provider_price_id: &str,
    ) -> Result<Option<Price>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_price_id]).await?;
        row.as_ref().map(price).transpose()
    }

    /// Newest first, after `cursor`; of one product where it is named.
    pub async fn prices_list(
        &mut self,
        product: Option<&ProductId>,
        cursor: &str,
        limit: u32,
        only_active: bool,
    ) -> Result<Vec<Price>, StoreError> {
        let rows = match product {
            None => self.all(&LIST, args![cursor, only_active, limit]).await?,
            Some(id) => self.all(&LIST_OF, args![id, cursor, only_active, limit]).await?,
        };
        rows.iter().map(price).collect()
    }

    /// Everything for sale, oldest first.
    pub async fn prices_active(&mut self) -> Result<Vec<Price>, StoreError> {
        self.all(&ACTIVE, args![]).await?.iter().map(price).collect()
    }

    pub async fn prices_set_active(
        &mut self,
        id: &PriceId,
        active: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&SET_ACTIVE, args![active, now, id]).await
    }

    /// The provider has it now: from here on it is for sale.
    pub async fn prices_link(
        &mut self,
        id: &PriceId,
        provider_price_id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.change_one(&LINK, args![provider_price_id, now, id]).await
    }

    /// What the provider knows, oldest first, after an id of ours.
    pub async fn prices_known(
        &mut self,
        provider: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Price>, StoreError> {
        let rows = self.all(&KNOWN, args![provider, after, limit]).await?;
        rows.iter().map(price).collect()
    }

    /// Writes what the merchant changed at the provider; the amount never changes.
    pub async fn prices_update(&mut self, row: &Price) -> Result<(), StoreError> {
        let grants = grants_text(&row.grants);
        let args =
            args![&row.nickname, row.active, row.trial_days, grants, row.updated_at, &row.id];
        self.change_one(&UPDATE, args).await
    }

    /// What the provider does not know yet.
    pub async fn prices_unmirrored(&mut self, provider: &str) -> Result<Vec<Price>, StoreError> {
        self.all(&UNMIRRORED, args![provider]).await?.iter().map(price).collect()
    }

    /// The provider never had it: nothing half-created stays.
    pub async fn prices_forget(&mut self, id: &PriceId) -> Result<bool, StoreError> {
        self.change_if(&FORGET, args![id]).await
    }
}
