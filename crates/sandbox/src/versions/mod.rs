//! Older versions of the API. Views are made in the latest shape; from there an object goes back
//! month by month until it looks as it did in the version somebody asked for.
//!
//! What a version only added is a row in `additions`; what it moved, renamed or removed is undone
//! in a file of its own. To what is shown here, 2024-06-20 changed
//! nothing, and acacia and endive only added.

mod additions;
mod before_basil;
mod before_clover;
mod before_dahlia;
mod parameters;

use serde_json::{Map, Value};

use crate::errors::ApiError;
use crate::events;
use crate::state::State;

pub use parameters::modernise;

/// Every version that can be asked for, oldest first.
const NAMES: [&str; 28] = [
    "2024-04-10",
    "2024-06-20",
    "2024-09-30.acacia",
    "2024-10-28.acacia",
    "2024-11-20.acacia",
    "2024-12-18.acacia",
    "2025-01-27.acacia",
    "2025-02-24.acacia",
    "2025-03-31.basil",
    "2025-04-30.basil",
    "2025-05-28.basil",
    "2025-06-30.basil",
    "2025-07-30.basil",
    "2025-08-27.basil",
    "2025-09-30.clover",
    "2025-10-29.clover",
    "2025-11-17.clover",
    "2025-12-15.clover",
    "2026-01-28.clover",
    "2026-02-25.clover",
    "2026-03-25.dahlia",
    "2026-04-22.dahlia",
    "2026-05-27.dahlia",
    "2026-06-24.dahlia",
    "2026-07-29.dahlia",
    "2026-08-26.dahlia",
    "2026-09-30.endive",
    "2026-10-28.endive",
];

/// A version, as its place among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(usize);

pub const LATEST: Version = Version(NAMES.len() - 1);
/// The versions that changed more than they added.
const BASIL: Version = Version(8);
const CLOVER: Version = Version(14);
const DAHLIA: Version = Version(20);

impl Version {
    pub fn named(name: &str) -> Result<Version, ApiError> {
        let place = NAMES.iter().position(|known| *known == name);
        place.map(Version).ok_or_else(|| {
            let shown: String = name.chars().take(50).collect();
            ApiError::invalid(format!(
                "Invalid Stripe API version: {shown}. The sandbox knows the versions from {} to \
                 {}.",
                NAMES[0],
                LATEST.name(),
            ))
        })
    }

    pub fn name(self) -> &'static str {
        NAMES.get(self.0).copied().unwrap_or(events::API_VERSION)
    }

    /// Whether invoices name the payment intent that pays them, as they did before basil.
    pub fn is_before_basil(self) -> bool {
        self < BASIL
    }
}

/// The objects in `value`, as this version showed them.
pub fn render(state: &State, version: Version, mut value: Value) -> Value {
    if version < LATEST {
        walk(state, version, &mut value);
    }
    value
}

/// An object goes back before its parts do: it may need them as they are, and may get new ones.
fn walk(state: &State, version: Version, value: &mut Value) {
    match value {
        Value::Array(elements) => {
            elements.iter_mut().for_each(|element| walk(state, version, element));
        }
        Value::Object(object) => {
            let kind = object.get("object").and_then(Value::as_str).map(str::to_owned);
            // Events keep the version they were made in.
            if kind.as_deref() == Some("event") {
                return;
            }
            if let Some(kind) = kind
                && !object.contains_key("deleted")
            {
                go_back(state, version, &kind, object);
            }
            for (key, part) in object.iter_mut() {
                // Whatever the callers wrote is theirs.
                if key != "metadata" && key != "payload" {
                    walk(state, version, part);
                }
            }
        }
        _ => {}
    }
}

fn go_back(state: &State, version: Version, kind: &str, object: &mut Map<String, Value>) {
    for month in (version.0 + 1..NAMES.len()).rev().map(Version) {
        match month {
            DAHLIA => before_dahlia::turn(kind, object),
            CLOVER => before_clover::turn(state, kind, object),
            BASIL => before_basil::turn(state, kind, object),
            _ => {}
        }
        additions::remove(month.name(), kind, object);
    }
}

/// The `data` of an event, as this version showed it. What changed is found anew, because a change
/// can look different in another shape.
pub fn render_event_data(state: &State, version: Version, data: Value) -> Value {
    let Value::Object(mut data) = data else {
        return data;
    };
    if version == LATEST {
        return Value::Object(data);
    }
    let object = data.remove("object").unwrap_or_default();
    let before = data.remove("previous_attributes").map(|previous| {
        let mut before = object.clone();
        put_back(&mut before, previous);
        before
    });
    let object = render(state, version, object);
    if let Some(before) = before {
        let before = render(state, version, before);
        let previous = events::differences(&before, &object);
        data.insert("previous_attributes".to_owned(), Value::Object(previous));
    }
    data.insert("object".to_owned(), object);
    Value::Object(data)
}

/// Undoes `events::differences`: plain hashes were compared key by key, everything else whole.
fn put_back(value: &mut Value, previous: Value) {
    match (value, previous) {
        (Value::Object(fields), Value::Object(previous)) => {
            for (key, old) in previous {
                let field = fields.entry(key).or_insert(Value::Null);
                if field.is_object() && old.is_object() && field.get("object").is_none() {
                    put_back(field, old);
                } else {
                    *field = old;
                }
            }
        }
        (value, previous) => *value = previous,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn releases_are_where_they_are_said_to_be() {
        assert_eq!(BASIL.name(), "2025-03-31.basil");
        assert_eq!(CLOVER.name(), "2025-09-30.clover");
        assert_eq!(DAHLIA.name(), "2026-03-25.dahlia");
        assert_eq!(LATEST.name(), events::API_VERSION);
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn what_changed_can_be_put_back() {
        let before =
            json!({"a": 1, "b": {"x": 1, "y": 2}, "l": [1], "gone": 3, "o": {"object": "p"}});
        let after =
            json!({"a": 2, "b": {"x": 1, "y": 3}, "l": [1, 2], "o": {"object": "q", "n": 1}});
        let mut value = after.clone();
        put_back(&mut value, Value::Object(events::differences(&before, &after)));
        assert_eq!(value, before);
    }
}
