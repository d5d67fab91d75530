//! Trials: what they give, how they end, and that they are given once.

use crate::stories::{DECLINING, Story, count, seen};
use crate::worlds::{World, deliver, drain};
use engine::checkout_sessions::TrialRule;
use serde_json::{Value, json};

fn status(state: &Value) -> &str {
    state["subscriptions"][0][0].as_str().unwrap()
}

fn access(state: &Value) -> &str {
    state["features"]["api_access"].as_str().unwrap()
}

#[tokio::test]
async fn pitfall_061_a_canceled_trial_is_over_at_once() -> anyhow::Result<()> {
    let story = Story::on_trial("Pro monthly").await?;
    let trial = story.tell().await;
    assert_eq!((status(&trial), access(&trial)), ("trialing", "entitled"), "{trial}");
    let id = story.subscription().await["id"].as_str().unwrap().to_owned();
    story.world.advance("2d").await;
    story.world.delete(&format!("/v1/subscriptions/{id}")).await;
    let end = story.end().await;
    assert_eq!((status(&end), access(&end)), ("canceled", "ended"), "{end}");
    assert_eq!(end["balance"], json!([0, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_061_a_trial_follows_its_moved_end() -> anyhow::Result<()> {
    let story = Story::on_trial("Pro monthly").await?;
    story.tell().await;
    let ends = story.subscription().await["trial_end"].as_i64().unwrap();
    let later = (ends + 10 * 86_400).to_string();
    let form = [("trial_end", later.as_str()), ("proration_behavior", "none")];
    story.change(&form).await;
    let longer = story.after("20d").await;
    assert_eq!((status(&longer), access(&longer)), ("trialing", "entitled"), "{longer}");
    assert_eq!(longer["balance"], json!([100, 0, 0]), "the trial's credits last as long");
    assert_eq!(count(&longer, "grants"), 1, "{longer}");
    let sooner = (story.live.clock().now().seconds() + 86_400).to_string();
    story.change(&[("trial_end", sooner.as_str()), ("proration_behavior", "none")]).await;
    let last = story.tell().await;
    assert_eq!((status(&last), last["balance"][0].as_i64()), ("trialing", Some(100)), "{last}");
    story.world.advance("1d").await;
    let paid = story.after("2h").await;
    assert_eq!((status(&paid), access(&paid)), ("active", "entitled"), "{paid}");
    assert_eq!(paid["balance"], json!([100, 0, 0]), "the paid grant, and only that");
    assert_eq!(paid["payments"], json!([[2999, "paid", 0]]));
    story.end().await;
    Ok(())
}

#[tokio::test]
async fn pitfall_064_a_converted_trial_is_followed_by_the_first_paid_grant() -> anyhow::Result<()> {
    let story = Story::on_trial("Pro monthly").await?;
    let trial = story.tell().await;
    assert_eq!(trial["balance"], json!([100, 0, 0]), "the trial's allowance only");
    assert_eq!((count(&trial, "grants"), count(&trial, "payments")), (1, 0), "row 75");
    assert_eq!(trial["invoices"], json!([["paid", 0]]));
    assert_eq!(trial["details"][0]["paid_until"], json!(null), "nothing was paid");
    story.world.advance("14d").await;
    let paid = story.after("2h").await;
    assert_eq!(paid["balance"], json!([100, 0, 0]), "{paid}");
    assert_eq!((count(&paid, "grants"), count(&paid, "payments")), (2, 1));
    story.end().await;
    Ok(())
}

#[tokio::test]
async fn pitfall_061_missing_trial_dates_change_nothing() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    let before = story.tell().await;
    for (at, dates) in
        [json!({}), json!({"trial_start": null, "trial_end": null})].iter().enumerate()
    {
        let mut object = story.subscription().await;
        let fields = object.as_object_mut().unwrap();
        fields.remove("trial_start");
        fields.remove("trial_end");
        fields.extend(dates.as_object().unwrap().clone());
        let event = json!({
            "id": format!("evt_dates_{at}"), "object": "event", "livemode": false,
            "created": story.live.clock().now().seconds() + 60 + at as i64,
            "type": "customer.subscription.updated", "data": { "object": object },
        });
        deliver(&story.live, &event).await;
        drain(&story.live).await;
        assert_eq!(seen(&story.live, "buyer").await, before);
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_062_the_notice_of_an_end_is_not_the_end() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let price = story.price("Pro monthly").await;
    story.subscribe(&price, &[("trial_period_days", "1")]).await;
    let events = story.world.events().await;
    let notices = events.iter().filter(|it| it["type"] == "customer.subscription.trial_will_end");
    assert_eq!(notices.count(), 1, "the sandbox gives the notice at once");
    let told = story.tell().await;
    assert_eq!((status(&told), access(&told)), ("trialing", "entitled"), "{told}");
    assert_eq!(told["balance"], json!([100, 0, 0]));
    story.end().await;
    Ok(())
}

#[tokio::test]
async fn pitfall_063_two_pages_opened_before_either_is_used_give_one_trial() -> anyhow::Result<()> {
    for nickname in ["Pro monthly", "Pro yearly"] {
        let story = Story::on_trial("Pro monthly").await?;
        let trial = story.tell().await;
        assert_eq!(trial["balance"], json!([100, 0, 0]));
        // The second one is made at the provider: our own page would not even open.
        story.world.advance("1d").await;
        let price = story.price(nickname).await;
        story.subscribe(&price, &[("trial_period_days", "14")]).await;
        let both = story.end().await;
        assert_eq!(count(&both, "subscriptions"), 2);
        assert_eq!(both["balance"], json!([100, 0, 0]), "{nickname}: one trial's credits {both}");
        assert_eq!(count(&both, "grants"), 1, "{nickname}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_063_a_trial_does_not_come_back() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let mut plan = world.request("buyer", "Pro monthly").await;
    plan.trial = TrialRule::Automatic;
    world.pay(plan.clone()).await?;
    world.tell_all().await;
    let held = world.get("/v1/subscriptions?limit=1").await;
    let id = held["data"][0]["id"].as_str().unwrap();
    world.delete(&format!("/v1/subscriptions/{id}")).await;
    world.tell_all().await;
    for nickname in ["Pro monthly", "Pro yearly"] {
        let mut again = world.request("buyer", nickname).await;
        again.trial = TrialRule::Automatic;
        let session = world.engine.checkout_create(again).await?.session;
        assert_eq!(session.trial_days, 0, "{nickname}: another price of the same plan is no other");
    }
    Ok(())
}

#[tokio::test]
async fn row_75_a_trial_that_nobody_pays_for_ends() -> anyhow::Result<()> {
    let story = Story::on_trial("Pro monthly").await?;
    story.card(DECLINING).await;
    story.tell().await;
    story.world.advance("14d").await;
    let over = story.after("2h").await;
    assert_eq!((status(&over), over["balance"][0].as_i64()), ("past_due", Some(0)), "{over}");
    assert_ne!(access(&over), "entitled", "{over}");
    assert_eq!(over["payments"], json!([]));
    story.end().await;
    Ok(())
}

#[tokio::test]
async fn pitfall_065_paused_after_a_trial_until_it_is_resumed() -> anyhow::Result<()> {
    for (behavior, word) in [("pause", "paused"), ("cancel", "canceled")] {
        let story = Story::begin(0).await?;
        let price = story.price("Pro monthly").await;
        let path = format!("/v1/customers/{}", story.customer);
        let methods = story.world.get(&format!("{path}/payment_methods")).await;
        for method in methods["data"].as_array().unwrap() {
            let id = method["id"].as_str().unwrap();
            story.post(&format!("/v1/payment_methods/{id}/detach"), &[]).await;
        }
        let key = "trial_settings[end_behavior][missing_payment_method]";
        story.subscribe(&price, &[("trial_period_days", "7"), (key, behavior)]).await;
        let trial = story.tell().await;
        assert_eq!((status(&trial), access(&trial)), ("trialing", "entitled"), "{trial}");
        let over = story.after("8d").await;
        assert_eq!(status(&over), word, "{over}");
        assert_ne!(access(&over), "entitled", "{over}");
        assert_eq!(over["balance"], json!([0, 0, 0]));
        story.end().await;
        if word == "canceled" {
            continue;
        }
        let id = story.subscription().await["id"].as_str().unwrap().to_owned();
        story.card("pm_card_visa").await;
        story.post(&format!("/v1/subscriptions/{id}/resume"), &[]).await;
        let resumed = story.tell().await;
        assert_eq!((status(&resumed), access(&resumed)), ("active", "entitled"), "{resumed}");
        assert_eq!(resumed["payments"], json!([[2999, "paid", 0]]));
        assert_eq!(resumed["balance"], json!([100, 0, 0]), "{resumed}");
        story.end().await;
    }
    Ok(())
}
