//! Reading objects whose shape changes with the API version: what is absent, null or of another
//! type than expected is simply not there.

use std::collections::BTreeMap;

use domain::time::Timestamp;
use serde_json::Value;

/// A text that is not empty, at a JSON pointer, without NUL, which not every database keeps.
pub(super) fn text(object: &Value, pointer: &str) -> Option<String> {
    let text = object.pointer(pointer)?.as_str()?.replace('\0', "");
    (!text.is_empty()).then_some(text)
}

/// The id of another object, which may stand there whole.
pub(super) fn reference(object: &Value, pointer: &str) -> Option<String> {
    match object.pointer(pointer)? {
        Value::Object(_) => text(object, &format!("{pointer}/id")),
        _ => text(object, pointer),
    }
}

pub(super) fn has_id(object: &Value) -> bool {
    text(object, "/id").is_some()
}

pub(super) fn integer(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer)?.as_i64()
}

pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// An instant in whole seconds.
pub(super) fn instant(object: &Value, pointer: &str) -> Option<Timestamp> {
    integer(object, pointer).map(Timestamp::from_seconds)
}

/// The entries that are texts.
pub(super) fn map(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let Some(Value::Object(entries)) = object.pointer(pointer) else {
        return BTreeMap::new();
    };
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    entries.iter().filter_map(text).collect()
}

/// What a list holds, and whether that is all of it.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> (&'a [Value], bool) {
    match object.pointer(&format!("{pointer}/data")) {
        Some(Value::Array(entries)) => {
            (entries.as_slice(), !flag(object, &format!("{pointer}/has_more")))
        }
        _ => (&[], false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_ids_or_whole_objects() {
        let object =
            json!({"a": "cus_1", "b": {"id": "cus_2"}, "c": null, "d": 7, "e": "", "f": {}});
        let found = ["/a", "/b", "/c", "/d", "/e", "/f", "/g"].map(|p| reference(&object, p));
        let expected = [Some("cus_1"), Some("cus_2"), None, None, None, None, None];
        assert_eq!(found.each_ref().map(Option::as_deref), expected);
    }

    #[test]
    fn other_types_are_absent() {
        let object =
            json!({"n": 1.5, "s": "5", "big": 18_446_744_073_709_551_615_u64, "m": {"a": 1}});
        assert_eq!(integer(&object, "/n"), None);
        assert_eq!(integer(&object, "/s"), None);
        assert_eq!(integer(&object, "/big"), None);
        assert!(map(&object, "/m").is_empty());
        assert_eq!(list(&object, "/m"), (&[][..], false));
    }
}
