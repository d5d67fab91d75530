//! A price of the provider's becomes ours with what its metadata says it grants, follows its
//! changes, or goes off sale.

use super::catalogue::{Pulled, Wanted, cell, end, flag};
use crate::clock::random;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::catalogue::{Billing, CreditGrant, FeatureGrant, Grants, check_price};
use domain::credits::{Credits, DEFAULT_UNIT};
use domain::ids::{PriceId, ProductId};
use domain::money::{Currency, Money};
use domain::time::{Interval, Timestamp, Unit};
use providers::stripe::products as told;
use store::Tx;
use store::prices::Price;

/// Our own id, which we write on what we make at the provider.
const PRICE_KEY: &str = "tollgate_price";
/// What merchants write on what they make there.
const CREDITS_KEY: &str = "tollgate_credits";
const CREDITS_UNIT_KEY: &str = "tollgate_credits_unit";
const CREDITS_EVERY_KEY: &str = "tollgate_credits_every";
const FEATURES_KEY: &str = "tollgate_features";
const TRIAL_DAYS_KEY: &str = "tollgate_trial_days";

impl Engine {
    pub(super) async fn price_gone(&self, row: &Price, dry_run: bool) -> Result<Pulled, Failure> {
        if !row.active {
            return Ok(Pulled::Equal);
        }
        let mut tx = self.store().begin("sync_runs.price_gone").await?;
        tx.prices_set_active(&row.id, false, self.clock().now()).await?;
        end(tx, dry_run).await?;
        Ok(Pulled::Changed(vec![("active", flag(true), Some("deleted".to_owned()))]))
    }

    pub(super) async fn price_pull(
        &self,
        found: &told::Price,
        wanted: Wanted,
        dry_run: bool,
    ) -> Result<Pulled, Failure> {
        let now = self.clock().now();
        let mut tx = self.store().begin("sync_runs.price").await?;
        let Some(held) = tx.prices_find(PROVIDER, &found.id).await? else {
            let Some(pulled) = self.price_new(&mut tx, found, wanted, now).await? else {
                return Ok(Pulled::Foreign);
            };
            if !matches!(pulled, Pulled::Unusable(_)) {
                end(tx, dry_run).await?;
            }
            return Ok(pulled);
        };
        let (grants, trial_days) = match terms(found, held.billing) {
            Ok(terms) => terms,
            Err(why) => return Ok(Pulled::Unusable(why)),
        };
        let row = Price {
            nickname: found.nickname.clone().or(held.nickname.clone()),
            active: held.active && found.active,
            trial_days: trial_days.unwrap_or(held.trial_days),
            grants: grants.unwrap_or(held.grants.clone()),
            updated_at: now,
            ..held.clone()
        };
        let mut cells = Vec::new();
        cell(&mut cells, "nickname", held.nickname.as_deref(), row.nickname.as_deref());
        if held.active != row.active {
            cells.push(("active", flag(held.active), flag(row.active)));
        }
        let (ours, theirs) = (held.trial_days.to_string(), row.trial_days.to_string());
        cell(&mut cells, "trial_days", Some(&ours), Some(&theirs));
        let (ours, theirs) = (summary(&held.grants), summary(&row.grants));
        cell(&mut cells, "grants", Some(&ours), Some(&theirs));
        if cells.is_empty() {
            return Ok(Pulled::Equal);
        }
        if let Err(error) =
            check_price(row.amount.minor(), row.billing, &row.grants, row.trial_days)
        {
            return Ok(Pulled::Unusable(error.to_string()));
        }
        self.features_known(&mut tx, &row.grants, now).await?;
        tx.prices_update(&row).await?;
        end(tx, dry_run).await?;
        Ok(Pulled::Changed(cells))
    }

