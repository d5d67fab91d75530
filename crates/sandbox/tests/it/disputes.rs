//! Disputes: opened by test cards, answered, won and lost.

use serde_json::{Value, json};

use crate::world::{World, id, text};

async fn pay(world: &World, card: &str) -> Value {
    let form =
        [("amount", "1500"), ("currency", "usd"), ("payment_method", card), ("confirm", "true")];
    world.make("/v1/payment_intents", &form).await
}

async fn dispute_of(world: &World, intent: &Value) -> Value {
    let list = world.look(&format!("/v1/disputes?payment_intent={}", id(intent))).await;
    list["data"][0].clone()
}

/// The dispute once the bank has decided.
async fn decided(world: &World, dispute: &Value) -> Value {
    assert_eq!(world.advance("1m").await.0, 200);
    world.look(&format!("/v1/disputes/{}", id(dispute))).await
}

#[tokio::test]
async fn winning_evidence_brings_the_money_back() {
    let world = World::start().await;
    let intent = pay(&world, "pm_card_createDispute").await;
    let dispute = dispute_of(&world, &intent).await;
    assert_eq!(
        (&dispute["status"], &dispute["reason"], &dispute["amount"]),
        (&json!("needs_response"), &json!("fraudulent"), &json!(1500))
    );
    let taken = &dispute["balance_transactions"][0];
    assert_eq!((&taken["amount"], &taken["fee"]), (&json!(-1500), &json!(1500)));
    let charge = world.look(&format!("/v1/charges/{}", text(&dispute["charge"]))).await;
    assert_eq!(charge["disputed"], true);
    let form = [("payment_intent", id(&intent))];
    let form: Vec<(&str, &str)> = form.iter().map(|(key, id)| (*key, id.as_str())).collect();
    let (status, body) = world.post("/v1/refunds", &form).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("charge_disputed")));

    let path = format!("/v1/disputes/{}", id(&dispute));
    let form = [("evidence[uncategorized_text]", "winning_evidence"), ("submit", "false")];
    let staged = world.make(&path, &form).await;
    assert_eq!(staged["status"], "needs_response");
    assert_eq!(staged["evidence_details"]["has_evidence"], true);
    let sent = world.make(&path, &[("submit", "true")]).await;
    assert_eq!(sent["status"], "under_review");
    assert_eq!(sent["evidence_details"]["submission_count"], 1);
    let won = decided(&world, &dispute).await;
    assert_eq!(won["status"], "won");
    assert_eq!(won["balance_transactions"][1]["amount"], 1500);
    let kinds = world.events().await;
    let told: Vec<&str> =
        kinds.iter().filter_map(|kind| kind.strip_prefix("charge.dispute.")).collect();
    assert_eq!(
        told,
        ["created", "funds_withdrawn", "updated", "updated", "closed", "funds_reinstated"]
    );
    let (status, body) = world.post(&format!("{path}/close"), &[]).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("dispute_already_closed")));
}

#[tokio::test]
async fn a_dispute_is_lost_by_evidence_by_giving_in_and_by_silence() {
    let world = World::start().await;
    let mut lost = Vec::new();
    for (way, span) in [("losing_evidence", "1m"), ("close", "1m"), ("silence", "11d")] {
        let intent = pay(&world, "pm_card_createDisputeProductNotReceived").await;
        let dispute = dispute_of(&world, &intent).await;
        assert_eq!(dispute["reason"], "product_not_received");
        let path = format!("/v1/disputes/{}", id(&dispute));
        match way {
            "close" => {
                assert_eq!(world.make(&format!("{path}/close"), &[]).await["status"], "lost")
            }
            "silence" => {}
            text => {
                world.make(&path, &[("evidence[uncategorized_text]", text)]).await;
            }
        }
        assert_eq!(world.advance(span).await.0, 200);
        let dispute = world.look(&path).await;
        assert_eq!(dispute["status"], "lost", "{way}");
        lost.push(dispute);
    }
    assert_eq!(lost[2]["evidence_details"]["past_due"], true);
}

#[tokio::test]
async fn an_inquiry_takes_no_money_until_it_is_escalated() {
    let world = World::start().await;
    let intent = pay(&world, "pm_card_createDisputeInquiry").await;
    let inquiry = dispute_of(&world, &intent).await;
    assert_eq!(inquiry["status"], "warning_needs_response");
    assert_eq!(
        (&inquiry["is_charge_refundable"], &inquiry["balance_transactions"]),
        (&json!(true), &json!([]))
    );
    let path = format!("/v1/disputes/{}", id(&inquiry));
    let form = [("evidence[uncategorized_text]", "escalate_inquiry_evidence")];
    assert_eq!(world.make(&path, &form).await["status"], "warning_under_review");
    let escalated = decided(&world, &inquiry).await;
    assert_eq!(escalated["status"], "needs_response");
    assert_eq!(escalated["balance_transactions"][0]["amount"], -1500);

    let intent = pay(&world, "pm_card_createDisputeInquiry").await;
    let inquiry = dispute_of(&world, &intent).await;
    let form = [("payment_intent", id(&intent))];
    let form: Vec<(&str, &str)> = form.iter().map(|(key, id)| (*key, id.as_str())).collect();
    assert_eq!(world.post("/v1/refunds", &form).await.0, 200, "nothing was charged back");
    let path = format!("/v1/disputes/{}/close", id(&inquiry));
    assert_eq!(world.make(&path, &[]).await["status"], "warning_closed");
}

#[tokio::test]
async fn evidence_is_checked() {
    let world = World::start().await;
    let intent = pay(&world, "pm_card_createDispute").await;
    let dispute = dispute_of(&world, &intent).await;
    let path = format!("/v1/disputes/{}", id(&dispute));
    let (status, body) = world.post(&path, &[("evidence[receipt]", "not a file")]).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("evidence[receipt]")));
    let (status, body) = world.post(&path, &[("evidence[nonsense]", "x")]).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("parameter_unknown")));
    let noted = world.make(&path, &[("metadata[note]", "call them")]).await;
    assert_eq!(
        (&noted["status"], &noted["metadata"]["note"]),
        (&json!("needs_response"), &json!("call them"))
    );
    world.make(&path, &[("evidence[product_description]", "a plan")]).await;
    let (status, _) = world.post(&path, &[("evidence[product_description]", "another")]).await;
    assert_eq!(status, 400, "it is at the bank already");
    assert_eq!(world.get("/v1/disputes/du_none").await.0, 404);
}
