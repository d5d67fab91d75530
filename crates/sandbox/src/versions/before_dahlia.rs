//! What dahlia (2026-03-25) changed, undone: the names of Checkout's ways to be shown.

use serde_json::{Map, Value, json};

/// New names and old ones.
pub const UI_MODES: [(&str, &str); 4] = [
    ("hosted_page", "hosted"),
    ("embedded_page", "embedded"),
    ("elements", "custom"),
    ("form", "custom"),
];

pub fn turn(kind: &str, object: &mut Map<String, Value>) {
    if kind != "checkout.session" {
        return;
    }
    let Some(mode) = object.get_mut("ui_mode") else {
        return;
    };
    if let Some((_, old)) = UI_MODES.iter().find(|(new, _)| mode == new) {
        *mode = json!(old);
    }
}
