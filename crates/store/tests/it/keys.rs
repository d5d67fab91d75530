//! What counts as the same, on every backend: letter case, trailing spaces, nothing at all.

use crate::backends;
use domain::ids::{ApiKeyId, CustomerId};
use domain::time::Timestamp;
use store::api_keys::{ApiKey, KeyScope};
use store::customers::Customer;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

fn customer(external_id: Option<&str>) -> Customer {
    Customer {
        id: CustomerId::new(NOW, random()),
        external_id: external_id.map(str::to_owned),
        email: None,
        name: None,
        metadata: Default::default(),
        created_at: NOW,
        updated_at: NOW,
    }
}

#[tokio::test]
async fn keys_differ_by_every_byte_and_nothing_is_no_key() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        for name in [Some("ada"), Some("Ada"), Some("ada "), Some("äda"), None, None] {
            let is_new = tx.customers_insert(&customer(name)).await?;
            assert!(is_new, "{}: {name:?} is like no other", fresh.name);
        }
        assert!(!tx.customers_insert(&customer(Some("ada "))).await?, "{}", fresh.name);
        assert!(tx.customers_insert(&customer(Some("ada  "))).await?, "{}", fresh.name);
        assert!(tx.customers_find("ADA").await?.is_none(), "{}", fresh.name);
        let found = tx.customers_find("ada ").await?.unwrap();
        assert_eq!(found.external_id.as_deref(), Some("ada "), "{}", fresh.name);
        tx.commit().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_known_changes_its_scope() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        for scope in [KeyScope::Server, KeyScope::Server, KeyScope::Admin] {
            let key = ApiKey {
                id: ApiKeyId::new(NOW, random()),
                name: "key".into(),
                prefix: "tg_".into(),
                hash: "digest".into(),
                scope,
                created_at: NOW,
                revoked_at: None,
            };
            tx.api_keys_insert(&key).await?;
            let found = tx.api_keys_find("digest").await?.unwrap();
            assert_eq!(found.scope.as_str(), scope.as_str(), "{}", fresh.name);
        }
        assert_eq!(tx.api_keys_list().await?.len(), 1, "{}", fresh.name);
        tx.commit().await?;
    }
    Ok(())
}
