//! Payments, for reading; they are written by applying events.

use crate::failures::Failure;
use crate::lists::{Listed, Page};
use crate::{Engine, Subject};
use store::disputes::Dispute;
use store::payments::Payment;

impl Engine {
    pub async fn payments_list(
        &self,
        subject: &Subject,
        page: Page,
    ) -> Result<Listed<Payment>, Failure> {
        let mut tx = self.store().read("payments.list").await?;
        let Some(customer) = self.customer(&mut tx, subject).await? else {
            return Ok(page.cut(Vec::new(), |row: &Payment| row.id.to_string()));
        };
        let rows = tx.payments_list(&customer.id, page.cursor(), page.fetch()).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    /// Every dispute over a customer's payments, oldest first.
    pub async fn disputes_list(&self, subject: &Subject) -> Result<Vec<Dispute>, Failure> {
        let mut tx = self.store().read("disputes.list").await?;
        match self.customer(&mut tx, subject).await? {
            Some(customer) => Ok(tx.disputes_of_customer(&customer.id).await?),
            None => Ok(Vec::new()),
        }
    }
}