    async fn price_new(
        &self,
        tx: &mut Tx,
        found: &told::Price,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Option<Pulled>, Failure> {
        let ours = found.metadata.get(PRICE_KEY).and_then(|id| PriceId::parse(id).ok());
        if let Some(id) = ours
            && let Some(row) = tx.prices_get(&id).await?
        {
            return Ok(match row.provider_price_id {
                Some(other) => Some(Pulled::Unusable(format!("it claims to be {other}"))),
                None => {
                    tx.prices_link(&row.id, &found.id, now).await?;
                    let linked = ("provider_id", None, Some(found.id.clone()));
                    Some(Pulled::Changed(vec![linked]))
                }
            });
        }
        let product = match &found.product {
            Some(id) => tx.products_find(PROVIDER, id).await?,
            None => None,
        };
        if !wanted.takes(&found.metadata) {
            return Ok(None);
        }
        let Some(product) = product else {
            return Ok(Some(Pulled::Unusable("its product is not here".to_owned())));
        };
        let row = match self.price_of(found, product.id, now) {
            Ok(Some(row)) => row,
            // Tiers, meters and amounts that the buyer chooses are not sold here.
            Ok(None) => return Ok(None),
            Err(why) => return Ok(Some(Pulled::Unusable(why))),
        };
        self.features_known(tx, &row.grants, now).await?;
        tx.prices_insert(&row).await?;
        Ok(Some(Pulled::Created))
    }

    /// The row of a price; none where it has no one amount.
    fn price_of(
        &self,
        found: &told::Price,
        product_id: ProductId,
        now: Timestamp,
    ) -> Result<Option<Price>, String> {
        let (Some(minor), false) = (found.unit_amount, found.metered) else {
            return Ok(None);
        };
        let currency = Currency::parse(found.currency.as_deref().unwrap_or_default())
            .map_err(|error| error.to_string())?;
        let billing = match &found.interval {
            None => Billing::OneTime,
            Some((word, count)) => {
                let unit = Unit::parse(word).ok_or_else(|| format!("interval {word:?}"))?;
                let count = u32::try_from(*count).map_err(|_| format!("interval of {count}"))?;
                Billing::Recurring(Interval { unit, count })
            }
        };
        let (grants, trial_days) = terms(found, billing)?;
        let (grants, trial_days) = (grants.unwrap_or_default(), trial_days.unwrap_or(0));
        check_price(minor, billing, &grants, trial_days).map_err(|error| error.to_string())?;
        Ok(Some(Price {
            id: PriceId::new(self.clock().wall(), random()),
            product_id,
            amount: Money::new(minor, currency),
            billing,
            nickname: found.nickname.clone(),
            active: found.active,
            trial_days,
            grants,
            provider: PROVIDER.to_owned(),
            provider_price_id: Some(found.id.clone()),
            created_at: now,
            updated_at: now,
        }))
    }

    async fn features_known(
        &self,
        tx: &mut Tx,
        grants: &Grants,
        now: Timestamp,
    ) -> Result<(), Failure> {
        for grant in &grants.features {
            tx.features_ensure(&grant.feature, &grant.feature, now).await?;
        }
        Ok(())
    }
}

/// What the metadata says a price grants, and its trial; none where it says nothing.
fn terms(found: &told::Price, billing: Billing) -> Result<(Option<Grants>, Option<u32>), String> {
    let text = |key: &str| found.metadata.get(key).map(|text| text.trim());
    let bad = |key: &str, text: &str| format!("metadata {key} is {text:?}");
    let trial_days = match text(TRIAL_DAYS_KEY) {
        None => None,
        Some(days) => Some(days.parse().map_err(|_| bad(TRIAL_DAYS_KEY, days))?),
    };
    if text(CREDITS_KEY).is_none() && text(FEATURES_KEY).is_none() {
        return Ok((None, trial_days));
    }
    let mut grants = Grants::default();
    if let Some(amount) = text(CREDITS_KEY).filter(|text| !text.is_empty()) {
        let number = amount.parse().ok().and_then(|number| Credits::new(number).ok());
        let every = match (text(CREDITS_EVERY_KEY), billing) {
            (Some(word), _) => {
                let unit = Unit::parse(word).ok_or_else(|| bad(CREDITS_EVERY_KEY, word))?;
                Interval { unit, count: 1 }
            }
            (None, Billing::Recurring(_) | Billing::OneTime) => Interval::MONTH,
        };
        grants.credits.push(CreditGrant {
            unit: text(CREDITS_UNIT_KEY).unwrap_or(DEFAULT_UNIT).to_owned(),
            amount: number.ok_or_else(|| bad(CREDITS_KEY, amount))?,
            every,
            trial_amount: None,
        });
    }
    let names = text(FEATURES_KEY).unwrap_or_default().split(',').map(str::trim);
    for name in names.filter(|name| !name.is_empty()) {
        let (feature, days) = match name.split_once(':') {
            None => (name, None),
            Some((feature, days)) => {
                let days = days.trim().parse().map_err(|_| bad(FEATURES_KEY, name))?;
                (feature.trim(), Some(days))
            }
        };
        grants.features.push(FeatureGrant { feature: feature.to_owned(), days });
    }
    Ok((Some(grants), trial_days))
}

/// What a price grants, in a line.
fn summary(grants: &Grants) -> String {
    let credits = grants
        .credits
        .iter()
        .map(|grant| format!("{} {} every {:?}", grant.amount.get(), grant.unit, grant.every));
    let features = grants.features.iter().map(|grant| match grant.days {
        Some(days) => format!("{} for {days} days", grant.feature),
        None => grant.feature.clone(),
    });
    let all: Vec<String> = credits.chain(features).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}
