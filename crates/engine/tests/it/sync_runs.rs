//! What the provider says and nobody told us of is found and put right; what is right stays.

use crate::worlds::{World, deliver, drain, own, state};
use engine::sync_runs::{Report, Resource, SyncRequest};
use engine::{Engine, Page};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::sync_runs::SyncState;

async fn sync(engine: &Engine, request: SyncRequest) -> (SyncState, Report) {
    let run = engine.sync(request, &|_| {}).await.unwrap();
    (run.state, Report::parse(&run.report))
}

async fn sync_all(engine: &Engine) -> Report {
    let (state, report) = sync(engine, SyncRequest::default()).await;
    assert_eq!(state, SyncState::Completed, "{report:#?}");
    report
}

/// What one engine was told by every event and another one found out by itself.
async fn told_and_silent(world: &World, who: &str) -> anyhow::Result<(Value, Value, Engine)> {
    world.freeze().await;
    let (told, silent) = (world.copy(None).await?, world.copy(None).await?);
    for event in world.events().await {
        deliver(&told, &event).await;
    }
    drain(&told).await;
    let report = sync_all(&silent).await;
    assert!(0 < report.total().repaired, "{report:#?}");
    drain(&silent).await;
    let (told, found) = (state(&told, who).await, state(&silent, who).await);
    Ok((in_any_order(told), in_any_order(found), silent))
}

/// Lists are newest first by our own ids, and a list of the provider is not told in order.
fn in_any_order(mut state: Value) -> Value {
    for (_, member) in state.as_object_mut().unwrap() {
        if let Some(rows) = member.as_array_mut().filter(|rows| rows.iter().all(Value::is_array)) {
            rows.sort_by_key(Value::to_string);
        }
    }
    state
}

/// A second look finds nothing to do and writes nothing.
async fn check_settled(engine: &Engine, who: &str) {
    let before = state(engine, who).await;
    let report = sync_all(engine).await;
    let total = report.total();
    assert_eq!((total.repaired, total.failed), (0, 0), "{report:#?}");
    assert_eq!(state(engine, who).await, before);
}

