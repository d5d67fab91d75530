//! News reaches everybody who wants it: signed, at least once, and nobody waits for anybody.

use crate::receivers::{Answer, Receiver};
use crate::worlds::{act, settings};
use domain::ids::OutboxEventId;
use engine::customers::NewCustomer;
use engine::deliveries::{MAIL, MailHook};
use engine::secrets::SealingKeys;
use engine::webhook_endpoints::{EndpointChange, NewEndpoint};
use engine::{Clock, Engine, Failure, Page, Settings};
use providers::receivers::Reach;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use store::Store;
use store::deliveries::Delivery;
use store::outbox::OutboxEvent;
use store::webhook_endpoints::EndpointStatus;
use tempfile::TempDir;

/// An engine whose clock stands until it is moved.
struct Shop {
    engine: Engine,
    wall: Arc<AtomicI64>,
    directory: TempDir,
}

impl Shop {
    async fn open(change: impl FnOnce(&mut Settings)) -> Shop {
        let wall = Arc::new(AtomicI64::new(1_800_000_000_000_000));
        let directory = tempfile::tempdir().unwrap();
        let engine = engine(&directory, wall.clone(), change).await;
        Shop { engine, wall, directory }
    }

    async fn endpoint(&self, receiver: &Receiver, kinds: &[&str]) -> (String, String) {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
        let new = NewEndpoint {
            url: receiver.url.clone(),
            description: None,
            kinds: (!kinds.is_empty()).then_some(kinds),
        };
        let (endpoint, secret) = self.engine.webhook_endpoints_create(new, &act()).await.unwrap();
        (endpoint.id.to_string(), secret.expose_secret().to_owned())
    }

    /// What a use case would tell of the newest customer.
    async fn tell(&self, kind: &str, fact: &str, data: Value) -> String {
        let mut random = [0; 10];
        getrandom::fill(&mut random).unwrap();
        // A millisecond for each, so that they are listed in order.
        self.wall.fetch_add(1_000, Ordering::SeqCst);
        let wall = self.engine.clock().wall();
        let customers = self.engine.customers_list(Page::first()).await.unwrap().data;
        let newest = customers.into_iter().next();
        let event = OutboxEvent {
            id: OutboxEventId::new(wall, random),
            customer_id: newest.map(|customer| customer.id),
            kind: kind.to_owned(),
            fact: fact.to_owned(),
            object_id: Some("inv_1".into()),
            data: data.to_string(),
            created_at: wall,
            recorded_at: wall,
        };
        let mut tx = self.engine.store().begin("test").await.unwrap();
        assert!(tx.outbox_insert(&event).await.unwrap());
        tx.commit().await.unwrap();
        event.id.to_string()
    }

