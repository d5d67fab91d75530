//! The customer's invoice balance and tax ids.

use serde_json::{Value, json};

use crate::world::{World, id};

async fn draft(world: &World, customer: &str, amount: &str) -> String {
    let invoice = id(&world.make("/v1/invoices", &[("customer", customer)]).await);
    let item = [("customer", customer), ("invoice", &invoice), ("amount", amount)];
    world.make("/v1/invoiceitems", &item).await;
    invoice
}

async fn finalized(world: &World, customer: &str, amount: &str) -> Value {
    let invoice = draft(world, customer, amount).await;
    world.make(&format!("/v1/invoices/{invoice}/finalize"), &[]).await
}

/// Amounts and reasons of the ledger, newest first.
async fn ledger(world: &World, customer: &str) -> Vec<(i64, String)> {
    let list = world.look(&format!("/v1/customers/{customer}/balance_transactions")).await;
    let rows = list["data"].as_array().expect("a list");
    let shown = rows.iter().map(|row| {
        (row["amount"].as_i64().expect("an amount"), row["type"].as_str().unwrap_or("").to_owned())
    });
    shown.collect()
}

async fn balance(world: &World, customer: &str) -> i64 {
    let customer = world.look(&format!("/v1/customers/{customer}")).await;
    customer["balance"].as_i64().expect("a balance")
}

#[tokio::test]
async fn credit_is_taken_by_invoices_and_given_back_by_void_ones() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let path = format!("/v1/customers/{customer}/balance_transactions");
    let form = [("amount", "-500"), ("currency", "usd"), ("description", "sorry")];
    let first = world.make(&path, &form).await;
    assert_eq!((&first["ending_balance"], &first["type"]), (&json!(-500), &json!("adjustment")));
    let updated = world.make(&format!("{path}/{}", id(&first)), &[("metadata[a]", "b")]).await;
    assert_eq!(
        (&updated["metadata"]["a"], &updated["description"]),
        (&json!("b"), &json!("sorry"))
    );
    let open = finalized(&world, &customer, "800").await;
    let amounts = (&open["total"], &open["amount_due"], &open["starting_balance"]);
    assert_eq!(amounts, (&json!(800), &json!(300), &json!(-500)));
    assert_eq!(open["ending_balance"], 0);
    world.make(&format!("/v1/invoices/{}/void", id(&open)), &[]).await;
    assert_eq!(balance(&world, &customer).await, -500);
    let covered = finalized(&world, &customer, "200").await;
    assert_eq!((&covered["status"], &covered["ending_balance"]), (&json!("paid"), &json!(-300)));
    let expected = [
        (200, "applied_to_invoice"),
        (-500, "unapplied_from_invoice"),
        (500, "applied_to_invoice"),
        (-500, "adjustment"),
    ];
    let seen = ledger(&world, &customer).await;
    assert_eq!(seen, expected.map(|(amount, kind)| (amount, kind.to_owned())));
    let events = world.look("/v1/events?type=customer.updated").await;
    assert_eq!(events["data"][0]["data"]["previous_attributes"], json!({"balance": -500}));
}

#[tokio::test]
async fn what_cannot_be_charged_moves_to_the_balance() {
    let world = World::start().await;
    let customer = world.payer("pm_card_visa").await;
    let negative = finalized(&world, &customer, "-700").await;
    assert_eq!((&negative["status"], &negative["amount_due"]), (&json!("paid"), &json!(0)));
    assert_eq!(balance(&world, &customer).await, -700);
    let paid = finalized(&world, &customer, "730").await;
    assert_eq!((&paid["status"], &paid["amount_due"]), (&json!("paid"), &json!(0)));
    assert_eq!(balance(&world, &customer).await, 30, "30 cents are too little for a card");
    let next = finalized(&world, &customer, "1000").await;
    assert_eq!((&next["amount_due"], &next["ending_balance"]), (&json!(1_030), &json!(0)));
    let euros =
        id(&world.make("/v1/invoices", &[("customer", &customer), ("currency", "eur")]).await);
    let euros = world.make(&format!("/v1/invoices/{euros}/finalize"), &[]).await;
    assert_eq!(euros["starting_balance"], 0, "the balance is in dollars");
}

