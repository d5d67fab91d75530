//! Coupons and promotion codes as objects.

use serde_json::json;

use crate::world::{World, id};

#[tokio::test]
async fn a_coupon_is_made_changed_and_deleted() {
    let world = World::start().await;
    let form = [
        ("percent_off", "33.5"),
        ("duration", "repeating"),
        ("duration_in_months", "3"),
        ("name", "Quarter"),
        ("max_redemptions", "2"),
    ];
    let coupon = world.make("/v1/coupons", &form).await;
    assert_eq!(coupon["percent_off"], json!(33.5));
    assert_eq!(coupon["valid"], true);
    assert_eq!(coupon["times_redeemed"], 0);
    let path = format!("/v1/coupons/{}", id(&coupon));
    let changed = world.make(&path, &[("name", "Third"), ("metadata[a]", "1")]).await;
    assert_eq!((&changed["name"], &changed["metadata"]["a"]), (&json!("Third"), &json!("1")));
    assert_eq!(world.look("/v1/coupons").await["data"][0]["id"], coupon["id"]);
    assert_eq!(world.delete(&path).await.1["deleted"], true);
    let (status, body) = world.get(&path).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("resource_missing")));
    assert_eq!(world.look("/v1/coupons").await["data"], json!([]));
    let told = ["coupon.created", "coupon.updated", "coupon.deleted"];
    assert_eq!(world.events().await, told);
}

#[tokio::test]
async fn a_coupon_that_makes_no_sense_is_refused() {
    let world = World::start().await;
    for (form, param) in [
        (vec![("duration", "once")], "percent_off"),
        (vec![("percent_off", "101")], "percent_off"),
        (vec![("percent_off", "0")], "percent_off"),
        (vec![("percent_off", "ten")], "percent_off"),
        (vec![("percent_off", "10"), ("amount_off", "5"), ("currency", "usd")], "percent_off"),
        (vec![("amount_off", "500")], "currency"),
        (vec![("amount_off", "0"), ("currency", "usd")], "amount_off"),
        (vec![("amount_off", "5"), ("currency", "zzz")], "currency"),
        (vec![("percent_off", "5"), ("duration", "repeating")], "duration_in_months"),
        (vec![("percent_off", "5"), ("duration_in_months", "2")], "duration_in_months"),
        (vec![("percent_off", "5"), ("duration", "never")], "duration"),
        (vec![("percent_off", "5"), ("redeem_by", "5")], "redeem_by"),
        (vec![("percent_off", "5"), ("max_redemptions", "0")], "max_redemptions"),
        (vec![("percent_off", "5"), ("applies_to[products][]", "x")], "applies_to[products]"),
        (
            vec![("percent_off", "5"), ("currency_options[eur][amount_off]", "4")],
            "currency_options",
        ),
        (vec![("percent_off", "5"), ("id", "a b")], "id"),
        (vec![("percent_off", "5"), ("colour", "red")], "colour"),
    ] {
        let (status, body) = world.post("/v1/coupons", &form).await;
        assert_eq!((status, &body["error"]["param"]), (400, &json!(param)), "{form:?}: {body}");
    }
    let form = [("percent_off", "5"), ("id", "SAME")];
    world.make("/v1/coupons", &form).await;
    let (status, body) = world.post("/v1/coupons", &form).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("resource_already_exists")));
    assert_eq!(world.look("/v1/coupons").await["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn amounts_in_other_currencies_are_shown_when_asked_for() {
    let world = World::start().await;
    let product = id(&world.make("/v1/products", &[("name", "Pro")]).await);
    let form = [
        ("amount_off", "500"),
        ("currency", "usd"),
        ("currency_options[jpy][amount_off]", "700"),
        ("applies_to[products][]", product.as_str()),
    ];
    let coupon = world.make("/v1/coupons", &form).await;
    assert!(coupon.get("currency_options").is_none() && coupon.get("applies_to").is_none());
    let path = format!("/v1/coupons/{}", id(&coupon));
    let asked = format!("{path}?expand[]=currency_options&expand[]=applies_to");
    let shown = world.look(&asked).await;
    assert_eq!(shown["applies_to"], json!({ "products": [product] }));
    let options = json!({"jpy": {"amount_off": 700}, "usd": {"amount_off": 500}});
    assert_eq!(shown["currency_options"], options);
    let (status, _) = world.post(&path, &[("currency_options[usd][amount_off]", "1")]).await;
    assert_eq!(status, 400);
    world.make(&path, &[("currency_options[eur][amount_off]", "450")]).await;
    let shown = world.look(&asked).await;
    assert_eq!(shown["currency_options"]["eur"]["amount_off"], 450);
}

#[tokio::test]
async fn promotion_codes_are_unique_while_active_and_found_in_any_case() {
    let world = World::start().await;
    let coupon = id(&world.make("/v1/coupons", &[("percent_off", "10")]).await);
    let base = [("promotion[type]", "coupon"), ("promotion[coupon]", coupon.as_str())];
    let generated = world.make("/v1/promotion_codes", &base).await;
    assert_eq!(generated["code"].as_str().map(str::len), Some(8));
    let mut form = base.to_vec();
    form.push(("code", "Spring-26"));
    let promotion = world.make("/v1/promotion_codes", &form).await;
    assert_eq!(promotion["promotion"]["coupon"], json!(coupon));
    let found = world.look("/v1/promotion_codes?code=SPRING-26").await;
    assert_eq!(found["data"][0]["id"], promotion["id"]);
    form[2].1 = "sPRING-26";
    let (status, body) = world.post("/v1/promotion_codes", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("code")), "{body}");
    let path = format!("/v1/promotion_codes/{}", id(&promotion));
    assert_eq!(world.make(&path, &[("active", "false")]).await["active"], false);
    world.make("/v1/promotion_codes", &form).await;
    let (status, _) = world.post(&path, &[("active", "true")]).await;
    assert_eq!(status, 400, "another code has taken the name");
    let expanded = world.look(&format!("{path}?expand[]=promotion.coupon")).await;
    assert_eq!(expanded["promotion"]["coupon"]["percent_off"], 10);
}

