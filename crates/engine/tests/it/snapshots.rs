//! What is kept in memory is never older than a commit of this process, and soon as new as one of
//! another.

use crate::worlds::{World, drain, own};
use engine::Subject;
use secrecy::ExposeSecret as _;
use std::time::{Duration, Instant};
use store::api_keys::KeyScope;

const FEATURE: &str = "api_access";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_is_seen_at_once_here_and_soon_elsewhere() -> anyhow::Result<()> {
    for world in World::all().await? {
        let (here, elsewhere) = (world.engine.clone(), world.replica().await?);
        world.pay(world.request("buyer", "Pro monthly").await).await?;
        for event in world.events().await {
            crate::worlds::deliver(&here, &event).await;
        }
        // Somebody asks all the time, so that something old is always about to be kept.
        let askers: Vec<_> = [here.clone(), elsewhere.clone()]
            .into_iter()
            .map(|engine| {
                tokio::spawn(async move {
                    loop {
                        engine.check(&own("buyer"), FEATURE).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        assert!(!here.check(&own("buyer"), FEATURE).await?.allowed, "{}", world.name);
        assert!(!elsewhere.check(&own("buyer"), FEATURE).await?.allowed, "{}", world.name);
        drain(&here).await;
        let committed = Instant::now();
        assert!(here.check(&own("buyer"), FEATURE).await?.allowed, "{}", world.name);
        while !elsewhere.check(&own("buyer"), FEATURE).await?.allowed {
            let waited = committed.elapsed();
            assert!(waited < Duration::from_secs(5), "{}: {waited:?}", world.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // By either name; a stranger's token reaches nobody by our own name of somebody else.
        let id = here.customers_get(&own("buyer")).await?.id;
        assert!(here.check(&Subject::Named(id.to_string()), FEATURE).await?.allowed);
        assert!(!here.check(&own(id.as_str()), FEATURE).await?.allowed);
        assert!(here.check(&Subject::Named("nobody".into()), FEATURE).await.is_err());
        assert!(!here.check(&own("nobody"), FEATURE).await?.allowed);
        // So is the end of it.
        let intents = world.get("/v1/payment_intents?limit=1").await;
        let intent = intents["data"][0]["id"].as_str().unwrap();
        world.post("/v1/refunds", &[("payment_intent", intent)]).await;
        world.tell_all().await;
        assert!(!here.check(&own("buyer"), FEATURE).await?.allowed, "{}", world.name);
        askers.iter().for_each(tokio::task::JoinHandle::abort);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_opens_nothing_here() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    for _ in 0..20 {
        let (key, secret) = world.engine.api_keys_create("short", KeyScope::Server).await?;
        let secret = secret.expose_secret().to_owned();
        let asker = tokio::spawn({
            let (engine, secret) = (world.engine.clone(), secret.clone());
            async move { while engine.api_keys_find(&secret).await.unwrap().is_some() {} }
        });
        assert!(world.engine.api_keys_find(&secret).await?.is_some());
        world.engine.api_keys_revoke(key.id.as_str()).await?;
        assert!(world.engine.api_keys_find(&secret).await?.is_none());
        asker.await?;
    }
    Ok(())
}
