//! The life of a subscription: begun, unpaid, grace, ended, and two at once.

use crate::stories::{DECLINING, Story, WORKING, count, seen};
use crate::worlds::{deliver, drain, own};
use engine::Page;
use serde_json::{Value, json};

const DAY: i64 = 86_400;

fn status(state: &Value) -> &str {
    state["subscriptions"][0][0].as_str().unwrap()
}

fn access(state: &Value) -> &str {
    state["features"]["api_access"].as_str().unwrap()
}

#[tokio::test]
async fn pitfall_052_an_incomplete_subscription_gives_nothing() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    story.card(DECLINING).await;
    let price = story.price("Pro monthly").await;
    let form = [("payment_behavior", "default_incomplete")];
    let made = story.subscribe(&price, &form).await;
    assert_eq!(made["status"], "incomplete");
    let before = story.tell().await;
    assert_eq!((status(&before), access(&before)), ("incomplete", "revoked"), "{before}");
    assert_eq!(before["balance"], json!([0, 0, 0]));
    story.card(WORKING).await;
    let invoice = made["latest_invoice"].as_str().unwrap();
    story.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
    let end = story.end().await;
    assert_eq!((status(&end), access(&end)), ("active", "entitled"), "{end}");
    assert_eq!(end["balance"], json!([100, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_053_an_expired_beginning_is_history_and_stands_in_nobodys_way()
-> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let price = story.price("Pro monthly").await;
    story.subscribe(&price, &[("payment_behavior", "default_incomplete")]).await;
    story.tell().await;
    let expired = story.after("24h").await;
    assert_eq!((status(&expired), access(&expired)), ("incomplete_expired", "revoked"));
    assert_eq!(expired["balance"], json!([0, 0, 0]));
    assert_eq!(expired["payments"], json!([]));
    story.end().await;
    let request = story.world.request("buyer", "Pro monthly").await;
    story.world.pay(request).await?;
    let again = story.tell().await;
    assert_eq!(again["balance"], json!([100, 0, 0]), "{again}");
    assert_eq!(count(&again, "subscriptions"), 2, "what was stays readable");
    Ok(())
}

#[tokio::test]
async fn pitfall_054_declined_attempts_leave_no_subscription() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let request = story.world.request("buyer", "Pro monthly").await;
    let session = story.live.checkout_create(request).await?.session;
    let session = session.provider_session_id.unwrap();
    let path = format!("/_sandbox/checkout/{session}/complete");
    for _ in 0..3 {
        story.world.post(&path, &[("payment_method", "pm_card_chargeDeclined")]).await;
    }
    let expired = story.after("25h").await;
    assert_eq!(expired["subscriptions"], json!([]), "{expired}");
    assert_eq!(expired["payments"], json!([]));
    assert_eq!(expired["parked"], json!([]));
    let request = story.world.request("buyer", "Pro monthly").await;
    story.world.pay(request).await?;
    let events = story.world.events().await;
    let made = events.iter().find(|event| event["type"] == "customer.subscription.created");
    assert_eq!(made.unwrap()["data"]["object"]["status"], "active", "as since basil");
    deliver(&story.live, made.unwrap()).await;
    drain(&story.live).await;
    let first = seen(&story.live, "buyer").await;
    assert_eq!((status(&first), access(&first)), ("active", "entitled"), "{first}");
    let end = story.tell().await;
    assert_eq!(end["balance"], json!([100, 0, 0]));
    Ok(())
}

/// A plan whose renewal has just failed, with a week of grace.
async fn failed_renewal() -> anyhow::Result<Story> {
    let story = Story::bought("Pro monthly", 7 * DAY).await?;
    story.card(DECLINING).await;
    story.tell().await;
    story.world.advance("1mo").await;
    story.world.advance("2h").await;
    Ok(story)
}

#[tokio::test]
async fn pitfall_055_row_69_past_due_keeps_access_for_the_grace_alone() -> anyhow::Result<()> {
    let story = failed_renewal().await?;
    let due = story.tell().await;
    assert_eq!((status(&due), access(&due)), ("past_due", "entitled"), "{due}");
    assert_eq!(due["balance"], json!([0, 0, 0]), "no credits without money");
    assert_eq!(due["payments"], json!([[2999, "paid", 0]]));
    story.world.advance("6d").await;
    assert_eq!(access(&seen(&story.live, "buyer").await), "entitled");
    let over = story.after("2d").await;
    assert_eq!((status(&over), access(&over)), ("past_due", "ended"), "{over}");
    let same = story.end().await;
    assert_eq!(same["details"][0]["past_due_since"], due["details"][0]["past_due_since"]);
    story.card(WORKING).await;
    let invoice = story.invoice().await["id"].as_str().unwrap().to_owned();
    story.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
    let back = story.end().await;
    assert_eq!((status(&back), access(&back)), ("active", "entitled"), "{back}");
    assert_eq!(back["balance"], json!([100, 0, 0]), "row 70: one refill for the period");
    assert_eq!(count(&back, "payments"), 2);
    assert_eq!(count(&back, "grants"), 2);
    Ok(())
}

#[tokio::test]
async fn row_69_without_grace_access_ends_with_the_money() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.card(DECLINING).await;
    story.world.advance("1mo").await;
    story.world.advance("2h").await;
    let due = story.end().await;
    assert_eq!((status(&due), access(&due)), ("past_due", "ended"), "{due}");
    Ok(())
}