#[tokio::test]
async fn a_promotion_code_cannot_widen_its_coupon() {
    let world = World::start().await;
    let form = [("percent_off", "10"), ("max_redemptions", "5")];
    let coupon = id(&world.make("/v1/coupons", &form).await);
    for (name, value, param) in [
        ("max_redemptions", "6", "max_redemptions"),
        ("expires_at", "5", "expires_at"),
        ("code", "a b", "code"),
        ("customer", "cus_nobody", "customer"),
        ("restrictions[minimum_amount]", "5", "restrictions[minimum_amount_currency]"),
        ("promotion[coupon]", "gone", "promotion[coupon]"),
    ] {
        let mut form = vec![("promotion[type]", "coupon"), (name, value)];
        if name != "promotion[coupon]" {
            form.push(("promotion[coupon]", coupon.as_str()));
        }
        let (status, body) = world.post("/v1/promotion_codes", &form).await;
        assert_eq!((status, &body["error"]["param"]), (400, &json!(param)), "{form:?}: {body}");
    }
    let form = [("coupon", coupon.as_str())];
    let (status, body) = world.post("/v1/promotion_codes", &form).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("parameter_missing")), "{body}");
    // A code lives as long as its coupon.
    let form = [("promotion[type]", "coupon"), ("promotion[coupon]", coupon.as_str())];
    let promotion = id(&world.make("/v1/promotion_codes", &form).await);
    world.delete(&format!("/v1/coupons/{coupon}")).await;
    let shown = world.look(&format!("/v1/promotion_codes/{promotion}")).await;
    assert_eq!(shown["active"], false);
}
