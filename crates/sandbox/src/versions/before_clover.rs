//! What clover (2025-09-30) changed, undone: discounts and promotion codes showed their coupon
//! whole instead of naming it in `source` and `promotion`.

use serde_json::{Map, Value};

use crate::expand;
use crate::state::State;

pub fn turn(state: &State, kind: &str, object: &mut Map<String, Value>) {
    let place = match kind {
        "discount" => "source",
        "promotion_code" => "promotion",
        _ => return,
    };
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
