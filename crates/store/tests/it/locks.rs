//! Who waits for whom, on every backend.

use crate::backends::{self, Fresh};
use domain::ids::CustomerId;
use domain::time::Timestamp;
use store::StoreError;
use store::customers::Customer;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

async fn customer(fresh: &Fresh) -> anyhow::Result<CustomerId> {
    let mut random = [0; 10];
    getrandom::fill(&mut random)?;
    let new = Customer {
        id: CustomerId::new(NOW, random),
        external_id: None,
        email: None,
        name: None,
        metadata: Default::default(),
        created_at: NOW,
        updated_at: NOW,
    };
    let mut tx = fresh.store.begin("test").await?;
    assert!(tx.customers_insert(&new).await?);
    tx.commit().await?;
    Ok(new.id)
}

/// Who meets another's row waits for its end and then may change it: nobody deadlocks.
#[tokio::test]
async fn many_who_ensure_one_row_take_turns() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let owner = customer(&fresh).await?;
        let mut tasks = Vec::new();
        for _ in 0..12 {
            let (store, id) = (fresh.store.clone(), owner.clone());
            tasks.push(tokio::spawn(async move {
                let mut tx = store.begin("test").await?;
                let account = tx.credits_open(&id, "credits").await?;
                tx.credits_close(account).await?;
                tx.commit().await
            }));
        }
        for task in tasks {
            let done = task.await?;
            assert!(done.is_ok(), "{}: {done:?}", fresh.name);
        }
    }
    Ok(())
}

/// Ours take their locks in one order; who does not is told to come again.
#[tokio::test]
async fn a_deadlock_passes() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        // SQLite's second writer waits before its first statement.
        if fresh.name == "sqlite" {
            continue;
        }
        let (one, two) = (customer(&fresh).await?, customer(&fresh).await?);
        let mut first = fresh.store.begin("test").await?;
        let mut second = fresh.store.begin("test").await?;
        first.customers_lock(&one).await?;
        second.customers_lock(&two).await?;
        let crossed = async |mut tx: store::Tx, id: &CustomerId| -> Result<(), StoreError> {
            tx.customers_lock(id).await?;
            tx.commit().await
        };
        let (first, second) = tokio::join!(crossed(first, &two), crossed(second, &one));
        let failures: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
        assert_eq!(failures.len(), 1, "{}: {failures:?}", fresh.name);
        assert!(failures[0].is_transient(), "{}: {failures:?}", fresh.name);
    }
    Ok(())
}
