//! Payments, for reading; they are written by applying events.

use crate::failures::Failure;
use crate::lists::{Listed, Page};
use crate::{Engine, Subject};
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
}