#[tokio::test]
async fn settings_are_recorded_and_strange_movements_refused() {
    let world = World::start().await;
    let customer = id(&world.make("/v1/customers", &[("balance", "-100")]).await);
    world.make(&format!("/v1/customers/{customer}"), &[("balance", "250")]).await;
    let seen = ledger(&world, &customer).await;
    assert_eq!(seen, [(350, "adjustment".to_owned()), (-100, "initial".to_owned())]);
    let path = format!("/v1/customers/{customer}/balance_transactions");
    world.make(&path, &[("amount", "5"), ("currency", "usd")]).await;
    for (form, param) in [
        (vec![("amount", "0"), ("currency", "usd")], "amount"),
        (vec![("amount", "5"), ("currency", "eur")], "currency"),
        (vec![("amount", "5")], "currency"),
        (vec![("currency", "usd")], "amount"),
    ] {
        let (status, body) = world.post(&path, &form).await;
        assert_eq!((status, &body["error"]["param"]), (400, &json!(param)), "{form:?}");
    }
    assert_eq!(balance(&world, &customer).await, 255, "nothing else moved");
    let other = id(&world.make("/v1/customers", &[]).await);
    let row = &world.look(&path).await["data"][0]["id"];
    let row = row.as_str().expect("an id");
    let path = format!("/v1/customers/{other}/balance_transactions/{row}");
    assert_eq!(world.get(&path).await.0, 404, "another customer's");
}

#[tokio::test]
async fn tax_ids_are_verified_and_printed() {
    let world = World::start().await;
    let form = [
        ("email", "ada@example.com"),
        ("tax_id_data[0][type]", "eu_vat"),
        ("tax_id_data[0][value]", "DE123456789"),
    ];
    let customer = id(&world.make("/v1/customers", &form).await);
    let path = format!("/v1/customers/{customer}/tax_ids");
    let form = [("type", "eu_vat"), ("value", "IE111111111")];
    let made = world.make(&path, &form).await;
    assert_eq!(
        (&made["country"], &made["verification"]["status"]),
        (&json!("IE"), &json!("pending"))
    );
    let list = world.look(&path).await;
    assert_eq!(list["data"][0]["verification"]["status"], "unverified");
    assert_eq!(list["data"][1]["verification"]["status"], "verified");
    assert_eq!(list["data"][1]["owner"]["customer"], json!(customer));
    let (status, body) = world.post(&path, &[("type", "eu_vat"), ("value", "nonsense")]).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("tax_id_invalid")));
    let invoice = finalized(&world, &customer, "500").await;
    assert_eq!(invoice["customer_tax_ids"][0], json!({"type": "eu_vat", "value": "DE123456789"}));
    let gone = world.delete(&format!("{path}/{}", id(&made))).await;
    assert_eq!((gone.0, &gone.1["deleted"]), (200, &json!(true)));
    assert_eq!(world.get(&format!("{path}/{}", id(&made))).await.0, 404);
    let kinds = world.events().await;
    for kind in ["customer.tax_id.created", "customer.tax_id.updated", "customer.tax_id.deleted"] {
        assert!(kinds.contains(&kind.to_owned()), "{kind}");
    }
}

#[tokio::test]
async fn the_account_has_tax_ids_of_its_own() {
    let world = World::start().await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    let form = [("type", "us_ein"), ("value", "12-3456789")];
    let own = world.make("/v1/tax_ids", &form).await;
    assert_eq!((&own["owner"]["type"], &own["customer"]), (&json!("self"), &Value::Null));
    let owner = [("owner[type]", "customer"), ("owner[customer]", customer.as_str())];
    let theirs = world.make("/v1/tax_ids", &[form.as_slice(), &owner].concat()).await;
    let list = world.look("/v1/tax_ids").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "only the account's own");
    assert_eq!(list["data"][0]["id"], own["id"]);
    let form = [
        ("customer", customer.as_str()),
        ("account_tax_ids[0]", own["id"].as_str().expect("an id")),
        ("footer", "Thank you"),
        ("custom_fields[0][name]", "Order"),
        ("custom_fields[0][value]", "A-1"),
    ];
    let invoice = world.make("/v1/invoices", &form).await;
    assert_eq!(invoice["account_tax_ids"], json!([own["id"]]));
    assert_eq!(invoice["custom_fields"], json!([{"name": "Order", "value": "A-1"}]));
    let strange = [
        ("customer", customer.as_str()),
        ("account_tax_ids[0]", theirs["id"].as_str().expect("an id")),
    ];
    let (status, body) = world.post("/v1/invoices", &strange).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("account_tax_ids")));
}
