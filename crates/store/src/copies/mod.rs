//! Copies of a whole deployment from one database to another: reading and writing tables in the
//! order of their keys, how far a copy has come, and what the ledger adds up to.
//!
//! A copy writes every table, past the files that own them: it brings over what they have made.

mod tables;

use crate::database::{Pools, Store, Tx};
use crate::errors::StoreError;
use crate::rows::Row;
use crate::sql::{Arg, args, statements};
use domain::time::Timestamp;
use serde_json::Value;

pub use tables::{Kind, Table, tables};

/// What one batch may weigh: a server takes no statement of more than a few times that.
const BATCH_BYTES_MAX: usize = 4_000_000;

/// One row, cell by cell as its table lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    cells: Vec<Arg>,
}

/// The key of a row: where a table is read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Vec<Arg>);

/// How far one table of a copy has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCopy {
    pub table_name: String,
    /// What tells the copied deployment from any other.
    pub source: String,
    pub last_key: Option<Key>,
    pub rows_copied: i64,
    pub finished_at: Option<Timestamp>,
}

/// What the lots, the balances and the ledger of one unit add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerSums {
    pub unit: String,
    pub granted: i64,
    pub spent: i64,
    pub held: i64,
    pub expired: i64,
    pub revoked: i64,
    pub entries: i64,
    /// What the entries did to what is available and to what is held.
    pub entries_available: i64,
    pub entries_held: i64,
    pub balances_entries: i64,
    pub balances_available: i64,
    pub balances_held: i64,
}

impl LedgerSums {
    /// Whether lots, balances and entries tell the same.
    pub fn agree(&self) -> bool {
        let left = self.granted - self.spent - self.held - self.expired - self.revoked;
        let of_lots = (left, self.held);
        of_lots == (self.entries_available, self.entries_held)
            && of_lots == (self.balances_available, self.balances_held)
            && self.entries == self.balances_entries
    }
}

impl Record {
    /// What it weighs, nearly.
    fn bytes(&self) -> usize {
        let weight = |cell: &Arg| match cell {
            Arg::Int(_) => 8,
            Arg::Text(text) => text.as_ref().map_or(1, String::len),
            Arg::Bytes(bytes) => bytes.len(),
        };
        self.cells.iter().map(weight).sum()
    }

    pub fn key(&self, table: &Table) -> Key {
        Key(self.cells.iter().take(table.key_columns).cloned().collect())
    }
}

impl Key {
    /// As JSON: a list of texts and whole numbers.
    pub fn to_text(&self) -> String {
        let value = |cell: &Arg| match cell {
            Arg::Int(value) => Value::from(*value),
            Arg::Text(value) => Value::from(value.as_deref()),
            Arg::Bytes(_) => Value::Null,
        };
        Value::Array(self.0.iter().map(value).collect()).to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        let cell = |value: Value| match value {
            Value::String(text) => Some(Arg::Text(Some(text))),
            value => value.as_i64().map(|value| Arg::Int(Some(value))),
        };
        let values: Vec<Value> = serde_json::from_str(text).ok()?;
        values.into_iter().map(cell).collect::<Option<Vec<_>>>().map(Key)
    }
}

