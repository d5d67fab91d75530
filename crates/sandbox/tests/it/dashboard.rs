//! The page for people: what it shows, what its buttons do, whom it refuses.

use serde_json::json;

use crate::world::{Shop, World, id};

async fn page(world: &World, path: &str) -> String {
    let response = world.client.get(format!("{}{path}", world.base)).send().await.expect("a page");
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.expect("a body")
}

/// Sends a form as the page would; answers the status.
async fn press(world: &World, path: &str, form: &[(&str, &str)]) -> u16 {
    let request = world.client.post(format!("{}/_sandbox/forms/{path}", world.base));
    let request = request.header("origin", &world.base).form(form);
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn objects_are_counted_listed_and_linked() {
    let world = World::start().await;
    let price = world.price("2900", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    // The page looks at the account of the key that the sandbox hands out.
    let account = world.account().await;
    let look = |path: String| {
        let request = world.client.get(format!("{}{path}", world.base));
        let request = request.header("cookie", format!("sandbox_account={account}"));
        async move { request.send().await.expect("a page").text().await.expect("a body") }
    };
    let overview = look("/_sandbox".to_owned()).await;
    assert!(overview.contains("kind=customer"), "{overview}");
    assert!(overview.contains("customer.created"), "{overview}");
    let list = look("/_sandbox/objects?kind=price".to_owned()).await;
    assert!(list.contains(&price) && list.contains("29.00"), "{list}");
    let shown = page(&world, &format!("/_sandbox/objects/{price}")).await;
    let product = world.look(&format!("/v1/prices/{price}")).await["product"].clone();
    let link = format!("href=\"/_sandbox/objects/{}\"", product.as_str().expect("a text"));
    assert!(shown.contains(&link), "{shown}");
    assert!(shown.contains("price.created"), "{shown}");
    let shown = page(&world, &format!("/_sandbox/objects/{customer}")).await;
    assert!(shown.contains("ada@example.com"), "{shown}");
    let (unknown, _) = world.get("/_sandbox/objects/cus_unknown").await;
    assert_eq!(unknown, 404);
    let (unknown, _) = world.get("/_sandbox/objects?kind=wishes").await;
    assert_eq!(unknown, 404);
}

#[tokio::test]
async fn what_shops_wrote_stays_text() {
    let world = World::start().await;
    let name = "<script>alert(1)</script>";
    let customer = id(&world.make("/v1/customers", &[("name", name)]).await);
    let shown = page(&world, &format!("/_sandbox/objects/{customer}")).await;
    assert!(!shown.contains(name) && shown.contains("&lt;script&gt;"), "{shown}");
}

#[tokio::test]
async fn an_event_shows_its_attempts_and_is_sent_again() {
    let world = World::start().await;
    let shop = Shop::open(&[500]).await;
    shop.subscribe(&world, &["product.created"]).await;
    world.make("/v1/products", &[("name", "Pro")]).await;
    let hooks = shop.wait_for(2).await;
    let event = id(&hooks[0].event);
    let mut shown = String::new();
    for _ in 0..50 {
        shown = page(&world, &format!("/_sandbox/events/{event}")).await;
        if shown.contains("has arrived") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(shown.contains("has arrived") && shown.contains("500"), "{shown}");
    assert!(shown.contains("&quot;product&quot;"), "no payload: {shown}");
    assert_eq!(press(&world, "resend", &[("event", &event)]).await, 303);
    assert_eq!(id(&shop.wait_for(3).await[2].event), event);
    let shown = page(&world, &format!("/_sandbox/events/{event}")).await;
    assert!(shown.contains("on its way again"), "{shown}");
}

#[tokio::test]
async fn endpoints_are_switched_off_and_on() {
    let world = World::start().await;
    let shop = Shop::open(&[]).await;
    let endpoint = id(&shop.subscribe(&world, &["*"]).await);
    let path = format!("/v1/webhook_endpoints/{endpoint}");
    for (disabled, status) in [("true", "disabled"), ("false", "enabled")] {
        let form = [("id", endpoint.as_str()), ("disabled", disabled)];
        assert_eq!(press(&world, "endpoint", &form).await, 303);
        assert_eq!(world.look(&path).await["status"], status);
    }
}

#[tokio::test]
async fn the_clock_moves_and_says_so() {
    let world = World::start().await;
    let now = || async { world.look("/_sandbox/clock").await["now"].as_i64().expect("a time") };
    let before = now().await;
    assert_eq!(press(&world, "advance", &[("by", "1w")]).await, 303);
    assert!(before + 7 * 86_400 <= now().await);
    assert!(page(&world, "/_sandbox").await.contains("It is now"));
    assert_eq!(press(&world, "advance", &[("by", "yesterday")]).await, 303);
    let shown = page(&world, "/_sandbox").await;
    assert!(shown.contains("role=\"alert\"") && shown.contains("yesterday"), "{shown}");
    assert!(!page(&world, "/_sandbox").await.contains("yesterday"), "it is said once");
}

#[tokio::test]
async fn faults_are_set_said_everywhere_and_ended() {
    let world = World::start().await;
    let fields = |drop: &'static str, status: &'static str| {
        [("drop", drop), ("status", status), ("seed", "7"), ("endpoint", "")]
    };
    assert_eq!(press(&world, "faults", &fields("0", "429")).await, 303);
    assert_eq!(world.get("/v1/customers").await.0, 429);
    for path in ["/_sandbox", "/_sandbox/events", "/_sandbox/cards"] {
        let shown = page(&world, path).await;
        assert!(shown.contains("Faults are on") && shown.contains("429"), "{path}");
    }
    // A nonsense setting changes nothing.
    assert_eq!(press(&world, "faults", &fields("101", "")).await, 303);
    assert!(page(&world, "/_sandbox/faults").await.contains("rates are from 0 to 1"));
    assert_eq!(world.get("/v1/customers").await.0, 429);
    assert_eq!(press(&world, "faults/end", &[]).await, 303);
    assert_eq!(world.get("/v1/customers").await.0, 200);
    assert!(!page(&world, "/_sandbox").await.contains("Faults are on"));
}

#[tokio::test]
async fn a_chosen_card_fills_the_next_checkout_page_only() {
    let world = World::start().await;
    let price = world.price("500", None).await;
    let first = world.session(&price, "payment", &[]).await;
    let first = format!("/c/pay/{}", id(&first));
    assert_eq!(press(&world, "card", &[("number", "4000000000009995")]).await, 303);
    assert!(page(&world, "/_sandbox/cards").await.contains("is filled with"));
    assert!(page(&world, &first).await.contains("value=\"4000 0000 0000 9995\""));
    let paid = world.post(&first, &CARD).await;
    assert_eq!(paid.0, 303);
    let second = id(&world.session(&price, "payment", &[]).await);
    assert!(!page(&world, &format!("/c/pay/{second}")).await.contains("9995\""));
}

const CARD: [(&str, &str); 4] = [
    ("email", "ada@example.com"),
    ("card_number", "4242424242424242"),
    ("card_expiry", "12/40"),
    ("card_cvc", "123"),
];

#[tokio::test]
async fn forms_of_other_sites_are_refused() {
    let world = World::start().await;
    for path in ["advance", "faults", "faults/end", "card", "endpoint", "resend", "account"] {
        for origin in ["http://evil.test", "null"] {
            let request = world.client.post(format!("{}/_sandbox/forms/{path}", world.base));
            let answer = request.header("origin", origin).form(&[("by", "1d")]).send().await;
            assert_eq!(answer.expect("an answer").status(), 403, "{path} from {origin}");
        }
    }
    let local = world.base.replace("127.0.0.1", "localhost");
    let request = world.client.post(format!("{}/_sandbox/clock", world.base));
    let request = request.header("origin", local).json(&json!({"advance": "1d"}));
    assert_eq!(request.send().await.expect("an answer").status(), 200);
}
