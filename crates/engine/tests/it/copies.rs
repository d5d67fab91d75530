//! A deployment moves between databases: nothing is lost, nothing is altered, and life goes on.

use crate::databases;
use crate::receivers::{Got, Receiver};
use crate::worlds::{World, act, deliver, drain, own, signed, state};
use anyhow::Context as _;
use domain::credits::Class;
use engine::copies::{Copied, CopyFailure, Copying};
use engine::credits::{ConsumeRequest, GrantRequest};
use engine::customers::NewCustomer;
use engine::documents::{DocumentOwner, NewDocument};
use engine::holds::HoldRequest;
use engine::refunds::RefundRequest;
use engine::sync_runs::SyncRequest;
use engine::webhook_endpoints::NewEndpoint;
use engine::{Engine, Page};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::api_keys::KeyScope;
use store::copies::tables;
use store::watch::{Step, Watcher};
use store::{Store, StoreError};

/// Texts that a database may want to improve.
const ODD: [&str; 9] = [
    "",
    " ",
    "ends with spaces   ",
    "Straße, naïve, Ελλάδα, 日本語",
    "👩‍👩‍👧‍👦 and 🏳️‍🌈",
    "e\u{301} is not \u{e9}",
    "line\nbreak\ttab \u{1} \u{7f} \u{2028} \u{feff}",
    "\"quotes\" `and` {\"json\": null} $1 ? %s -- /*",
    "\u{10ffff}\u{fffd}",
];

fn page() -> Page {
    Page::new(Some(100), None).unwrap()
}

fn consume(amount: i64, key: Option<&str>) -> ConsumeRequest {
    ConsumeRequest {
        amount,
        unit: "credits".into(),
        reference: Some("work 🛠".into()),
        idempotency_key: key.map(str::to_owned),
    }
}

fn copying(source: &Store, target: &Store, rows_per_batch: usize) -> Copying {
    let clock = engine::Clock::wall_only();
    Copying { source: source.clone(), target: target.clone(), clock, rows_per_batch }
}

async fn copy(source: &Store, target: &Store) -> Result<Copied, CopyFailure> {
    copying(source, target, 100).run(&|_| {}).await
}

/// A plan, and a pack whose money went back when half of it was spent.
async fn bought(world: &World) -> anyhow::Result<()> {
    let (engine, buyer) = (&world.engine, own("buyer"));
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    world.tell_all().await;
    engine.credits_consume(&buyer, consume(150, Some("before"))).await?;
    let payments = engine.payments_list(&buyer, page()).await?.data;
    let pack = payments.iter().find(|it| it.amount.minor() == 1999).unwrap();
    let refund = RefundRequest {
        payment: pack.id.to_string(),
        amount: None,
        reason: None,
        idempotency_key: "refund".into(),
    };
    engine.refunds_create(&refund, &act()).await?;
    world.tell_all().await;
    Ok(())
}

/// Customers whose names are nearly the same, and work in every state.
async fn worked(engine: &Engine) -> anyhow::Result<()> {
    for (name, amount) in [("worker", 50), ("Worker", 7), ("worker ", 8)] {
        let new = NewCustomer {
            external_id: Some(name.into()),
            name: Some(ODD[4].into()),
            ..Default::default()
        };
        engine.customers_create(new).await?;
        let grant = GrantRequest {
            amount,
            unit: "credits".into(),
            class: Class::Bonus,
            expires_at: None,
            reason: ODD[3].into(),
            idempotency_key: None,
        };
        engine.credits_grant(&own(name), grant, &act()).await?;
    }
    for (n, reference) in ODD[2..6].iter().cycle().take(9).enumerate() {
        let hold = HoldRequest {
            amount: 3,
            unit: "credits".into(),
            expires_in: None,
            reference: Some((*reference).to_owned()),
            idempotency_key: None,
        };
        let hold = engine.credits_hold(&own("worker"), hold).await?;
        match n % 3 {
            0 => drop(engine.credits_capture(&own("worker"), hold.id.as_str(), Some(2)).await?),
            1 => drop(engine.credits_release(&own("worker"), hold.id.as_str()).await?),
            _ => {}
        }
    }
    Ok(())
}

/// Documents, keys, sign-ins, a comparison with the provider, and news on their way.
async fn used(engine: &Engine) -> anyhow::Result<()> {
    let content = format!("{} {}", "Knowledge, 知識. ".repeat(40), ODD[4]);
    let new = NewDocument { collection: None, content, embedding: None, source: None };
    engine.documents_add(&DocumentOwner::Customer(own("buyer")), new).await?;
    let (_, key) = engine.api_keys_create("admin", KeyScope::Admin).await?;
    engine.admin_sign_in(key.expose_secret(), "192.0.2.1").await?;
    engine.portal_sessions_create(&own("buyer")).await?;
    engine.deliver_due().await?;
    drain(engine).await;
    Ok(())
}