#[tokio::test]
async fn pitfall_056_every_end_of_the_retries_is_understood() -> anyhow::Result<()> {
    for (setting, word) in [("cancel", "canceled"), ("unpaid", "unpaid"), ("past_due", "past_due")]
    {
        let story = failed_renewal().await?;
        story.world.dashboard(&json!({ "after_retries": setting })).await;
        let over = story.after("40d").await;
        assert_eq!((status(&over), over["balance"][0].as_i64()), (word, Some(0)), "{over}");
        assert_ne!(access(&over), "entitled", "{setting}");
        let end = story.end().await;
        if word == "canceled" {
            assert_eq!(count(&end, "payments"), 1);
            continue;
        }
        story.card(WORKING).await;
        let path = format!("/v1/invoices?customer={}&limit=9", story.customer);
        for invoice in story.world.get(&path).await["data"].as_array().unwrap() {
            let id = invoice["id"].as_str().unwrap();
            if invoice["status"] == "draft" {
                story.post(&format!("/v1/invoices/{id}/finalize"), &[]).await;
            }
            if invoice["status"] != "paid" {
                story.post(&format!("/v1/invoices/{id}/pay"), &[]).await;
            }
        }
        let back = story.end().await;
        assert_eq!((status(&back), access(&back)), ("active", "entitled"), "{setting} {back}");
        assert_eq!(back["balance"], json!([100, 0, 0]), "{setting}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_057_flag_and_date_of_a_cancellation_in_all_combinations() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.tell().await;
    let held = story.subscription().await;
    let item = &held["items"]["data"][0];
    let end = item["current_period_end"].as_i64().unwrap();
    let cases = [
        (false, None, None),
        (true, None, Some(end)),
        (false, Some(end), Some(end)),
        (true, Some(end), Some(end)),
        (false, Some(end - 10 * DAY), Some(end - 10 * DAY)),
        (false, Some(end + 10 * DAY), Some(end + 10 * DAY)),
    ];
    for (at, (flag, date, expected)) in (1_i64..).zip(cases) {
        let mut object = held.clone();
        object["cancel_at_period_end"] = json!(flag);
        object["cancel_at"] = json!(date);
        object["canceled_at"] = json!(expected.map(|_| end - 20 * DAY));
        let created = story.live.clock().now().seconds() + at * 60;
        let event = json!({
            "id": format!("evt_{at}"), "object": "event", "created": created, "livemode": false,
            "type": "customer.subscription.updated", "data": { "object": object },
        });
        deliver(&story.live, &event).await;
        drain(&story.live).await;
        let now = seen(&story.live, "buyer").await;
        assert_eq!(now["details"][0]["cancel_at"], json!(expected), "{flag} {date:?}");
        assert_eq!((status(&now), access(&now)), ("active", "entitled"), "{flag} {date:?}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_057_058_a_cancellation_for_the_end_serves_until_then() -> anyhow::Result<()> {
    for form in ["cancel_at_period_end", "cancel_at"] {
        let story = Story::bought("Pro monthly", 0).await?;
        let held = story.subscription().await;
        let end = held["items"]["data"][0]["current_period_end"].as_i64().unwrap();
        let date = (end - 3 * DAY).to_string();
        let value = if form == "cancel_at" { date.as_str() } else { "true" };
        story.change(&[(form, value)]).await;
        let asked = story.after("1w").await;
        assert_eq!((status(&asked), access(&asked)), ("active", "entitled"), "{form} {asked}");
        let over = story.after("25d").await;
        assert_eq!((status(&over), access(&over)), ("canceled", "ended"), "{form} {over}");
        assert_eq!(over["balance"], json!([0, 0, 0]), "{form}");
        story.end().await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_059_a_cancellation_that_is_taken_back_ends_nothing() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.change(&[("cancel_at_period_end", "true")]).await;
    story.tell().await;
    story.world.advance("3d").await;
    story.change(&[("cancel_at_period_end", "false")]).await;
    let resumed = story.tell().await;
    assert_eq!(resumed["details"][0]["cancel_at"], json!(null));
    story.world.advance("1mo").await;
    story.world.advance("2h").await;
    let end = story.end().await;
    assert_eq!((status(&end), access(&end)), ("active", "entitled"), "{end}");
    assert_eq!(count(&end, "payments"), 2);
    assert_eq!(end["balance"], json!([100, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_060_row_72_an_immediate_end_keeps_the_record_and_the_packs() -> anyhow::Result<()>
{
    let story = Story::bought("Pro monthly", 0).await?;
    let pack = story.world.request("buyer", "100 Credits").await;
    story.world.pay(pack).await?;
    story.world.advance("10d").await;
    let before = story.tell().await;
    assert_eq!(before["balance"], json!([100, 100, 0]));
    let id = story.subscription().await["id"].as_str().unwrap().to_owned();
    let ended = story.world.delete(&format!("/v1/subscriptions/{id}")).await;
    let after = story.tell().await;
    assert_eq!((status(&after), access(&after)), ("canceled", "ended"), "{after}");
    assert_eq!(after["details"][0]["ended_at"], ended["ended_at"]);
    assert_eq!(after["balance"], json!([0, 100, 0]), "what was bought stays");
    assert_eq!(after["features"]["knowledge_base"], "ended");
    assert_eq!((count(&after, "invoices"), count(&after, "payments")), (1, 2));
    let month = story.after("2mo").await;
    assert_eq!(month["balance"], json!([0, 100, 0]), "nothing is refilled any more");
    Ok(())
}

#[tokio::test]
async fn pitfall_068_the_end_of_the_old_one_leaves_the_new_one_alone() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    let old = story.subscription().await["id"].as_str().unwrap().to_owned();
    story.world.advance("5d").await;
    let yearly = story.price("Pro yearly").await;
    story.subscribe(&yearly, &[]).await;
    story.tell().await;
    story.world.delete(&format!("/v1/subscriptions/{old}")).await;
    let end = story.end().await;
    assert_eq!(access(&end), "entitled", "{end}");
    assert_eq!(end["balance"], json!([100, 0, 0]));
    let words: Vec<_> = end["subscriptions"].as_array().unwrap().iter().map(|it| &it[0]).collect();
    assert_eq!(words, ["active", "canceled"]);
    let surplus = end["details"].as_array().unwrap().iter().filter(|it| it["is_surplus"] == true);
    assert_eq!(surplus.count(), 0, "the only living one is not one too many");
    Ok(())
}

#[tokio::test]
async fn pitfall_069_two_live_subscriptions_are_found_out() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    let first = story.subscription().await["id"].clone();
    story.world.advance("1h").await;
    let price = story.price("Pro monthly").await;
    story.subscribe(&price, &[]).await;
    let end = story.end().await;
    assert_eq!(count(&end, "subscriptions"), 2);
    for row in end["details"].as_array().unwrap() {
        assert_eq!(row["is_surplus"], json!(row["id"] != first), "{end}");
    }
    assert_eq!(count(&end, "payments"), 2, "the money of both is recorded");
    assert_eq!(count(&end, "grants"), 2, "one for each item's period");
    Ok(())
}

#[tokio::test]
async fn pitfall_069_ten_subscribes_at_once_leave_one_open_page() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let mut request = story.world.request("buyer", "Pro monthly").await;
    request.pace = engine::checkout_sessions::Pace::Unlimited;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (engine, request) = (story.live.clone(), request.clone());
        tasks.spawn(async move { engine.checkout_create(request).await });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let open = story.world.get("/v1/checkout/sessions?status=open&limit=100").await;
    assert_eq!(open["data"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[tokio::test]
async fn pitfall_070_the_plan_is_found_wherever_it_stands() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let free = story.price("Free").await;
    story.subscribe(&free, &[]).await;
    let product = [("name", "Support"), ("type", "service")];
    let product = story.world.post("/v1/products", &product[..1]).await;
    let product = product["id"].as_str().unwrap().to_owned();
    let mut foreign = Vec::new();
    for amount in ["100", "200"] {
        let form = [
            ("product", product.as_str()),
            ("currency", "usd"),
            ("unit_amount", amount),
            ("recurring[interval]", "month"),
        ];
        let price = story.post("/v1/prices", &form).await;
        foreign.push(price["id"].as_str().unwrap().to_owned());
    }
    let pro = story.price("Pro monthly").await;
    let form = [("items[1][price]", foreign[1].as_str()), ("items[2][price]", pro.as_str())];
    story.subscribe(&foreign[0], &form).await;
    let end = story.end().await;
    assert_eq!(access(&end), "entitled", "{end}");
    assert_eq!(end["balance"], json!([100, 0, 0]));
    assert_eq!(end["parked"], json!([]));
    let current = story.live.subscriptions_current(&own("buyer")).await?.unwrap();
    assert_eq!(current.product.unwrap().name, "Pro");
    Ok(())
}

#[tokio::test]
async fn pitfall_071_row_76_an_unknown_price_waits_for_the_catalogue() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.tell().await;
    let pro = story.price("Pro monthly").await;
    story.post(&format!("/v1/prices/{pro}"), &[("active", "false")]).await;
    story.world.advance("1mo").await;
    let renewed = story.after("2h").await;
    assert_eq!((access(&renewed), count(&renewed, "payments")), ("entitled", 2), "archived");
    assert_eq!(renewed["balance"], json!([100, 0, 0]));
    let product = story.world.get(&format!("/v1/prices/{pro}")).await["product"].clone();
    let form = [
        ("product", product.as_str().unwrap()),
        ("currency", "usd"),
        ("unit_amount", "3999"),
        ("recurring[interval]", "month"),
    ];
    let unknown = story.post("/v1/prices", &form).await["id"].as_str().unwrap().to_owned();
    let held = story.subscription().await;
    let item = held["items"]["data"][0]["id"].as_str().unwrap();
    let form = [
        ("items[0][id]", item),
        ("items[0][price]", unknown.as_str()),
        ("proration_behavior", "none"),
    ];
    story.change(&form).await;
    let parked = story.tell().await;
    assert!(0 < count(&parked, "parked"), "{parked}");
    assert_eq!(parked["balance"], json!([100, 0, 0]), "and nothing is guessed");
    let monthly = story.world.price("Pro monthly").await;
    let sold = story.live.prices_get(&monthly).await?;
    let now = story.live.clock().now();
    let id = domain::ids::PriceId::new(now, [7; 10]);
    let price = store::prices::Price { id: id.clone(), provider_price_id: Some(unknown), ..sold };
    let mut tx = story.live.store().begin("test.price").await?;
    tx.prices_insert(&price).await?;
    tx.commit().await?;
    let page = Page::new(Some(100), None)?;
    for event in story.live.events_list(page, Some("parked")).await?.data {
        story.live.events_replay(event.id.as_str()).await?;
    }
    drain(&story.live).await;
    let mended = seen(&story.live, "buyer").await;
    assert_eq!(mended["parked"], json!([]), "{mended}");
    assert_eq!(mended["details"][0]["price"], json!(id.as_str()));
    assert_eq!((access(&mended), count(&mended, "grants")), ("entitled", 2), "{mended}");
    Ok(())
}

#[tokio::test]
async fn pitfall_071_an_unknown_price_does_not_keep_access_open() -> anyhow::Result<()> {
    for word in ["unpaid", "paused", "past_due", "hibernating"] {
        let story = Story::bought("Pro monthly", 0).await?;
        story.tell().await;
        let mut object = story.subscription().await;
        object["items"]["data"][0]["price"]["id"] = json!("price_unknown");
        object["status"] = json!(word);
        let event = json!({
            "id": "evt_closed", "object": "event", "livemode": false,
            "created": story.live.clock().now().seconds() + 60,
            "type": "customer.subscription.updated", "data": { "object": object },
        });
        deliver(&story.live, &event).await;
        drain(&story.live).await;
        let closed = seen(&story.live, "buyer").await;
        assert_eq!(status(&closed), word, "{closed}");
        let due = word == "past_due";
        assert_eq!(access(&closed), if due { "ended" } else { "revoked" }, "{closed}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_071_the_end_of_an_unknown_price_is_an_end() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.tell().await;
    let mut object = story.subscription().await;
    object["items"]["data"][0]["price"]["id"] = json!("price_unknown");
    object["status"] = json!("canceled");
    let now = story.live.clock().now().seconds() + 60;
    object["ended_at"] = json!(now);
    let event = json!({
        "id": "evt_end", "object": "event", "created": now, "livemode": false,
        "type": "customer.subscription.deleted", "data": { "object": object },
    });
    deliver(&story.live, &event).await;
    drain(&story.live).await;
    let end = seen(&story.live, "buyer").await;
    assert_eq!((status(&end), end["balance"][0].as_i64()), ("canceled", Some(0)), "{end}");
    assert_eq!(end["parked"], json!([]));
    Ok(())
}

#[tokio::test]
async fn pitfall_072_a_subscription_made_elsewhere_is_recognised() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let price = story.price("Pro monthly").await;
    let made = story.subscribe(&price, &[]).await;
    assert_eq!(made["metadata"], json!({}));
    let end = story.end().await;
    assert_eq!((status(&end), access(&end)), ("active", "entitled"), "{end}");
    assert_eq!(end["balance"], json!([100, 0, 0]));
    let page = Page::new(Some(100), None)?;
    assert_eq!(story.live.events_list(page, Some("pending")).await?.data.len(), 0);
    Ok(())
}

#[tokio::test]
async fn pitfall_065_paused_collection_serves_out_what_was_paid_for() -> anyhow::Result<()> {
    for behavior in ["void", "keep_as_draft", "mark_uncollectible"] {
        let story = Story::bought("Pro monthly", 0).await?;
        story.world.advance("10d").await;
        story.change(&[("pause_collection[behavior]", behavior)]).await;
        let paused = story.tell().await;
        assert_eq!((status(&paused), access(&paused)), ("active", "entitled"), "{paused}");
        assert_eq!(paused["balance"], json!([100, 0, 0]), "it was paid for");
        story.world.advance("1mo").await;
        story.world.advance("2h").await;
        let over = story.end().await;
        assert_eq!((status(&over), access(&over)), ("active", "ended"), "{behavior} {over}");
        assert_eq!(over["balance"], json!([0, 0, 0]), "{behavior}: no credits without money");
        assert_eq!((count(&over, "payments"), count(&over, "grants")), (1, 1), "{behavior}");
        story.change(&[("pause_collection", "")]).await;
        story.world.advance("1mo").await;
        story.world.advance("2h").await;
        let back = story.end().await;
        assert_eq!((status(&back), access(&back)), ("active", "entitled"), "{behavior} {back}");
        assert_eq!(back["balance"], json!([100, 0, 0]), "{behavior} {back}");
        assert_eq!(count(&back, "payments"), 2, "{behavior}");
    }
    Ok(())
}
