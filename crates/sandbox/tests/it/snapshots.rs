//! Saving everything, loading it elsewhere, and files that are refused.

use serde_json::Value;

use crate::world::{Answer, World, id};

async fn save(world: &World) -> String {
    let response = world.client.get(format!("{}/_sandbox/save", world.base)).send().await;
    response.expect("an answer").text().await.expect("a body")
}

async fn load(world: &World, file: &str) -> Answer {
    let request = world.client.post(format!("{}/_sandbox/load", world.base));
    world.send(request.body(file.to_owned())).await
}

#[tokio::test]
async fn a_saved_state_goes_on_in_another_sandbox() {
    let world = World::start().await;
    let price = world.price("2900", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    let subscription = id(&world.make("/v1/subscriptions", &form).await);
    assert_eq!(world.advance("10d").await.0, 200);
    let file = save(&world).await;

    let directory = tempfile::tempdir().expect("a directory");
    let other = World::start_in(directory.path()).await;
    let gone = id(&other.make("/v1/customers", &[]).await);
    assert_eq!(load(&other, &file).await.0, 200);
    assert_eq!(other.get(&format!("/v1/customers/{gone}")).await.0, 404);
    let path = format!("/v1/subscriptions/{subscription}");
    assert_eq!(other.look(&path).await, world.look(&path).await);
    assert_eq!(other.events().await, world.events().await);
    // Ten days have passed; the renewal is due in the rest of the month.
    assert_eq!(other.advance("22d").await.0, 200);
    let invoices = other.look(&format!("/v1/invoices?subscription={subscription}")).await;
    assert_eq!(invoices["data"].as_array().map(Vec::len), Some(2));
    other.stop().await;

    let again = World::start_in(directory.path()).await;
    assert_eq!(again.get(&format!("/v1/customers/{gone}")).await.0, 404);
    let invoices = again.look(&format!("/v1/invoices?subscription={subscription}")).await;
    assert_eq!(invoices["data"].as_array().map(Vec::len), Some(2));
}

/// The same file with another clock.
fn offset(file: &str, offset_us: i64) -> String {
    let (header, rows) = file.split_once('\n').expect("a header");
    let mut header: Value = serde_json::from_str(header).expect("JSON");
    header["offset_us"] = offset_us.into();
    format!("{header}\n{rows}")
}

#[tokio::test]
async fn files_that_are_refused_change_nothing() {
    let world = World::start().await;
    let customer = id(&world.make("/v1/customers", &[("name", "Ada")]).await);
    let file = save(&world).await;
    let cut_off: String =
        file.lines().take(file.lines().count() - 1).collect::<Vec<_>>().join("\n");
    let other_version = file.replacen("\"version\":1", "\"version\":2", 1);
    let broken = file.replacen("\"Ada\"", "Ada", 1);
    let unknown_kind = file.replacen("\"kind\":\"customer\"", "\"kind\":\"wish\"", 1);
    let half_a_row = file.replacen("\"created\"", "\"made\"", 1);
    let no_place = file.replacen("\"sequence\":1,", "\"sequence\":9223372036854775807,", 1);
    let no_time = offset(&file, i64::MAX);
    for (name, file, code) in [
        ("a place behind all others", no_place.as_str(), "state_invalid"),
        ("a clock beyond time", &no_time, "state_invalid"),
        ("nothing", "", "state_invalid"),
        ("no JSON", "customers\n", "state_invalid"),
        ("another format", "{\"format\":\"x\",\"version\":1}", "state_invalid"),
        ("another version", &other_version, "state_version"),
        ("a cut off file", &cut_off, "state_invalid"),
        ("a broken line", &broken, "state_invalid"),
        ("an unknown kind", &unknown_kind, "state_invalid"),
        ("half a row", &half_a_row, "state_invalid"),
    ] {
        let (status, body) = load(&world, file).await;
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some(code)), "{name}: {body}");
        assert_eq!(world.get(&format!("/v1/customers/{customer}")).await.0, 200, "{name}");
    }
    assert_eq!(load(&world, &file).await.0, 200);
}

#[tokio::test]
async fn files_may_be_larger_than_requests() {
    let world = World::start().await;
    let description = "x".repeat(4_900);
    for _ in 0..120 {
        world.make("/v1/customers", &[("description", &description)]).await;
    }
    let file = save(&world).await;
    assert!(1024 * 1024 < file.len());
    assert_eq!(load(&world, &file).await.0, 200);
}

#[tokio::test]
async fn a_reset_forgets_all_accounts_faults_and_the_clock() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::start_in(directory.path()).await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    assert_eq!(world.advance("30d").await.0, 200);
    let before = world.look("/_sandbox/clock").await["now"].as_i64().expect("a time");
    let reset = || world.client.post(format!("{}/_sandbox/reset", world.base));
    let foreign = world.send(reset().header("origin", "http://evil.test")).await;
    assert_eq!(foreign.0, 403);
    assert_eq!(world.send(reset()).await.0, 200);
    assert_eq!(world.get(&format!("/v1/customers/{customer}")).await.0, 404);
    assert!(world.look("/_sandbox/clock").await["now"].as_i64().expect("a time") < before);
    assert_eq!(world.look("/v1/events").await["data"], Value::Array(Vec::new()));
    world.stop().await;
    let world = World::start_in(directory.path()).await;
    assert_eq!(world.get(&format!("/v1/customers/{customer}")).await.0, 404);
}
