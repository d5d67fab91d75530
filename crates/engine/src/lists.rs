//! Cursor pages: newest first, bounded, each row once.

use crate::failures::Failure;
use domain::codes::Code;

const LIMIT_DEFAULT: u32 = 20;
const LIMIT_MAX: u32 = 100;
/// Sorts after every id.
pub(crate) const NEWEST: &str = "~";
const CURSOR_LENGTH_MAX: usize = 64;

/// Which part of a list is wanted.
#[derive(Debug, Clone)]
pub struct Page {
    pub limit: u32,
    cursor: String,
}

/// Part of a list, and where the next part begins.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    pub data: Vec<T>,
    pub next_cursor: Option<String>,
}

impl Page {
    /// Checks what a caller asked for; without a cursor the list begins with the newest.
    pub fn new(limit: Option<u32>, cursor: Option<String>) -> Result<Self, Failure> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let detail = format!("limit must be from 1 to {LIMIT_MAX}, not {limit}");
            return Err(Failure::invalid("limit", detail));
        }
        let cursor = cursor.unwrap_or_else(|| NEWEST.to_owned());
        let id =
            cursor.contains('_') && cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let number = !cursor.is_empty() && cursor.bytes().all(|b| b.is_ascii_digit());
        let known = cursor == NEWEST || (cursor.len() <= CURSOR_LENGTH_MAX && (id || number));
        if !known {
            return Err(Failure::Refused {
                code: Code::InvalidCursor,
                detail: "cursor must be a next_cursor that an earlier page returned".to_owned(),
                param: Some("cursor"),
            });
        }
        Ok(Self { limit, cursor })
    }

    /// The first page of the usual size.
    pub fn first() -> Self {
        Self { limit: LIMIT_DEFAULT, cursor: NEWEST.to_owned() }
    }

    /// What the store compares ids with.
    pub(crate) fn cursor(&self) -> &str {
        &self.cursor
    }

    /// For lists that are numbered: the line to stop before.
    pub(crate) fn number(&self) -> Result<i64, Failure> {
        if self.cursor == NEWEST {
            return Ok(i64::MAX);
        }
        self.cursor.parse().map_err(|_| Failure::Refused {
            code: Code::InvalidCursor,
            detail: "cursor must be a next_cursor that an earlier page returned".to_owned(),
            param: Some("cursor"),
        })
    }

    /// One row more than asked for tells whether there is a next page.
    pub(crate) fn fetch(&self) -> u32 {
        self.limit + 1
    }

    /// Cuts the extra row off and remembers where to go on.
    pub(crate) fn cut<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> String) -> Listed<T> {
        let limit = self.limit as usize;
        let more = limit < rows.len();
        rows.truncate(limit);
        let next_cursor = if more { rows.last().map(key) } else { None };
        Listed { data: rows, next_cursor }
    }
}
