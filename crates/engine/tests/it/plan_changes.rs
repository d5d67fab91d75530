//! Plans that change: items of several kinds, changes that wait for money or for their day.

use crate::stories::{DECLINING, Story, WORKING, count, seen};
use crate::worlds::{deliver, drain};
use serde_json::{Value, json};

fn price_id(state: &Value) -> &str {
    state["details"][0]["price"].as_str().unwrap()
}

/// A price that this application does not sell.
async fn foreign_price(story: &Story, interval: &str) -> String {
    let product = story.post("/v1/products", &[("name", "Support")]).await;
    let form = [
        ("product", product["id"].as_str().unwrap()),
        ("currency", "usd"),
        ("unit_amount", "500"),
        ("recurring[interval]", interval),
    ];
    story.post("/v1/prices", &form).await["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn pitfall_037_the_plans_own_item_counts_wherever_it_stands() -> anyhow::Result<()> {
    for ours_first in [true, false] {
        let story = Story::begin(0).await?;
        let ours = story.price("Pro monthly").await;
        let yearly = foreign_price(&story, "year").await;
        let (first, second) = if ours_first { (&ours, &yearly) } else { (&yearly, &ours) };
        let form = [("items[1][price]", second.as_str()), ("billing_mode[type]", "flexible")];
        let made = story.subscribe(first, &form).await;
        let items = made["items"]["data"].as_array().unwrap();
        let item = items.iter().find(|item| item["price"]["id"] == ours.as_str()).unwrap();
        let other = items.iter().find(|item| item["price"]["id"] != ours.as_str()).unwrap();
        assert_ne!(item["current_period_end"], other["current_period_end"]);
        let told = story.tell().await;
        assert_eq!(told["details"][0]["paid_until"], item["current_period_end"], "{told}");
        assert_eq!(told["subscriptions"][0][1], item["current_period_end"]);
        assert_eq!(told["balance"], json!([100, 0, 0]));
        story.world.advance("1mo").await;
        let renewed = story.after("2h").await;
        assert_eq!(renewed["balance"], json!([100, 0, 0]), "{renewed}");
        assert_eq!(count(&renewed, "grants"), 2);
        assert!(
            told["details"][0]["paid_until"].as_i64()
                < renewed["details"][0]["paid_until"].as_i64()
        );
        story.end().await;
    }
    Ok(())
}

/// A monthly plan that is to become a yearly one as soon as that is paid for; it is not yet.
async fn pending_upgrade() -> anyhow::Result<Story> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.world.advance("5d").await;
    story.tell().await;
    story.card(DECLINING).await;
    let held = story.subscription().await;
    let item = held["items"]["data"][0]["id"].as_str().unwrap();
    let yearly = story.price("Pro yearly").await;
    let form = [
        ("items[0][id]", item),
        ("items[0][price]", yearly.as_str()),
        ("payment_behavior", "pending_if_incomplete"),
        ("proration_behavior", "always_invoice"),
    ];
    let changed = story.change(&form).await;
    assert!(changed["pending_update"].is_object(), "{changed}");
    Ok(story)
}

#[tokio::test]
async fn pitfall_066_a_pending_update_waits_for_its_money() -> anyhow::Result<()> {
    let story = pending_upgrade().await?;
    let monthly = story.world.price("Pro monthly").await;
    let yearly = story.world.price("Pro yearly").await;
    let waiting = story.end().await;
    assert_eq!(price_id(&waiting), monthly, "{waiting}");
    assert_eq!(waiting["details"][0]["pending"], json!(yearly), "{waiting}");
    assert_eq!((count(&waiting, "payments"), count(&waiting, "grants")), (1, 1));
    story.card(WORKING).await;
    let invoice = story.invoice().await["id"].as_str().unwrap().to_owned();
    story.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
    let events = story.world.events().await;
    let kind = "customer.subscription.pending_update_applied";
    assert!(events.iter().any(|event| event["type"] == kind));
    let applied = story.end().await;
    assert_eq!(price_id(&applied), yearly, "{applied}");
    assert_eq!(applied["details"][0]["pending"], json!(null));
    assert_eq!(count(&applied, "payments"), 2);
    assert_eq!(applied["balance"], json!([100, 0, 0]), "a change refills nothing at once");
    Ok(())
}

#[tokio::test]
async fn pitfall_066_a_pending_update_that_nobody_pays_for_is_forgotten() -> anyhow::Result<()> {
    let story = pending_upgrade().await?;
    story.tell().await;
    story.after("25h").await;
    let events = story.world.events().await;
    let kind = "customer.subscription.pending_update_expired";
    assert!(events.iter().any(|event| event["type"] == kind));
    let end = story.end().await;
    assert_eq!(price_id(&end), story.world.price("Pro monthly").await);
    assert_eq!(end["details"][0]["pending"], json!(null), "{end}");
    assert_eq!((count(&end, "payments"), count(&end, "grants")), (1, 1));
    assert_eq!(end["balance"], json!([100, 0, 0]));
    Ok(())
}

