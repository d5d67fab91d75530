//! Access: may this customer use that feature now, and why.

use crate::failures::Failure;
use crate::{Engine, Subject};
use domain::catalogue::{Grants, check_feature_key};
use domain::entitlements::{Decision, decide};
use domain::ids::CustomerId;
use store::Tx;
use store::features::Feature;

impl Engine {
    /// Answers also when the answer is no.
    pub async fn check(&self, subject: &Subject, feature: &str) -> Result<Decision, Failure> {
        check_feature_key(feature)?;
        let mut tx = self.store().read("check").await?;
        let grants = match self.customer(&mut tx, subject).await? {
            Some(customer) => tx.entitlements_of_feature(&customer.id, feature).await?,
            None => Vec::new(),
        };
        Ok(decide(&grants, self.clock().now()))
    }

    /// Every feature there is, with the name people read.
    pub async fn features_list(&self) -> Result<Vec<Feature>, Failure> {
        let mut tx = self.store().read("features.list").await?;
        Ok(tx.features_list().await?)
    }

    /// The gate, inside the transaction that does what it guards.
    pub(crate) async fn gate(
        &self,
        tx: &mut Tx,
        customer: Option<&CustomerId>,
        feature: &str,
    ) -> Result<(), Failure> {
        let grants = match customer {
            Some(id) => tx.entitlements_of_feature(id, feature).await?,
            None => Vec::new(),
        };
        let decision = decide(&grants, self.clock().now());
        if decision.allowed {
            return Ok(());
        }
        let unlocks =
            |grants: &Grants| grants.features.iter().any(|grant| grant.feature == feature);
        Err(Failure::NotEntitled {
            feature: feature.to_owned(),
            reason: decision.reason.as_str(),
            offers: self.offers(tx, unlocks).await?,
        })
    }
}
