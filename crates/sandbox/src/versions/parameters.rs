//! Parameters of older versions, written as the latest version reads them.

use serde_json::{Map, Value, json};

use crate::requests::Verb;
use crate::versions::before_dahlia::UI_MODES;
use crate::versions::{BASIL, CLOVER, DAHLIA, Version};

type Fields = Map<String, Value>;

/// Turns a request as `version` describes it into today's. What is not known here stays as it is,
/// and is refused like any unknown parameter.
pub fn modernise(version: Version, verb: &mut Verb, path: &mut String, fields: &mut Fields) {
    if version < BASIL && *verb == Verb::Get && path == "/v1/invoices/upcoming" {
        *verb = Verb::Post;
        "/v1/invoices/create_preview".clone_into(path);
        gather_subscription_details(fields);
    }
    if *verb != Verb::Post {
        return;
    }
    let parts: Vec<&str> = path.split('/').skip(2).collect();
    if version < DAHLIA
        && let ["checkout", "sessions"] = parts[..]
    {
        rename_ui_mode(fields);
    }
    if version < CLOVER
        && let ["promotion_codes"] = parts[..]
        && let Some(coupon) = fields.remove("coupon")
    {
        fields.insert("promotion".to_owned(), json!({"coupon": coupon, "type": "coupon"}));
    }
    if version < BASIL {
        match parts[..] {
            ["credit_notes"] => {
                if let Some(refund) = fields.remove("refund") {
                    fields.insert("refunds".to_owned(), json!([{ "refund": refund }]));
                }
            }
            ["invoiceitems", ..] => gather_pricing(fields),
            ["invoices", "create_preview"] => {
                gather_discounts(fields);
                each(fields, "invoice_items", name_unit_amount);
            }
            ["invoices", _, "add_lines" | "update_lines"] => each(fields, "lines", gather_pricing),
            ["invoices", _, "lines", _] => gather_pricing(fields),
            ["subscription_schedules", ..] => each(fields, "phases", gather_discounts),
            ["subscriptions", ..] => gather_discounts(fields),
            _ => {}
        }
    }
}

fn rename_ui_mode(fields: &mut Fields) {
    let Some(mode) = fields.get_mut("ui_mode") else {
        return;
    };
    if let Some((new, _)) = UI_MODES.iter().find(|(_, old)| mode == old) {
        *mode = json!(new);
    }
}

/// One coupon or promotion code became a list of discounts.
fn gather_discounts(fields: &mut Fields) {
    let mut discounts = Vec::new();
    let mut clears = false;
    for key in ["coupon", "promotion_code"] {
        match fields.remove(key) {
            None => {}
            Some(Value::String(text)) if text.is_empty() => clears = true,
            Some(value) => discounts.push(json!({ key: value })),
        }
    }
    if !discounts.is_empty() {
        fields.insert("discounts".to_owned(), Value::Array(discounts));
    } else if clears {
        fields.insert("discounts".to_owned(), json!(""));
    }
}

fn gather_pricing(fields: &mut Fields) {
    if let Some(price) = fields.remove("price") {
        fields.insert("pricing".to_owned(), json!({ "price": price }));
    }
    name_unit_amount(fields);
}

fn name_unit_amount(fields: &mut Fields) {
    if let Some(amount) = fields.remove("unit_amount") {
        fields.insert("unit_amount_decimal".to_owned(), amount);
    }
}

/// `subscription_items` of an upcoming invoice are the `items` of the subscription's details.
fn gather_subscription_details(fields: &mut Fields) {
    const PREFIX: &str = "subscription_";
    let keys: Vec<String> = fields
        .keys()
        .filter(|key| key.starts_with(PREFIX) && *key != "subscription_details")
        .cloned()
        .collect();
    let details = fields.remove("subscription_details").unwrap_or(Value::Null);
    let mut details = match details {
        Value::Object(details) => details,
        _ => Map::new(),
    };
    for key in keys {
        if let Some(value) = fields.remove(&key) {
            details.insert(key.trim_start_matches(PREFIX).to_owned(), value);
        }
    }
    if !details.is_empty() {
        fields.insert("subscription_details".to_owned(), Value::Object(details));
    }
}

fn each(fields: &mut Fields, key: &str, turn: fn(&mut Fields)) {
    if let Some(Value::Array(elements)) = fields.get_mut(key) {
        elements.iter_mut().filter_map(Value::as_object_mut).for_each(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions::LATEST;

    fn check(version: &str, verb: Verb, path: &str, before: Value, expected: (&str, Value)) {
        let version = Version::named(version).unwrap_or(LATEST);
        let (mut verb, mut path) = (verb, path.to_owned());
        let Value::Object(mut fields) = before else {
            panic!("parameters are an object");
        };
        modernise(version, &mut verb, &mut path, &mut fields);
        assert_eq!((path.as_str(), Value::Object(fields)), expected);
        assert_eq!(verb, Verb::Post);
    }

    #[test]
    fn older_parameters_are_read() {
        let path = "/v1/subscriptions/sub_1";
        check(
            "2024-06-20",
            Verb::Post,
            path,
            json!({"coupon": ""}),
            (path, json!({"discounts": ""})),
        );
        let many = json!({"discounts": [{"coupon": "c"}]});
        check("2024-06-20", Verb::Post, path, json!({"coupon": "c"}), (path, many));
        let kept = json!({"coupon": "c"});
        check("2025-03-31.basil", Verb::Post, path, kept.clone(), (path, kept));
        let path = "/v1/promotion_codes";
        let promotion = json!({"promotion": {"coupon": "c", "type": "coupon"}});
        check("2025-08-27.basil", Verb::Post, path, json!({"coupon": "c"}), (path, promotion));
        let path = "/v1/checkout/sessions";
        let page = json!({"ui_mode": "hosted_page"});
        check("2026-02-25.clover", Verb::Post, path, json!({"ui_mode": "hosted"}), (path, page));
        let path = "/v1/invoiceitems";
        let pricing = json!({"pricing": {"price": "price_1"}, "unit_amount_decimal": "5"});
        let before = json!({"price": "price_1", "unit_amount": "5"});
        check("2024-06-20", Verb::Post, path, before, (path, pricing));
    }

    #[test]
    fn an_upcoming_invoice_is_a_preview() {
        check(
            "2024-06-20",
            Verb::Get,
            "/v1/invoices/upcoming",
            json!({"subscription": "sub_1", "subscription_items": [{"id": "si_1"}], "coupon": "c"}),
            (
                "/v1/invoices/create_preview",
                json!({
                    "subscription": "sub_1",
                    "subscription_details": {"items": [{"id": "si_1"}]},
                    "discounts": [{"coupon": "c"}],
                }),
            ),
        );
    }
}
