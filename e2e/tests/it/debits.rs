//! Payments that are not decided when the buyer leaves the page: nothing is given before money.

use anyhow::Result;
use e2e::answers::eventually;
use e2e::purchases::{Buyer, offer, pay};
use e2e::servers::{Data, Dev};

const PAID: &str = "pm_usBankAccount_success";
const UNPAID: &str = "pm_usBankAccount_insufficientFunds";
const UNDECIDED: &str = "pm_usBankAccount_processing";

/// Pays a page with a bank account; it completes, and the money is not there.
async fn debit(dev: &Dev, buyer: &Buyer, name: &str, method: &str) -> Result<String> {
    let interval = (name == "Pro").then_some("month");
    let session = buyer.checkout(&offer(&buyer.api, name, interval).await?).await?;
    let answer = pay(dev, &session, method).await?.expect(200)?;
    assert_eq!(answer["status"], "complete");
    assert_eq!(answer["payment_status"], "unpaid");
    Ok(session)
}

/// The provider has told that this page's payment ended so, and we have listened.
async fn told(dev: &Dev, kind: &str, session: &str) -> Result<()> {
    let provider = dev.sandbox()?;
    eventually(&format!("{kind} is delivered"), async || {
        let events = provider.get(&format!("/v1/events?type={kind}")).await?.expect(200)?;
        let rows = events["data"].as_array().cloned().unwrap_or_default();
        let row = rows.iter().find(|row| row["data"]["object"]["id"] == *session);
        Ok(row.filter(|row| row["pending_webhooks"] == 0).map(|_| ()))
    })
    .await
}

#[tokio::test]
async fn a_debit_gives_credits_when_the_money_comes_and_never_before() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let waiting = Buyer::new(&dev, &data).await?;
    let session = debit(&dev, &waiting, "100 Credits", UNDECIDED).await?;
    told(&dev, "checkout.session.completed", &session).await?;

    let paying = Buyer::new(&dev, &data).await?;
    let session = debit(&dev, &paying, "100 Credits", PAID).await?;
    told(&dev, "checkout.session.async_payment_succeeded", &session).await?;
    paying.await_credits(100).await?;

    let poor = Buyer::new(&dev, &data).await?;
    let session = debit(&dev, &poor, "100 Credits", UNPAID).await?;
    told(&dev, "checkout.session.async_payment_failed", &session).await?;
    data.advance_clock("1d")?;
    assert_eq!(poor.total_credits().await?, 0);
    assert_eq!(waiting.total_credits().await?, 0, "its bank has not decided yet");
    assert_eq!(paying.total_credits().await?, 100);
    Ok(())
}

#[tokio::test]
async fn a_plan_gives_nothing_while_its_first_debit_can_fail() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let waiting = Buyer::new(&dev, &data).await?;
    let session = debit(&dev, &waiting, "Pro", UNDECIDED).await?;
    told(&dev, "checkout.session.completed", &session).await?;
    let poor = Buyer::new(&dev, &data).await?;
    let session = debit(&dev, &poor, "Pro", UNPAID).await?;
    told(&dev, "checkout.session.async_payment_failed", &session).await?;
    data.advance_clock("1d")?;
    assert_eq!(poor.subscription().await?["status"], "past_due");
    for buyer in [&waiting, &poor] {
        assert_eq!(buyer.total_credits().await?, 0);
        assert!(!buyer.may_use("api_access").await?, "the plan is not paid");
    }
    Ok(())
}