statements! {
    LEASED = "copies.leased":
        "SELECT MAX(leased_until) AS leased_until FROM (
             SELECT leased_until FROM inbox_events WHERE state = 'pending'
             UNION ALL SELECT leased_until FROM deliveries WHERE state = 'pending'
             UNION ALL SELECT leased_until FROM provider_calls
                 WHERE state IN ('intended', 'unknown')
             UNION ALL SELECT leased_until FROM sync_runs WHERE state = 'running') AS leases";
    DEPLOYMENT = "copies.deployment": "SELECT mode, created_at FROM deployment";
    CUSTOMER = "copies.customer": "SELECT MIN(id) AS id FROM customers";
    API_KEY = "copies.api_key": "SELECT MIN(id) AS id FROM api_keys";
    LIST = "copies.list": "SELECT * FROM copies ORDER BY table_name";
    UNFINISHED = "copies.unfinished":
        "SELECT table_name FROM copies WHERE finished_at IS NULL LIMIT 1";
    INSERT = "copies.insert":
        "INSERT INTO copies (table_name, source, rows_copied, started_at) VALUES (?, ?, 0, ?)";
    ADVANCE = "copies.advance":
        "UPDATE copies SET last_key = ?, rows_copied = ?
         WHERE table_name = ? AND rows_copied = ? AND finished_at IS NULL";
    FINISH = "copies.finish": "UPDATE copies SET finished_at = ? WHERE finished_at IS NULL";
    LOTS = "copies.lots":
        "SELECT unit, CAST(SUM(granted) AS BIGINT) AS granted, CAST(SUM(spent) AS BIGINT) AS spent,
             CAST(SUM(held) AS BIGINT) AS held, CAST(SUM(expired) AS BIGINT) AS expired,
             CAST(SUM(revoked) AS BIGINT) AS revoked
         FROM credit_grants GROUP BY unit";
    ENTRIES = "copies.entries":
        "SELECT unit, COUNT(*) AS entries, CAST(SUM(amount) AS BIGINT) AS available,
             CAST(SUM(held_amount) AS BIGINT) AS held
         FROM credit_entries GROUP BY unit";
    BALANCES = "copies.balances":
        "SELECT unit, CAST(SUM(entries) AS BIGINT) AS entries,
             CAST(SUM(available) AS BIGINT) AS available, CAST(SUM(held) AS BIGINT) AS held
         FROM credit_balances GROUP BY unit";
    STRAYED = "copies.strayed":
        "SELECT b.customer_id, b.unit FROM credit_balances AS b
         LEFT JOIN credit_entries AS e
             ON e.customer_id = b.customer_id AND e.unit = b.unit AND e.number = b.entries
         WHERE COALESCE(e.balance_after, 0) <> b.available OR COALESCE(e.held_after, 0) <> b.held
         LIMIT 1";
}

impl Store {
    /// Refuses a database into which another one is still being copied.
    pub async fn copies_check(&self) -> Result<(), StoreError> {
        let mut tx = self.read("copies.check").await?;
        match tx.first(&UNFINISHED, args![]).await? {
            Some(_) => Err(StoreError::CopyUnfinished),
            None => Ok(()),
        }
    }

    /// PostgreSQL gathers what it plans by only some time after so much was written.
    pub async fn copies_analyze(&self) -> Result<(), StoreError> {
        let Pools::Postgres(pool) = &self.pools else { return Ok(()) };
        let done = sqlx::query("ANALYZE").execute(pool).await;
        done.map(drop).map_err(|source| StoreError::Database { name: "copies.analyze", source })
    }
}

impl Tx {
    /// Until when the latest unfinished work is somebody's: a server's that runs, or was killed.
    pub async fn copies_leased_until(&mut self) -> Result<Option<Timestamp>, StoreError> {
        match self.first(&LEASED, args![]).await? {
            Some(row) => row.opt_time("leased_until"),
            None => Ok(None),
        }
    }

    /// What tells this deployment from any other: when it was bound, and who came first.
    pub async fn copies_identity(&mut self) -> Result<String, StoreError> {
        let bound = match self.first(&DEPLOYMENT, args![]).await? {
            Some(row) => format!("{} {}", row.text("mode")?, row.int("created_at")?),
            None => "unbound".to_owned(),
        };
        let mut identity = bound;
        for sql in [&CUSTOMER, &API_KEY] {
            if let Some(row) = self.first(sql, args![]).await? {
                identity.push(' ');
                identity.push_str(row.opt_text("id")?.as_deref().unwrap_or("none"));
            }
        }
        Ok(identity)
    }

