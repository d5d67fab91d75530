//! Reading rows: one small vocabulary for every backend.

use crate::errors::StoreError;
use domain::time::Timestamp;
use sqlx::Row as _;

/// A row of any backend.
pub enum Row {
    Sqlite(sqlx::sqlite::SqliteRow),
    Postgres(sqlx::postgres::PgRow),
    Mysql(sqlx::mysql::MySqlRow),
}

impl Row {
    fn get<'r, T>(&'r self, column: &'static str) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite>
            + sqlx::Type<sqlx::Sqlite>
            + sqlx::Decode<'r, sqlx::Postgres>
            + sqlx::Type<sqlx::Postgres>
            + sqlx::Decode<'r, sqlx::MySql>
            + sqlx::Type<sqlx::MySql>,
    {
        let value = match self {
            Row::Sqlite(row) => row.try_get(column),
            Row::Postgres(row) => row.try_get(column),
            Row::Mysql(row) => row.try_get(column),
        };
        value.map_err(|source| StoreError::Database { name: column, source })
    }

    pub fn int(&self, column: &'static str) -> Result<i64, StoreError> {
        self.get(column)
    }

    pub fn small(&self, column: &'static str) -> Result<u32, StoreError> {
        let value: i64 = self.get(column)?;
        u32::try_from(value)
            .map_err(|_| StoreError::Inconsistent { column, value: value.to_string() })
    }

    pub fn opt_int(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        self.get(column)
    }

    pub fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    pub fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.get(column)
    }

    pub fn opt_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    pub fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        self.get(column)
    }

    pub fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp::from_micros)
    }

    pub fn opt_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }

    /// Reads a text through a parser: ids, classes, currencies.
    pub fn parsed<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        let value = self.text(column)?;
        parse(&value).ok_or(StoreError::Inconsistent { column, value })
    }

    /// The same where the column may be empty.
    pub fn opt_parsed<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        match self.opt_text(column)? {
            None => Ok(None),
            Some(value) => match parse(&value) {
                Some(parsed) => Ok(Some(parsed)),
                None => Err(StoreError::Inconsistent { column, value }),
            },
        }
    }
}

/// Reads an id column of the wanted kind.
macro_rules! id {
    ($row:expr, $column:literal, $kind:ident) => {
        $row.parsed($column, |text| domain::ids::$kind::parse(text).ok())
    };
}
pub(crate) use id;

/// Reads an id column that may be empty.
macro_rules! opt_id {
    ($row:expr, $column:literal, $kind:ident) => {
        $row.opt_parsed($column, |text| domain::ids::$kind::parse(text).ok())
    };
}
pub(crate) use opt_id;
