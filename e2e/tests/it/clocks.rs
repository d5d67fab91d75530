//! Months pass in a moment: renewal, cancellation at the end of the period, refills of a year.

use anyhow::Result;
use e2e::answers::text_at;
use e2e::purchases::{Buyer, VISA, offer, pay};
use e2e::servers::Data;
use serde_json::{Value, json};

#[tokio::test]
async fn renewal_resets_the_allowance_and_keeps_the_pack() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    buyer.buy(&dev, &offer(&buyer.api, "Pro", Some("month")).await?, 100).await?;
    buyer.buy(&dev, &offer(&buyer.api, "100 Credits", None).await?, 200).await?;
    let spent = json!({ "amount": 30, "reference": "work" });
    buyer.api.post("/v1/credits/consume", &spent).await?.expect(200)?;
    let balance = buyer.balance().await?;
    assert_eq!(
        (&balance["monthly_credits"], &balance["purchased_credits"]),
        (&json!(70), &json!(100))
    );

    data.advance_clock("1mo")?;
    let balance = buyer.balance().await?;
    assert_eq!(balance["monthly_credits"], 100, "reset to, not increased by: {balance}");
    assert_eq!(balance["purchased_credits"], 100, "{balance}");
    assert_eq!(buyer.subscription().await?["status"], "active");
    let payments = buyer.api.get("/v1/payments").await?.expect(200)?;
    assert_eq!(payments["data"].as_array().map(Vec::len), Some(3), "{payments}");
    Ok(())
}

#[tokio::test]
async fn a_cancelled_subscription_ends_with_its_period() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    buyer.buy(&dev, &offer(&buyer.api, "Pro", Some("month")).await?, 100).await?;
    for _ in 0..2 {
        buyer.api.delete("/payments/cancel-subscription").await?.expect(200)?;
    }
    assert_eq!(buyer.subscription().await?["cancel_at_period_end"], true);
    data.advance_clock("20d")?;
    assert!(buyer.may_use("api_access").await?, "refused before the end of the paid period");
    assert_eq!(buyer.total_credits().await?, 100);

    data.advance_clock("period-end")?;
    assert!(!buyer.may_use("api_access").await?, "allowed after the end of the paid period");
    assert!(!buyer.may_use("knowledge_base").await?);
    assert_eq!(buyer.balance().await?["monthly_credits"], 0);
    let refused = buyer.api.post("/v1/search", &json!({ "query": "anything" })).await?;
    assert_eq!(refused.status, 402, "{}", refused.text);
    Ok(())
}

#[tokio::test]
async fn a_yearly_price_refills_every_month() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    buyer.buy(&dev, &offer(&buyer.api, "Pro", Some("year")).await?, 100).await?;
    for _ in 0..3 {
        buyer.api.post("/v1/credits/consume", &json!({ "amount": 60 })).await?.expect(200)?;
        data.advance_clock("1mo")?;
        assert_eq!(buyer.balance().await?["monthly_credits"], 100);
    }
    let payments = buyer.api.get("/v1/payments").await?.expect(200)?;
    assert_eq!(payments["data"].as_array().map(Vec::len), Some(1), "{payments}");
    Ok(())
}

#[tokio::test]
async fn rag_access_ends_after_thirty_days_and_documents_come_back_with_it() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let access = offer(&buyer.api, "RAG Access", None).await?;
    let session = buyer.checkout(&access).await?;
    pay(&dev, &session, VISA).await?.expect(200)?;
    await_feature(&buyer).await?;
    let document = json!({ "content": "the gate opens at dawn", "source": "gate.md" });
    buyer.api.post("/v1/documents", &document).await?.expect(201)?;
    data.advance_clock("31d")?;
    let question = json!({ "query": "when does the gate open" });
    let refused = buyer.api.post("/v1/search", &question).await?;
    assert_eq!(refused.status, 402);
    assert!(!refused.text.contains("dawn"), "{}", refused.text);

    let session = buyer.checkout(&access).await?;
    pay(&dev, &session, VISA).await?.expect(200)?;
    await_feature(&buyer).await?;
    let found = buyer.api.post("/v1/search", &question).await?.expect(200)?;
    assert_eq!(text_at(&found, "/data/0/content"), "the gate opens at dawn");
    Ok(())
}

#[tokio::test]
async fn a_trial_starts_with_the_allowance_and_its_free_invoice_is_no_payment() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pro = offer(&buyer.api, "Pro", Some("month")).await?;
    let body = json!({ "price_id": pro.price_id, "product_id": pro.product_id });
    let answer = buyer.api.post("/payments/create-checkout-session", &body).await?.expect(200)?;
    let session = e2e::purchases::provider_session(&text_at(&answer, "/checkout_url"))?;
    pay(&dev, &session, VISA).await?.expect(200)?;
    buyer.await_credits(100).await?;
    assert_eq!(buyer.subscription().await?["status"], "trialing");
    assert!(buyer.may_use("api_access").await?, "a trial is access");
    let payments = buyer.api.get("/v1/payments").await?.expect(200)?;
    assert_eq!(payments["data"], Value::Array(Vec::new()));

    data.advance_clock("15d")?;
    assert_eq!(buyer.subscription().await?["status"], "active");
    assert_eq!(buyer.total_credits().await?, 100);
    let payments = buyer.api.get("/v1/payments").await?.expect(200)?;
    assert_eq!(payments["data"].as_array().map(Vec::len), Some(1), "{payments}");
    Ok(())
}

async fn await_feature(buyer: &Buyer) -> Result<()> {
    e2e::answers::eventually("knowledge_base is unlocked", async || {
        Ok(buyer.may_use("knowledge_base").await?.then_some(()))
    })
    .await
}