    fn pass(&self, seconds: i64) {
        self.wall.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    async fn deliveries(&self, receiver: &str) -> Vec<Delivery> {
        let page = Page::new(Some(100), None).unwrap();
        self.engine.deliveries_list(page, Some(receiver), None).await.unwrap().data
    }
}

async fn engine(
    directory: &TempDir,
    wall: Arc<AtomicI64>,
    change: impl FnOnce(&mut Settings),
) -> Engine {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("sqlite://{}", directory.path().join("shop.db").display());
    let store = Store::open(&url).await.unwrap();
    store.migrate_up().await.unwrap();
    let mut settings = settings().unwrap();
    change(&mut settings);
    Engine::new(store, None, Clock::simulated(wall, Arc::default()), settings)
}

fn status(delivery: &Delivery) -> (&'static str, i64, Option<i64>) {
    (delivery.state.as_str(), delivery.attempts, delivery.status_code)
}

#[tokio::test]
async fn news_is_signed_and_says_what_happened_to_whom() {
    let shop = Shop::open(|_| {}).await;
    let new = NewCustomer { external_id: Some("anna".into()), ..NewCustomer::default() };
    let anna = shop.engine.customers_create(new).await.unwrap();
    let receiver = Receiver::start().await;
    let (_, secret) = shop.endpoint(&receiver, &[]).await;
    let id = shop.tell("invoice.paid", "a", json!({ "amount": 2999, "currency": "usd" })).await;
    assert_eq!(shop.engine.deliver_due().await.unwrap(), 1);
    assert_eq!(shop.engine.deliver_due().await.unwrap(), 0, "once");
    let got = receiver.got().remove(0);
    assert!(got.is_signed_with(&secret));
    assert!(!got.is_signed_with("whsec_other"));
    let time = shop.engine.clock().wall().seconds();
    assert!(got.signature.starts_with(&format!("t={time},v1=")), "{}", got.signature);
    let expected = json!({
        "id": id,
        "type": "invoice.paid",
        "created_at": shop.engine.clock().now().to_string(),
        "livemode": false,
        "customer": anna.id.as_str(),
        "external_id": "anna",
        "object": "inv_1",
        "data": { "amount": 2999, "currency": "usd" },
    });
    assert_eq!(got.json(), expected);
    let (told, deliveries) = shop.engine.notifications_get(&id).await.unwrap();
    assert_eq!(told, expected);
    assert_eq!(status(&deliveries[0]), ("delivered", 1, Some(200)));
}

#[tokio::test]
async fn what_is_not_taken_comes_again_later_with_the_same_id_until_it_is_given_up() {
    let shop = Shop::open(|_| {}).await;
    let receiver = Receiver::start().await;
    let (endpoint, secret) = shop.endpoint(&receiver, &[]).await;
    receiver.answers(&[Answer::Status(500), Answer::Status(429), Answer::Status(404)]);
    let id = shop.tell("invoice.paid", "a", json!({})).await;
    for (wait, attempts) in [(0, 1), (4, 0), (1, 1), (29, 0), (1, 1), (120, 1), (100_000, 0)] {
        shop.pass(wait);
        assert_eq!(shop.engine.deliver_due().await.unwrap(), attempts, "after {wait} s");
    }
    assert_eq!(status(&shop.deliveries(&endpoint).await[0]), ("delivered", 4, Some(200)));
    let got = receiver.got();
    assert!(got.iter().all(|got| got.json()["id"] == id.as_str() && got.is_signed_with(&secret)));
    assert_ne!(got[0].signature, got[1].signature, "each attempt is signed when it is made");

    receiver.answers(&vec![Answer::Status(503); 14]);
    shop.tell("invoice.paid", "b", json!({})).await;
    let mut passed = 0;
    while shop.deliveries(&endpoint).await.first().is_none_or(|one| one.state.as_str() != "failed")
    {
        shop.engine.deliver_due().await.unwrap();
        shop.pass(600);
        passed += 600;
        assert!(passed < 4 * 86_400, "it is never given up");
    }
    assert!(2 * 86_400 < passed, "given up after {passed} s");
    let failed = shop.deliveries(&endpoint).await.remove(0);
    assert_eq!(status(&failed), ("failed", 14, Some(503)));
    assert_eq!(failed.error.as_deref(), Some("answered 503"));
    shop.engine.deliveries_redeliver(failed.id.as_str(), &act()).await.unwrap();
    let refused = shop.engine.deliveries_redeliver(failed.id.as_str(), &act()).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused { .. }), "it is pending already");
    assert_eq!(shop.engine.deliver_due().await.unwrap(), 1);
    assert_eq!(status(&shop.deliveries(&endpoint).await[0]), ("delivered", 1, Some(200)));
}

#[tokio::test]
async fn a_process_that_dies_between_sending_and_noting_sends_again_the_same() {
    let shop = Shop::open(|_| {}).await;
    let receiver = Receiver::start().await;
    shop.endpoint(&receiver, &[]).await;
    receiver.answers(&[Answer::Silence]);
    let id = shop.tell("invoice.paid", "a", json!({})).await;
    let sending = tokio::spawn({
        let engine = shop.engine.clone();
        async move { engine.deliver_due().await }
    });
    receiver.wait_for(1).await;
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    shop.engine.store().close().await;
    let restarted = engine(&shop.directory, shop.wall.clone(), |_| {}).await;
    assert_eq!(restarted.deliver_due().await.unwrap(), 0, "it is leased for a minute");
    shop.pass(60);
    assert_eq!(restarted.deliver_due().await.unwrap(), 1);
    let ids: Vec<_> = receiver.got().iter().map(|got| got.json()["id"].clone()).collect();
    assert_eq!(ids, [json!(id), json!(id)]);
}

