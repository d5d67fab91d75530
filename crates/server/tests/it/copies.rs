//! `tollgate copy` as an operator meets it.

use crate::commands::{text, tollgate};
use domain::time::Timestamp;
use store::Store;

fn address(dir: &tempfile::TempDir, name: &str) -> String {
    format!("sqlite://{}", dir.path().join(name).display())
}

fn refusal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let refused = tollgate(arguments, variables);
    assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
    text(&refused.stderr)
}

#[test]
fn a_deployment_is_copied_once_and_from_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (address(&dir, "from.db"), address(&dir, "to.db"));
    let copy = ["copy", "--from", &from, "--to", &to];
    assert!(refusal(&copy, &[]).contains("cannot open the source"));
    assert!(!dir.path().join("from.db").exists(), "a source was made");

    let variables = [("DATABASE_URL", from.as_str())];
    assert!(tollgate(&["migrate", "up"], &variables).status.success());
    assert!(tollgate(&["keys", "create", "--name", "ci"], &variables).status.success());
    let copied = tollgate(&copy, &[]);
    let said = text(&copied.stdout);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    assert!(said.lines().any(|it| it.split_whitespace().eq(["api_keys", "1"])), "{said}");
    assert!(said.contains("Copied 1 rows from SQLite"), "{said}");
    let keys = |url: &str| text(&tollgate(&["keys", "list"], &[("DATABASE_URL", url)]).stdout);
    assert_eq!(keys(&from), keys(&to));
    assert!(keys(&to).contains("  ci\n"));

    assert!(refusal(&copy, &[]).contains("finished copy already"));
    let same = ["copy", "--from", &from, "--to", &from];
    assert!(refusal(&same, &[]).contains("the same database"));
}

#[tokio::test]
async fn half_a_copy_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let url = address(&dir, "half.db");
    let store = Store::open(&url).await.unwrap();
    store.migrate_up().await.unwrap();
    let mut tx = store.begin("test").await.unwrap();
    tx.copies_begin("somebody", Timestamp::from_seconds(1)).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    let variables = [
        ("DATABASE_URL", url.as_str()),
        ("STRIPE_SECRET_KEY", "sk_test_4eC39HqLyjWDarjtT1zdp7dc"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef"),
        ("STRIPE_API_BASE", "http://127.0.0.1:9"),
        ("LISTEN", "127.0.0.1:0"),
    ];
    for arguments in [&["serve"][..], &["sync", "--dry-run"], &["keys", "list"]] {
        let said = refusal(arguments, &variables);
        assert!(said.contains("unfinished: end it with `tollgate copy`"), "{arguments:?}: {said}");
    }
}
