//! An operator with a browser: who is let in, what is shown, and a parked event that is mended.

use anyhow::{Result, ensure};
use e2e::answers::{Api, eventually, text_at};
use e2e::purchases::{Buyer, offer};
use e2e::servers::{Data, Dev};
use e2e::tools::run_in_browser;
use e2e::webhooks::{deliver, unix_seconds};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

const EVIL: &str = "</pre><script>window.hacked = 1</script><img src=x onerror=window.hacked=2>";

/// What the merchant sells at the provider without having told us. Answers its price there.
async fn sell_unknown_plan(dev: &Dev, buyer: &Buyer) -> Result<String> {
    let pack = offer(&buyer.api, "100 Credits", None).await?;
    buyer.buy(dev, &pack, 100).await?;
    let provider = dev.sandbox()?;
    let path = "/v1/customers/search?query=email:'".to_owned() + &buyer.external_id;
    let found = provider.get(&format!("{path}@example.com'")).await?.expect(200)?;
    let customer = text_at(&found, "/data/0/id");
    let form = [("name", "Made elsewhere")];
    let product = text_at(&provider.post_form("/v1/products", &form).await?.expect(200)?, "/id");
    let form = [
        ("product", product.as_str()),
        ("currency", "usd"),
        ("unit_amount", "500"),
        ("recurring[interval]", "month"),
    ];
    let price = text_at(&provider.post_form("/v1/prices", &form).await?.expect(200)?, "/id");
    let attach = "/v1/payment_methods/pm_card_visa/attach";
    let form = [("customer", customer.as_str())];
    let card = text_at(&provider.post_form(attach, &form).await?.expect(200)?, "/id");
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("default_payment_method", card.as_str()),
    ];
    provider.post_form("/v1/subscriptions", &form).await?.expect(200)?;
    eventually("the invoice is parked", async || {
        let parked = dev.admin()?.get("/v1/events?state=parked&kind=invoice.paid").await?;
        Ok((text_at(&parked.expect(200)?, "/data/0/kind") == "invoice.paid").then_some(()))
    })
    .await?;
    Ok(price)
}

/// Sells our monthly plan under that price of the provider's too, as whoever repairs a catalogue
/// behind our back would.
async fn mend_catalogue(data: &Data, price: &str) -> Result<()> {
    let file = data.path().join("tollgate.db");
    let mut database = SqliteConnectOptions::new().filename(file).connect().await?;
    let copied = sqlx::query(
        "INSERT INTO prices SELECT 'price_made_elsewhere', product_id, unit_amount, currency,
             interval_unit, interval_count, NULL, active, trial_days, grants, provider, ?,
             created_at, updated_at
         FROM prices WHERE nickname = 'Pro monthly'",
    );
    let copied = copied.bind(price).execute(&mut database).await?;
    ensure!(copied.rows_affected() == 1, "the demo has no plan to copy");
    Ok(database.close().await?)
}

/// An event that tries to be more than text wherever it is shown.
async fn tell_evil(dev: &Dev) -> Result<()> {
    let event = json!({
        "id": "evt_evil", "object": "event", "type": EVIL, "created": unix_seconds()?,
        "livemode": false, "api_version": EVIL,
        "data": { "object": { "id": EVIL, "object": EVIL, "customer": EVIL } },
    });
    assert_eq!(deliver(dev, &event).await?.status, 200);
    Ok(())
}

fn input(dev: &Dev, server_key: &str) -> Value {
    json!({
        "api_url": dev.ready.api_url,
        "admin_key": dev.ready.admin_key,
        "server_key": server_key,
        "kind": "invoice.paid",
        "evil_event": "evt_evil",
        "screenshots": std::env::var("TOLLGATE_SCREENSHOTS").ok(),
    })
}

#[tokio::test]
async fn row_76_an_operator_sees_mends_and_replays_what_was_parked() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    let made = data.run(&["keys", "create", "--name", "shop"])?;
    let server_key = String::from_utf8(made.stdout)?.trim().to_owned();
    let buyer = Buyer::new(&dev, &data).await?;
    let price = sell_unknown_plan(&dev, &buyer).await?;
    tell_evil(&dev).await?;
    let input = input(&dev, &server_key);
    run_in_browser("operator", &input)?;
    assert_eq!(buyer.total_credits().await?, 100, "nothing is granted before the plan is known");

    mend_catalogue(&data, &price).await?;
    run_in_browser("replay", &input)?;
    buyer.await_credits(200).await
}

#[tokio::test]
async fn the_operators_cookie_alone_changes_nothing() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start()?;
    tell_evil(&dev).await?;
    let nobody = dev.nobody()?;
    let form = [("key", dev.ready.admin_key.as_str())];
    let request = nobody.request(Method::POST, "/admin/sign-in").form(&form);
    let answer = nobody.send(request).await?;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let cookie = answer.headers["set-cookie"].to_str()?.to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/admin"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(&dev.ready.admin_key));
    let cookie = cookie.split(';').next().unwrap_or_default();
    for path in ["/admin/events/evt_evil/replay", "/admin/events/evt_evil/ignore"] {
        let forged = nobody.request(Method::POST, path).header("cookie", cookie);
        let answer = nobody.send(forged.form(&[("csrf", "forged")])).await?;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text);
    }
    check_unread_by_the_api(&nobody, cookie).await
}

/// The cookie opens pages only: scripts of other pages on this host cannot use it for the API.
async fn check_unread_by_the_api(nobody: &Api, cookie: &str) -> Result<()> {
    let request = nobody.request(Method::GET, "/v1/events").header("cookie", cookie);
    assert_eq!(nobody.send(request).await?.status, 401);
    Ok(())
}
