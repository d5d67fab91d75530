//! The provider's official SDKs against the sandbox, and the first source document's smoke test.

use anyhow::Result;
use e2e::purchases::{Buyer, offer};
use e2e::sandboxes::Sandbox;
use e2e::servers::Data;
use e2e::tools::{run_in_node, run_in_python};
use serde_json::json;

#[tokio::test]
async fn the_official_sdk_sees_the_subscription_that_our_api_sells() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pro = offer(&buyer.api, "Pro", Some("month")).await?;
    let session = buyer.checkout(&pro).await?;
    let input = json!({
        "sandbox_url": dev.ready.sandbox_url,
        "sandbox_key": dev.ready.sandbox_key,
        "session": session,
    });
    run_in_python("subscription", &input)?;
    buyer.await_credits(100).await?;
    let subscription = buyer.subscription().await?;
    assert_eq!(subscription["status"], "active");
    assert!(buyer.may_use("api_access").await?);
    assert!(buyer.may_use("knowledge_base").await?);
    Ok(())
}

#[tokio::test]
async fn the_official_sdk_reads_declines_and_missing_objects() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let input = json!({
        "sandbox_url": dev.ready.sandbox_url,
        "sandbox_key": dev.ready.sandbox_key,
    });
    let seen = run_in_python("declines", &input)?;
    let expected = json!({
        "pm_card_visa_chargeDeclined": [402, "card_declined", "generic_decline"],
        "pm_card_visa_chargeDeclinedInsufficientFunds":
            [402, "card_declined", "insufficient_funds"],
        "missing": [404, "resource_missing", "id"],
    });
    assert_eq!(seen, expected);
    Ok(())
}

#[test]
fn a_shop_written_with_the_official_node_sdk_sells_and_renews() -> Result<()> {
    let sandbox = Sandbox::start()?;
    let ready = &sandbox.ready;
    let input = json!({ "base_url": ready.base_url, "secret_key": ready.secret_key });
    let seen = run_in_node("shop", &input)?;
    assert!(seen["deliveries"].as_u64().is_some_and(|count| 40 < count), "{seen}");
    Ok(())
}

#[tokio::test]
async fn documents_are_refused_until_rag_access_is_paid_for() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let buyer = Buyer::new(&dev, &data).await?;
    let input = json!({
        "api_url": dev.ready.api_url,
        "sandbox_url": dev.ready.sandbox_url,
        "token": buyer.token,
    });
    let found = run_in_python("smoke", &input)?;
    assert_eq!(found["source"], "policy.md");

    // The private document of one customer is not there for another who paid as well.
    let other = Buyer::new(&dev, &data).await?;
    other.buy(&dev, &offer(&other.api, "Pro", Some("month")).await?, 100).await?;
    let question = json!({ "embedding": vec![0.01; 1536] });
    let answer = other.api.post("/v1/search", &question).await?.expect(200)?;
    assert_eq!(answer["data"], json!([]));
    Ok(())
}
