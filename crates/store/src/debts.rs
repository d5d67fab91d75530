//! Debts: credits that were spent of a lot whose money went back, and what has been paid of them.

use crate::credits::folds::AccountRow;
use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{Arg, args, statements};
use domain::ids::{CustomerId, DebtId, GrantId, PaymentId};
use domain::time::Timestamp;
use std::collections::HashSet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debt {
    pub id: DebtId,
    pub customer_id: CustomerId,
    pub unit: String,
    /// The lot that was withdrawn; it has one debt at most.
    pub grant_id: GrantId,
    pub amount: i64,
    /// What later lots have paid of it.
    pub settled: i64,
    /// When the first of the money went.
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Debt {
    /// What is still owed.
    pub const fn open(&self) -> i64 {
        self.amount - self.settled
    }
}

statements! {
    INSERT = "credit_debts.insert":
        "INSERT INTO credit_debts (amount, settled, updated_at, id, customer_id, unit, grant_id,
             created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    UPDATE = "credit_debts.update":
        "UPDATE credit_debts SET amount = ?, settled = ?, created_at = ?, updated_at = ?
         WHERE id = ?";
    OF_GRANT = "credit_debts.of_grant": "SELECT * FROM credit_debts WHERE grant_id = ?";
    OF_PAYMENT = "credit_debts.of_payment":
        "SELECT grant_id FROM credit_debts
         WHERE amount > 0 AND grant_id IN (SELECT id FROM credit_grants WHERE payment_id = ?)";
    OPEN = "credit_debts.open":
        "SELECT * FROM credit_debts
         WHERE customer_id = ? AND unit = ? AND settled < amount ORDER BY created_at, id";
    OWING_FOLD = "credit_debts.owing_fold":
        "SELECT DISTINCT d.customer_id, d.unit FROM credit_debts d
         JOIN ROWS(customer_id VARCHAR(255), unit VARCHAR(32))
           ON d.customer_id = r.customer_id AND d.unit = r.unit
         WHERE d.settled < d.amount";
    LIST = "credit_debts.list":
        "SELECT * FROM credit_debts WHERE customer_id = ? AND id < ? ORDER BY id DESC LIMIT ?";
}

fn debt(row: &Row) -> Result<Debt, StoreError> {
    Ok(Debt {
        id: id!(row, "id", DebtId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        unit: row.text("unit")?,
        grant_id: id!(row, "grant_id", GrantId)?,
        amount: row.int("amount")?,
        settled: row.int("settled")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Tx {
    pub async fn debts_insert(&mut self, new: &Debt) -> Result<(), StoreError> {
        let args = args![
            new.amount,
            new.settled,
            new.updated_at,
            &new.id,
            &new.customer_id,
            &new.unit,
            &new.grant_id,
            new.created_at
        ];
        self.change_one(&INSERT, args).await
    }

    pub async fn debts_update(&mut self, row: &Debt) -> Result<(), StoreError> {
        let args = args![row.amount, row.settled, row.created_at, row.updated_at, &row.id];
        self.change_one(&UPDATE, args).await
    }

    /// The debt of a withdrawn lot.
    pub async fn debts_of_grant(&mut self, grant: &GrantId) -> Result<Option<Debt>, StoreError> {
        self.first(&OF_GRANT, args![grant]).await?.as_ref().map(debt).transpose()
    }

    /// The lots of a payment for which something is or was owed.
    pub async fn debts_of_payment(
        &mut self,
        payment: &PaymentId,
    ) -> Result<Vec<GrantId>, StoreError> {
        let rows = self.all(&OF_PAYMENT, args![payment]).await?;
        rows.iter().map(|row| id!(row, "grant_id", GrantId)).collect()
    }

    /// What a customer still owes in a unit, oldest first.
    pub async fn debts_open(
        &mut self,
        customer: &CustomerId,
        unit: &str,
    ) -> Result<Vec<Debt>, StoreError> {
        self.all(&OPEN, args![customer, unit]).await?.iter().map(debt).collect()
    }

    /// Which of the accounts owe anything.
    pub async fn debts_owing_fold(
        &mut self,
        accounts: &[(CustomerId, String)],
    ) -> Result<HashSet<(CustomerId, String)>, StoreError> {
        let rows: Vec<_> = accounts.iter().map(AccountRow::of).collect();
        let rows = self.all(&OWING_FOLD, vec![Arg::rows(&rows)?]).await?;
        rows.iter()
            .map(|row| Ok((id!(row, "customer_id", CustomerId)?, row.text("unit")?)))
            .collect()
    }

    /// Newest first, after `cursor`.
    pub async fn debts_list(
        &mut self,
        customer: &CustomerId,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Debt>, StoreError> {
        self.all(&LIST, args![customer, cursor, limit]).await?.iter().map(debt).collect()
    }
}
