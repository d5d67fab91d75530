//! Webhooks in any order, any number, any shape: one effect, one state.

use anyhow::{Context, Result, ensure};
use e2e::answers::{list_at, number_at, text_at};
use e2e::purchases::{Buyer, VISA, offer, pay};
use e2e::servers::{Data, Dev};
use e2e::tools::shared_file;
use e2e::webhooks::{self, INTAKE, deliver, deliver_raw, set_deliveries, settled};
use futures::future::try_join_all;
use serde_json::{Value, json};

/// The four events of a purchase whose order the provider does not promise.
const KINDS: [&str; 4] = [
    "checkout.session.completed",
    "customer.subscription.created",
    "invoice.paid",
    "customer.subscription.updated",
];

/// Buys while nothing is delivered, and answers the events of that purchase.
async fn undelivered_purchase(dev: &Dev, buyer: &Buyer) -> Result<Vec<Value>> {
    let pro = offer(&buyer.api, "Pro", Some("month")).await?;
    let session = buyer.checkout(&pro).await?;
    let paid = pay(dev, &session, VISA).await?.expect(200)?;
    let customer = text_at(&paid, "/customer");
    // A change that touches nothing we keep, so that there is an update to deliver.
    let subscription = format!("/v1/subscriptions/{}", text_at(&paid, "/subscription"));
    let form = [("metadata[note]", "updated")];
    dev.sandbox()?.post_form(&subscription, &form).await?.expect(200)?;
    webhooks::events_of(dev, &customer).await
}

fn event_of_kind<'a>(events: &'a [Value], kind: &str) -> Result<&'a Value> {
    let found = events.iter().find(|event| event["type"] == kind);
    found.with_context(|| format!("the purchase had no {kind}"))
}

/// All orders of four things.
fn orders() -> Vec<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..KINDS.len() {
        orders = orders
            .into_iter()
            .flat_map(|order| {
                let rest: Vec<usize> = (0..KINDS.len()).filter(|i| !order.contains(i)).collect();
                rest.into_iter().map(move |next| [order.clone(), vec![next]].concat())
            })
            .collect();
    }
    orders
}

/// Everything we know about a customer, without what differs between two equal histories.
async fn state(dev: &Dev, buyer: &Buyer) -> Result<Value> {
    let admin = dev.admin()?;
    let id = &buyer.id;
    let mut state = json!({});
    for path in [
        format!("/v1/customers/{id}/state"),
        format!("/v1/payments?customer={id}"),
        format!("/v1/credits/grants?customer={id}"),
        format!("/v1/credits/entries?customer={id}"),
        format!("/v1/subscriptions?customer={id}"),
    ] {
        let name = path.replace(id.as_str(), "ID");
        state[name] = normal(&admin.get(&path).await?.expect(200)?, "");
    }
    Ok(state)
}

/// Ids and moments differ between purchases; whether they are there does not.
fn normal(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), normal(value, key))).collect()
        }
        Value::Array(values) => values.iter().map(|value| normal(value, key)).collect(),
        Value::String(text) => {
            let is_moment =
                ["_at", "_start", "_end", "_expiry"].iter().any(|end| key.ends_with(end));
            // A source is the kind of a thing and its id.
            let bare = text.split_once(':').map_or(text.as_str(), |(_, id)| id);
            let is_id = bare.split_once('_').is_some_and(|(prefix, rest)| {
                !prefix.is_empty() && prefix.len() <= 8 && rest.len() >= 14
            });
            match text {
                _ if is_moment => json!("TIME"),
                text if text.starts_with("buyer-") => json!("WHO"),
                _ if is_id => json!("ID"),
                text => json!(text),
            }
        }
        Value::Number(_) if key == "version" => json!("VERSION"),
        other => other.clone(),
    }
}

#[tokio::test]
async fn all_orders_of_a_purchase_end_in_one_state() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start_without_loops()?;
    set_deliveries(&dev, false).await?;
    let mut first: Option<Value> = None;
    for order in orders() {
        let buyer = Buyer::new(&dev, &data).await?;
        let events = undelivered_purchase(&dev, &buyer).await?;
        ensure!(buyer.total_credits().await? == 0, "granted before any event was delivered");
        for index in &order {
            let event = event_of_kind(&events, KINDS[*index])?;
            deliver(&dev, event).await?.expect(200)?;
        }
        settled(&dev.admin()?).await?;
        assert_eq!(buyer.total_credits().await?, 100, "order {order:?}");
        let state = state(&dev, &buyer).await?;
        assert_eq!(first.get_or_insert_with(|| state.clone()), &state, "order {order:?}");
    }
    Ok(())
}

