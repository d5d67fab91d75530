//! Gated retrieval: only the entitled, only their own, nearest first, paid together.

use crate::worlds::{World, act, own};
use domain::codes::Code;
use domain::credits::Class;
use engine::collections::NewCollection;
use engine::credits::GrantRequest;
use engine::documents::{DocumentOwner, NewDocument};
use engine::search::SearchRequest;
use engine::{Failure, Page};

fn by_vector(embedding: Vec<f32>) -> SearchRequest {
    SearchRequest {
        collection: None,
        query: None,
        embedding: Some(embedding),
        limit: None,
        idempotency_key: None,
    }
}

fn note(content: &str, embedding: Vec<f32>) -> NewDocument {
    NewDocument {
        collection: None,
        content: content.into(),
        embedding: Some(embedding),
        source: Some("policy.md".into()),
    }
}

#[tokio::test]
async fn row_126_store_and_search_only_with_access() -> anyhow::Result<()> {
    for world in World::all().await? {
        let engine = &world.engine;
        let subject = own("alice");
        let owner = DocumentOwner::Customer(subject.clone());
        let vector = vec![0.01; 1536];
        let content = "Policy renewal requires identity verification.";
        let refused = engine.documents_add(&owner, note(content, vector.clone())).await;
        assert!(matches!(refused, Err(Failure::NotEntitled { .. })), "{refused:?}");
        let refused = engine.search(&subject, by_vector(vector.clone())).await;
        assert!(matches!(refused, Err(Failure::NotEntitled { offers, .. }) if !offers.is_empty()));
        world.pay(world.request("alice", "RAG Access").await).await?;
        world.tell_all().await;
        engine.documents_add(&owner, note(content, vector.clone())).await?;
        let found = engine.search(&subject, by_vector(vector.clone())).await?;
        assert_eq!(found.len(), 1, "{}", world.name);
        assert_eq!((found[0].content.as_str(), found[0].distance), (content, 0.0));
        world.advance("31d").await;
        let over = engine.search(&subject, by_vector(vector.clone())).await;
        assert!(matches!(over, Err(Failure::NotEntitled { reason: "ended", .. })));
        world.pay(world.request("alice", "RAG Access").await).await?;
        world.tell_all().await;
        let back = engine.search(&subject, by_vector(vector)).await?;
        assert_eq!(back.len(), 1, "old documents are back");
    }
    Ok(())
}

#[tokio::test]
async fn row_127_nobody_finds_what_is_not_theirs() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let engine = &world.engine;
    for who in ["alice", "bob"] {
        world.pay(world.request(who, "RAG Access").await).await?;
    }
    world.tell_all().await;
    for step in 0..20_u8 {
        let who = if step % 2 == 0 { "alice" } else { "bob" };
        let owner = DocumentOwner::Customer(own(who));
        let vector = vec![f32::from(step), 1.0, 0.0];
        engine.documents_add(&owner, note(&format!("{who} {step}"), vector)).await?;
    }
    for step in 0..200_u8 {
        let mut asked = by_vector(vec![f32::from(step % 23), 0.5, 0.0]);
        asked.limit = Some(5);
        let found = engine.search(&own("alice"), asked).await?;
        assert_eq!(found.len(), 5);
        assert!(found.iter().all(|one| one.content.starts_with("alice")));
        assert!(found.windows(2).all(|pair| pair[0].distance <= pair[1].distance));
    }
    let bob = own("bob");
    let visible = engine.collections_list(Some(&bob), Page::first()).await?.data;
    let bobs = visible.iter().find(|one| one.owner.is_some()).unwrap().id.to_string();
    let asked = SearchRequest { collection: Some(bobs.clone()), ..by_vector(vec![0.0; 3]) };
    assert_eq!(engine.search(&bob, asked.clone()).await?.len(), 3);
    let foreign = engine.search(&own("alice"), asked).await;
    assert!(
        matches!(foreign, Err(Failure::Refused { code: Code::CollectionNotFound, .. })),
        "{foreign:?}"
    );
    let planted = NewDocument { collection: Some(bobs), ..note("alice", vec![0.0; 3]) };
    let foreign = engine.documents_add(&DocumentOwner::Customer(own("alice")), planted).await;
    assert!(
        matches!(foreign, Err(Failure::Refused { code: Code::CollectionNotFound, .. })),
        "{foreign:?}"
    );
    let wrong = engine.search(&own("alice"), by_vector(vec![0.0; 4])).await;
    assert!(matches!(wrong, Err(Failure::Refused { code: Code::DimensionMismatch, .. })));
    let nan = engine.search(&own("alice"), by_vector(vec![f32::NAN, 0.0, 0.0])).await;
    assert!(matches!(nan, Err(Failure::Refused { code: Code::InvalidVector, .. })));
    Ok(())
}

#[tokio::test]
async fn a_search_that_costs_credits_is_paid_with_its_answer() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let engine = &world.engine;
    world.pay(world.request("alice", "RAG Access").await).await?;
    world.tell_all().await;
    engine
        .collections_create(NewCollection {
            owner: None,
            name: "paid".into(),
            feature: "knowledge_base".into(),
            search_cost: 2,
            dimensions: Some(64),
        })
        .await?;
    let document = NewDocument {
        collection: Some("paid".into()),
        content: "Refunds take five days.".into(),
        embedding: None,
        source: None,
    };
    engine.documents_add(&DocumentOwner::Merchant, document).await?;
    let asked = SearchRequest {
        collection: Some("paid".into()),
        query: Some("how long do refunds take".into()),
        embedding: None,
        limit: None,
        idempotency_key: Some("once".into()),
    };
    let short = engine.search(&own("alice"), asked.clone()).await;
    assert!(matches!(short, Err(Failure::Shortage { required: 2, available: 0, .. })));
    let grant = GrantRequest {
        amount: 3,
        unit: "credits".into(),
        class: Class::Bonus,
        expires_at: None,
        reason: "test".into(),
        idempotency_key: None,
    };
    engine.credits_grant(&own("alice"), grant, &act()).await?;
    assert_eq!(engine.search(&own("alice"), asked.clone()).await?.len(), 1);
    assert_eq!(engine.search(&own("alice"), asked.clone()).await?.len(), 1, "paid for once");
    let asked = SearchRequest { idempotency_key: None, ..asked };
    assert_eq!(engine.credits_balance(&own("alice"), "credits").await?.total, 1);
    let short = engine.search(&own("alice"), asked).await;
    assert!(matches!(short, Err(Failure::Shortage { required: 2, available: 1, .. })));
    let deleted =
        engine.documents_list(&DocumentOwner::Merchant, Some("paid"), Page::first()).await?.data;
    engine.documents_delete(&DocumentOwner::Merchant, deleted[0].id.as_str()).await?;
    Ok(())
}
