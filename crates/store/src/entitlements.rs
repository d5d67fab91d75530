//! Entitlements: who may use which feature, from when until when, and because of what.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::Row;
use crate::sql::{Arg, args, statements};
use domain::entitlements::Entitlement;
use domain::ids::{CustomerId, EntitlementId};
use domain::time::Timestamp;

statements! {
    INSERT = "entitlements.insert":
        "INSERT INTO entitlements (id, customer_id, feature, source, starts_at, ends_at, revoked_at,
             created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    UPDATE = "entitlements.update":
        "UPDATE entitlements SET starts_at = ?, ends_at = ?, revoked_at = ?, updated_at = ?
         WHERE source = ? AND feature = ?";
    OF_FEATURE = "entitlements.of_feature":
        "SELECT * FROM entitlements WHERE customer_id = ? AND feature = ?";
    OF_CUSTOMER = "entitlements.of_customer":
        "SELECT * FROM entitlements WHERE customer_id = ? ORDER BY feature, id";
    OF_SOURCE = "entitlements.of_source": "SELECT * FROM entitlements WHERE source = ?";
}

pub(crate) fn entitlement(row: &Row) -> Result<Entitlement, StoreError> {
    Ok(Entitlement {
        feature: row.text("feature")?,
        source: row.text("source")?,
        starts_at: row.time("starts_at")?,
        ends_at: row.opt_time("ends_at")?,
        revoked_at: row.opt_time("revoked_at")?,
    })
}

/// What the insert writes.
fn whole(id: &EntitlementId, customer: &CustomerId, new: &Entitlement, now: Timestamp) -> Vec<Arg> {
    args![
        id,
        customer,
        &new.feature,
        &new.source,
        new.starts_at,
        new.ends_at,
        new.revoked_at,
        now,
        now
    ]
}

impl Tx {
    /// Adds an entitlement; `false` where its source has granted the feature already.
    pub async fn entitlements_add(
        &mut self,
        id: &EntitlementId,
        customer: &CustomerId,
        new: &Entitlement,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.access_changed(customer);
        self.change_if(&INSERT, whole(id, customer, new, now)).await
    }

    /// Adds entitlements whose sources are new.
    pub async fn entitlements_add_all(
        &mut self,
        new: &[(EntitlementId, &CustomerId, Entitlement)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if new.is_empty() {
            return Ok(());
        }
        new.iter().for_each(|(_, customer, _)| self.access_changed(customer));
        let rows: Vec<_> =
            new.iter().map(|(id, customer, new)| whole(id, customer, new, now)).collect();
        self.insert_all(&INSERT, &rows).await
    }

    /// Adds or replaces what a source says of a feature.
    pub async fn entitlements_put(
        &mut self,
        id: &EntitlementId,
        customer: &CustomerId,
        row: &Entitlement,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.entitlements_add(id, customer, row, now).await? {
            return Ok(());
        }
        let args =
            args![row.starts_at, row.ends_at, row.revoked_at, now, &row.source, &row.feature];
        self.change_one(&UPDATE, args).await
    }

    pub async fn entitlements_of_feature(
        &mut self,
        customer: &CustomerId,
        feature: &str,
    ) -> Result<Vec<Entitlement>, StoreError> {
        self.all(&OF_FEATURE, args![customer, feature]).await?.iter().map(entitlement).collect()
    }

    pub async fn entitlements_of_customer(
        &mut self,
        customer: &CustomerId,
    ) -> Result<Vec<Entitlement>, StoreError> {
        self.all(&OF_CUSTOMER, args![customer]).await?.iter().map(entitlement).collect()
    }

    pub async fn entitlements_of_source(
        &mut self,
        source: &str,
    ) -> Result<Vec<Entitlement>, StoreError> {
        self.all(&OF_SOURCE, args![source]).await?.iter().map(entitlement).collect()
    }
}
