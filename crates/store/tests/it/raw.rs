//! A database as somebody else's program sees it, with one way to speak to all three.

use crate::backends::Fresh;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection, SqliteConnection,
};

pub enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

impl Raw {
    pub async fn connect(fresh: &Fresh) -> anyhow::Result<Self> {
        Ok(match fresh.name {
            "sqlite" => Raw::Sqlite(SqliteConnection::connect(&fresh.url).await?),
            "postgres" => Raw::Postgres(PgConnection::connect(&fresh.url).await?),
            _ => {
                let mut connection = MySqlConnection::connect(&fresh.url).await?;
                let session = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,PIPES_AS_CONCAT'";
                connection.execute(session).await?;
                Raw::Mysql(connection)
            }
        })
    }

    pub async fn execute(&mut self, text: &str) -> Result<u64, sqlx::Error> {
        let text = AssertSqlSafe(text.to_owned());
        Ok(match self {
            Raw::Sqlite(connection) => connection.execute(text).await?.rows_affected(),
            Raw::Postgres(connection) => connection.execute(text).await?.rows_affected(),
            Raw::Mysql(connection) => connection.execute(text).await?.rows_affected(),
        })
    }
}
