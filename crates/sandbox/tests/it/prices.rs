//! Prices beyond a plain amount: tiers, packages, currencies, amounts the buyer chooses.

use serde_json::json;

use crate::world::{World, id, text};

/// Form, expected code and param.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);

async fn product(world: &World) -> String {
    id(&world.make("/v1/products", &[("name", "Pro")]).await)
}

#[tokio::test]
async fn prices_carry_what_they_were_made_with() {
    let world = World::start().await;
    let product = product(&world).await;
    let form = [
        ("product", product.as_str()),
        ("currency", "usd"),
        ("unit_amount_decimal", "0.25"),
        ("recurring[interval]", "month"),
        ("transform_quantity[divide_by]", "1000"),
        ("transform_quantity[round]", "up"),
        ("currency_options[eur][unit_amount]", "30"),
        ("currency_options[eur][tax_behavior]", "inclusive"),
        ("expand[]", "currency_options"),
    ];
    let price = world.make("/v1/prices", &form).await;
    assert_eq!(
        (&price["unit_amount"], &price["unit_amount_decimal"]),
        (&json!(null), &json!("0.25"))
    );
    assert_eq!(price["transform_quantity"], json!({"divide_by": 1000, "round": "up"}));
    assert_eq!(price["currency_options"]["eur"]["unit_amount"], 30);
    assert_eq!(price["currency_options"]["eur"]["tax_behavior"], "inclusive");
    assert_eq!(price["currency_options"]["usd"]["unit_amount_decimal"], "0.25");
    let path = format!("/v1/prices/{}", id(&price));
    let plain = world.look(&path).await;
    assert!(plain.get("currency_options").is_none(), "only when asked for");
    let form = [
        ("currency_options[eur]", ""),
        ("currency_options[gbp][unit_amount]", "20"),
        ("tax_behavior", "exclusive"),
        ("expand[]", "currency_options"),
    ];
    let price = world.make(&path, &form).await;
    assert!(price["currency_options"].get("eur").is_none());
    assert_eq!(price["currency_options"]["gbp"]["unit_amount"], 20);
    let (status, body) = world.post(&path, &[("tax_behavior", "inclusive")]).await;
    assert_eq!((status, text(&body["error"]["param"])), (400, "tax_behavior".to_owned()));
}

#[tokio::test]
async fn the_buyer_chooses_within_bounds() {
    let world = World::start().await;
    let product = product(&world).await;
    let form = [
        ("product", product.as_str()),
        ("currency", "usd"),
        ("custom_unit_amount[enabled]", "true"),
        ("custom_unit_amount[minimum]", "500"),
        ("custom_unit_amount[preset]", "1000"),
    ];
    let price = world.make("/v1/prices", &form).await;
    let bounds = json!({"maximum": null, "minimum": 500, "preset": 1000});
    assert_eq!(price["custom_unit_amount"], bounds);
    assert_eq!(
        (&price["billing_scheme"], &price["unit_amount"]),
        (&json!("per_unit"), &json!(null))
    );
    let session = world.session(&id(&price), "payment", &[]).await;
    assert_eq!(session["amount_total"], 1_000, "the preset is what the page starts with");
}

#[tokio::test]
async fn tiers_may_be_fractions_of_a_cent() {
    let world = World::start().await;
    let product = product(&world).await;
    let form = [
        ("product", product.as_str()),
        ("currency", "usd"),
        ("recurring[interval]", "month"),
        ("billing_scheme", "tiered"),
        ("tiers_mode", "graduated"),
        ("tiers[0][up_to]", "100"),
        ("tiers[0][unit_amount]", "0"),
        ("tiers[1][up_to]", "inf"),
        ("tiers[1][unit_amount_decimal]", "0.05"),
        ("tiers[1][flat_amount_decimal]", "99.5"),
        ("expand[]", "tiers"),
    ];
    let price = world.make("/v1/prices", &form).await;
    assert_eq!(price["tiers"][1]["unit_amount_decimal"], "0.05");
    assert_eq!(price["tiers"][1]["flat_amount_decimal"], "99.5");
    assert_eq!(price["tiers"][1]["flat_amount"], json!(null));
}

