//! Credit notes: money that went back without a refund takes credits with it as well.

use crate::orders::{of_kind, permutations, told};
use crate::worlds::{World, state};
use serde_json::{Value, json};

/// What is asked for, the balance that is left, and the payment's status and refunds.
type Case<'a> = (&'a [(&'a str, &'a str)], Value, Value);

async fn noted(form: &[(&str, &str)]) -> anyhow::Result<(World, Value)> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.tell_all().await;
    let invoices = world.get("/v1/invoices?limit=1").await;
    let mut all = vec![("invoice", invoices["data"][0]["id"].as_str().unwrap())];
    all.extend(form);
    let note = world.post("/v1/credit_notes", &all).await;
    assert!(note["id"].is_string(), "{note}");
    Ok((world, note))
}

#[tokio::test]
async fn row_73_what_a_credit_note_gives_back_is_given_back() -> anyhow::Result<()> {
    let half = json!([50, 0, 0]);
    let cases: [Case<'_>; 4] = [
        (&[("amount", "1500"), ("credit_amount", "1500")], half.clone(), json!(["paid", 0])),
        (&[("amount", "1500"), ("out_of_band_amount", "1500")], half.clone(), json!(["paid", 0])),
        (
            &[("amount", "1500"), ("refund_amount", "1500")],
            half.clone(),
            json!(["partially_refunded", 1500]),
        ),
        (
            &[("amount", "1500"), ("refund_amount", "500"), ("credit_amount", "1000")],
            half,
            json!(["partially_refunded", 500]),
        ),
    ];
    for (form, balance, payment) in cases {
        let (world, _) = noted(form).await?;
        let events = world.events().await;
        world.tell_all().await;
        let end = state(&world.engine, "buyer").await;
        assert_eq!(end["balance"], balance, "{form:?} {end}");
        assert_eq!(end["payments"], json!([[2999, payment[0], payment[1]]]), "{form:?}");
        assert_eq!(end["features"]["knowledge_base"], "entitled", "{form:?}");
        assert!(of_kind(&events, "credit_note.created").is_some());
    }
    let (world, _) = noted(&[("amount", "2999"), ("credit_amount", "2999")]).await?;
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([0, 0, 0]), "{end}");
    assert_eq!(end["features"]["knowledge_base"], "revoked", "all of it went back: {end}");
    Ok(())
}

#[tokio::test]
async fn pitfall_100_notes_and_refunds_in_any_order_add_up_once() -> anyhow::Result<()> {
    let form = [("amount", "1000"), ("refund_amount", "500"), ("credit_amount", "500")];
    let (world, _) = noted(&form).await?;
    let intents = world.get("/v1/payment_intents?limit=1").await;
    let intent = intents["data"][0]["id"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent), ("amount", "500")]).await;
    let events = world.events().await;
    world.freeze().await;
    let mut story = vec![of_kind(&events, "credit_note.created").unwrap()];
    story.extend(events.iter().filter(|event| event["type"] == "charge.refunded").cloned());
    assert_eq!(story.len(), 3);
    for order in permutations(&story) {
        let engine = world.copy(None).await?;
        let end = told(&engine, &order).await;
        // 1500 of 2999: 1000 to the card, 500 to the balance.
        assert_eq!(end["balance"], json!([50, 0, 0]), "{end}");
        assert_eq!(end["payments"], json!([[2999, "partially_refunded", 1000]]));
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_note_on_what_the_balance_has_paid_is_set_aside() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.tell_all().await;
    let customer = world.only("customers").await;
    let form = [("amount", "-2999"), ("currency", "usd")];
    world.post(&format!("/v1/customers/{customer}/balance_transactions"), &form).await;
    world.advance("1mo").await;
    world.advance("2h").await;
    world.tell_all().await;
    let invoices = world.get("/v1/invoices?limit=1").await;
    let invoice = &invoices["data"][0];
    assert_eq!((&invoice["status"], &invoice["amount_paid"]), (&json!("paid"), &json!(0)));
    let form = [
        ("invoice", invoice["id"].as_str().unwrap()),
        ("amount", "2999"),
        ("credit_amount", "2999"),
    ];
    let note = world.post("/v1/credit_notes", &form).await;
    assert!(note["id"].is_string(), "{note}");
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["parked"][0][0], "credit_note.created", "{end}");
    Ok(())
}
