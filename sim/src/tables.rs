//! Reading the database by plain SQL, past everything that the engine believes about it.

use anyhow::Result;
use serde_json::{Map, Value, json};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, Row as _, TypeInfo as _, ValueRef as _};

pub type Record = Map<String, Value>;

/// Every row that a query finds.
pub async fn rows(books: &mut SqliteConnection, query: &str) -> Result<Vec<Record>> {
    let query = AssertSqlSafe(query.to_owned());
    let found = sqlx::query(query).persistent(true).fetch_all(books).await?;
    found.iter().map(record).collect()
}

fn record(row: &SqliteRow) -> Result<Record> {
    let mut record = Record::new();
    for column in row.columns() {
        let index = column.ordinal();
        let raw = row.try_get_raw(index)?;
        let kind = raw.type_info().name().to_owned();
        let value = match kind.as_str() {
            _ if raw.is_null() => Value::Null,
            "INTEGER" | "BIGINT" | "INT8" => json!(row.try_get::<i64, _>(index)?),
            "BLOB" => json!(row.try_get::<Vec<u8>, _>(index)?.len()),
            _ => json!(row.try_get::<String, _>(index)?),
        };
        record.insert(column.name().to_owned(), value);
    }
    Ok(record)
}

/// A whole number of a row; what is empty counts as zero.
pub fn number(row: &Record, column: &str) -> i64 {
    row.get(column).and_then(Value::as_i64).unwrap_or(0)
}

pub fn some_number(row: &Record, column: &str) -> Option<i64> {
    row.get(column).and_then(Value::as_i64)
}

/// A text of a row; what is empty is an empty text.
pub fn text<'a>(row: &'a Record, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// The one number that a query finds.
pub async fn count(books: &mut SqliteConnection, query: &str) -> Result<i64> {
    let query = AssertSqlSafe(query.to_owned());
    Ok(sqlx::query_scalar(query).fetch_one(books).await?)
}
