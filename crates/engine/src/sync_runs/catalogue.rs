//! Products and prices made at the provider become ours; what is archived there is off sale here.
//!
//! Rows are matched by the provider's id, or by ours in the metadata. Nothing is deleted, what only
//! exists here is left alone, and what a merchant took off sale here is not put back. Other
//! applications sell on the same account, so what carries no mark of ours is taken over only by a
//! run that was asked for the catalogue by name. Here is how both are walked through; `products.rs`
//! and `prices.rs` say what one of them becomes.

use super::reports::{Difference, Resource};
use super::running::Run;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use providers::stripe::lists::Page;
use providers::stripe::products as told;
use std::collections::{BTreeMap, HashSet};
use store::Tx;
use store::prices::Price;
use store::products::Product;

const MARK: &str = "tollgate";
const ROWS_PER_ROUND: u32 = 100;

pub(super) type Metadata = BTreeMap<String, String>;

/// What became of one product or price.
pub(super) enum Pulled {
    Equal,
    Created,
    Changed(Vec<Cell>),
    Foreign,
    Unusable(String),
}

/// A column that differed: ours, then theirs.
pub(super) type Cell = (&'static str, Option<String>, Option<String>);

/// Which half of the catalogue.
#[derive(Debug, Clone, Copy)]
enum Half {
    Products,
    Prices,
}

impl Half {
    const fn resource(self) -> Resource {
        match self {
            Half::Products => Resource::Products,
            Half::Prices => Resource::Prices,
        }
    }

    const fn row(self) -> &'static str {
        match self {
            Half::Products => "product",
            Half::Prices => "price",
        }
    }
}

/// One of them at the provider.
enum Found {
    Product(told::Product),
    Price(told::Price),
}

impl Found {
    fn id(&self) -> &str {
        match self {
            Found::Product(product) => &product.id,
            Found::Price(price) => &price.id,
        }
    }
}

/// One of them here.
enum Held {
    Product(Product),
    Price(Price),
}

impl Held {
    fn id(&self) -> &str {
        match self {
            Held::Product(product) => product.id.as_str(),
            Held::Price(price) => price.id.as_str(),
        }
    }

    fn provider_id(&self) -> Option<&String> {
        match self {
            Held::Product(product) => product.provider_product_id.as_ref(),
            Held::Price(price) => price.provider_price_id.as_ref(),
        }
    }
}

fn found_page<T>(page: Page<T>, one: fn(T) -> Found) -> (Vec<Found>, Option<String>) {
    (page.rows.into_iter().map(one).collect(), page.next)
}

impl Run<'_> {
    pub(super) async fn products(&mut self) {
        self.pull_half(Half::Products, Wanted::Everything).await;
    }

    pub(super) async fn prices(&mut self) {
        self.pull_half(Half::Prices, Wanted::Everything).await;
    }

    /// The catalogue as far as it is ours already, or marked as ours.
    pub(super) async fn catalogue_known(&mut self) {
        self.pull_half(Half::Products, Wanted::Marked).await;
        self.pull_half(Half::Prices, Wanted::Marked).await;
    }

    async fn pull_half(&mut self, half: Half, wanted: Wanted) {
        if let Err(failure) = self.pull_listed(half, wanted).await {
            self.report.broke_off(half.resource(), failure.told());
        }
    }

    async fn pull_listed(&mut self, half: Half, wanted: Wanted) -> Result<(), Failure> {
        let (mut listed, mut after) = (HashSet::new(), None::<String>);
        loop {
            self.engine.sync_pace(1).await;
            let (rows, next) = self.engine.catalogue_page(half, after.as_deref()).await?;
            for row in &rows {
                listed.insert(row.id().to_owned());
                let pulled = self.engine.pull(row, wanted, self.request.dry_run).await;
                self.note_pulled(half, row.id(), pulled);
            }
            self.save().await;
            after = next;
            if after.is_none() || self.is_lost() {
                return self.pull_unlisted(half, &listed).await;
            }
        }
    }

    /// What no list told of is asked for; what was deleted there goes off sale here.
    async fn pull_unlisted(&mut self, half: Half, listed: &HashSet<String>) -> Result<(), Failure> {
        if !self.knows_account {
            return Ok(());
        }
        let mut after = String::new();
        loop {
            let rows = self.engine.catalogue_held(half, &after).await?;
            for row in &rows {
                let Some(id) = row.provider_id().filter(|id| !listed.contains(*id)) else {
                    continue;
                };
                self.engine.sync_pace(1).await;
                let dry_run = self.request.dry_run;
                let pulled = match self.engine.catalogue_found(half, id).await? {
                    Some(found) => self.engine.pull(&found, Wanted::Marked, dry_run).await,
                    None => self.engine.pull_gone(row, dry_run).await,
                };
                self.note_pulled(half, id, pulled);
            }
            match rows.last() {
                Some(last) if rows.len() == ROWS_PER_ROUND as usize => after = last.id().to_owned(),
                _ => return Ok(()),
            }
        }
    }

    fn note_pulled(&mut self, half: Half, id: &str, pulled: Result<Pulled, Failure>) {
        let resource = half.resource();
        let counts = self.report.counts(resource);
        counts.seen += 1;
        match pulled {
            Ok(Pulled::Equal) => counts.equal += 1,
            Ok(Pulled::Created) => counts.created += 1,
            Ok(Pulled::Foreign) => counts.foreign += 1,
            Ok(Pulled::Changed(cells)) => {
                counts.repaired += 1;
                let found = cells.into_iter().map(|(field, ours, theirs)| Difference {
                    resource,
                    object: id.to_owned(),
                    row: half.row().to_owned(),
                    row_id: id.to_owned(),
                    field: field.to_owned(),
                    ours,
                    theirs,
                });
                self.report.list(found.collect());
            }
            Ok(Pulled::Unusable(why)) => self.report.fail(resource, id, why),
            Err(failure) => self.report.fail(resource, id, failure.told()),
        }
    }
}

