//! Stories of one buyer: told as they happen, and at the end once more to engines that know nothing
//! of them, forwards and backwards. All three have to agree.

use crate::worlds::{World, deliver, drain, own, settings, state};
use engine::checkout_sessions::TrialRule;
use engine::{Engine, Page};
use serde_json::{Value, json};
use std::cell::Cell;

pub const DECLINING: &str = "pm_card_chargeCustomerFail";
pub const WORKING: &str = "pm_card_visa";

pub struct Story {
    pub world: World,
    /// The engine that hears of everything at once.
    pub live: Engine,
    /// The buyer at the provider.
    pub customer: String,
    grace_seconds: i64,
    told: Cell<usize>,
}

/// Every kind of state that a story may leave behind, in no order.
pub async fn seen(engine: &Engine, who: &str) -> Value {
    let mut seen = state(engine, who).await;
    let page = Page::new(Some(100), None).unwrap();
    let rows = engine.subscriptions_list(&own(who), page).await.unwrap().data;
    let details = rows.iter().map(|row| {
        json!({
            "id": row.provider_subscription_id,
            "price": row.price_id.as_ref().map(|id| id.to_string()),
            "quantity": row.quantity,
            "paid_until": row.paid_until.map(|at| at.seconds()),
            "cancel_at": row.cancel_at.map(|at| at.seconds()),
            "ended_at": row.ended_at.map(|at| at.seconds()),
            "past_due_since": row.past_due_since.map(|at| at.seconds()),
            "pending": row.pending_price_id.as_ref().map(|id| id.to_string()),
            "pending_at": row.pending_at.map(|at| at.seconds()),
            "pause": row.pause_behavior,
            "is_surplus": row.surplus_since.is_some(),
        })
    });
    seen["details"] = json!(details.collect::<Vec<_>>());
    for list in ["subscriptions", "payments", "invoices", "grants", "parked", "details"] {
        seen[list].as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    seen
}

impl Story {
    /// A buyer with a card that works, who has bought nothing.
    pub async fn begin(grace_seconds: i64) -> anyhow::Result<Story> {
        let world = World::sqlite().await?;
        let request = world.request("buyer", "Pro monthly").await;
        let session = world.engine.checkout_create(request).await?.session;
        let session = session.provider_session_id.unwrap();
        world.post(&format!("/v1/checkout/sessions/{session}/expire"), &[]).await;
        Story::of(world, grace_seconds).await
    }

    /// A buyer who has just paid for a plan on the payment page; nothing has been told of it.
    pub async fn bought(nickname: &str, grace_seconds: i64) -> anyhow::Result<Story> {
        let world = World::sqlite().await?;
        world.pay(world.request("buyer", nickname).await).await?;
        Story::of(world, grace_seconds).await
    }

    /// A buyer who has just begun a trial on the payment page.
    pub async fn on_trial(nickname: &str) -> anyhow::Result<Story> {
        let world = World::sqlite().await?;
        let mut request = world.request("buyer", nickname).await;
        request.trial = TrialRule::Automatic;
        world.pay(request).await?;
        Story::of(world, 0).await
    }

    async fn of(mut world: World, grace_seconds: i64) -> anyhow::Result<Story> {
        let customers = world.get("/v1/customers?limit=1").await;
        let customer = customers["data"][0]["id"].as_str().unwrap().to_owned();
        world.freeze().await;
        let with = engine::Settings { past_due_grace_seconds: grace_seconds, ..settings()? };
        let live = world.copy_with(None, with).await?;
        world.engine = live.clone();
        let story = Story { world, live, customer, grace_seconds, told: Cell::new(0) };
        story.card(WORKING).await;
        Ok(story)
    }

    /// The provider's id of a price of the demonstration.
    pub async fn price(&self, nickname: &str) -> String {
        let sold = self.live.catalogue().await.unwrap();
        let mut prices = sold.into_iter().flat_map(|offering| offering.prices);
        let price = prices.find(|price| price.nickname.as_deref() == Some(nickname)).unwrap();
        price.provider_price_id.unwrap()
    }

    /// Posts, and insists on success.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let answer = self.world.post(path, form).await;
        assert!(answer["error"].is_null(), "{path}: {answer}");
        answer
    }

    /// From now on the buyer and the subscriptions pay with this card.
    pub async fn card(&self, card: &str) {
        let path = format!("/v1/payment_methods/{card}/attach");
        let method = self.post(&path, &[("customer", &self.customer)]).await;
        let method = method["id"].as_str().unwrap();
        let form = [("invoice_settings[default_payment_method]", method)];
        self.post(&format!("/v1/customers/{}", self.customer), &form).await;
        for subscription in self.subscriptions().await {
            let id = subscription["id"].as_str().unwrap();
            let form = [("default_payment_method", method)];
            self.post(&format!("/v1/subscriptions/{id}"), &form).await;
        }
    }

    /// What the provider holds of the buyer, newest first; what has ended is left out.
    pub async fn subscriptions(&self) -> Vec<Value> {
        let path = format!("/v1/subscriptions?customer={}", self.customer);
        self.world.get(&path).await["data"].as_array().unwrap().clone()
    }

    /// The provider's newest subscription of the buyer.
    pub async fn subscription(&self) -> Value {
        self.subscriptions().await[0].clone()
    }

    /// Subscribes the buyer outside the application, in the provider's dashboard for example.
    pub async fn subscribe(&self, price: &str, form: &[(&str, &str)]) -> Value {
        let mut all = vec![("customer", self.customer.as_str()), ("items[0][price]", price)];
        all.extend(form);
        self.post("/v1/subscriptions", &all).await
    }

    /// Changes the newest subscription.
    pub async fn change(&self, form: &[(&str, &str)]) -> Value {
        let id = self.subscription().await["id"].as_str().unwrap().to_owned();
        self.post(&format!("/v1/subscriptions/{id}"), form).await
    }

    /// The provider's newest invoice of the buyer.
    pub async fn invoice(&self) -> Value {
        let path = format!("/v1/invoices?customer={}&limit=1", self.customer);
        self.world.get(&path).await["data"][0].clone()
    }

    /// Tells the live engine what has happened since, each event twice.
    pub async fn tell(&self) -> Value {
        let events = self.world.events().await;
        let from = self.told.replace(events.len());
        for event in &events[from..] {
            deliver(&self.live, event).await;
            drain(&self.live).await;
            deliver(&self.live, event).await;
        }
        drain(&self.live).await;
        seen(&self.live, "buyer").await
    }

    /// Lets time pass and tells what happens in it.
    pub async fn after(&self, how: &str) -> Value {
        self.world.advance(how).await;
        self.tell().await
    }

    /// The end of the story, whichever way it is told.
    pub async fn end(&self) -> Value {
        let end = self.tell().await;
        let mut events = self.world.events().await;
        for way in ["forwards", "backwards"] {
            let settings = settings().unwrap();
            let with = engine::Settings { past_due_grace_seconds: self.grace_seconds, ..settings };
            let engine = self.world.copy_with(None, with).await.unwrap();
            for event in &events {
                deliver(&engine, event).await;
                drain(&engine).await;
                deliver(&engine, event).await;
            }
            drain(&engine).await;
            let again = seen(&engine, "buyer").await;
            assert_eq!(without_history(again), without_history(end.clone()), "told {way}");
            engine.store().close().await;
            events.reverse();
        }
        end
    }
}

/// Who hears of everything at its end never saw a feature that was there in between.
fn without_history(mut seen: Value) -> Value {
    for reason in seen["features"].as_object_mut().unwrap().values_mut() {
        if *reason == "revoked" {
            *reason = json!("not_entitled");
        }
    }
    seen
}

/// How many entries a part of a state has.
pub fn count(state: &Value, list: &str) -> usize {
    state[list].as_array().unwrap().len()
}
