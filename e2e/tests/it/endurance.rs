//! Two servers on one database, one of which dies under load: a short version of what `cargo xtask
//! endure replicas` does for minutes. The checker itself is shown to find what is wrong.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::audits::Audit;
use e2e::crowds::Crowd;
use e2e::databases::{Backend, Database};
use e2e::deployments::Deployment;

const CLIENTS: usize = 16;
const SPENDERS: usize = 20;
const PURCHASES: usize = 20;
const KILLS: usize = 3;
const BETWEEN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(300);

const LINE: &str = "kind = 'consume' AND reference = ";
const COLUMNS: &str = "customer_id, unit, kind, grant_id, amount, held_amount, balance_before, \
    balance_after, held_after, reference, effective_at, recorded_at";

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_of_which_one_dies_lose_nothing_and_double_nothing() -> Result<()> {
    for backend in [Backend::Postgres, Backend::Mysql] {
        if backend.server_url().is_err() {
            eprintln!("skipped on {}: run cargo xtask test", backend.name());
            continue;
        }
        let mut deployment = Deployment::start(backend, "replicas").await?;
        let launch = deployment.launch.clone();
        let mut other = launch.start()?;
        let addresses = vec![deployment.server.address, other.address];
        let crowd = Crowd::gather(&deployment, addresses, SPENDERS, PURCHASES).await?;
        let mut clients = crowd.enter(CLIENTS);
        for kill in 0..KILLS {
            tokio::time::sleep(BETWEEN).await;
            let dies = if kill % 2 == 0 { &mut other } else { &mut deployment.server };
            tokio::task::block_in_place(|| launch.replace(dies))?;
        }
        tokio::time::sleep(BETWEEN).await;
        crowd.close();
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        deployment.drain(PATIENCE).await?;
        crowd.repeat(20).await?;
        deployment.drain(PATIENCE).await?;

        let audit = Audit::of(&crowd, &deployment.database).await?;
        println!("{}: {:?}", backend.name(), crowd.tally().answers);
        audit.ensure_clean()?;
        for noun in ["consumes", "events", "purchases"] {
            let answered = audit.count(&format!("{noun}_answered")).unwrap_or_default();
            ensure!(9 < answered, "{}: {answered} {noun} prove little", backend.name());
        }
        check_the_checker(&crowd, &deployment.database).await?;
    }
    Ok(())
}

/// Each harm that is done is found, and nothing else with it that is not its consequence.
async fn check_the_checker(crowd: &Crowd, database: &Database) -> Result<()> {
    let numbers = crowd.consumes.sample(3);
    let (lost, doubled) = (format!("'endure-{}'", numbers[1]), format!("'endure-{}'", numbers[2]));
    let remove = format!("DELETE FROM credit_entries WHERE {LINE}{lost}");
    ensure!(database.execute(&remove).await? == 1, "there is one line to take away");
    let again = format!(
        "INSERT INTO credit_entries (id, number, {COLUMNS}) \
         SELECT 'entry_again', number + 1000000, {COLUMNS} FROM credit_entries \
         WHERE {LINE}{doubled}"
    );
    ensure!(database.execute(&again).await? == 1, "there is one line to double");
    let event = crowd.events.sample(1)[0];
    let forget = format!("DELETE FROM inbox_events WHERE provider_event_id = 'evt_endure-{event}'");
    ensure!(database.execute(&forget).await? == 1, "there is one event to forget");
    let grant = "UPDATE credit_balances SET available = available + 1 \
        WHERE customer_id = (SELECT id FROM customers WHERE external_id = 'bench-0000001')";
    ensure!(database.execute(grant).await? == 1, "there is one balance to change");
    let close = "DELETE FROM credit_balances \
        WHERE customer_id = (SELECT id FROM customers WHERE external_id = 'bench-0000002')";
    ensure!(database.execute(close).await? == 1, "there is one account to close");

    let audit = Audit::of(crowd, database).await?;
    let found = |name: &str| audit.count(name);
    assert_eq!(found("consumes_lost"), Some(1), "{:?}", audit.faults());
    assert_eq!(found("consumes_doubled"), Some(1), "{:?}", audit.faults());
    assert_eq!(found("events_lost"), Some(1), "{:?}", audit.faults());
    assert_eq!(found("purchases_lost"), Some(0), "{:?}", audit.faults());
    assert_eq!(found("accounts_missing"), Some(1), "{:?}", audit.faults());
    assert!(found("balances_wrong").is_some_and(|count| 0 < count), "{:?}", audit.faults());
    assert!(found("lines_broken").is_some_and(|count| 0 < count), "{:?}", audit.faults());
    assert!(audit.ensure_clean().is_err());
    Ok(())
}
