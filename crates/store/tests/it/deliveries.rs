//! Deliveries are leased once, in turn per receiver, and fence off whoever held them before.

use crate::backends;
use crate::outbox::news;
use domain::ids::{DeliveryId, WebhookEndpointId};
use domain::time::Timestamp;
use store::deliveries::{Attempted, DeliveryState};
use store::webhook_endpoints::{EndpointStatus, WebhookEndpoint};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn random() -> [u8; 10] {
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    random
}

#[tokio::test]
async fn an_event_reaches_each_receiver_once_under_one_lease() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        let event = news("invoice.paid:in_1", 1);
        tx.outbox_insert(&event).await?;
        for (receiver, planned) in [("hook_a", true), ("mail", true), ("hook_a", false)] {
            let id = DeliveryId::new(at(1), random());
            assert_eq!(tx.deliveries_insert(&id, &event.id, receiver, at(1)).await?, planned);
        }
        assert_eq!(tx.deliveries_receivers_due(at(0)).await?, Vec::<String>::new());
        assert_eq!(tx.deliveries_receivers_due(at(5)).await?, ["hook_a", "mail"]);
        let first = tx.deliveries_claim("hook_a", at(5), at(30)).await?.unwrap();
        assert!(tx.deliveries_claim("hook_a", at(29), at(60)).await?.is_none(), "{}", fresh.name);
        let second = tx.deliveries_claim("hook_a", at(30), at(60)).await?.unwrap();
        assert_eq!((second.id.clone(), second.attempts), (first.id.clone(), 2));
        let done = Attempted { status_code: Some(200), error: None };
        let delivered = DeliveryState::Delivered;
        assert!(!tx.deliveries_finish(&first, delivered, &done, Some(at(31))).await?, "fenced");
        assert!(tx.deliveries_retry(&second, &done, at(90)).await?);
        assert!(tx.deliveries_claim("hook_a", at(89), at(99)).await?.is_none());
        let third = tx.deliveries_claim("hook_a", at(90), at(99)).await?.unwrap();
        assert!(tx.deliveries_finish(&third, delivered, &done, Some(at(91))).await?);
        assert!(tx.deliveries_claim("hook_a", at(200), at(300)).await?.is_none());
        assert!(tx.deliveries_redeliver(&third.id, at(200)).await?);
        assert!(!tx.deliveries_redeliver(&third.id, at(200)).await?, "it is pending");
        let again = tx.deliveries_claim("hook_a", at(200), at(300)).await?.unwrap();
        assert_eq!(again.attempts, 1);
        assert_eq!(tx.deliveries_release_all(at(201)).await?, 1);
        assert!(tx.deliveries_claim("hook_a", at(201), at(300)).await?.is_some());
        let listed = tx.deliveries_list(Some("mail"), Some(DeliveryState::Pending), "~", 9).await?;
        assert_eq!(listed.len(), 1);
        tx.commit().await?;
    }
    Ok(())
}

#[tokio::test]
async fn endpoints_are_bounded_in_number_and_keep_what_they_were_told() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        let mut endpoint = WebhookEndpoint {
            id: WebhookEndpointId::new(at(1), random()),
            url: "https://shop.example.com/hook".into(),
            description: None,
            kinds: vec!["*".into()],
            sealed_secret: "k1:sealed".into(),
            status: EndpointStatus::Enabled,
            created_at: at(1),
            updated_at: at(1),
        };
        assert!(tx.webhook_endpoints_insert(&endpoint, 1).await?, "{}", fresh.name);
        let another =
            WebhookEndpoint { id: WebhookEndpointId::new(at(2), random()), ..endpoint.clone() };
        assert!(!tx.webhook_endpoints_insert(&another, 1).await?, "{}", fresh.name);
        endpoint.status = EndpointStatus::Disabled;
        endpoint.description = Some("the shop".into());
        endpoint.kinds = vec!["invoice.paid".into(), "credits.debt".into()];
        tx.webhook_endpoints_update(&endpoint).await?;
        let held = tx.webhook_endpoints_lock(&endpoint.id).await?.unwrap();
        assert_eq!(held.status, EndpointStatus::Disabled);
        assert_eq!(held.kinds, endpoint.kinds);
        assert_eq!(held.description.as_deref(), Some("the shop"));
        assert!(tx.webhook_endpoints_delete(&endpoint.id).await?);
        assert!(!tx.webhook_endpoints_delete(&endpoint.id).await?);
        tx.commit().await?;
    }
    Ok(())
}