#[tokio::test]
async fn a_silent_receiver_keeps_nobody_else_waiting() {
    let shop = Shop::open(|_| {}).await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    slow.answers(&vec![Answer::Silence; 100]);
    shop.endpoint(&slow, &[]).await;
    shop.endpoint(&quick, &[]).await;
    let mut ids = BTreeSet::new();
    for number in 0..40 {
        ids.insert(shop.tell("credits.granted", &number.to_string(), json!({})).await);
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn({
        let engine = shop.engine.clone();
        async move { engine.run(stopped).await }
    });
    let started = std::time::Instant::now();
    quick.wait_for(40).await;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let got = quick.got();
    let told = got.iter().map(|got| got.json()["id"].as_str().unwrap().to_owned());
    assert_eq!(told.collect::<BTreeSet<_>>(), ids);
    assert!(slow.got().len() <= 4, "{} at once", slow.got().len());
    stop.send(true).unwrap();
    running.abort();
}

#[tokio::test]
async fn endpoints_hear_what_they_want_while_they_are_enabled() {
    let shop = Shop::open(|_| {}).await;
    let receiver = Receiver::start().await;
    let (picky, _) = shop.endpoint(&receiver, &["invoice.paid", "credits.debt"]).await;
    shop.tell("invoice.paid", "a", json!({})).await;
    shop.tell("credits.granted", "b", json!({})).await;
    assert_eq!(shop.engine.deliver_due().await.unwrap(), 1);
    shop.tell("invoice.paid", "c", json!({})).await;
    receiver.answers(&[Answer::Status(500)]);
    assert_eq!(shop.engine.deliver_due().await.unwrap(), 1);
    let off =
        EndpointChange { status: Some(EndpointStatus::Disabled), ..EndpointChange::default() };
    shop.engine.webhook_endpoints_update(&picky, off, &act()).await.unwrap();
    shop.tell("invoice.paid", "d", json!({})).await;
    shop.pass(10);
    shop.engine.deliver_due().await.unwrap();
    assert_eq!(receiver.got().len(), 2, "nothing is sent to a disabled endpoint");
    let held = shop.deliveries(&picky).await;
    assert_eq!(held.len(), 2, "and nothing new is planned for it");
    let failed = held.iter().find(|one| one.state.as_str() == "failed").unwrap();
    assert_eq!(failed.error.as_deref(), Some("the endpoint is disabled"));
    let test = shop.engine.webhook_endpoints_test(&picky).await.unwrap();
    shop.engine.webhook_endpoints_delete(&picky, &act()).await.unwrap();
    shop.engine.deliver_due().await.unwrap();
    let page = Page::new(None, None).unwrap();
    let failed = shop.engine.deliveries_list(page, None, Some("failed")).await.unwrap().data;
    let gone = failed.iter().find(|one| one.id == test.id).unwrap();
    assert_eq!(gone.error.as_deref(), Some("the endpoint was deleted"));
}

#[tokio::test]
async fn a_test_event_goes_to_one_endpoint_alone() {
    let shop = Shop::open(|_| {}).await;
    let (asked, other) = (Receiver::start().await, Receiver::start().await);
    let (id, _) = shop.endpoint(&asked, &["invoice.paid"]).await;
    shop.endpoint(&other, &[]).await;
    shop.engine.webhook_endpoints_test(&id).await.unwrap();
    assert_eq!(shop.engine.deliver_due().await.unwrap(), 1);
    assert_eq!(asked.got()[0].json()["type"], "webhook_endpoint.test");
    assert!(other.got().is_empty());
}

#[tokio::test]
async fn private_addresses_and_redirects_lead_nowhere() {
    let shop = Shop::open(|settings| settings.outgoing.reach = Reach::Public).await;
    for url in ["http://127.0.0.1:9/", "http://[::1]/", "http://169.254.169.254/", "ftp://e.com/"] {
        let new = NewEndpoint { url: url.into(), ..NewEndpoint::default() };
        let refused = shop.engine.webhook_endpoints_create(new, &act()).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused { param: Some("url"), .. }), "{url}");
    }
    let shop = Shop::open(|_| {}).await;
    let (inside, door) = (Receiver::start().await, Receiver::start().await);
    let (endpoint, _) = shop.endpoint(&door, &[]).await;
    door.answers(&[Answer::Redirect(inside.url.clone())]);
    shop.tell("invoice.paid", "a", json!({})).await;
    shop.engine.deliver_due().await.unwrap();
    assert_eq!(status(&shop.deliveries(&endpoint).await[0]), ("pending", 1, Some(307)));
    assert!(inside.got().is_empty(), "redirects are not followed");
    // What was accepted while private receivers were allowed is not posted to afterwards.
    let strict = |settings: &mut Settings| settings.outgoing.reach = Reach::Public;
    let restarted = engine(&shop.directory, shop.wall.clone(), strict).await;
    shop.pass(5);
    restarted.deliver_due().await.unwrap();
    assert_eq!(door.got().len(), 1);
    let error = shop.deliveries(&endpoint).await[0].error.clone().unwrap();
    assert!(error.contains("reachable from the internet"), "{error}");
}

