//! A fixed sample of all orders; `cargo xtask orders` tries them all.

use sim::orders::{SHAPES, Sample, Told};
use sim::stories::Story;

const SAMPLE: Sample = Sample { seed: 1, permutations: 3, shuffles: 2, shapes: &SHAPES };

async fn check(story: Story) -> anyhow::Result<()> {
    let mut told = Told::play(story, SAMPLE.seed).await?;
    let essential = told.essential(story).len();
    assert_eq!(essential, story.essential().len(), "{}: an event is missing", story.name());
    let tellings = told.tellings(story, SAMPLE);
    assert!(10 < tellings.len(), "{}", tellings.len());
    for telling in tellings {
        let found = told.check(&telling).await?;
        let named = told.named(&telling);
        assert!(found.is_empty(), "{}, {named}:\n{}", story.name(), found.join("\n"));
    }
    Ok(())
}

#[tokio::test]
async fn a_first_purchase_ends_alike_in_every_order() -> anyhow::Result<()> {
    check(Story::FirstPurchase).await
}

#[tokio::test]
async fn a_renewal_ends_alike_in_every_order() -> anyhow::Result<()> {
    check(Story::Renewal).await
}

#[tokio::test]
async fn a_failed_renewal_and_its_recovery_end_alike_in_every_order() -> anyhow::Result<()> {
    check(Story::FailedRenewal).await
}

#[tokio::test]
async fn an_upgrade_ends_alike_in_every_order() -> anyhow::Result<()> {
    check(Story::Upgrade).await
}

#[tokio::test]
async fn refunds_end_alike_in_every_order() -> anyhow::Result<()> {
    check(Story::Refund).await
}

#[tokio::test]
async fn a_dispute_that_is_won_ends_alike_in_every_order() -> anyhow::Result<()> {
    check(Story::DisputeWon).await
}