#[tokio::test]
async fn pitfall_031_a_purchase_without_any_webhook_is_found() -> anyhow::Result<()> {
    for world in World::all().await? {
        world.pay(world.request("buyer", "Pro monthly").await).await?;
        world.pay(world.request("buyer", "100 Credits").await).await?;
        let (told, silent, engine) = told_and_silent(&world, "buyer").await?;
        assert_eq!(silent, told, "{}", world.name);
        assert_eq!(silent["balance"], json!([100, 100, 0]));
        check_settled(&engine, "buyer").await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_031_renewals_and_an_end_without_any_webhook_are_found() -> anyhow::Result<()> {
    for world in World::all().await? {
        world.pay(world.request("buyer", "Pro monthly").await).await?;
        world.advance("1mo").await;
        world.advance("1mo").await;
        let subscription = world.only("subscriptions").await;
        world.delete(&format!("/v1/subscriptions/{subscription}")).await;
        let (told, silent, engine) = told_and_silent(&world, "buyer").await?;
        assert_eq!(silent, told, "{}", world.name);
        assert_eq!(silent["subscriptions"][0][0], "canceled");
        check_settled(&engine, "buyer").await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_031_money_back_without_any_webhook_is_found() -> anyhow::Result<()> {
    for world in World::all().await? {
        world.pay(world.request("buyer", "100 Credits").await).await?;
        let charge = world.only("charges").await;
        world.post("/v1/refunds", &[("charge", &charge), ("amount", "500")]).await;
        let (told, silent, engine) = told_and_silent(&world, "buyer").await?;
        assert_eq!(silent, told, "{}", world.name);
        assert_eq!(silent["payments"][0][2], 500, "{silent}");
        check_settled(&engine, "buyer").await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_031_a_guests_purchase_without_any_webhook_is_found() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let mut request = world.request("buyer", "Pro monthly").await;
    let address = "127.0.0.1".to_owned();
    request.buyer = engine::checkout_sessions::Buyer::Guest { address, browser: None };
    let session = world.pay(request).await?;
    sync_all(&world.engine).await;
    let progress = world.engine.checkout_progress(&session).await?.map(|it| it.as_str());
    assert_eq!(progress, Some("complete"));
    let report = sync_all(&world.engine).await;
    assert_eq!(report.total().repaired, 0, "{report:#?}");
    Ok(())
}

#[tokio::test]
async fn pitfall_032_an_old_subscription_that_ends_today_is_found() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro yearly").await).await?;
    world.tell_all().await;
    world.advance("400d").await;
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["subscriptions"][0][0], "active");
    let subscription = world.only("subscriptions").await;
    world.delete(&format!("/v1/subscriptions/{subscription}")).await;
    let yesterday = world.engine.clock().now().plus_seconds(-86_400);
    let (_, report) = sync(
        &world.engine,
        SyncRequest { since: Some(yesterday.seconds()), ..SyncRequest::default() },
    )
    .await;
    let cells: Vec<_> = report
        .differences
        .iter()
        .filter(|it| it.row == "subscription" && it.field == "status")
        .map(|it| (it.ours.as_deref(), it.theirs.as_deref()))
        .collect();
    assert_eq!(cells, [(Some("active"), Some("canceled"))], "{report:#?}");
    let after = state(&world.engine, "buyer").await;
    assert_eq!(after["subscriptions"][0][0], "canceled");
    assert_eq!(after["features"]["api_access"], "ended");
    Ok(())
}

#[tokio::test]
async fn pitfall_033_a_notice_of_events_that_never_were_compares_everything() -> anyhow::Result<()>
{
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    while world.engine.sync_due().await? {}
    let before = state(&world.engine, "buyer").await;
    assert_eq!(before["subscriptions"][0][0], "active", "the scheduled loops found it: {before}");
    let subscription = world.only("subscriptions").await;
    world.delete(&format!("/v1/subscriptions/{subscription}")).await;
    while world.engine.sync_due().await? {}
    assert_eq!(state(&world.engine, "buyer").await, before, "this slot's runs are done");
    let notice = json!({
        "id": "evt_health", "object": "v2.core.event", "livemode": false,
        "type": "v2.core.health.event_generation_failure.resolved",
        "created": "2026-11-21T10:00:00Z", "data": {},
    });
    deliver(&world.engine, &notice).await;
    drain(&world.engine).await;
    let runs = world.engine.sync_runs_list(Page::first(), Some("objects")).await?.data;
    assert_eq!(runs[0].state, SyncState::Queued);
    while world.engine.sync_due().await? {}
    assert_eq!(state(&world.engine, "buyer").await["subscriptions"][0][0], "canceled");
    Ok(())
}

#[tokio::test]
async fn row_84_a_silent_change_is_found_by_the_scheduled_loops() -> anyhow::Result<()> {
    for world in World::all().await? {
        world.pay(world.request("buyer", "Pro monthly").await).await?;
        world.tell_all().await;
        let subscription = world.only("subscriptions").await;
        let path = format!("/v1/subscriptions/{subscription}");
        world.post(&path, &[("cancel_at_period_end", "true")]).await;
        assert_eq!(state(&world.engine, "buyer").await["subscriptions"][0][2], false);
        while world.engine.sync_due().await? {}
        let after = state(&world.engine, "buyer").await;
        assert_eq!(after["subscriptions"][0][2], true, "{} {after}", world.name);
        let runs = world.engine.sync_runs_list(Page::first(), None).await?.data;
        let kinds: Vec<_> = runs.iter().map(|run| (run.kind.as_str(), run.state)).collect();
        for kind in ["pending", "events", "objects"] {
            assert!(kinds.contains(&(kind, SyncState::Completed)), "{kinds:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_does_nothing() -> anyhow::Result<()> {
    for world in World::all().await? {
        world.pay(world.request("buyer", "Pro monthly").await).await?;
        let before = state(&world.engine, "buyer").await;
        let dry = SyncRequest { dry_run: true, ..SyncRequest::default() };
        let (outcome, report) = sync(&world.engine, dry).await;
        assert_eq!(outcome, SyncState::Completed);
        assert!(0 < report.counts_of(Resource::Subscriptions).repaired, "{report:#?}");
        assert_eq!(state(&world.engine, "buyer").await, before, "{}", world.name);
        assert!(0 <= report.drift.unrepaired_seconds && report.drift.repaired_seconds == 0);
        let real = sync_all(&world.engine).await;
        assert!(0 < real.total().repaired);
    }
    Ok(())
}

#[tokio::test]
async fn one_customer_alone_is_compared() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("first", "100 Credits").await).await?;
    world.pay(world.request("second", "100 Credits").await).await?;
    let charges = world.get("/v1/charges").await;
    for charge in charges["data"].as_array().unwrap() {
        let charge = charge["id"].as_str().unwrap();
        world.post("/v1/refunds", &[("charge", charge)]).await;
    }
    let only = SyncRequest { customer: Some("first".into()), ..SyncRequest::default() };
    let (outcome, report) = sync(&world.engine, only).await;
    assert_eq!(outcome, SyncState::Completed, "{report:#?}");
    assert_eq!(state(&world.engine, "first").await["payments"][0][1], "refunded");
    assert_eq!(state(&world.engine, "second").await["payments"], json!([]));
    let nobody = SyncRequest { customer: Some("nobody".into()), ..SyncRequest::default() };
    assert!(world.engine.sync_runs_create(&nobody).await.is_err());
    Ok(())
}

#[tokio::test]
async fn pitfall_113_foreign_objects_leave_no_rows_and_cause_few_calls() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    for number in 0..12 {
        let email = format!("other{number}@example.com");
        let customer = world.post("/v1/customers", &[("email", &email)]).await;
        let customer = customer["id"].as_str().unwrap().to_owned();
        let form = [
            ("customer", customer.as_str()),
            ("items[0][price_data][currency]", "usd"),
            ("items[0][price_data][unit_amount]", "500"),
            ("items[0][price_data][recurring][interval]", "month"),
            ("items[0][price_data][product]", &world.product().await),
            ("collection_method", "send_invoice"),
            ("days_until_due", "30"),
        ];
        let made = world.post("/v1/subscriptions", &form).await;
        assert_eq!(made["status"], "active", "{made}");
    }
    world.freeze().await;
    let (client, count) = world.counting_client(|_, _| false)?;
    let engine = world.copy_behind(client).await?;
    let report = sync_all(&engine).await;
    let counts = report.counts_of(Resource::Subscriptions);
    assert_eq!((counts.seen, counts.foreign), (12, 12), "{report:#?}");
    assert_eq!(report.counts_of(Resource::Invoices).foreign, 12);
    assert_eq!(report.total().repaired, 0);
    let calls = count.load(std::sync::atomic::Ordering::SeqCst);
    // Two of them ask whose account it is, where none is bound yet.
    assert!(calls <= 9, "{calls} calls for nothing of ours");
    let events = SyncRequest { resources: vec![Resource::Events], ..SyncRequest::default() };
    let (_, report) = sync(&engine, events).await;
    assert_eq!(report.counts_of(Resource::Events).created, 0, "{report:#?}");
    assert!(engine.events_list(Page::first(), None).await?.data.is_empty());
    assert!(engine.customers_list(Page::first()).await?.data.len() <= 1, "the demo's own");
    Ok(())
}

#[tokio::test]
async fn row_83_a_provider_that_fails_half_way_makes_the_run_partial() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.freeze().await;
    let fails = |path: &str, _| path.starts_with("/v1/invoices?");
    let engine = world.copy_behind(world.counting_client(fails)?.0).await?;
    let (outcome, report) = sync(&engine, SyncRequest::default()).await;
    assert_eq!(outcome, SyncState::Partial, "{report:#?}");
    assert_eq!(report.incomplete, [Resource::Invoices]);
    assert_eq!(state(&engine, "buyer").await["subscriptions"][0][0], "active");
    let engine = world.copy_behind(world.counting_client(|_, _| true)?.0).await?;
    let (outcome, report) = sync(&engine, SyncRequest::default()).await;
    assert_eq!(outcome, SyncState::Failed, "{report:#?}");
    Ok(())
}

#[tokio::test]
async fn events_that_nobody_delivered_go_through_the_inbox_once() -> anyhow::Result<()> {
    for world in World::all().await? {
        world.pay(world.request("buyer", "100 Credits").await).await?;
        let request = SyncRequest { resources: vec![Resource::Events], ..SyncRequest::default() };
        let (_, report) = sync(&world.engine, request.clone()).await;
        let created = report.counts_of(Resource::Events).created;
        assert!(0 < created, "{report:#?}");
        drain(&world.engine).await;
        let after = state(&world.engine, "buyer").await;
        assert_eq!(after["balance"], json!([0, 100, 0]), "{} {after}", world.name);
        let (_, report) = sync(&world.engine, request).await;
        let counts = report.counts_of(Resource::Events);
        assert_eq!(counts.created, 0, "{report:#?}");
        world.tell_all().await;
        assert_eq!(state(&world.engine, "buyer").await, after, "delivered late, nothing follows");
    }
    Ok(())
}

#[tokio::test]
async fn a_queued_run_is_done_by_one_worker_and_can_be_read() -> anyhow::Result<()> {
    for world in World::all().await? {
        world.pay(world.request("buyer", "100 Credits").await).await?;
        let run = world.engine.sync_runs_create(&SyncRequest::default()).await?;
        assert_eq!(run.state, SyncState::Queued);
        let engine = &world.engine;
        let (a, b, c) = tokio::join!(engine.sync_due(), engine.sync_due(), engine.sync_due());
        assert!(a? | b? | c?);
        while engine.sync_due().await? {}
        let done = engine.sync_runs_get(run.id.as_str()).await?;
        assert_eq!(done.state, SyncState::Completed);
        assert!(done.started_at.is_some() && done.finished_at.is_some());
        assert_eq!(state(engine, "buyer").await["balance"], json!([0, 100, 0]));
        assert_eq!(engine.credits_balance(&own("buyer"), "credits").await?.purchased, 100);
    }
    Ok(())
}

#[tokio::test]
async fn row_30_what_is_made_at_the_provider_is_for_sale_here() -> anyhow::Result<()> {
    for world in World::all().await? {
        let engine = &world.engine;
        let local = local_product(engine).await?;
        let made = world.post("/v1/products", &[("name", "Made there")]).await;
        let product = made["id"].as_str().unwrap().to_owned();
        let price = [
            ("product", product.as_str()),
            ("currency", "usd"),
            ("unit_amount", "700"),
            ("recurring[interval]", "month"),
            ("nickname", "There monthly"),
            ("metadata[tollgate_credits]", "50"),
            ("metadata[tollgate_features]", "api_access, reports"),
            ("metadata[tollgate_trial_days]", "7"),
        ];
        let price = world.post("/v1/prices", &price).await["id"].as_str().unwrap().to_owned();
        let sold = engine.catalogue().await?.len();
        let everything = sync_all(engine).await;
        assert_eq!(everything.counts_of(Resource::Prices).seen, 0, "not without being asked");
        let pull = SyncRequest {
            resources: vec![Resource::Products, Resource::Prices],
            ..SyncRequest::default()
        };
        let (outcome, first) = sync(engine, pull.clone()).await;
        assert_eq!(outcome, SyncState::Completed, "{first:#?}");
        assert_eq!(first.counts_of(Resource::Products).created, 1, "{first:#?}");
        assert_eq!(first.counts_of(Resource::Prices).created, 1, "{first:#?}");
        let (_, second) = sync(engine, pull.clone()).await;
        assert_eq!((second.total().created, second.total().repaired), (0, 0), "{second:#?}");
        let ours = engine.prices_get(&price).await?;
        assert_eq!((ours.amount.minor(), ours.trial_days, ours.active), (700, 7, true));
        assert_eq!(ours.grants.credits[0].amount.get(), 50);
        let features: Vec<_> = ours.grants.features.iter().map(|it| it.feature.as_str()).collect();
        assert_eq!(features, ["api_access", "reports"]);
        assert_eq!(engine.catalogue().await?.len(), sold + 1);
        world.post(&format!("/v1/prices/{price}"), &[("active", "false")]).await;
        world.post(&format!("/v1/products/{product}"), &[("name", "Renamed there")]).await;
        let dry = SyncRequest { dry_run: true, ..pull.clone() };
        let (_, dry) = sync(engine, dry).await;
        assert_eq!(dry.total().repaired, 2, "{dry:#?}");
        assert!(engine.prices_get(&price).await?.active, "a dry run changes nothing");
        let (_, third) = sync(engine, pull).await;
        assert_eq!(third.total().repaired, 2, "{third:#?}");
        assert!(!engine.prices_get(&price).await?.active, "archived there, off sale here");
        assert_eq!(engine.products_get(&product).await?.name, "Renamed there");
        assert!(engine.products_get(&local).await?.active, "what only exists here stays");
    }
    Ok(())
}

#[tokio::test]
async fn row_30_a_product_that_was_deleted_there_goes_off_sale_and_stays() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let made = world.post("/v1/products", &[("name", "Short-lived")]).await;
    let product = made["id"].as_str().unwrap().to_owned();
    let resources = vec![Resource::Products];
    let pull = SyncRequest { resources, ..SyncRequest::default() };
    sync(&world.engine, pull.clone()).await;
    assert!(world.engine.products_get(&product).await?.active);
    world.delete(&format!("/v1/products/{product}")).await;
    sync(&world.engine, pull).await;
    assert!(!world.engine.products_get(&product).await?.active);
    Ok(())
}

/// A product that the provider has never heard of.
async fn local_product(engine: &Engine) -> anyhow::Result<String> {
    let sample =
        engine.products_list(Page::first(), engine::products::Shown::Everything).await?.data;
    let mut row = sample[0].clone();
    row.id = domain::ids::ProductId::new(engine.clock().wall(), [9; 10]);
    row.provider_product_id = None;
    row.active = true;
    let mut tx = engine.store().begin("test").await?;
    tx.products_insert(&row).await?;
    tx.commit().await?;
    Ok(row.id.to_string())
}

#[tokio::test]
async fn pitfall_048_nothing_is_cut_off_after_the_first_page() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    sync_all(&world.engine).await;
    let customer = world.only("customers").await;
    let product = world.product().await;
    let mut prices = Vec::new();
    for number in 0..300 {
        let form = [
            ("product", product.as_str()),
            ("currency", "usd"),
            ("unit_amount", &(100 + number).to_string()),
            ("recurring[interval]", "month"),
        ];
        let made = world.post("/v1/prices", &form).await;
        prices.push(made["id"].as_str().unwrap().to_owned());
    }
    let resources = vec![Resource::Products, Resource::Prices];
    let pull = SyncRequest { resources, ..SyncRequest::default() };
    let (_, report) = sync(&world.engine, pull).await;
    assert_eq!(report.counts_of(Resource::Prices).created, 300, "{:#?}", report.troubles);
    let bare = [
        ("customer".to_owned(), customer),
        ("collection_method".to_owned(), "send_invoice".to_owned()),
        ("days_until_due".to_owned(), "30".to_owned()),
    ];
    for number in 0..131 {
        // The first has as many items as the provider allows.
        let items = if number == 0 { 20 } else { 1 };
        let mut form = bare.to_vec();
        for (item, price) in prices.iter().take(items).enumerate() {
            form.push((format!("items[{item}][price]"), price.clone()));
        }
        let form: Vec<_> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let made = world.post("/v1/subscriptions", &form).await;
        assert!(made["id"].is_string(), "{made}");
    }
    let report = sync_all(&world.engine).await;
    let counts = report.counts_of(Resource::Subscriptions);
    assert_eq!((counts.seen, counts.repaired), (131, 131), "{:#?}", report.troubles);
    assert_eq!(report.counts_of(Resource::Invoices).seen, 131);
    let mut tx = world.engine.store().read("test").await?;
    let owner = tx.customers_find("buyer").await?.unwrap();
    let held = tx.holdings(&owner.id).await?;
    let rows = |kind: &str| held.keys().filter(|name| name.kind == kind).count();
    assert_eq!((rows("subscription"), rows("subscription_item")), (131, 20 + 130));
    Ok(())
}

