//! The items of subscriptions: each price with its own period and what it grants.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::prices::{grants_parse, grants_text};
use crate::rows::{Row, id, opt_id};
use crate::sql::{args, statements};
use domain::catalogue::Grants;
use domain::ids::{CustomerId, PriceId, SubscriptionId};
use domain::time::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionItem {
    pub provider: String,
    pub provider_item_id: String,
    pub subscription_id: SubscriptionId,
    pub customer_id: CustomerId,
    pub position: u32,
    pub provider_price_id: Option<String>,
    /// Where the price is one of ours.
    pub price_id: Option<PriceId>,
    pub quantity: i64,
    pub period_start: Option<Timestamp>,
    pub period_end: Option<Timestamp>,
    /// What was on sale when the price was bought.
    pub grants: Grants,
}

statements! {
    CLEAR = "subscription_items.clear": "DELETE FROM subscription_items WHERE subscription_id = ?";
    INSERT = "subscription_items.insert":
        "INSERT INTO subscription_items (provider, provider_item_id, subscription_id, customer_id,
             position, provider_price_id, price_id, quantity, period_start, period_end, grants)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    FIND = "subscription_items.find":
        "SELECT * FROM subscription_items WHERE provider = ? AND provider_item_id = ?";
    OF = "subscription_items.of_subscription":
        "SELECT * FROM subscription_items WHERE subscription_id = ? ORDER BY position";
}

fn item(row: &Row) -> Result<SubscriptionItem, StoreError> {
    Ok(SubscriptionItem {
        provider: row.text("provider")?,
        provider_item_id: row.text("provider_item_id")?,
        subscription_id: id!(row, "subscription_id", SubscriptionId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        position: u32::try_from(row.int("position")?).unwrap_or(u32::MAX),
        provider_price_id: row.opt_text("provider_price_id")?,
        price_id: opt_id!(row, "price_id", PriceId)?,
        quantity: row.int("quantity")?,
        period_start: row.opt_time("period_start")?,
        period_end: row.opt_time("period_end")?,
        grants: row.parsed("grants", grants_parse)?,
    })
}

impl Tx {
    /// Writes what a subscription consists of now.
    pub async fn subscription_items_replace(
        &mut self,
        subscription: &SubscriptionId,
        items: &[SubscriptionItem],
    ) -> Result<(), StoreError> {
        self.execute(&CLEAR, args![subscription]).await?;
        for new in items {
            let args = args![
                &new.provider,
                &new.provider_item_id,
                subscription,
                &new.customer_id,
                new.position,
                &new.provider_price_id,
                &new.price_id,
                new.quantity,
                new.period_start,
                new.period_end,
                grants_text(&new.grants)
            ];
            self.change_one(&INSERT, args).await?;
        }
        Ok(())
    }

    /// By the provider's id.
    pub async fn subscription_items_find(
        &mut self,
        provider: &str,
        provider_item_id: &str,
    ) -> Result<Option<SubscriptionItem>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_item_id]).await?;
        row.as_ref().map(item).transpose()
    }

    /// In the provider's order.
    pub async fn subscription_items_of(
        &mut self,
        subscription: &SubscriptionId,
    ) -> Result<Vec<SubscriptionItem>, StoreError> {
        self.all(&OF, args![subscription]).await?.iter().map(item).collect()
    }
}
