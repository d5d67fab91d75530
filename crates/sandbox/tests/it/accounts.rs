//! Each key has an account of its own.

use serde_json::Value;

use crate::world::{World, id};

#[tokio::test]
async fn keys_see_only_their_own_account() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::start_in(directory.path()).await;
    let customer = id(&world.make("/v1/customers", &[("email", "ada@example.com")]).await);
    let path = format!("/v1/customers/{customer}");
    let mine = world.look("/v1/account").await;
    let as_other = |path: &str, key: &str| {
        let url = format!("{}{path}", world.base);
        world.send(world.client.get(url).bearer_auth(key))
    };
    let (_, theirs) = as_other("/v1/account", "sk_test_other").await;
    assert_ne!(mine["id"], theirs["id"]);
    assert_eq!(as_other(&path, "sk_test_other").await.0, 404);
    let (_, listed) = as_other("/v1/customers", "sk_test_other").await;
    assert_eq!(listed["data"], Value::Array(Vec::new()));
    // A restricted key of the same name opens the same account.
    assert_eq!(as_other(&path, "rk_test_it").await.0, 200);
    world.stop().await;
    let world = World::start_in(directory.path()).await;
    assert_eq!(world.look(&path).await["email"], "ada@example.com");
    let url = format!("{}{path}", world.base);
    let (status, _) = world.send(world.client.get(url).bearer_auth("sk_test_other")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn keys_of_requests_are_apart_between_accounts() {
    let world = World::start().await;
    let post = |key: &str, email: &str| {
        let url = format!("{}/v1/customers", world.base);
        let request = world.client.post(url).bearer_auth(key).form(&[("email", email)]);
        world.send(request.header("idempotency-key", "one"))
    };
    let (_, first) = post("sk_test_a", "a@example.com").await;
    let (status, second) = post("sk_test_b", "b@example.com").await;
    assert_eq!(status, 200, "{second}");
    assert_ne!(first["id"], second["id"]);
    let (status, refused) = post("sk_test_a", "b@example.com").await;
    assert_eq!((status, &refused["error"]["type"]), (400, &"idempotency_error".into()));
}
