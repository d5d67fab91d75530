//! Named statements and their arguments.

use crate::dialect::{self, MysqlStatement};
use crate::errors::StoreError;
use domain::time::Timestamp;
use serde::Serialize;
use std::borrow::Cow;
use std::sync::OnceLock;

/// One statement: a name for logs and errors, and one text for every backend.
#[derive(Debug)]
pub struct Sql {
    pub name: &'static str,
    text: Cow<'static, str>,
    sqlite: OnceLock<String>,
    postgres: OnceLock<String>,
    mysql: OnceLock<MysqlStatement>,
}

impl Sql {
    /// Names a statement; use through `statements!`.
    pub const fn new(name: &'static str, text: &'static str) -> Self {
        Self::of(name, Cow::Borrowed(text))
    }

    /// One of many that are alike, made once and kept.
    pub(crate) fn made(name: &'static str, text: String) -> Self {
        Self::of(name, Cow::Owned(text))
    }

    const fn of(name: &'static str, text: Cow<'static, str>) -> Self {
        Self {
            name,
            text,
            sqlite: OnceLock::new(),
            postgres: OnceLock::new(),
            mysql: OnceLock::new(),
        }
    }

    /// As SQLite reads it.
    pub fn sqlite(&'static self) -> &'static str {
        self.sqlite.get_or_init(|| dialect::sqlite(&self.text))
    }

    /// As PostgreSQL reads it.
    pub fn postgres(&'static self) -> &'static str {
        self.postgres.get_or_init(|| dialect::postgres(&self.text))
    }

    /// As MySQL and MariaDB read it.
    pub fn mysql(&'static self) -> &'static MysqlStatement {
        self.mysql.get_or_init(|| dialect::mysql(&self.text))
    }

    /// The text of an insert for many rows, without the words that pass over those that are there.
    pub(crate) fn repeated(&self, rows: usize) -> String {
        dialect::repeated(&self.text, rows)
    }
}

/// SQLite takes so many arguments in one statement, the servers twice that.
pub(crate) const ARGUMENTS_MAX: usize = 32_000;
/// Up to here every number of rows has a text of its own.
const FEW_ROWS: usize = 16;

/// How many of so many rows one insert takes. A connection keeps a hundred texts prepared, so not
/// every number of rows may be another one.
pub(crate) fn portion(rows: usize, columns: usize) -> usize {
    match rows.min(ARGUMENTS_MAX / columns) {
        many if FEW_ROWS < many => 1 << many.ilog2(),
        few => few,
    }
}

/// Declares a module's statements and the list of them all.
macro_rules! statements {
    ($($name:ident = $label:literal: $text:expr;)+) => {
        $(static $name: $crate::sql::Sql = $crate::sql::Sql::new($label, $text);)+
        /// Every statement of this module.
        pub static ALL: &[&$crate::sql::Sql] = &[$(&$name),+];
    };
}
pub(crate) use statements;

/// One argument of a statement: only types that mean the same on every backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

#[derive(Serialize)]
struct IdRow<'a> {
    id: &'a str,
}

impl Arg {
    /// Many ids as one argument, which the statement reads by `ROWS(id …)`.
    pub fn ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Result<Self, StoreError> {
        Self::rows(&ids.into_iter().map(|id| IdRow { id }).collect::<Vec<_>>())
    }

    /// Many rows as one argument, which the statement reads by `ROWS(…)`.
    pub fn rows<T: Serialize>(rows: &[T]) -> Result<Self, StoreError> {
        let text = serde_json::to_string(rows).map_err(|error| StoreError::Inconsistent {
            column: "rows",
            value: error.to_string(),
        })?;
        Ok(Arg::Text(Some(text)))
    }
}

macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Arg::from($value)),*] };
}
pub(crate) use args;

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Arg::Int(Some(value))
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Arg::Int(Some(i64::from(value)))
    }
}

impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Arg::Int(Some(i64::from(value)))
    }
}

impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Self {
        Arg::Int(value)
    }
}

impl From<Timestamp> for Arg {
    fn from(value: Timestamp) -> Self {
        Arg::Int(Some(value.micros()))
    }
}

impl From<Option<Timestamp>> for Arg {
    fn from(value: Option<Timestamp>) -> Self {
        Arg::Int(value.map(Timestamp::micros))
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Arg::Text(Some(value.to_owned()))
    }
}

impl From<&String> for Arg {
    fn from(value: &String) -> Self {
        Arg::Text(Some(value.clone()))
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Arg::Text(Some(value))
    }
}

impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Self {
        Arg::Text(value.map(str::to_owned))
    }
}

impl From<&Option<String>> for Arg {
    fn from(value: &Option<String>) -> Self {
        Arg::Text(value.clone())
    }
}

impl From<&[u8]> for Arg {
    fn from(value: &[u8]) -> Self {
        Arg::Bytes(value.to_vec())
    }
}

macro_rules! id_args {
    ($($id:ident),+ $(,)?) => {$(
        impl From<&domain::ids::$id> for Arg {
            fn from(value: &domain::ids::$id) -> Self {
                Arg::from(value.as_str())
            }
        }
        impl From<&Option<domain::ids::$id>> for Arg {
            fn from(value: &Option<domain::ids::$id>) -> Self {
                Arg::from(value.as_ref().map(|id| id.as_str()))
            }
        }
    )+};
}

id_args! {
    AdminSessionId,
    AllowanceScheduleId,
    ApiKeyId,
    AuditId,
    CheckoutSessionId,
    ChunkId,
    CollectionId,
    CreditNoteId,
    CustomerId,
    DebtId,
    DeliveryId,
    DisputeId,
    DocumentId,
    EntitlementId,
    EntryId,
    GrantId,
    HoldId,
    InboxEventId,
    InvoiceId,
    OutboxEventId,
    PaymentId,
    PortalSessionId,
    PriceId,
    ProductId,
    ProviderCallId,
    RefundId,
    SubscriptionId,
    SyncRunId,
    WebhookEndpointId,
}
