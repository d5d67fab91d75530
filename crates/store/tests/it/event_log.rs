//! The log is searched by state, kind, customer and id; payloads go when their time is over.

use crate::backends;
use crate::inbox::{at, event};
use domain::ids::{CustomerId, InboxEventId};
use std::collections::BTreeMap;
use store::customers::Customer;
use store::event_log::EventFilter;
use store::inbox::InboxState;

fn found(rows: &[store::event_log::LoggedEvent]) -> Vec<&str> {
    rows.iter().map(|row| row.provider_event_id.as_str()).collect()
}

fn about_of(customer: &Customer, about: &str) -> EventFilter {
    let (customer, about) = (Some(customer.id.clone()), Some(about.to_owned()));
    EventFilter { customer, about, ..EventFilter::default() }
}

fn customer() -> Customer {
    Customer {
        id: CustomerId::new(at(1), [1; 10]),
        external_id: Some("anna".into()),
        email: None,
        name: None,
        metadata: BTreeMap::new(),
        created_at: at(1),
        updated_at: at(1),
    }
}

#[tokio::test]
async fn each_filter_narrows_and_pages_go_on_where_the_last_one_ended() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let customer = customer();
        let mut tx = fresh.store.begin("test").await?;
        tx.customers_insert(&customer).await?;
        tx.customers_link("stripe", "cus_theirs", &customer.id, 0, at(1)).await?;
        for (number, key, kind, state) in [
            (1, "cus_theirs", "invoice.paid", InboxState::Applied),
            (2, "cus_theirs", "invoice.created", InboxState::Ignored),
            (3, "cus_other", "invoice.paid", InboxState::Parked),
            (4, "sub_1", "charge.refunded", InboxState::Parked),
        ] {
            let mut row = event(&format!("evt_{number}"), key, number);
            row.kind = kind.into();
            row.state = state;
            row.object_id = Some(format!("in_{number}"));
            tx.inbox_insert(&row).await?;
        }
        let none = EventFilter::default;
        let cases = [
            (none(), vec!["evt_4", "evt_3", "evt_2", "evt_1"]),
            (EventFilter { state: Some(InboxState::Parked), ..none() }, vec!["evt_4", "evt_3"]),
            (EventFilter { kind: Some("invoice.paid".into()), ..none() }, vec!["evt_3", "evt_1"]),
            (
                EventFilter { family: Some("invoice.".into()), ..none() },
                vec!["evt_3", "evt_2", "evt_1"],
            ),
            // A kind's name is no pattern.
            (EventFilter { kind: Some("invoice_paid".into()), ..none() }, vec![]),
            (EventFilter { family: Some("invoice%".into()), ..none() }, vec![]),
            (EventFilter { customer: Some(customer.id.clone()), ..none() }, vec!["evt_2", "evt_1"]),
            (
                EventFilter {
                    customer: Some(customer.id.clone()),
                    state: Some(InboxState::Ignored),
                    ..none()
                },
                vec!["evt_2"],
            ),
            (EventFilter { about: Some("evt_3".into()), ..none() }, vec!["evt_3"]),
            (EventFilter { about: Some("in_4".into()), ..none() }, vec!["evt_4"]),
            (EventFilter { about: Some("cus_theirs".into()), ..none() }, vec!["evt_2", "evt_1"]),
            (EventFilter { about: Some("IN_4".into()), ..none() }, vec![]),
            (about_of(&customer, "evt_1"), vec!["evt_1"]),
            (about_of(&customer, "evt_3"), vec![]),
        ];
        for (wanted, expected) in cases {
            let rows = tx.event_log_list("stripe", &wanted, "~", 10).await?;
            assert_eq!(found(&rows), expected, "{}: {wanted:?}", fresh.name);
        }
        let page = tx.event_log_list("stripe", &none(), "~", 3).await?;
        let rest = tx.event_log_list("stripe", &none(), page[2].id.as_str(), 3).await?;
        assert_eq!(found(&rest), ["evt_1"], "{}", fresh.name);
        assert_eq!(rest[0].customer_id.as_ref(), Some(&customer.id));
        assert_eq!(page[0].customer_id, None);
        assert_eq!(tx.event_log_parked(10).await?.len(), 2, "{}", fresh.name);
        assert_eq!(tx.event_log_oldest(InboxState::Parked).await?, Some(at(3)));
        let (from, until) = (InboxEventId::new(at(2), [0; 10]), InboxEventId::new(at(4), [0; 10]));
        let mut counts = tx.event_log_count(&from, &until).await?;
        counts.sort_by_key(|(state, _)| state.as_str());
        assert_eq!(counts, [(InboxState::Ignored, 1), (InboxState::Parked, 1)]);
    }
    Ok(())
}

#[tokio::test]
async fn row_59_a_payload_goes_when_its_time_is_over_and_the_row_stays() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        for (number, state) in [
            (1, InboxState::Applied),
            (2, InboxState::Ignored),
            (3, InboxState::Parked),
            (4, InboxState::Pending),
            (9, InboxState::Applied),
        ] {
            let mut row = event(&format!("evt_{number}"), "cus_1", number);
            row.state = state;
            row.headers = Some("{}".into());
            tx.inbox_insert(&row).await?;
        }
        let until = InboxEventId::new(at(5), [0; 10]);
        let over = tx.inbox_purgeable(&until, 10).await?;
        assert_eq!(over.len(), 2, "{}: what waits is kept", fresh.name);
        for id in &over {
            assert!(tx.inbox_purge(id, at(100)).await?);
            assert!(!tx.inbox_purge(id, at(101)).await?, "once");
            let row = tx.inbox_get(id).await?.unwrap();
            assert!(row.payload.is_empty() && row.headers.is_none());
            assert!(!tx.inbox_replay(id).await?, "nothing is left to apply");
        }
        assert!(tx.inbox_purgeable(&until, 10).await?.is_empty());
        let again = event("evt_1", "cus_1", 200);
        assert!(!tx.inbox_insert(&again).await?, "{}: it is still known", fresh.name);
        let kept = tx.inbox_find("stripe", "evt_9").await?.unwrap();
        assert_eq!(kept.payload, b"{}");
    }
    Ok(())
}
