//! Cursor lists: newest first, `limit`, `starting_after`, `ending_before`, ranges of time.

use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::Params;
use crate::requests::Call;
use crate::state::{Row, Table};

const DEFAULT_LIMIT: i64 = 10;
const MAX_LIMIT: i64 = 100;

/// `created=5` or `created[gte]=5`.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    from: i64,
    to: i64,
}

impl Range {
    pub fn contains(&self, instant: i64) -> bool {
        self.from <= instant && instant <= self.to
    }
}

pub fn range(params: &mut Params, key: &str) -> Result<Range, ApiError> {
    let mut range = Range { from: i64::MIN, to: i64::MAX };
    if params.is_text(key) {
        if let Some(instant) = params.timestamp(key)? {
            range = Range { from: instant, to: instant };
        }
        return Ok(range);
    }
    let Some(mut bounds) = params.hash(key)? else {
        return Ok(range);
    };
    if let Some(instant) = bounds.timestamp("gt")? {
        range.from = instant + 1;
    }
    if let Some(instant) = bounds.timestamp("gte")? {
        range.from = range.from.max(instant);
    }
    if let Some(instant) = bounds.timestamp("lt")? {
        range.to = instant - 1;
    }
    if let Some(instant) = bounds.timestamp("lte")? {
        range.to = range.to.min(instant);
    }
    bounds.finish()?;
    Ok(range)
}

/// One page of a table. The handler has read its filters before; what is left is checked here.
pub fn page<T: Row>(
    call: &mut Call,
    table: &Table<T>,
    keep: impl Fn(&T) -> bool,
    view: impl Fn(&T) -> Value,
) -> Result<Value, ApiError> {
    page_of(call, table, None, keep, view)
}

/// One page of the rows linked to an object, where the request names one.
pub fn page_of<T: Row>(
    call: &mut Call,
    table: &Table<T>,
    link: Option<&str>,
    keep: impl Fn(&T) -> bool,
    view: impl Fn(&T) -> Value,
) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let limit = limit(params)?;
    let starting_after = params.text("starting_after")?;
    let ending_before = params.text("ending_before")?;
    params.finish()?;
    let place = |id: &str, param: &str| {
        table.place(id).ok_or_else(|| ApiError::no_such(T::KIND, id, param))
    };
    let mut found: Vec<&T> = match (&starting_after, &ending_before) {
        (Some(_), Some(_)) => return Err(two_cursors()),
        (None, Some(id)) => {
            let after = place(id, "ending_before")?.saturating_add(1);
            let rows = table.listed(link, after, i64::MAX);
            rows.filter(|row| keep(row)).take(limit + 1).collect()
        }
        (cursor, None) => {
            let before = match cursor {
                Some(id) => place(id, "starting_after")?,
                None => i64::MAX,
            };
            let rows = table.listed(link, i64::MIN, before).rev();
            rows.filter(|row| keep(row)).take(limit + 1).collect()
        }
    };
    let has_more = limit < found.len();
    found.truncate(limit);
    if ending_before.is_some() {
        found.reverse();
    }
    let data: Vec<Value> = found.into_iter().map(view).collect();
    Ok(json!({"object": "list", "data": data, "has_more": has_more, "url": call.path}))
}

/// One page of objects that are computed, not stored; each has an id.
pub fn page_of_values(call: &mut Call, values: Vec<Value>) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let limit = limit(params)?;
    let starting_after = params.text("starting_after")?;
    let ending_before = params.text("ending_before")?;
    params.finish()?;
    let position = |id: &str, param: &str| {
        let position = values.iter().position(|value| value["id"] == id);
        position.ok_or_else(|| ApiError::no_such("object", id, param))
    };
    let (from, to) = match (&starting_after, &ending_before) {
        (Some(_), Some(_)) => return Err(two_cursors()),
        (Some(id), None) => {
            let from = position(id, "starting_after")? + 1;
            (from, values.len().min(from + limit))
        }
        (None, Some(id)) => {
            let to = position(id, "ending_before")?;
            (to.saturating_sub(limit), to)
        }
        (None, None) => (0, values.len().min(limit)),
    };
    let has_more = if ending_before.is_some() { 0 < from } else { to < values.len() };
    let data = values.get(from..to).unwrap_or_default();
    Ok(json!({"object": "list", "data": data, "has_more": has_more, "url": call.path}))
}

fn two_cursors() -> ApiError {
    let message = "You can only pass one of: starting_after, ending_before.";
    ApiError::invalid(message).param("starting_after")
}

pub fn limit(params: &mut Params) -> Result<usize, ApiError> {
    let limit = params.within("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    Ok(usize::try_from(limit).unwrap_or(1))
}

/// A list inside an object, complete.
pub fn whole(data: Vec<Value>, url: String) -> Value {
    let total_count = data.len();
    json!({
        "object": "list",
        "data": data,
        "has_more": false,
        "total_count": total_count,
        "url": url,
    })
}
