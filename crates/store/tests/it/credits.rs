//! The ledger and its lots agree after every posting, on every backend.

use crate::backends::{self, Fresh};
use domain::credits::Class;
use domain::ids::{CustomerId, EntryId, GrantId};
use domain::invariants::{LedgerStep, LotNumbers, ledger_replays, lot_is_exact};
use domain::time::Timestamp;
use store::credits::{EntryKind, Grant, Posting};
use store::customers::Customer;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

async fn customer(fresh: &Fresh) -> anyhow::Result<CustomerId> {
    let id = CustomerId::new(NOW, random());
    let new = Customer {
        id: id.clone(),
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
    Ok(id)
}

fn grant(customer: &CustomerId, fact: &str, amount: i64) -> Grant {
    Grant {
        id: GrantId::new(NOW, random()),
        customer_id: customer.clone(),
        unit: "credits".into(),
        class: Class::Purchased,
        fact: fact.into(),
        numbers: LotNumbers { granted: amount, spent: 0, held: 0, expired: 0, revoked: 0 },
        withdrawn: 0,
        payment_id: None,
        provider_subscription_id: None,
        reason: "test".into(),
        starts_at: NOW,
        expires_at: None,
        created_at: NOW,
    }
}

fn posting(kind: EntryKind, grant: &GrantId, amount: i64) -> Posting<'_> {
    Posting {
        id: EntryId::new(NOW, random()),
        kind,
        grant,
        amount,
        hold: None,
        reference: None,
        effective_at: NOW,
        recorded_at: NOW,
    }
}

#[tokio::test]
async fn row_92_postings_keep_lots_and_ledger_exact() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let owner = customer(&fresh).await?;
        let lot = grant(&owner, "fact:1", 10);
        let mut tx = fresh.store.begin("test").await?;
        let mut account = tx.credits_open(&owner, "credits").await?;
        assert!(tx.credits_add(&mut account, &lot).await?);
        assert!(!tx.credits_add(&mut account, &grant(&owner, "fact:1", 10)).await?);
        let steps = [
            (EntryKind::Grant, 10),
            (EntryKind::Consume, 3),
            (EntryKind::Hold, 4),
            (EntryKind::Capture, 1),
            (EntryKind::Release, 3),
            (EntryKind::Revoke, 2),
            (EntryKind::Expire, 4),
        ];
        for (kind, amount) in steps {
            tx.credits_post(&mut account, posting(kind, &lot.id, amount)).await?;
        }
        assert_eq!((account.available, account.held), (0, 0));
        tx.credits_close(account).await?;
        tx.commit().await?;
        let mut tx = fresh.store.read("test").await?;
        let stored = tx.credits_find("fact:1").await?.unwrap();
        assert_eq!(lot_is_exact(&stored.numbers), Ok(()));
        assert_eq!(stored.numbers.spent, 4);
        let mut entries = tx.credits_entries(&owner, "credits", i64::MAX, 50).await?;
        entries.reverse();
        let steps: Vec<_> = entries
            .iter()
            .map(|entry| LedgerStep {
                before: entry.balance_before,
                amount: entry.amount,
                after: entry.balance_after,
            })
            .collect();
        assert_eq!((steps.len(), ledger_replays(&steps)), (7, Ok(0)), "{}", fresh.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_lot_cannot_be_overdrawn_even_by_a_bug() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let owner = customer(&fresh).await?;
        let lot = grant(&owner, "fact:2", 2);
        let mut tx = fresh.store.begin("test").await?;
        let mut account = tx.credits_open(&owner, "credits").await?;
        tx.credits_add(&mut account, &lot).await?;
        tx.credits_post(&mut account, posting(EntryKind::Grant, &lot.id, 2)).await?;
        let too_much = tx.credits_post(&mut account, posting(EntryKind::Consume, &lot.id, 3)).await;
        assert!(too_much.is_err(), "{}", fresh.name);
    }
    Ok(())
}

#[tokio::test]
async fn concurrent_accounts_of_one_customer_take_turns() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let owner = customer(&fresh).await?;
        let lot = grant(&owner, "fact:3", 100);
        let mut tx = fresh.store.begin("test").await?;
        let mut account = tx.credits_open(&owner, "credits").await?;
        tx.credits_add(&mut account, &lot).await?;
        tx.credits_post(&mut account, posting(EntryKind::Grant, &lot.id, 100)).await?;
        tx.credits_close(account).await?;
        tx.commit().await?;
        let mut tasks = Vec::new();
        for _ in 0..20 {
            let (store, owner, lot) = (fresh.store.clone(), owner.clone(), lot.id.clone());
            tasks.push(tokio::spawn(async move {
                let mut tx = store.begin("test").await?;
                let mut account = tx.credits_open(&owner, "credits").await?;
                tx.credits_post(&mut account, posting(EntryKind::Consume, &lot, 1)).await?;
                tx.credits_close(account).await?;
                tx.commit().await
            }));
        }
        for task in tasks {
            task.await??;
        }
        let mut tx = fresh.store.begin("test").await?;
        let account = tx.credits_open(&owner, "credits").await?;
        assert_eq!(account.available, 80, "{}", fresh.name);
    }
    Ok(())
}