#[tokio::test]
async fn contradictions_are_refused() {
    let world = World::start().await;
    let product = product(&world).await;
    let meter = world
        .make(
            "/v1/billing/meters",
            &[
                ("display_name", "Calls"),
                ("event_name", "calls"),
                ("default_aggregation[formula]", "sum"),
            ],
        )
        .await;
    let meter = id(&meter);
    let month = ("recurring[interval]", "month");
    let metered = ("recurring[usage_type]", "metered");
    let amount = ("unit_amount", "100");
    let cases: [Case<'_>; 13] = [
        (&[amount, month, metered], "", "recurring[meter]"),
        (
            &[amount, month, metered, ("recurring[meter]", "mtr_none")],
            "resource_missing",
            "recurring[meter]",
        ),
        (&[amount, month, ("recurring[meter]", &meter)], "", "recurring[meter]"),
        (&[month], "parameter_missing", "unit_amount"),
        (&[amount, ("unit_amount_decimal", "1.5")], "", "unit_amount"),
        (&[("unit_amount_decimal", "1.0000000000001")], "", "unit_amount_decimal"),
        (&[month, ("custom_unit_amount[enabled]", "true")], "", "custom_unit_amount"),
        (&[("custom_unit_amount[enabled]", "false")], "", "custom_unit_amount[enabled]"),
        (
            &[
                ("custom_unit_amount[enabled]", "true"),
                ("custom_unit_amount[minimum]", "500"),
                ("custom_unit_amount[preset]", "100"),
            ],
            "",
            "custom_unit_amount[preset]",
        ),
        (
            &[amount, ("transform_quantity[divide_by]", "5")],
            "parameter_missing",
            "transform_quantity[round]",
        ),
        (&[amount, ("currency_options[xxx][unit_amount]", "5")], "", "currency_options[xxx]"),
        (&[amount, ("currency_options[usd][unit_amount]", "5")], "", "currency_options[usd]"),
        (
            &[amount, ("currency_options[eur][tax_behavior]", "inclusive")],
            "parameter_missing",
            "currency_options[eur][unit_amount]",
        ),
    ];
    for (form, code, param) in cases {
        let mut form = form.to_vec();
        form.extend([("product", product.as_str()), ("currency", "usd")]);
        let (status, body) = world.post("/v1/prices", &form).await;
        let code_seen = body["error"]["code"].as_str().unwrap_or("");
        let param_seen = body["error"]["param"].as_str().unwrap_or("");
        assert_eq!((status, code_seen, param_seen), (400, code, param), "{form:?}");
    }
    assert_eq!(world.look("/v1/prices").await["data"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn products_carry_what_they_were_made_with() {
    let world = World::start().await;
    let form = [
        ("name", "Box"),
        ("package_dimensions[height]", "10"),
        ("package_dimensions[length]", "20.5"),
        ("package_dimensions[weight]", "03"),
        ("package_dimensions[width]", "0.25"),
        ("statement_descriptor", "SHOP BOX"),
        ("unit_label", "box"),
        ("url", "https://example.com/box"),
        ("marketing_features[0][name]", "Sturdy"),
        ("images[]", "https://example.com/box.png"),
        ("default_price_data[currency]", "usd"),
        ("default_price_data[unit_amount_decimal]", "99.5"),
        ("default_price_data[currency_options][eur][unit_amount]", "90"),
        ("expand[]", "default_price.currency_options"),
    ];
    let product = world.make("/v1/products", &form).await;
    let dimensions = json!({"height": 10.0, "length": 20.5, "weight": 3.0, "width": 0.25});
    assert_eq!(product["package_dimensions"], dimensions);
    assert_eq!(product["default_price"]["currency_options"]["eur"]["unit_amount"], 90);
    let price = format!("/v1/prices/{}", id(&product["default_price"]));
    let (status, body) = world.post(&price, &[("active", "false")]).await;
    assert_eq!((status, text(&body["error"]["param"])), (400, "active".to_owned()));
    let path = format!("/v1/products/{}", id(&product));
    let form = [("default_price", ""), ("package_dimensions", ""), ("url", "")];
    let changed = world.make(&path, &form).await;
    for key in ["default_price", "package_dimensions", "url"] {
        assert_eq!(changed[key], json!(null), "{key}");
    }
    world.make(&price, &[("active", "false")]).await;
    let refusals: [(&str, &str); 5] = [
        ("statement_descriptor", "123"),
        ("statement_descriptor", "A descriptor that is too long"),
        ("unit_label", "a very long label"),
        ("url", "javascript:x"),
        ("package_dimensions[height]", "1e3"),
    ];
    for (key, value) in refusals {
        let (status, body) = world.post(&path, &[(key, value)]).await;
        assert_eq!((status, text(&body["error"]["param"])), (400, key.to_owned()), "{value}");
    }
    assert_eq!(world.look(&path).await["statement_descriptor"], "SHOP BOX");
}
