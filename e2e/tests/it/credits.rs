//! Spending under concurrency: every credit once, nothing below zero.

use anyhow::Result;
use e2e::purchases::Buyer;
use e2e::servers::{Data, Dev};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::json;

async fn grant(dev: &Dev, buyer: &Buyer, amount: i64) -> Result<()> {
    let body = json!({ "customer": buyer.id, "amount": amount, "reason": "a gift" });
    dev.admin()?.post("/v1/credits/grants", &body).await?.expect(201)?;
    Ok(())
}

#[tokio::test]
async fn ten_credits_serve_ten_of_forty_parallel_requests() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    grant(&dev, &buyer, 10).await?;
    let one = json!({ "amount": 1 });
    let calls = (0..40).map(|_| buyer.api.post("/v1/credits/consume", &one));
    let answers = try_join_all(calls).await?;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(402)), (10, 30));
    let refused = answers.iter().find(|answer| answer.status == 402);
    let refused = refused.map(|answer| answer.json()).unwrap_or_default();
    assert_eq!(refused["code"], "insufficient_credits");
    assert_eq!(refused["required"], 1);
    assert!(refused["available"].is_i64() && refused["offers"].is_array(), "{refused}");
    assert_eq!(buyer.total_credits().await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_same_key_spends_once_and_another_body_under_it_conflicts() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    grant(&dev, &buyer, 100).await?;
    let consume = |amount: i64| {
        let request = buyer.api.request(Method::POST, "/v1/credits/consume");
        let request = request.header("idempotency-key", "order-1");
        buyer.api.send(request.json(&json!({ "amount": amount })))
    };
    let answers = try_join_all((0..20).map(|_| consume(7))).await?;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json(), answers[0].json());
    }
    assert_eq!(buyer.total_credits().await?, 93);
    let other = consume(8).await?;
    assert_eq!((other.status, other.code().as_str()), (409, "idempotency_conflict"));
    assert_eq!(buyer.total_credits().await?, 93);
    Ok(())
}

#[tokio::test]
async fn a_hold_reserves_and_gives_back_what_was_not_captured() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    grant(&dev, &buyer, 10).await?;
    let hold = buyer.api.post("/v1/credits/holds", &json!({ "amount": 8 })).await?.expect(201)?;
    let id = e2e::answers::text_at(&hold, "/id");
    let more = buyer.api.post("/v1/credits/consume", &json!({ "amount": 3 })).await?;
    assert_eq!(more.status, 402);
    assert_eq!(buyer.balance().await?["held"], 8);
    let capture = format!("/v1/credits/holds/{id}/capture");
    buyer.api.post(&capture, &json!({ "amount": 5 })).await?.expect(200)?;
    assert_eq!(buyer.total_credits().await?, 5);
    let again = buyer.api.post(&capture, &json!({ "amount": 5 })).await?;
    assert!(again.status == 409 || again.status == 200, "{}: {}", again.status, again.text);
    assert_eq!(buyer.total_credits().await?, 5);

    let hold = buyer.api.post("/v1/credits/holds", &json!({ "amount": 5 })).await?.expect(201)?;
    let id = e2e::answers::text_at(&hold, "/id");
    let release = format!("/v1/credits/holds/{id}/release");
    buyer.api.post(&release, &json!({})).await?.expect(200)?;
    assert_eq!(buyer.total_credits().await?, 5);
    assert_eq!(buyer.balance().await?["held"], 0);
    Ok(())
}