/// A plan with a schedule that makes it free at the end of its month.
async fn scheduled_downgrade() -> anyhow::Result<(Story, String)> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.tell().await;
    let held = story.subscription().await;
    let item = &held["items"]["data"][0];
    let form = [("from_subscription", held["id"].as_str().unwrap())];
    let schedule = story.post("/v1/subscription_schedules", &form).await;
    let schedule = schedule["id"].as_str().unwrap().to_owned();
    let (start, end) =
        (item["current_period_start"].to_string(), item["current_period_end"].to_string());
    let (pro, free) = (story.price("Pro monthly").await, story.price("Free").await);
    let form = [
        ("phases[0][items][0][price]", pro.as_str()),
        ("phases[0][start_date]", start.as_str()),
        ("phases[0][end_date]", end.as_str()),
        ("phases[1][items][0][price]", free.as_str()),
        ("phases[1][duration][interval]", "month"),
        ("phases[1][duration][interval_count]", "3"),
        ("end_behavior", "release"),
    ];
    story.post(&format!("/v1/subscription_schedules/{schedule}"), &form).await;
    Ok((story, schedule))
}

#[tokio::test]
async fn pitfall_067_a_scheduled_downgrade_waits_for_its_day() -> anyhow::Result<()> {
    let (story, _) = scheduled_downgrade().await?;
    let waiting = story.end().await;
    assert_eq!(price_id(&waiting), story.world.price("Pro monthly").await);
    assert_eq!(waiting["details"][0]["pending"], json!(story.world.price("Free").await));
    assert_eq!(waiting["details"][0]["pending_at"], waiting["details"][0]["paid_until"]);
    assert_eq!(waiting["features"]["api_access"], "entitled");
    story.world.advance("1mo").await;
    story.world.advance("2h").await;
    let changed = story.end().await;
    assert_eq!(price_id(&changed), story.world.price("Free").await, "{changed}");
    assert_eq!(changed["details"][0]["pending"], json!(null), "{changed}");
    assert_eq!(changed["features"]["api_access"], "revoked", "{changed}");
    assert_eq!(changed["balance"], json!([0, 0, 0]), "no extra credits");
    assert_eq!((count(&changed, "grants"), count(&changed, "payments")), (1, 1));
    Ok(())
}

#[tokio::test]
async fn pitfall_067_a_released_schedule_plans_nothing() -> anyhow::Result<()> {
    let (story, schedule) = scheduled_downgrade().await?;
    story.tell().await;
    story.post(&format!("/v1/subscription_schedules/{schedule}/release"), &[]).await;
    let released = story.end().await;
    assert_eq!(released["details"][0]["pending"], json!(null), "{released}");
    assert_eq!(released["details"][0]["pending_at"], json!(null));
    story.world.advance("1mo").await;
    let renewed = story.after("2h").await;
    assert_eq!(price_id(&renewed), story.world.price("Pro monthly").await);
    assert_eq!(renewed["balance"], json!([100, 0, 0]));
    story.end().await;
    Ok(())
}

#[tokio::test]
async fn pitfall_067_a_schedule_is_known_by_its_id_and_as_an_object() -> anyhow::Result<()> {
    let (story, schedule) = scheduled_downgrade().await?;
    let object = story.world.get(&format!("/v1/subscription_schedules/{schedule}")).await;
    let mut held = story.subscription().await;
    for (at, shape) in [(1, json!(schedule)), (2, object)] {
        held["schedule"] = shape;
        let event = json!({
            "id": format!("evt_shape_{at}"), "object": "event", "livemode": false,
            "created": story.live.clock().now().seconds() + at * 60,
            "type": "customer.subscription.updated", "data": { "object": held },
        });
        deliver(&story.live, &event).await;
        drain(&story.live).await;
        let now = seen(&story.live, "buyer").await;
        assert_eq!(now["details"][0]["pending"], json!(story.world.price("Free").await), "{now}");
    }
    Ok(())
}

