//! The inbox stores once, leases once, and gives leases back.

use crate::backends;
use domain::ids::InboxEventId;
use domain::time::Timestamp;
use store::Tx;
use store::inbox::{InboxEvent, InboxState};

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub fn event(name: &str, ordering_key: &str, received: i64) -> InboxEvent {
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    InboxEvent {
        id: InboxEventId::new(at(received), random),
        provider: "stripe".into(),
        provider_event_id: name.into(),
        kind: "invoice.paid".into(),
        ordering_key: ordering_key.into(),
        object_id: None,
        api_version: None,
        payload: b"{}".to_vec(),
        headers: None,
        state: InboxState::Pending,
        reason: None,
        attempts: 0,
        lease_token: 0,
        occurred_at: at(1),
        received_at: at(received),
        applied_at: None,
    }
}

#[tokio::test]
async fn row_14_an_event_is_stored_once() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        assert!(tx.inbox_insert(&event("evt_1", "cus_1", 1)).await?);
        assert!(!tx.inbox_insert(&event("evt_1", "cus_1", 2)).await?, "{}", fresh.name);
        // Stripe's ids differ by letter case, so this one is another event.
        assert!(tx.inbox_insert(&event("EVT_1", "cus_1", 2)).await?, "{}", fresh.name);
        tx.commit().await?;
    }
    Ok(())
}

/// More of them than one statement takes, in its first part and in its others, known and new.
#[tokio::test]
async fn row_14_events_of_a_fold_are_stored_once_each() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        let all: Vec<_> = (10..53).map(|n| event(&format!("evt_{n}"), "cus_1", n)).collect();
        let known = [3, 31, 32, 41, 42];
        for number in known {
            assert!(tx.inbox_insert(&event(&format!("evt_{}", 10 + number), "cus_1", 1)).await?);
        }
        let expected: Vec<_> = (0..all.len()).map(|number| !known.contains(&number)).collect();
        assert_eq!(tx.inbox_insert_fold(&all).await?, expected, "{}", fresh.name);
        let others: Vec<_> = (60..103).map(|n| event(&format!("evt_{n}"), "cus_1", n)).collect();
        assert_eq!(tx.inbox_insert_fold(&others).await?, vec![true; 43], "{}", fresh.name);
        assert_eq!(tx.inbox_pending().await?, 86, "{}", fresh.name);
        tx.commit().await?;
    }
    Ok(())
}

async fn claim(tx: &mut Tx, now: i64, until: i64) -> anyhow::Result<Option<InboxEvent>> {
    let Some(next) = tx.inbox_next(at(now)).await? else { return Ok(None) };
    Ok(Some(tx.inbox_lease(&next, at(until)).await?))
}

#[tokio::test]
async fn a_lease_fences_off_whoever_held_it_before() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        tx.inbox_insert(&event("evt_1", "cus_1", 1)).await?;
        tx.inbox_insert(&event("evt_2", "cus_1", 2)).await?;
        tx.inbox_insert(&event("evt_3", "cus_2", 3)).await?;
        let first = claim(&mut tx, 10, 20).await?.unwrap();
        assert_eq!(first.provider_event_id, "evt_1");
        let other = claim(&mut tx, 10, 20).await?.unwrap();
        assert_eq!(other.provider_event_id, "evt_3", "one customer's events take turns");
        assert!(claim(&mut tx, 10, 20).await?.is_none());
        let again = claim(&mut tx, 21, 30).await?.unwrap();
        assert_eq!(again.provider_event_id, "evt_1", "an old lease is taken over");
        assert!(!tx.inbox_renew(&first, at(90)).await?, "it is somebody else's");
        assert!(!tx.inbox_finish(&first, InboxState::Applied, None, at(22)).await?);
        assert!(tx.inbox_renew(&again, at(40)).await?);
        assert!(claim(&mut tx, 31, 50).await?.is_none_or(|it| it.ordering_key == "cus_2"));
        assert!(tx.inbox_finish(&again, InboxState::Applied, None, at(22)).await?);
        let next = claim(&mut tx, 22, 30).await?.unwrap();
        assert_eq!(next.provider_event_id, "evt_2");
        tx.inbox_retry(&next, "busy", at(60)).await?;
        assert!(claim(&mut tx, 50, 60).await?.is_none_or(|e| e.ordering_key == "cus_2"));
        assert_eq!(tx.inbox_pending().await?, 2);
    }
    Ok(())
}
