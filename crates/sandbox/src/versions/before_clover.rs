//! What clover (2025-09-30) changed, undone: discounts and promotion codes showed their coupon
//! whole instead of naming it in `source` and `promotion`, and invoices to come had no id.

use serde_json::{Map, Value};

use crate::expand;
use crate::state::State;

pub fn turn(state: &State, kind: &str, object: &mut Map<String, Value>) {
    match kind {
        "discount" => show_coupon(state, object, "source"),
        "invoice" if is_upcoming(object) => {
            object.remove("id");
        }
        "promotion_code" => show_coupon(state, object, "promotion"),
        _ => {}
    }
}

fn is_upcoming(invoice: &Map<String, Value>) -> bool {
    let id = invoice.get("id").and_then(Value::as_str);
    id.is_some_and(|id| id.starts_with("upcoming_"))
}

fn show_coupon(state: &State, object: &mut Map<String, Value>, place: &str) {
    let Some(place) = object.remove(place) else {
        return;
    };
    let coupon = match place.get("coupon") {
        Some(Value::String(id)) => expand::object(state, id, "coupon").unwrap_or_default(),
        Some(coupon) => coupon.clone(),
        None => Value::Null,
    };
    object.insert("coupon".to_owned(), coupon);
}
