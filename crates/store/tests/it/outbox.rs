//! The outbox: one row for one fact.

use crate::backends;
use domain::ids::OutboxEventId;
use domain::time::Timestamp;
use store::outbox::OutboxEvent;

pub fn news(fact: &str, recorded: i64) -> OutboxEvent {
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    let recorded_at = Timestamp::from_seconds(recorded);
    OutboxEvent {
        id: OutboxEventId::new(recorded_at, random),
        customer_id: None,
        kind: "invoice.paid".into(),
        fact: fact.into(),
        object_id: None,
        data: "{}".into(),
        created_at: recorded_at,
        recorded_at,
    }
}

#[tokio::test]
async fn a_fact_is_told_once_and_an_undone_transaction_tells_nothing() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        assert!(tx.outbox_insert(&news("invoice.paid:in_1", 1)).await?);
        drop(tx);
        let mut tx = fresh.store.begin("test").await?;
        assert!(tx.outbox_insert(&news("invoice.paid:in_1", 2)).await?, "{}", fresh.name);
        assert!(!tx.outbox_insert(&news("invoice.paid:in_1", 3)).await?, "{}", fresh.name);
        assert!(tx.outbox_insert(&news("invoice.paid:IN_1", 4)).await?, "{}", fresh.name);
        tx.commit().await?;
        let mut tx = fresh.store.begin("test").await?;
        let pending = tx.outbox_pending(10).await?;
        let facts: Vec<_> = pending.iter().map(|event| event.fact.as_str()).collect();
        assert_eq!(facts, ["invoice.paid:in_1", "invoice.paid:IN_1"], "oldest first");
        tx.outbox_spread(&[&pending[0].id]).await?;
        assert_eq!(tx.outbox_pending(10).await?.len(), 1);
        tx.commit().await?;
    }
    Ok(())
}