#[tokio::test]
async fn row_71_what_is_changed_in_the_portal_shows_here() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.tell().await;
    let held = story.subscription().await;
    let item = held["items"]["data"][0]["id"].as_str().unwrap();
    let form = [("items[0][id]", item), ("items[0][quantity]", "3")];
    story.change(&form).await;
    let more = story.tell().await;
    assert_eq!(more["details"][0]["quantity"], 3, "{more}");
    assert_eq!(more["balance"], json!([100, 0, 0]), "before the money nothing more");
    let yearly = story.price("Pro yearly").await;
    let form =
        [("items[0][id]", item), ("items[0][price]", yearly.as_str()), ("items[0][quantity]", "1")];
    story.change(&form).await;
    story.change(&[("cancel_at_period_end", "true")]).await;
    let changed = story.end().await;
    assert_eq!(price_id(&changed), story.world.price("Pro yearly").await);
    assert_eq!(changed["details"][0]["quantity"], 1);
    assert_eq!(changed["subscriptions"][0][2], true, "{changed}");
    let ends = story.subscription().await["cancel_at"].clone();
    assert_eq!(changed["details"][0]["cancel_at"], ends);
    assert_eq!(changed["features"]["api_access"], "entitled");
    Ok(())
}

#[tokio::test]
async fn row_67_ten_rounds_down_and_up_refill_nothing() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.tell().await;
    let held = story.subscription().await;
    let item = held["items"]["data"][0]["id"].as_str().unwrap();
    for _ in 0..10 {
        for nickname in ["Free", "Pro monthly"] {
            let price = story.price(nickname).await;
            let form = [
                ("items[0][id]", item),
                ("items[0][price]", price.as_str()),
                ("proration_behavior", "always_invoice"),
            ];
            story.change(&form).await;
            story.world.advance("1m").await;
        }
    }
    let end = story.end().await;
    assert_eq!(end["balance"], json!([100, 0, 0]), "{end}");
    assert_eq!(count(&end, "grants"), 1);
    Ok(())
}

/// Changes the plan now, and bills the change now.
async fn change_plan(story: &Story, nickname: &str) {
    let held = story.subscription().await;
    let item = held["items"]["data"][0]["id"].as_str().unwrap();
    let price = story.price(nickname).await;
    let form = [
        ("items[0][id]", item),
        ("items[0][price]", price.as_str()),
        ("proration_behavior", "always_invoice"),
    ];
    story.change(&form).await;
}

#[tokio::test]
async fn row_67_a_month_changed_to_a_year_is_the_same_in_every_order() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.tell().await;
    story.world.advance("10d").await;
    change_plan(&story, "Pro yearly").await;
    let changed = story.end().await;
    assert_eq!(changed["balance"], json!([100, 0, 0]), "{changed}");
    assert_eq!(count(&changed, "grants"), 1);
    for _ in 0..3 {
        let next = story.after("1mo").await;
        assert_eq!(next["balance"], json!([100, 0, 0]), "{next}");
    }
    story.end().await;
    Ok(())
}

#[tokio::test]
async fn row_67_a_year_that_is_left_refills_no_more() -> anyhow::Result<()> {
    for (nickname, monthly) in [("Free", 0), ("Pro monthly", 100)] {
        let story = Story::bought("Pro yearly", 0).await?;
        story.tell().await;
        let second = story.after("40d").await;
        assert_eq!(second["balance"], json!([100, 0, 0]));
        change_plan(&story, nickname).await;
        let changed = story.tell().await;
        assert!(changed["balance"][0].as_i64() <= Some(100), "{nickname} {changed}");
        for _ in 0..3 {
            story.world.advance("1mo").await;
            let later = story.after("2h").await;
            assert_eq!(later["balance"], json!([monthly, 0, 0]), "{nickname} {later}");
        }
    }
    Ok(())
}

/// Changes how many seats are held; `billed` says when that is paid.
async fn change_seats(story: &Story, seats: &str, billed: &str) {
    let held = story.subscription().await;
    let item = held["items"]["data"][0]["id"].as_str().unwrap();
    let form =
        [("items[0][id]", item), ("items[0][quantity]", seats), ("proration_behavior", billed)];
    story.change(&form).await;
}

#[tokio::test]
async fn row_67_seats_paid_inside_a_year_are_refilled_from_the_next_month_on() -> anyhow::Result<()>
{
    let story = Story::bought("Pro yearly", 0).await?;
    story.tell().await;
    story.world.advance("10d").await;
    change_seats(&story, "3", "always_invoice").await;
    let changed = story.end().await;
    assert_eq!(changed["balance"], json!([100, 0, 0]), "nothing at once: {changed}");
    for _ in 0..2 {
        let next = story.after("1mo").await;
        assert_eq!(next["balance"], json!([300, 0, 0]), "{next}");
    }
    // What the seats cost goes back: what they brought goes with it, and the year stays.
    let intents = story.world.get("/v1/payment_intents?limit=1").await;
    let intent = intents["data"][0]["id"].as_str().unwrap();
    story.post("/v1/refunds", &[("payment_intent", intent)]).await;
    let refunded = story.end().await;
    assert_eq!(refunded["balance"], json!([100, 0, 0]), "{refunded}");
    change_seats(&story, "2", "none").await;
    let next = story.after("1mo").await;
    assert_eq!(next["balance"], json!([100, 0, 0]), "{next}");
    Ok(())
}