#[tokio::test]
async fn fifty_deliveries_of_one_event_have_one_effect() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start_without_loops()?;
    set_deliveries(&dev, false).await?;
    let buyer = Buyer::new(&dev, &data).await?;
    let pack = offer(&buyer.api, "100 Credits", None).await?;
    let session = buyer.checkout(&pack).await?;
    let paid = pay(&dev, &session, VISA).await?.expect(200)?;
    let events = dev.sandbox()?.get("/v1/events?limit=100").await?.expect(200)?;
    let events = list_at(&events, "/data")?;
    let session_id = &paid["id"];
    let is_ours = |event: &&Value| &event["data"]["object"]["id"] == session_id;
    let completed = events.iter().find(is_ours).context("no event about the session")?;

    let answers = try_join_all((0..50).map(|_| deliver(&dev, completed))).await?;
    for answer in answers {
        assert_eq!(answer.expect(200)?["received"], true);
    }
    buyer.await_credits(100).await?;
    settled(&dev.admin()?).await?;
    // The same fact again, on the other paths and under a new event id.
    let body = completed.to_string();
    for path in ["/api/v1/webhooks/stripe", "/api/webhooks/stripe"] {
        let header = webhooks::signature(&dev.ready.webhook_secret, &body, 0)?;
        let bytes = body.clone().into_bytes();
        deliver_raw(&dev.nobody()?, path, bytes, Some(&header)).await?.expect(200)?;
    }
    let mut renamed = completed.clone();
    renamed["id"] = json!("evt_another_id_same_fact");
    deliver(&dev, &renamed).await?.expect(200)?;
    settled(&dev.admin()?).await?;
    assert_eq!(buyer.total_credits().await?, 100);
    let payments = buyer.api.get("/v1/payments").await?.expect(200)?;
    assert_eq!(list_at(&payments, "/data")?.len(), 1, "{payments}");
    assert_eq!(number_at(&payments, "/data/0/amount")?, 1999);
    Ok(())
}

#[tokio::test]
async fn every_recorded_event_is_taken() -> Result<()> {
    let Some(samples) = shared_file("stripe/webhook-samples.ndjson")? else {
        println!("skipped: the shared folder is absent");
        return Ok(());
    };
    let data = Data::new()?;
    let dev = data.start()?;
    let mut count = 0;
    for line in samples.lines().filter(|line| !line.trim().is_empty()) {
        let sample: Value = serde_json::from_str(line)?;
        let answer = deliver(&dev, &sample["event"]).await?;
        assert!((200..300).contains(&answer.status), "{}: {}", sample["name"], answer.text);
        count += 1;
    }
    assert!(count > 0, "the file of samples is empty");
    settled(&dev.admin()?).await?;
    dev.nobody()?.get("/health").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn unproven_events_are_refused_and_change_nothing() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start_without_loops()?;
    set_deliveries(&dev, false).await?;
    let buyer = Buyer::new(&dev, &data).await?;
    let events = undelivered_purchase(&dev, &buyer).await?;
    let body = event_of_kind(&events, KINDS[0])?.to_string();
    let secret = &dev.ready.webhook_secret;
    let nobody = dev.nobody()?;
    let changed = body.replacen("active", "actíve", 1) + " ";
    let good = webhooks::signature(secret, &body, 0)?;
    let cases = [
        ("no header", body.clone(), None),
        ("empty header", body.clone(), Some(String::new())),
        ("another secret", body.clone(), Some(webhooks::signature("whsec_other", &body, 0)?)),
        ("six minutes old", body.clone(), Some(webhooks::signature(secret, &body, -360)?)),
        ("changed body", changed, Some(good.clone())),
        ("no v1", body.clone(), Some(good.replace("v1=", "v0="))),
        ("garbage", body.clone(), Some("t=,v1=,,=".to_string())),
    ];
    for (name, body, header) in cases {
        for path in [INTAKE, "/api/v1/webhooks/stripe", "/api/webhooks/stripe"] {
            let bytes = body.clone().into_bytes();
            let answer = deliver_raw(&nobody, path, bytes, header.as_deref()).await?;
            assert_eq!(answer.status, 400, "{name} on {path}: {}", answer.text);
        }
    }
    let not_json = "not an event".to_string();
    let header = webhooks::signature(secret, &not_json, 0)?;
    let answer = deliver_raw(&nobody, INTAKE, not_json.into_bytes(), Some(&header)).await?;
    assert_eq!(answer.status, 400, "{}", answer.text);
    settled(&dev.admin()?).await?;
    assert_eq!(buyer.total_credits().await?, 0);
    Ok(())
}

#[tokio::test]
async fn late_news_do_not_refill_what_was_spent() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start_without_loops()?;
    set_deliveries(&dev, false).await?;
    let buyer = Buyer::new(&dev, &data).await?;
    let events = undelivered_purchase(&dev, &buyer).await?;
    for event in &events {
        deliver(&dev, event).await?.expect(200)?;
    }
    buyer.await_credits(100).await?;
    buyer.api.post("/v1/credits/consume", &json!({ "amount": 30 })).await?.expect(200)?;
    let mut paid = event_of_kind(&events, "invoice.paid")?.clone();
    deliver(&dev, &paid).await?.expect(200)?;
    paid["id"] = json!("evt_late_and_renamed");
    deliver(&dev, &paid).await?.expect(200)?;
    paid["id"] = json!("evt_late_under_its_other_name");
    paid["type"] = json!("invoice.payment_succeeded");
    deliver(&dev, &paid).await?.expect(200)?;
    settled(&dev.admin()?).await?;
    assert_eq!(buyer.total_credits().await?, 70);
    Ok(())
}
