//! Moving a whole deployment from one database to another: every table in batches, begun again
//! where it was cut off, and compared row by row before it counts.
//!
//! It knows no business: what it brings over stays byte for byte as it is.

use crate::clock::Clock;
use domain::time::Timestamp;
use store::copies::{Key, LedgerSums, Record, Table, TableCopy, tables};
use store::{Store, StoreError, Tx};

/// How many rows are one transaction of a copy.
pub const ROWS_PER_BATCH: usize = 1000;

/// From where to where. Nobody may serve either of them meanwhile.
#[derive(Debug, Clone)]
pub struct Copying {
    pub source: Store,
    pub target: Store,
    pub clock: Clock,
    pub rows_per_batch: usize,
}

/// Where a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Copying,
    Comparing,
}

/// What a bar shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub stage: Stage,
    pub table: &'static str,
    /// Of all tables.
    pub rows_done: i64,
    pub rows_total: i64,
}

/// What has been copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Rows of each table, equal on both sides.
    pub tables: Vec<(&'static str, i64)>,
    /// Equal on both sides.
    pub ledger: Vec<LedgerSums>,
    /// Rows that an earlier copy had brought over before it was cut off.
    pub rows_found: i64,
}

/// Which of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

impl Side {
    const fn as_str(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
        }
    }
}