/// Something of everything, and the secret that news is signed with.
async fn live(world: &World, receiver: &Receiver) -> anyhow::Result<SecretString> {
    let engine = &world.engine;
    engine.store().deployment_bind(false, engine.clock().wall()).await?;
    let new = NewEndpoint { url: receiver.url.clone(), description: None, kinds: None };
    let (_, secret) = engine.webhook_endpoints_create(new, &act()).await?;
    Box::pin(bought(world)).await?;
    Box::pin(worked(engine)).await?;
    Box::pin(engine.sync(SyncRequest::default(), &|_| {})).await?;
    Box::pin(used(engine)).await?;
    Box::pin(odd(&world.url())).await?;
    Ok(secret)
}

/// What our code would not write, or not in a test: odd texts, the largest numbers, large and empty
/// bytes, ids that differ by letter case or a space at the end; and a row of each table that has
/// none yet.
async fn odd(url: &str) -> anyhow::Result<()> {
    for (n, text) in ODD.iter().enumerate() {
        let twin = ["odd", "ODD", "odd ", "Odd"].get(n).copied().unwrap_or("o");
        let number = ["9223372036854775807", "-9223372036854775808", "0"][n % 3];
        // A question mark would stand for an argument.
        let text = text.replace('?', "¿");
        let id = format!("{twin}{}", if n < 4 { String::new() } else { n.to_string() });
        let row = format!(
            "INSERT INTO audit_log (id, actor, action, object_id, detail, created_at)
             VALUES ('{id}', '{text}', '', '{text}', NULL, {number})"
        );
        databases::write(url, &row, b"").await?;
    }
    let every: Vec<u8> = (0..=255).collect();
    for (n, payload) in [vec![], vec![0], every.clone(), every.repeat(4096)].iter().enumerate() {
        let row = format!(
            "INSERT INTO inbox_events (id, provider, provider_event_id, kind, ordering_key,
                 payload, state, attempts, lease_token, leased_until, next_attempt_at, occurred_at,
                 received_at)
             VALUES ('odd_{n}', 'stripe', 'odd_{n}', 'odd', 'odd', ?, 'ignored', 0,
                 9223372036854775807, 0, 0, 0, 0)"
        );
        databases::write(url, &row, payload).await?;
    }
    // Of somebody who is not asked about: our code could not read these ids.
    let customer = "(SELECT id FROM customers WHERE external_id = 'Worker')";
    for (table, columns, values) in [
        (
            "payments",
            "id, customer_id, provider, fact, amount, currency, amount_refunded, status, created_at,
             updated_at",
            format!("'p', {customer}, 'stripe', 'odd', 0, 'usd', 0, 'paid', 1, 1"),
        ),
        (
            "disputes",
            "id, customer_id, payment_id, provider, provider_dispute_id, amount, currency, status,
             as_of, revision, created_at, updated_at",
            format!("'d', {customer}, 'p', 'stripe', 'dp', 1, 'usd', 'won', 1, 1, 1, 1"),
        ),
        (
            "credit_notes",
            "id, customer_id, payment_id, provider, provider_credit_note_id, amount,
             amount_given_back, currency, status, as_of, created_at, updated_at",
            format!("'c', {customer}, 'p', 'stripe', 'cn', 1, 1, 'usd', 'issued', 1, 1, 1"),
        ),
    ] {
        let row = format!("INSERT INTO {table} ({columns}) VALUES ({values})");
        databases::write(url, &row, b"").await?;
    }
    Ok(())
}

async fn is_duplicate(engine: &Engine, event: &Value) -> bool {
    let (payload, header) = signed(engine, event);
    engine.receive_webhook(payload.as_bytes(), Some(&header)).await.unwrap().duplicate
}

/// Copies of a world, one on each backend.
async fn copies(world: &World, directory: &Path) -> anyhow::Result<Vec<(String, Engine)>> {
    let mut engines = Vec::new();
    for url in databases::empty(directory).await? {
        let target = Store::open(&url).await?;
        let copied = copy(world.engine.store(), &target).await;
        let copied = copied.map_err(|error| anyhow::anyhow!("{} {url}: {error}", world.name))?;
        let empty: Vec<_> = copied.tables.iter().filter(|(_, rows)| *rows == 0).collect();
        assert!(empty.is_empty(), "the copy says nothing of {empty:?}");
        assert_eq!(copied.tables.len(), tables().len());
        let sums = copied.ledger.iter().find(|sums| sums.unit == "credits").unwrap();
        assert!(0 < sums.spent && 0 < sums.held && 0 < sums.revoked, "{sums:?}");
        target.copies_check().await?;
        engines.push((url, world.on(target)?));
    }
    Ok(engines)
}

