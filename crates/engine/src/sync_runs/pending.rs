//! The loop of minutes: our own pending things, asked for one by one.

use super::reports::Resource;
use super::running::Run;
use crate::failures::Failure;
use std::collections::HashSet;
use store::unsettled::Unsettled;

impl Run<'_> {
    /// Open pages, payments on their way, and subscriptions that wait for money.
    pub(super) async fn pending(&mut self) -> Result<(), Failure> {
        let nothing = HashSet::new();
        for (resource, what) in [
            (Resource::CheckoutSessions, Unsettled::CheckoutSessions),
            (Resource::Subscriptions, Unsettled::DueSubscriptions),
            (Resource::Refunds, Unsettled::Refunds),
        ] {
            self.check_unsettled(resource, what, None, &nothing).await?;
        }
        Ok(())
    }
}
