//! The whole state as a file of JSON lines: a header that names the format, then one row per line.
//! A file is read to its end before anything of it counts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::Accounts;
use crate::clock::{self, Clock};
use crate::state::State;
use crate::{StartError, database};

const FORMAT: &str = "tollgate-sandbox";
/// Grows whenever files of before can no longer be read.
const VERSION: i64 = 1;
/// Nobody makes so many objects: after a row there is always a place for the next.
const MAX_SEQUENCE: i64 = i64::MAX / 2;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: i64,
    saved_at: i64,
    /// How far the business clock is ahead of the wall clock.
    offset_us: i64,
    /// How many lines follow: a file that ends early is noticed.
    rows: usize,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    account: &'a str,
    kind: &'a str,
    sequence: i64,
    #[serde(borrow)]
    row: &'a RawValue,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("this is no file of `tollgate sandbox save`: its first line names no such format")]
    Format,
    #[error("the file has format version {0} and this program reads version {VERSION}")]
    Version(i64),
    #[error("line {line} cannot be read: {cause}")]
    Line { line: usize, cause: String },
    #[error("the file is cut off: {found} of {announced} rows are there")]
    CutOff { announced: usize, found: usize },
    #[error("{0} rows have an id or a place that another row has, too")]
    Twice(usize),
    #[error("the clock of the file stands outside of the years that the sandbox knows")]
    Clock,
    #[error("the state could not be rendered")]
    Render(#[source] serde_json::Error),
}

/// What was read from a file.
pub struct Snapshot {
    pub accounts: Accounts,
    pub offset_us: i64,
}

/// What can go wrong with a data directory that nobody serves.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("there is no sandbox.db in {0}")]
    Missing(std::path::PathBuf),
    #[error(transparent)]
    Open(#[from] StartError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("sandbox.db cannot be written")]
    Write(#[source] sqlx::Error),
}

pub fn write(accounts: &Accounts, offset_us: i64) -> Result<String, SnapshotError> {
    let mut lines = Vec::new();
    for (account, state) in accounts {
        for row in state.rows().map_err(SnapshotError::Render)? {
            let body = row.body.unwrap_or_default();
            let body: &RawValue = serde_json::from_str(&body).map_err(SnapshotError::Render)?;
            let line = Line { account, kind: row.kind, sequence: row.sequence, row: body };
            lines.push(serde_json::to_string(&line).map_err(SnapshotError::Render)?);
        }
    }
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        saved_at: clock::wall(),
        offset_us,
        rows: lines.len(),
    };
    let mut text = serde_json::to_string(&header).map_err(SnapshotError::Render)?;
    for line in lines {
        text.push('\n');
        text.push_str(&line);
    }
    text.push('\n');
    Ok(text)
}

/// Reads a whole file, for a sandbox at `base_url` with this clock.
pub fn read(text: &str, base_url: &str, clock: &Clock) -> Result<Snapshot, SnapshotError> {
    let mut lines = text.lines();
    let header: serde_json::Value = serde_json::from_str(lines.next().unwrap_or_default())
        .map_err(|_| SnapshotError::Format)?;
    if header["format"] != FORMAT {
        return Err(SnapshotError::Format);
    }
    let version = header["version"].as_i64().ok_or(SnapshotError::Format)?;
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let header: Header = serde_json::from_value(header)
        .map_err(|error| SnapshotError::Line { line: 1, cause: error.to_string() })?;
    let now = clock::wall().saturating_add(header.offset_us / clock::MICROS);
    if !(0..clock::END_OF_TIME).contains(&now) {
        return Err(SnapshotError::Clock);
    }
    let mut accounts = Accounts::new();
    let mut found = 0;
    for (place, text) in lines.enumerate() {
        let failed = |cause: String| SnapshotError::Line { line: place + 2, cause };
        let line: Line<'_> =
            serde_json::from_str(text).map_err(|error| failed(error.to_string()))?;
        if !State::KINDS.contains(&line.kind) {
            return Err(failed(format!("there is no kind of object named {:?}", line.kind)));
        }
        if !(1..MAX_SEQUENCE).contains(&line.sequence) {
            return Err(failed(format!("the sequence is {}", line.sequence)));
        }
        let account = accounts.entry(line.account.to_owned()).or_insert_with(|| {
            State::new(line.account.to_owned(), base_url.to_owned(), clock.clone())
        });
        account
            .load(line.kind, line.sequence, line.row.get())
            .map_err(|error| failed(format!("a {}: {error}", line.kind)))?;
        found += 1;
    }
    let kept: usize = accounts.values().flat_map(State::counts).map(|(_, count)| count).sum();
    if found != header.rows {
        return Err(SnapshotError::CutOff { announced: header.rows, found });
    }
    if kept != found {
        return Err(SnapshotError::Twice(found - kept));
    }
    accounts.values_mut().for_each(State::start_timers);
    Ok(Snapshot { accounts, offset_us: header.offset_us })
}

/// Saves the state of a data directory that no sandbox is running on.
pub async fn save_directory(directory: &Path) -> Result<String, FileError> {
    let (_, accounts, clock) = open(directory).await?;
    Ok(write(&accounts, clock.offset_us())?)
}

/// Replaces the state of a data directory that no sandbox is running on.
pub async fn load_directory(directory: &Path, text: &str) -> Result<(), FileError> {
    let snapshot = read(text, "", &Clock::new(Arc::new(AtomicI64::new(0))))?;
    put(directory, &snapshot).await
}

/// Forgets everything in a data directory that no sandbox is running on.
pub async fn reset_directory(directory: &Path) -> Result<(), FileError> {
    open(directory).await?;
    put(directory, &Snapshot { accounts: Accounts::new(), offset_us: 0 }).await
}

async fn open(directory: &Path) -> Result<(sqlx::SqliteConnection, Accounts, Clock), FileError> {
    if !directory.join(database::FILE).exists() {
        return Err(FileError::Missing(directory.to_owned()));
    }
    let clock = Clock::new(Arc::new(AtomicI64::new(0)));
    let mut connection = database::open(directory).await?;
    let accounts = database::load(&mut connection, "", &clock).await?;
    Ok((connection, accounts, clock))
}

async fn put(directory: &Path, snapshot: &Snapshot) -> Result<(), FileError> {
    let mut connection = database::open(directory).await?;
    let everything = database::Work::everything(&snapshot.accounts, snapshot.offset_us)
        .map_err(SnapshotError::Render)?;
    database::write_one(&mut connection, &everything).await.map_err(FileError::Write)
}