/// What happened before the copy was made happens no second time.
async fn check_past(engine: &Engine, events: &[Value], before: &Value) -> anyhow::Result<()> {
    for event in events {
        assert!(is_duplicate(engine, event).await, "told twice: {event}");
    }
    drain(engine).await;
    assert_eq!(state(engine, "buyer").await, *before);
    let again = engine.credits_consume(&own("buyer"), consume(150, Some("before"))).await?;
    assert!(again.replayed);
    assert!(engine.store().deployment_bind(true, engine.clock().wall()).await.is_err());
    Ok(())
}

/// What happens after it happens as it would have at the source.
async fn check_future(engine: &Engine, events: &[Value], source: &Engine) -> anyhow::Result<()> {
    for event in events {
        deliver(engine, event).await;
    }
    drain(engine).await;
    assert_eq!(state(engine, "buyer").await, state(source, "buyer").await);
    engine.credits_consume(&own("worker"), consume(5, None)).await?;
    assert_eq!(state(engine, "worker").await, state(source, "worker").await);
    Ok(())
}

#[tokio::test]
async fn a_copy_goes_on_where_the_source_stopped() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for world in World::all().await? {
        let receiver = Receiver::start().await;
        let secret = Box::pin(live(&world, &receiver)).await?;
        let engines = Box::pin(copies(&world, directory.path())).await?;
        let events = world.events().await;
        let before = state(&world.engine, "buyer").await;
        for (url, engine) in &engines {
            let checked = Box::pin(check_past(engine, &events, &before)).await;
            checked.with_context(|| format!("{} {url}", world.name))?;
        }
        world.advance("1mo").await;
        world.advance("2h").await;
        world.tell_all().await;
        let after = state(&world.engine, "buyer").await;
        assert_ne!(before["invoices"], after["invoices"], "no month has passed");
        world.engine.credits_consume(&own("worker"), consume(5, None)).await?;
        let events = world.events().await;
        for (url, engine) in &engines {
            let checked = Box::pin(check_future(engine, &events, &world.engine)).await;
            checked.with_context(|| format!("{} {url}", world.name))?;
            let told = receiver.got().len();
            engine.deliver_due().await?;
            let got = receiver.got();
            assert!(told < got.len(), "{url}: nobody was told of the renewal");
            let is_signed = |got: &Got| got.is_signed_with(secret.expose_secret());
            assert!(got.iter().all(is_signed), "{url}: the secret could not be read");
        }
    }
    Ok(())
}

/// The process dies around every commit of a batch, before it or after it in turns.
fn dying(run: usize) -> Watcher {
    let (wanted, nth) = match run % 2 {
        0 => (Step::Committed, 1),
        _ => (Step::Commit, 2),
    };
    let seen = Arc::new(AtomicUsize::new(0));
    Arc::new(move |step, name| {
        let counts = step == wanted && name == "copies.batch";
        let dies = counts && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth;
        Box::pin(async move {
            match dies {
                true => Err(StoreError::Inconsistent { column: "test", value: "dead".into() }),
                false => Ok(()),
            }
        })
    })
}

#[tokio::test]
async fn a_copy_that_is_cut_off_after_any_batch_goes_on() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let world = World::sqlite().await?;
    Box::pin(live(&world, &Receiver::start().await)).await?;
    let source = world.engine.store();
    for url in databases::empty(directory.path()).await? {
        let target = Store::open(&url).await?;
        let mut runs = 0;
        let copied = loop {
            let watched = target.clone().watched(dying(runs));
            match copying(source, &watched, 20).run(&|_| {}).await {
                Ok(copied) => break copied,
                Err(CopyFailure::Table { source: StoreError::Inconsistent { .. }, .. }) => {}
                Err(error) => anyhow::bail!("{url}: {error}"),
            }
            runs += 1;
            assert!(runs < 500, "{url}: it gets nowhere");
            let check = target.copies_check().await;
            assert!(matches!(check, Err(StoreError::CopyUnfinished)), "{url}: it may be served");
        };
        assert!(tables().len() < runs, "{url}: {runs}");
        assert!(0 < copied.rows_found);
        target.copies_check().await?;
        let (ours, theirs) = (state(&world.engine, "buyer").await, world.on(target)?);
        assert_eq!(state(&theirs, "buyer").await, ours, "{url}");
    }
    Ok(())
}

/// Copies the first batch of the first tables and dies there.
async fn begun(source: &Store, target: &Store, batches: usize) {
    for _ in 0..batches {
        let watched = target.clone().watched(dying(0));
        assert!(copy(source, &watched).await.is_err());
    }
}

