//! What one replica leaves to the other: news within a second, and every request while it is
//! being replaced.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::answers::{Answer, Api, eventually, text_at};
use e2e::purchases::{Buyer, checkout, sell_pack, sell_plan};
use e2e::replicas::Replicas;
use e2e::services::server_databases;
use e2e::webhooks::set_deliveries_of;
use futures::future::{try_join, try_join_all};
use reqwest::Method;
use serde_json::json;
use tokio::task::spawn_blocking;

const FEATURE: &str = "api_access";
/// Within which what one replica has committed is true at the other.
const SEEN_WITHIN: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);

/// What a replica said over time: when the last question was asked that had the old answer, and
/// when the first new answer was there.
#[derive(Debug, Clone, Copy)]
struct Turn {
    last_old: Instant,
    first_new: Instant,
}

/// Asks until the answer has changed, and a while longer: it must not change back.
async fn turn(is_new: impl AsyncFn() -> Result<bool>) -> Result<Turn> {
    const PATIENCE: Duration = Duration::from_secs(20);
    const LONGER: Duration = Duration::from_millis(400);
    let began = Instant::now();
    ensure!(!is_new().await?, "it is so from the beginning");
    let (mut last_old, mut first_new) = (began, None);
    loop {
        let asked = Instant::now();
        match (is_new().await?, first_new) {
            (true, None) => first_new = Some(Instant::now()),
            (true, Some(first_new)) if LONGER < asked.duration_since(first_new) => {
                return Ok(Turn { last_old, first_new });
            }
            (true, Some(_)) => {}
            (false, None) => last_old = asked,
            (false, Some(_)) => anyhow::bail!("what was seen is gone again"),
        }
        ensure!(began.elapsed() < PATIENCE, "not seen after {PATIENCE:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// How much later than `committed`, by when it was surely committed, somebody was still told the
/// old answer. What is asked within the bound may have either answer, what is asked later may not.
fn check_seen(what: &str, turns: &[Turn], committed: Instant) -> Result<Duration> {
    let late = |turn: &Turn| turn.last_old.saturating_duration_since(committed);
    let slowest = turns.iter().map(late).max().unwrap_or_default();
    ensure!(slowest < SEEN_WITHIN, "{what}: still the old answer after {slowest:?}");
    Ok(slowest)
}

/// Buys, and later ends, at the first replica, while both are asked all the time.
async fn access_comes_and_goes(replicas: &Replicas, plan: &str) -> Result<[Duration; 2]> {
    let buyer = replicas.buyer().await?;
    let [one, two] = replicas.each(&buyer.token)?;
    let path = format!("/v1/check?feature={FEATURE}");
    let allowed = async |api: &Api| Ok(api.get(&path).await?.expect(200)?["allowed"] == true);

    let buying = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        replicas.pay(&checkout(&one, plan).await?).await
    };
    let (here, there, _) = futures::try_join!(
        turn(async || allowed(&one).await),
        turn(async || allowed(&two).await),
        buying
    )?;
    let gained = check_seen("bought", &[here, there], here.first_new.min(there.first_new))?;

    // What ends it is then the answer to the first one's own call, not an event that either heard.
    replicas.settled().await?;
    set_deliveries_of(&replicas.sandbox, false).await?;
    let subscriptions = one.get("/v1/subscriptions/current").await?.expect(200)?;
    let id = text_at(&subscriptions, "/subscription/id");
    let ending = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let path = format!("/v1/subscriptions/{id}/cancel");
        one.post(&path, &json!({ "when": "now" })).await?.expect(200)?;
        Ok(Instant::now())
    };
    let (here, there, ended) = futures::try_join!(
        turn(async || Ok(!allowed(&one).await?)),
        turn(async || Ok(!allowed(&two).await?)),
        ending
    )?;
    let at_home = check_seen("ended, here", &[here], ended)?;
    ensure!(at_home.is_zero(), "who ended it allowed it {at_home:?} later");
    set_deliveries_of(&replicas.sandbox, true).await?;
    Ok([gained, check_seen("ended, there", &[there], ended)?])
}

#[tokio::test]
async fn what_one_replica_grants_or_ends_the_other_sees_within_a_second() -> Result<()> {
    for database in server_databases().await? {
        let replicas = Replicas::open(&database, &[]).await.context(database.name)?;
        let plan = sell_plan(&replicas.merchant, FEATURE).await?;
        for _ in 0..4 {
            let seen = access_comes_and_goes(&replicas, &plan).await.context(database.name)?;
            println!("{}: the old answer for {seen:?} after it was bought, ended", database.name);
        }
        replicas.check_sound().await.context(database.name)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second() -> Result<()> {
    for database in server_databases().await? {
        let replicas = Replicas::open(&database, &[]).await.context(database.name)?;
        let key = replicas.shop.admin_key()?;
        let [one, two] = replicas.each(&key)?;
        let refused = async |api: &Api| {
            let answer = api.get("/v1/customers?limit=1").await?;
            ensure!([200, 401].contains(&answer.status), "{}: {}", answer.status, answer.text);
            Ok(answer.status == 401)
        };
        // Keys are revoked by a command, which is a process of its own: both are the other one.
        let listed = replicas.shop.run(&["keys", "list"])?;
        let listed = String::from_utf8(listed.stdout)?;
        let ours = listed.lines().find(|line| line.contains(&key[..12]));
        let id = ours.and_then(|line| line.split_whitespace().next()).context(listed.clone())?;
        let (shop, id) = (&replicas.shop, id.to_owned());
        let revoking = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut command = shop.command(&["keys", "revoke", &id])?;
            let output = spawn_blocking(move || command.output()).await??;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(Instant::now())
        };
        let (here, there, revoked) = futures::try_join!(
            turn(async || refused(&one).await),
            turn(async || refused(&two).await),
            revoking
        )?;
        let seen = check_seen("revoked", &[here, there], revoked).context(database.name)?;
        println!("{}: opened for {seen:?} after it was revoked", database.name);
    }
    Ok(())
}

/// What a crowd of clients heard.
#[derive(Debug, Default)]
struct Heard {
    is_over: AtomicBool,
    answered: AtomicU64,
    spent: AtomicU64,
}

/// One client: spends and asks until told to stop. Whatever fails ends it.
async fn client(buyer: &Buyer, number: usize, heard: &Heard) -> Result<()> {
    let check = format!("/v1/check?feature={FEATURE}");
    for round in 0.. {
        if heard.is_over.load(Ordering::Relaxed) {
            break;
        }
        let request = buyer.api.request(Method::POST, "/v1/credits/consume");
        let request = request.header("idempotency-key", format!("{number}-{round}"));
        buyer.api.send(request.json(&json!({ "amount": 1 }))).await?.expect(200)?;
        heard.spent.fetch_add(1, Ordering::Relaxed);
        buyer.api.get(&check).await?.expect(200)?;
        buyer.api.get("/v1/credits/balance").await?.expect(200)?;
        heard.answered.fetch_add(3, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Sends the first replica away and starts it again, while somebody pays and while it is still at
/// a request that takes longer than it listens; answers what became of that one.
async fn replace(replicas: &mut Replicas, pack: &str, paying: &Buyer) -> Result<Answer> {
    let page = checkout(&paying.api, pack).await?;
    let lasting = replicas.buyer().await?;
    let [stopping, _] = replicas.each(&lasting.token)?;
    // The provider is asked twice.
    replicas.slow_provider(2_000).await?;
    let body = json!({ "price": pack });
    let lasting = tokio::spawn(async move { stopping.post("/v1/checkout-sessions", &body).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (began, first) = (Instant::now(), replicas.services.remove(0));
    let stopped = spawn_blocking(move || first.stop());
    tokio::time::sleep(Duration::from_millis(300)).await;
    replicas.pay(&page).await?;
    let status = stopped.await??;
    eprintln!("it ended {:.1?} after the signal", began.elapsed());
    ensure!(status.success(), "it ended with {status}");
    ensure!(!replicas.balancer.ready()[0], "the balancer was never told");
    replicas.slow_provider(0).await?;
    let mut first = replicas.shop.start(replicas.ports[0])?;
    first.ready().await?;
    replicas.services.insert(0, first);
    eventually("the balancer sends it work again", async || {
        Ok(replicas.balancer.ready()[0].then_some(()))
    })
    .await?;
    lasting.await?
}

#[tokio::test]
async fn no_request_fails_while_one_of_two_is_replaced() -> Result<()> {
    const GIFT: i64 = 100_000;
    for database in server_databases().await? {
        let mut replicas = Replicas::open(&database, &[]).await.context(database.name)?;
        replicas.balancer.heed_readiness()?;
        let pack = sell_pack(&replicas.merchant).await?;
        let paying = replicas.buyer().await?;
        let buyers = try_join_all((0..6).map(|_| replicas.buyer())).await?;
        for buyer in &buyers {
            replicas.grant(buyer, GIFT).await?;
        }
        let heard = Heard::default();
        let clients = buyers.iter().enumerate();
        let crowd = try_join_all(clients.map(|(number, buyer)| client(buyer, number, &heard)));
        let replacing = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let lasting = replace(&mut replicas, &pack, &paying).await?;
            let before = replicas.balancer.taken();
            tokio::time::sleep(Duration::from_millis(500)).await;
            let after = replicas.balancer.taken();
            ensure!(before[0] < after[0] && before[1] < after[1], "{before:?}, {after:?}");
            heard.is_over.store(true, Ordering::Relaxed);
            Ok(lasting)
        };
        let (_, lasting) = try_join(crowd, replacing).await.context(database.name)?;
        lasting.expect(201).context("it was given up")?;
        paying.await_credits(100).await.context(database.name)?;
        let (mut spent, answered) = (0, heard.answered.load(Ordering::Relaxed));
        for buyer in &buyers {
            spent += GIFT - buyer.total_credits().await?;
        }
        let heard = heard.spent.load(Ordering::Relaxed);
        ensure!(u64::try_from(spent)? == heard, "{spent} are spent, {heard} were answered");
        replicas.check_sound().await.context(database.name)?;
        println!("{}: all of {answered} requests were answered", database.name);
    }
    Ok(())
}