#[tokio::test]
async fn pitfall_028_whoever_comes_back_before_the_event_is_served() -> anyhow::Result<()> {
    for world in World::all().await? {
        let session = world.pay(world.request("buyer", "Pro monthly").await).await?;
        let seen = world.engine.checkout_returned(&session).await?.map(|it| it.as_str());
        assert_eq!(seen, Some("complete"), "{}", world.name);
        assert_eq!(state(&world.engine, "buyer").await["balance"], json!([100, 0, 0]));
        world.tell_all().await;
        assert_eq!(state(&world.engine, "buyer").await["balance"], json!([100, 0, 0]));
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_029_coming_back_and_the_event_fulfil_once() -> anyhow::Result<()> {
    for world in World::all().await? {
        let session = world.pay(world.request("buyer", "100 Credits").await).await?;
        let events = world.events().await;
        let engine = &world.engine;
        let back = || engine.checkout_returned(&session);
        let told = async {
            for event in events.iter().chain(&events) {
                deliver(engine, event).await;
            }
            while engine.apply_next().await.unwrap() {}
        };
        let (a, b, c, d, e, ()) = tokio::join!(back(), back(), back(), back(), back(), told);
        for progress in [a, b, c, d, e] {
            progress?;
        }
        drain(engine).await;
        let after = state(engine, "buyer").await;
        assert_eq!(after["balance"], json!([0, 100, 0]), "{} {after}", world.name);
        assert_eq!(after["payments"].as_array().map(Vec::len), Some(1), "{after}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_030_coming_back_unpaid_or_to_a_stranger_changes_nothing() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.tell_all().await;
    let before = state(&world.engine, "buyer").await;
    let open = world.engine.checkout_create(world.request("buyer", "100 Credits").await).await?;
    let open = open.session.provider_session_id.unwrap();
    let seen = world.engine.checkout_returned(&open).await?.map(|it| it.as_str());
    assert_eq!(seen, Some("open"), "nobody has paid");
    let gone = world.engine.checkout_create(world.request("buyer", "RAG Access").await).await?;
    let gone = gone.session.provider_session_id.unwrap();
    world.post(&format!("/v1/checkout/sessions/{gone}/expire"), &[]).await;
    let seen = world.engine.checkout_returned(&gone).await?.map(|it| it.as_str());
    assert_eq!(seen, Some("expired"));
    let foreign = world.engine.checkout_returned("cs_test_somebody_elses").await?;
    assert_eq!(foreign.map(|it| it.as_str()), None);
    assert_eq!(state(&world.engine, "buyer").await, before);
    Ok(())
}

/// A page tells of its purchase without the charge, which is neither a difference nor asked for.
#[tokio::test]
async fn a_charge_of_which_nothing_went_back_is_no_difference() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    for who in ["ann", "bob", "cem"] {
        world.pay(world.request(who, "100 Credits").await).await?;
    }
    let events = world.events().await;
    world.freeze().await;
    let fetches = Arc::new(AtomicUsize::new(0));
    let counted = fetches.clone();
    let client = world.client_that(move |request| {
        let fetches_one = request.path.starts_with("/v1/charges/");
        counted.fetch_add(usize::from(fetches_one), Ordering::SeqCst);
        None
    })?;
    let engine = world.copy_behind(client).await?;
    for page in events.iter().filter(|event| event["type"] == "checkout.session.completed") {
        deliver(&engine, page).await;
    }
    drain(&engine).await;
    let charges = SyncRequest { resources: vec![Resource::Charges], ..SyncRequest::default() };
    let (_, report) = sync(&engine, charges).await;
    let counts = report.counts_of(Resource::Charges);
    assert_eq!((counts.seen, counts.repaired, counts.failed), (3, 0, 0), "{report:#?}");
    assert_eq!(fetches.load(Ordering::SeqCst), 0, "nothing is asked for one by one");
    Ok(())
}