#[tokio::test]
async fn a_copy_refuses_what_would_mix_or_lose_something() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (world, other) = (World::sqlite().await?, World::sqlite().await?);
    let wall = world.engine.clock().wall();
    world.engine.store().deployment_bind(false, wall).await?;
    let source = world.engine.store();
    let occupied = copy(other.engine.store(), source).await;
    assert!(matches!(occupied, Err(CopyFailure::TargetOccupied { .. })), "{occupied:?}");
    for url in databases::empty(directory.path()).await? {
        let target = Store::open(&url).await?;
        begun(source, &target, 2).await;
        let mixed = copy(other.engine.store(), &target).await;
        assert!(matches!(mixed, Err(CopyFailure::TargetOfAnother)), "{url}: {mixed:?}");
        let half = Store::open(&databases::empty_sqlite(directory.path())?).await?;
        let unfinished = copy(&target, &half).await;
        assert!(matches!(unfinished, Err(CopyFailure::SourceUnfinished)), "{url}: {unfinished:?}");
        copy(source, &target).await?;
        let again = copy(source, &target).await;
        assert!(matches!(again, Err(CopyFailure::TargetFinished)), "{url}: {again:?}");
        target.copies_check().await?;
        // A finished copy is a deployment like any other.
        copy(&target, &half).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_source_that_works_or_changes_is_noticed() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for world in World::all().await? {
        let (url, engine) = (world.url(), &world.engine);
        let new = NewCustomer { external_id: Some("anna".into()), ..Default::default() };
        engine.customers_create(new).await?;
        let lease = "INSERT INTO inbox_events (id, provider, provider_event_id, kind, ordering_key,
                 payload, state, attempts, lease_token, leased_until, next_attempt_at, occurred_at,
                 received_at)
             VALUES ('e', 'stripe', 'e', 'k', 'o', ?, 'pending', 0, 0, 9000000000000000, 0, 0, 0)";
        databases::write(&url, lease, b"{}").await?;
        let target = Store::open(&databases::empty_sqlite(directory.path())?).await?;
        let refused = copy(engine.store(), &target).await;
        assert!(matches!(refused, Err(CopyFailure::SourceInUse { .. })), "{refused:?}");
        target.copies_check().await?;
        databases::write(&url, "DELETE FROM inbox_events WHERE id = 'e'", b"").await?;

        begun(engine.store(), &target, 2).await;
        databases::write(&url, "UPDATE customers SET name = 'changed'", b"").await?;
        for _ in 0..2 {
            let changed = copy(engine.store(), &target).await;
            let Err(CopyFailure::Differs { table, .. }) = &changed else {
                anyhow::bail!("{}: {changed:?}", world.name);
            };
            assert_eq!(*table, "customers");
            assert!(target.copies_check().await.is_err(), "{}: it may be served", world.name);
        }
        databases::write(&url, "UPDATE customers SET name = NULL", b"").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_contradicts_itself_is_not_copied() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for world in World::all().await? {
        let (url, engine) = (world.url(), &world.engine);
        world.pay(world.request("buyer", "100 Credits").await).await?;
        world.tell_all().await;
        for (breaks, mends) in [
            (
                "UPDATE credit_balances SET available = available + 1",
                "UPDATE credit_balances SET available = available - 1",
            ),
            (
                "UPDATE credit_entries SET balance_after = balance_after + 1",
                "UPDATE credit_entries SET balance_after = balance_after - 1",
            ),
            (
                "UPDATE credit_grants SET spent = spent + 1",
                "UPDATE credit_grants SET spent = spent - 1",
            ),
        ] {
            let target = Store::open(&databases::empty_sqlite(directory.path())?).await?;
            databases::write(&url, breaks, b"").await?;
            let refused = copy(engine.store(), &target).await;
            let is_told =
                matches!(refused, Err(CopyFailure::Ledger { .. } | CopyFailure::Strayed { .. }));
            assert!(is_told, "{} {breaks}: {refused:?}", world.name);
            databases::write(&url, mends, b"").await?;
            copy(engine.store(), &target).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_told_of_progress_ends_at_the_total() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let world = World::sqlite().await?;
    let target = Store::open(&databases::empty_sqlite(directory.path())?).await?;
    let told = std::sync::Mutex::new(Vec::new());
    let copied = copying(world.engine.store(), &target, 3);
    let copied = copied.run(&|progress| told.lock().unwrap().push(progress)).await?;
    let rows: i64 = copied.tables.iter().map(|(_, rows)| rows).sum();
    let told = told.into_inner()?;
    assert!(told.iter().all(|it| it.rows_total == rows && it.rows_done <= rows), "{told:?}");
    assert_eq!(told.iter().filter(|it| it.rows_done == rows).count(), 2, "{told:?}");
    assert_eq!(json!(copied.rows_found), json!(0));
    Ok(())
}