#[tokio::test]
async fn row_67_fewer_seats_refill_less_and_the_same_seats_again_are_paid_once()
-> anyhow::Result<()> {
    let story = Story::bought("Pro yearly", 0).await?;
    story.tell().await;
    for (seats, monthly) in [("4", 400), ("2", 200), ("5", 500), ("1", 100)] {
        story.world.advance("5d").await;
        change_seats(&story, seats, "always_invoice").await;
        story.tell().await;
        story.world.advance("26d").await;
        let next = story.tell().await;
        assert_eq!(next["balance"], json!([monthly, 0, 0]), "{seats} {next}");
    }
    Ok(())
}

#[tokio::test]
async fn row_67_an_item_that_is_given_up_is_refilled_no_more() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let (yearly, monthly) = (story.price("Pro yearly").await, story.price("Pro monthly").await);
    let form = [("items[1][price]", monthly.as_str()), ("billing_mode[type]", "flexible")];
    let made = story.subscribe(&yearly, &form).await;
    let items = made["items"]["data"].as_array().unwrap();
    let item = items.iter().find(|item| item["price"]["id"] == yearly.as_str()).unwrap();
    assert_eq!(story.tell().await["balance"], json!([200, 0, 0]));
    story.world.advance("10d").await;
    let form = [
        ("items[0][id]", item["id"].as_str().unwrap()),
        ("items[0][deleted]", "true"),
        ("proration_behavior", "always_invoice"),
    ];
    story.change(&form).await;
    story.tell().await;
    for _ in 0..2 {
        story.world.advance("1mo").await;
        let next = story.after("2h").await;
        assert_eq!(next["balance"], json!([100, 0, 0]), "the monthly one alone: {next}");
    }
    Ok(())
}

#[tokio::test]
async fn seats_that_nobody_has_paid_for_yet_refill_nothing() -> anyhow::Result<()> {
    let story = Story::bought("Pro yearly", 0).await?;
    story.tell().await;
    story.world.advance("10d").await;
    change_seats(&story, "3", "create_prorations").await;
    story.tell().await;
    let next = story.after("1mo").await;
    assert_eq!(next["balance"], json!([100, 0, 0]), "{next}");
    story.end().await;
    Ok(())
}

#[tokio::test]
async fn row_67_a_year_left_and_taken_again_is_refilled_to_its_end() -> anyhow::Result<()> {
    let story = Story::bought("Pro yearly", 0).await?;
    story.tell().await;
    story.after("40d").await;
    change_plan(&story, "Pro monthly").await;
    story.after("2d").await;
    change_plan(&story, "Pro yearly").await;
    let back = story.tell().await;
    assert_eq!(back["balance"], json!([100, 0, 0]), "{back}");
    for month in 1..=10 {
        let next = story.after("1mo").await;
        assert_eq!(next["balance"], json!([100, 0, 0]), "{month} {next}");
        assert_eq!(count(&next, "grants"), 2 + month, "{next}");
    }
    Ok(())
}

#[tokio::test]
async fn row_67_a_month_paid_after_a_year_is_a_month() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    story.tell().await;
    story.after("10d").await;
    change_plan(&story, "Pro yearly").await;
    story.after("2d").await;
    change_plan(&story, "Pro monthly").await;
    story.tell().await;
    for wait in ["25d", "7d", "1mo", "1mo"] {
        let next = story.after(wait).await;
        assert_eq!(next["balance"], json!([100, 0, 0]), "{wait} {next}");
    }
    Ok(())
}

#[tokio::test]
async fn an_invoice_that_waits_leaves_nothing_of_itself_behind() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let elsewhere = foreign_price(&story, "month").await;
    story.subscribe(&elsewhere, &[]).await;
    let held = story.subscription().await;
    let item = held["items"]["data"][0]["id"].as_str().unwrap();
    let price = story.price("Pro monthly").await;
    let form = [
        ("items[0][id]", item),
        ("items[0][price]", price.as_str()),
        ("proration_behavior", "none"),
    ];
    story.change(&form).await;
    let events = story.world.events().await;
    let is_change = |event: &&Value| event["type"] == "customer.subscription.updated";
    deliver(&story.live, events.iter().rev().find(is_change).unwrap()).await;
    drain(&story.live).await;
    let told = seen(&story.live, "buyer").await;
    assert_eq!(count(&told, "subscriptions"), 1, "{told}");
    assert_eq!(count(&told, "invoices"), 0, "{told}");
    let is_paid = |payment: &Value| payment[1] == "paid";
    assert!(!told["payments"].as_array().unwrap().iter().any(is_paid), "{told}");
    Ok(())
}
