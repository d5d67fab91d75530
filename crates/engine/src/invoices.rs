//! Invoices, for reading; they are written by applying events.

use crate::failures::Failure;
use crate::lists::{Listed, Page};
use crate::{Engine, Subject};
use store::invoices::Invoice;

impl Engine {
    pub async fn invoices_list(
        &self,
        subject: &Subject,
        page: Page,
    ) -> Result<Listed<Invoice>, Failure> {
        let mut tx = self.store().read("invoices.list").await?;
        let Some(customer) = self.customer(&mut tx, subject).await? else {
            return Ok(page.cut(Vec::new(), |row: &Invoice| row.id.to_string()));
        };
        let rows = tx.invoices_list(&customer.id, page.cursor(), page.fetch()).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }
}