/// Why a copy did not come about, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CopyFailure {
    #[error("the source is itself an unfinished copy: finish that one first")]
    SourceUnfinished,
    #[error(
        "something works on the source and has taken work until {until}: stop every server and \
         command on it; if one was killed, wait until then"
    )]
    SourceInUse { until: Timestamp },
    #[error(
        "the target is not empty: its table {table} holds rows; give it an empty database, or \
         drop and create this one"
    )]
    TargetOccupied { table: &'static str },
    #[error(
        "the target holds an unfinished copy of another deployment; give it an empty database, or \
         drop and create this one"
    )]
    TargetOfAnother,
    #[error("the target holds a finished copy already; it is ready to be served")]
    TargetFinished,
    #[error(
        "table {table} is not the same on both sides, first at {key}: the source has changed since \
         the copy began; stop every server on it, empty the target and copy again"
    )]
    Differs { table: &'static str, key: String },
    #[error(
        "table {table} has {source_rows} rows in the source and {target_rows} in the target: \
         empty the target and copy again"
    )]
    Counts { table: &'static str, source_rows: i64, target_rows: i64 },
    #[error("the ledger of unit {unit:?} does not add up in the {}: {sums}", .side.as_str())]
    Ledger { side: Side, unit: String, sums: String },
    #[error(
        "the balance of customer {customer} in unit {unit:?} is not what the ledger says in the \
         {}", .side.as_str()
    )]
    Strayed { side: Side, customer: String, unit: String },
    #[error("the ledger of the source and the target's add up to different sums")]
    LedgerDiffers,
    #[error("table {table}: {source}")]
    Table { table: &'static str, source: StoreError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far one table is.
#[derive(Debug, Clone)]
struct Position {
    table: &'static Table,
    last_key: Option<Key>,
    rows: i64,
}

/// Rows of all tables together.
struct Count {
    done: i64,
    total: i64,
}

impl Copying {
    /// Copies what is missing, compares everything, and says so in the target.
    pub async fn run(&self, told: &(dyn Fn(Progress) + Sync)) -> Result<Copied, CopyFailure> {
        self.target.migrate_up().await?;
        // One state of the source from the first row to the last.
        let mut source = self.source.read("copies.source").await?;
        self.check_source(&mut source).await?;
        let identity = source.copies_identity().await?;
        let positions = self.begin(&identity).await?;
        let rows_found = positions.iter().map(|it| it.rows).sum();
        let mut count = Count { done: rows_found, total: 0 };
        for table in tables() {
            count.total += source.copies_count(table).await?;
        }
        for position in positions {
            let table = position.table.name;
            let copied = self.copy_table(&mut source, position, &mut count, told).await;
            copied.map_err(|error| in_table(table, error))?;
        }
        drop(source);
        self.target.copies_analyze().await?;
        let copied = self.compare(told, rows_found).await?;
        let mut tx = self.target.begin("copies.finish").await?;
        tx.copies_finish(self.clock.wall()).await?;
        tx.commit().await?;
        Ok(copied)
    }

    async fn check_source(&self, source: &mut Tx) -> Result<(), CopyFailure> {
        if source.copies_list().await?.iter().any(|it| it.finished_at.is_none()) {
            return Err(CopyFailure::SourceUnfinished);
        }
        let until = source.copies_leased_until().await?;
        if let Some(until) = until.filter(|until| self.clock.wall() < *until) {
            return Err(CopyFailure::SourceInUse { until });
        }
        sums(source, Side::Source).await.map(drop)
    }

    /// Takes an empty target, or one that holds the beginning of this copy.
    async fn begin(&self, identity: &str) -> Result<Vec<Position>, CopyFailure> {
        let mut tx = self.target.begin("copies.begin").await?;
        let held = tx.copies_list().await?;
        if held.iter().any(|it| it.finished_at.is_some()) {
            return Err(CopyFailure::TargetFinished);
        }
        if held.iter().any(|it| it.source != identity) {
            return Err(CopyFailure::TargetOfAnother);
        }
        if held.is_empty() {
            if let Some(table) = tx.copies_occupied().await? {
                return Err(CopyFailure::TargetOccupied { table });
            }
            tx.copies_begin(identity, self.clock.wall()).await?;
            tx.commit().await?;
        }
        let position = |table: &'static Table| {
            let is_its = |it: &&TableCopy| it.table_name == table.name;
            let held = held.iter().find(is_its);
            let last_key = held.and_then(|it| it.last_key.clone());
            Position { table, last_key, rows: held.map_or(0, |it| it.rows_copied) }
        };
        Ok(tables().iter().map(position).collect())
    }

    /// Reads the next batch while the last one is being written.
    async fn copy_table(
        &self,
        source: &mut Tx,
        position: Position,
        count: &mut Count,
        told: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), StoreError> {
        let Position { table, last_key, mut rows } = position;
        let mut batch = source.copies_read(table, last_key.as_ref(), self.rows_per_batch).await?;
        while let Some(last) = batch.last() {
            let key = last.key(table);
            let (written, next) = tokio::join!(
                self.write(table, &batch, rows),
                source.copies_read(table, Some(&key), self.rows_per_batch)
            );
            count.done += written? - rows;
            rows += i64::try_from(batch.len()).unwrap_or(i64::MAX);
            batch = next?;
            told(count.progress(Stage::Copying, table));
        }
        Ok(())
    }

    async fn write(
        &self,
        table: &'static Table,
        batch: &[Record],
        rows_before: i64,
    ) -> Result<i64, StoreError> {
        let mut tx = self.target.begin("copies.batch").await?;
        let rows = tx.copies_write(table, batch, rows_before).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Looks at both sides anew: every row, the counts, and what the ledger adds up to.
    async fn compare(
        &self,
        told: &(dyn Fn(Progress) + Sync),
        rows_found: i64,
    ) -> Result<Copied, CopyFailure> {
        let mut source = self.source.read("copies.compare_source").await?;
        let mut target = self.target.read("copies.compare_target").await?;
        let mut counts = Vec::new();
        for table in tables() {
            let source_rows = source.copies_count(table).await?;
            let target_rows = target.copies_count(table).await?;
            if source_rows != target_rows {
                return Err(CopyFailure::Counts { table: table.name, source_rows, target_rows });
            }
            counts.push((table.name, source_rows));
        }
        let total = counts.iter().map(|(_, rows)| rows).sum();
        let mut count = Count { done: 0, total };
        for table in tables() {
            self.compare_table(&mut source, &mut target, table, &mut count, told).await?;
        }
        let ledger = sums(&mut source, Side::Source).await?;
        if ledger != sums(&mut target, Side::Target).await? {
            return Err(CopyFailure::LedgerDiffers);
        }
        Ok(Copied { tables: counts, ledger, rows_found })
    }

    async fn compare_table(
        &self,
        source: &mut Tx,
        target: &mut Tx,
        table: &'static Table,
        count: &mut Count,
        told: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), CopyFailure> {
        let mut key: Option<Key> = None;
        loop {
            let (ours, theirs) = tokio::join!(
                source.copies_read(table, key.as_ref(), self.rows_per_batch),
                target.copies_read(table, key.as_ref(), self.rows_per_batch)
            );
            let ours = ours.map_err(|error| in_table(table.name, error))?;
            let theirs = theirs.map_err(|error| in_table(table.name, error))?;
            if ours != theirs {
                let differs = |at: &usize| ours.get(*at) != theirs.get(*at);
                let first = (0..ours.len().max(theirs.len())).find(differs).unwrap_or_default();
                let record = ours.get(first).or(theirs.get(first));
                let key = record.map_or(String::new(), |record| record.key(table).to_text());
                return Err(CopyFailure::Differs { table: table.name, key });
            }
            let Some(last) = ours.last() else { return Ok(()) };
            key = Some(last.key(table));
            count.done += i64::try_from(ours.len()).unwrap_or(i64::MAX);
            told(count.progress(Stage::Comparing, table));
        }
    }
}

impl Count {
    fn progress(&self, stage: Stage, table: &'static Table) -> Progress {
        Progress { stage, table: table.name, rows_done: self.done, rows_total: self.total }
    }
}

fn in_table(table: &'static str, source: StoreError) -> CopyFailure {
    CopyFailure::Table { table, source }
}

/// What the ledger of one side adds up to; refused where it contradicts itself.
async fn sums(tx: &mut Tx, side: Side) -> Result<Vec<LedgerSums>, CopyFailure> {
    let ledger = tx.copies_ledger().await?;
    if let Some(wrong) = ledger.iter().find(|sums| !sums.agree()) {
        let sums = format!("{wrong:?}");
        return Err(CopyFailure::Ledger { side, unit: wrong.unit.clone(), sums });
    }
    match tx.copies_strayed().await? {
        Some((customer, unit)) => Err(CopyFailure::Strayed { side, customer, unit }),
        None => Ok(ledger),
    }
}
