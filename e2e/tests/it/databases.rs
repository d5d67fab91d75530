//! `tollgate serve` on the servers that a deployment may use: two instances, one database.

use anyhow::{Context, Result, ensure};
use e2e::answers::{Api, list_at};
use e2e::purchases::{VISA, await_credits, checkout, pay_at, sell_pack, total_credits};
use e2e::services::{Service, Shop, server_databases, spare_port};
use reqwest::Method;
use serde_json::{Value, json};

async fn buy(shop: &Shop, buyer: &Api, price: &str) -> Result<()> {
    let session = checkout(buyer, price).await?;
    pay_at(&shop.sandbox.api()?, &session, VISA).await?.expect(200)?;
    Ok(())
}

/// The same wish, however often it is made.
async fn spend(buyer: &Api, amount: i64) -> Result<Value> {
    let request = buyer.request(Method::POST, "/v1/credits/consume");
    let request = request.header("idempotency-key", "order-1").json(&json!({ "amount": amount }));
    buyer.send(request).await?.expect(200)
}

async fn both(shop: &Shop, ports: [u16; 2]) -> Result<[Service; 2]> {
    let mut started = [shop.start(ports[0])?, shop.start(ports[1])?];
    for service in &mut started {
        service.ready().await?;
    }
    Ok(started)
}

#[tokio::test]
async fn row_18_two_instances_start_together_sell_and_survive_kill_9() -> Result<()> {
    for database in server_databases().await? {
        let ports = [spare_port()?, spare_port()?];
        // Events reach the second one, buyers the first.
        let shop = Shop::open(&database.url, ports[1]).await?;
        let [one, two] = both(&shop, ports).await.context(database.name)?;
        let admin_key = shop.admin_key()?;
        let token = shop.token_of("buyer-1")?;
        let price = sell_pack(&one.api(&admin_key)?).await.context(database.name)?;
        buy(&shop, &one.api(&token)?, &price).await.context(database.name)?;
        await_credits(&one.api(&token)?, 100).await.context(database.name)?;
        let told = spend(&two.api(&token)?, 30).await.context(database.name)?;
        one.kill()?;
        two.kill()?;

        let [one, two] = both(&shop, ports).await.context(database.name)?;
        for service in [&one, &two] {
            let buyer = service.api(&token)?;
            ensure!(spend(&buyer, 30).await? == told, "{}: spent again", database.name);
            ensure!(total_credits(&buyer).await? == 70, "{}", database.name);
            let entries = buyer.get("/v1/credits/entries").await?.expect(200)?;
            ensure!(list_at(&entries, "/data")?.len() == 2, "{}: {entries}", database.name);
        }
        buy(&shop, &two.api(&token)?, &price).await.context(database.name)?;
        await_credits(&one.api(&token)?, 170).await.context(database.name)?;
        for service in [one, two] {
            let status = service.stop()?;
            ensure!(status.success(), "{}: {status}", database.name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_doctor_names_the_server_and_what_hurts() -> Result<()> {
    for database in server_databases().await? {
        let shop = Shop::open(&database.url, spare_port()?).await?;
        let migrated = shop.run(&["migrate", "up"])?;
        ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        let told = shop.run(&["doctor"])?;
        let text = String::from_utf8(told.stdout)?;
        // The servers of the tests keep nothing over a power cut, and are told so.
        let (version, harmful) = match database.name {
            "postgres" => ("ok    database: PostgreSQL 1", "fsync = off: "),
            _ => ("ok    database: M", "innodb_flush_log_at_trx_commit = 0: "),
        };
        for expected in
            [version, "ok    database settings: ", "ok    schema: up to date", "ok    provider: "]
        {
            ensure!(text.contains(expected), "{}: no {expected:?} in {text}", database.name);
        }
        let harmful = format!("FAIL  database setting: {harmful}");
        ensure!(text.contains(&harmful), "{}: {text}", database.name);
        ensure!(!told.status.success(), "{}: {text}", database.name);
    }
    Ok(())
}