#[tokio::test]
async fn secrets_rotate_without_a_gap_and_are_sealed_under_the_newest_key() {
    let shop = Shop::open(|_| {}).await;
    let receiver = Receiver::start().await;
    let (endpoint, old) = shop.endpoint(&receiver, &[]).await;
    let rotated =
        shop.engine.webhook_endpoints_rotate_secret(&endpoint, None, &act()).await.unwrap();
    let new = rotated.1.expose_secret().to_owned();
    assert!(!rotated.0.sealed_secret.contains("whsec"));
    shop.tell("invoice.paid", "a", json!({})).await;
    shop.engine.deliver_due().await.unwrap();
    shop.pass(86_400);
    shop.tell("invoice.paid", "b", json!({})).await;
    shop.engine.deliver_due().await.unwrap();
    let got = receiver.got();
    assert!(got[0].is_signed_with(&old) && got[0].is_signed_with(&new));
    assert!(!got[1].is_signed_with(&old) && got[1].is_signed_with(&new));

    let keys = |names: &[&str]| {
        let key = |name: &&str| {
            let last = if *name == "test" { "AAA=" } else { "AAE=" };
            SecretString::from(format!("{name}:{}{last}", "A".repeat(40)))
        };
        SealingKeys::parse(&names.iter().map(key).collect::<Vec<_>>()).unwrap()
    };
    for (names, readable) in [(vec!["next", "test"], true), (vec!["next"], true)] {
        let keys = keys(&names);
        let change = |settings: &mut Settings| settings.outgoing.keys = keys;
        let restarted = engine(&shop.directory, shop.wall.clone(), change).await;
        let (stop, stopped) = tokio::sync::watch::channel(true);
        restarted.run(stopped).await;
        drop(stop);
        let count = receiver.got().len();
        restarted.webhook_endpoints_test(&endpoint).await.unwrap();
        restarted.deliver_due().await.unwrap();
        let got = receiver.got();
        assert_eq!(got.len() > count, readable, "{names:?}");
        assert!(got.last().unwrap().is_signed_with(&new), "{names:?}");
    }
    let change = |settings: &mut Settings| settings.outgoing.keys = SealingKeys::default();
    let keyless = engine(&shop.directory, shop.wall.clone(), change).await;
    let new = NewEndpoint { url: receiver.url.clone(), ..NewEndpoint::default() };
    let refused = keyless.webhook_endpoints_create(new, &act()).await.unwrap_err();
    let Failure::Refused { code, .. } = refused else { panic!("{refused}") };
    assert_eq!(code.as_str(), "encryption_key_missing");
}

#[tokio::test]
async fn a_person_hears_through_the_merchants_own_sender_of_mails() {
    let hook = Receiver::start().await;
    let url = hook.url.parse().unwrap();
    let secret = SecretString::from("a secret of the mail hook");
    let shop =
        Shop::open(|settings| settings.outgoing.mail_hook = Some(MailHook { url, secret })).await;
    let email = Some("anna@example.com".to_owned());
    let new = NewCustomer { email, external_id: Some("anna".into()), ..NewCustomer::default() };
    shop.engine.customers_create(new).await.unwrap();
    let once = json!({ "mode": "payment", "amount": 1999 });
    let id = shop.tell("checkout.completed", "a", once.clone()).await;
    shop.tell("checkout.completed", "b", json!({ "mode": "subscription" })).await;
    shop.tell("invoice.payment_failed", "c", json!({})).await;
    shop.tell("credits.granted", "d", json!({})).await;
    assert_eq!(shop.engine.deliver_due().await.unwrap(), 2);
    let got = hook.got();
    assert!(got[0].is_signed_with("a secret of the mail hook"));
    let mail = got[0].json();
    assert_eq!(mail["id"], id.as_str());
    assert_eq!(mail["to"], "anna@example.com");
    assert_eq!(mail["template"], "receipt");
    assert_eq!(mail["data"], once);
    assert_eq!(got[1].json()["template"], "payment_failed");
    shop.pass(1);
    let new = NewCustomer { external_id: Some("mute".into()), ..NewCustomer::default() };
    shop.engine.customers_create(new).await.unwrap();
    // What we learn too late is no news for a person.
    shop.tell("invoice.paid", "late", json!({})).await;
    shop.pass(8 * 86_400);
    assert_eq!(shop.engine.deliver_due().await.unwrap(), 0);
    shop.tell("invoice.paid", "e", json!({})).await;
    shop.engine.deliver_due().await.unwrap();
    assert_eq!(hook.got().len(), 2);
    let failed = shop.deliveries(MAIL).await.remove(0);
    assert_eq!(failed.state.as_str(), "failed");
    assert_eq!(failed.error.as_deref(), Some("the customer has no e-mail address"));
}
