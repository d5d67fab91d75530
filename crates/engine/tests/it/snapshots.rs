//! What `check` has in memory is never older than a commit of this process, nor by a second than
//! one of another.

use crate::worlds::{World, drain, own};
use engine::Subject;
use std::time::{Duration, Instant};

const FEATURE: &str = "api_access";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_is_seen_at_once_here_and_within_a_second_elsewhere() -> anyhow::Result<()> {
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
        eprintln!("{}: seen elsewhere after {:?}", world.name, committed.elapsed());
        // By either name; a stranger's token reaches nobody by our own name of somebody else.
        let id = here.customers_get(&own("buyer")).await?.id;
        assert!(here.check(&Subject::Named(id.to_string()), FEATURE).await?.allowed);
        assert!(!here.check(&own(id.as_str()), FEATURE).await?.allowed);
        assert!(here.check(&Subject::Named("nobody".into()), FEATURE).await.is_err());
        assert!(!here.check(&own("nobody"), FEATURE).await?.allowed);
        askers.iter().for_each(tokio::task::JoinHandle::abort);
    }
    Ok(())
}