    /// The first table that holds anything.
    pub async fn copies_occupied(&mut self) -> Result<Option<&'static str>, StoreError> {
        for table in tables() {
            if self.first(&table.any, args![]).await?.is_some() {
                return Ok(Some(table.name));
            }
        }
        Ok(None)
    }

    /// How far a copy into this database has come, table by table.
    pub async fn copies_list(&mut self) -> Result<Vec<TableCopy>, StoreError> {
        let rows = self.all(&LIST, args![]).await?;
        rows.iter().map(table_copy).collect()
    }

    /// From now on this database is the unfinished copy of that source.
    pub async fn copies_begin(&mut self, source: &str, now: Timestamp) -> Result<(), StoreError> {
        for table in tables() {
            self.change_one(&INSERT, args![table.name, source, now]).await?;
        }
        Ok(())
    }

    pub async fn copies_count(&mut self, table: &'static Table) -> Result<i64, StoreError> {
        match self.first(&table.count, args![]).await? {
            Some(row) => row.int("found"),
            None => Ok(0),
        }
    }

    /// The next rows in the order of the key: at most so many, and not many more bytes than fit
    /// into one statement.
    pub async fn copies_read(
        &mut self,
        table: &'static Table,
        after: Option<&Key>,
        rows_max: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let rows_max = rows_max.min(table.rows_max());
        let mut records = Vec::new();
        match after {
            None => {
                self.copies_rows(table, &table.first, Vec::new(), rows_max, &mut records).await?
            }
            Some(Key(key)) => {
                // First what shares all of the key but its end, at last what shares nothing.
                for same in (0..key.len()).rev() {
                    let args = key[..=same].to_vec();
                    let sql = &table.after[same];
                    self.copies_rows(table, sql, args, rows_max, &mut records).await?;
                }
            }
        }
        let mut bytes = 0;
        let fitting = records.iter().take_while(|record| {
            bytes += record.bytes();
            bytes <= BATCH_BYTES_MAX
        });
        let fitting = fitting.count().max(1);
        records.truncate(fitting);
        Ok(records)
    }

    async fn copies_rows(
        &mut self,
        table: &'static Table,
        sql: &'static crate::Sql,
        mut args: Vec<Arg>,
        rows_max: usize,
        records: &mut Vec<Record>,
    ) -> Result<(), StoreError> {
        let wanted = rows_max.saturating_sub(records.len());
        if wanted == 0 {
            return Ok(());
        }
        args.push(Arg::Int(i64::try_from(wanted).ok()));
        for row in &self.all(sql, args).await? {
            records.push(Record { cells: table.cells(row)? });
        }
        Ok(())
    }

    /// Writes rows that follow what is there, and remembers how far the table has come. Fails where
    /// somebody else has brought it further.
    pub async fn copies_write(
        &mut self,
        table: &'static Table,
        records: &[Record],
        rows_before: i64,
    ) -> Result<i64, StoreError> {
        let Some(last) = records.last() else { return Ok(rows_before) };
        let rows = rows_before.saturating_add(i64::try_from(records.len()).unwrap_or(i64::MAX));
        let args = args![last.key(table).to_text(), rows, table.name, rows_before];
        self.change_one(&ADVANCE, args).await?;
        let cells: Vec<&[Arg]> = records.iter().map(|it| it.cells.as_slice()).collect();
        self.insert_all(&table.insert, &cells).await?;
        Ok(rows)
    }

    /// The copy is whole: the deployment may be served.
    pub async fn copies_finish(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.change_all(&FINISH, args![now], tables().len()).await
    }

    /// The sums of every unit, by the units' names.
    pub async fn copies_ledger(&mut self) -> Result<Vec<LedgerSums>, StoreError> {
        let mut sums = std::collections::BTreeMap::<String, LedgerSums>::new();
        for row in self.all(&LOTS, args![]).await? {
            let of_unit = sums.entry(row.text("unit")?).or_default();
            of_unit.granted = row.int("granted")?;
            of_unit.spent = row.int("spent")?;
            of_unit.held = row.int("held")?;
            of_unit.expired = row.int("expired")?;
            of_unit.revoked = row.int("revoked")?;
        }
        for row in self.all(&ENTRIES, args![]).await? {
            let of_unit = sums.entry(row.text("unit")?).or_default();
            of_unit.entries = row.int("entries")?;
            of_unit.entries_available = row.int("available")?;
            of_unit.entries_held = row.int("held")?;
        }
        for row in self.all(&BALANCES, args![]).await? {
            let of_unit = sums.entry(row.text("unit")?).or_default();
            of_unit.balances_entries = row.int("entries")?;
            of_unit.balances_available = row.int("available")?;
            of_unit.balances_held = row.int("held")?;
        }
        Ok(sums.into_iter().map(|(unit, sums)| LedgerSums { unit, ..sums }).collect())
    }

    /// An account whose balance is not what its last entry says: customer and unit.
    pub async fn copies_strayed(&mut self) -> Result<Option<(String, String)>, StoreError> {
        let row = self.first(&STRAYED, args![]).await?;
        row.map(|row| Ok((row.text("customer_id")?, row.text("unit")?))).transpose()
    }
}

fn table_copy(row: &Row) -> Result<TableCopy, StoreError> {
    let last_key = row.opt_parsed("last_key", Key::parse)?;
    Ok(TableCopy {
        table_name: row.text("table_name")?,
        source: row.text("source")?,
        last_key,
        rows_copied: row.int("rows_copied")?,
        finished_at: row.opt_time("finished_at")?,
    })
}