/// Which products and prices that are new to us are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Everything,
    /// Only what carries a mark of ours in its metadata.
    Marked,
}

impl Wanted {
    pub(super) fn takes(self, metadata: &Metadata) -> bool {
        self == Wanted::Everything || metadata.keys().any(|key| key.starts_with(MARK))
    }
}

pub(super) fn flag(active: bool) -> Option<String> {
    Some(if active { "on sale" } else { "off sale" }.to_owned())
}

pub(super) fn cell(
    cells: &mut Vec<Cell>,
    field: &'static str,
    ours: Option<&str>,
    theirs: Option<&str>,
) {
    if ours != theirs {
        cells.push((field, ours.map(str::to_owned), theirs.map(str::to_owned)));
    }
}

pub(super) async fn end(tx: Tx, dry_run: bool) -> Result<(), Failure> {
    match dry_run {
        true => Ok(()),
        false => Ok(tx.commit().await?),
    }
}

impl Engine {
    async fn catalogue_page(
        &self,
        half: Half,
        after: Option<&str>,
    ) -> Result<(Vec<Found>, Option<String>), Failure> {
        let client = self.provider()?;
        Ok(match half {
            Half::Products => found_page(client.products_page(after).await?, Found::Product),
            Half::Prices => found_page(client.prices_page(after).await?, Found::Price),
        })
    }

    async fn catalogue_found(&self, half: Half, id: &str) -> Result<Option<Found>, Failure> {
        let client = self.provider()?;
        Ok(match half {
            Half::Products => client.product(id).await?.map(Found::Product),
            Half::Prices => client.price(id).await?.map(Found::Price),
        })
    }

    /// What has a counterpart at the provider, after an id of ours.
    async fn catalogue_held(&self, half: Half, after: &str) -> Result<Vec<Held>, Failure> {
        let mut tx = self.store().read("sync_runs.catalogue").await?;
        Ok(match half {
            Half::Products => {
                let rows = tx.products_known(PROVIDER, after, ROWS_PER_ROUND).await?;
                rows.into_iter().map(Held::Product).collect()
            }
            Half::Prices => {
                let rows = tx.prices_known(PROVIDER, after, ROWS_PER_ROUND).await?;
                rows.into_iter().map(Held::Price).collect()
            }
        })
    }

    async fn pull(&self, found: &Found, wanted: Wanted, dry_run: bool) -> Result<Pulled, Failure> {
        match found {
            Found::Product(product) => self.product_pull(product, wanted, dry_run).await,
            Found::Price(price) => self.price_pull(price, wanted, dry_run).await,
        }
    }

    async fn pull_gone(&self, row: &Held, dry_run: bool) -> Result<Pulled, Failure> {
        match row {
            Held::Product(product) => self.product_gone(product, dry_run).await,
            Held::Price(price) => self.price_gone(price, dry_run).await,
        }
    }
}
