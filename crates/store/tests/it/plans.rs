//! Hot statements beside 100,000 rows of history: each reads what it needs by an index.
//!
//! What is measured is what was read, not what the planner promised.

use crate::backends::{self, Fresh};
use crate::raw::Raw;
use store::Sql;
use store::sql::Arg;

/// A page of fifty, each with what belongs to it, and what the measuring itself reads.
const ROWS_READ_MAX: u64 = 500;

/// Small numbers are long ago; the rows' own times are their numbers.
const NOW: i64 = 50;

/// Each row stands for one of 100,000 numbers, or of 20,000. Nothing is due but one in ten
/// thousand; a quarter of the inbox is a backlog, and half of the lots expired long ago.
const HISTORY: &[&str] = &[
    "INSERT INTO customers (id, external_id, metadata, created_at, updated_at)
     SELECT 'cus_' || (1000000 + i), 'user_' || i, '{}', i, i FROM numbers",
    "INSERT INTO provider_customers (provider, provider_customer_id, customer_id, generation,
         created_at)
     SELECT 'stripe', 'cus_p' || i, 'cus_' || (1000000 + i), 0, i FROM numbers",
    "INSERT INTO products (id, name, active, metadata, provider, provider_product_id, created_at,
         updated_at)
     SELECT 'prod_' || (1000000 + i), 'P', 0, '{}', 'stripe', 'prod_p' || i, i, i FROM numbers",
    "INSERT INTO prices (id, product_id, unit_amount, currency, interval_count, active, trial_days,
         grants, provider, provider_price_id, created_at, updated_at)
     SELECT 'price_' || (1000000 + i), 'prod_' || (1000000 + i), 1, 'usd', 1, 1, 0, '{}', 'stripe',
         'price_p' || i, i, i FROM numbers WHERE i <= 20000",
    "INSERT INTO subscriptions (id, customer_id, provider, provider_subscription_id, status,
         price_id, product_id, quantity, cancel_at_period_end, started_at, grants, as_of, revision,
         created_at, updated_at)
     SELECT 'sub_' || (1000000 + i), 'cus_' || (1000000 + i), 'stripe', 'sub_p' || i, 'active',
         'price_1000001', 'prod_1000001', 1, 0, i, '{}', i, 1, i, i FROM numbers",
    "INSERT INTO subscription_items (provider, provider_item_id, subscription_id, customer_id,
         position, quantity, grants)
     SELECT 'stripe', 'si_p' || i, 'sub_' || (1000000 + i), 'cus_' || (1000000 + i), 0, 1, '{}'
     FROM numbers WHERE i <= 20000",
    "INSERT INTO payments (id, customer_id, provider, fact, provider_payment_intent_id,
         provider_invoice_id, amount, currency, amount_refunded, status, created_at, updated_at)
     SELECT 'pay_' || (1000000 + i), 'cus_' || (1000000 + i), 'stripe', 'pi_p' || i, 'pi_p' || i,
         'in_p' || i, 100, 'usd', 0, 'paid', i, i FROM numbers WHERE i <= 20000",
    "INSERT INTO invoices (id, customer_id, provider, provider_invoice_id, provider_subscription_id,
         status, reason, currency, total, amount_due, amount_paid, attempt_count, as_of, created_at,
         updated_at)
     SELECT 'inv_' || (1000000 + i), 'cus_' || (1000000 + i), 'stripe', 'in_p' || i, 'sub_p' || i,
         'paid', 'cycle', 'usd', 1, 1, 1, 1, i, i, i FROM numbers WHERE i <= 20000",
    "INSERT INTO charges (provider, provider_charge_id, customer_id, payment_id, status, amount,
         amount_captured, amount_refunded, currency, as_of, revision, created_at, updated_at)
     SELECT 'stripe', 'ch_p' || i, 'cus_' || (1000000 + i), 'pay_' || (1000000 + i), 'succeeded', 1,
         1, 0, 'usd', i, 1, i, i FROM numbers WHERE i <= 20000",
    "INSERT INTO refunds (id, customer_id, payment_id, provider, provider_refund_id, amount,
         currency, status, as_of, created_at, updated_at)
     SELECT 're_' || (1000000 + i), 'cus_' || (1000000 + i), 'pay_' || (1000000 + i), 'stripe',
         're_p' || i, 1, 'usd', 'succeeded', i, i, i FROM numbers WHERE i <= 20000",
    "INSERT INTO disputes (id, customer_id, payment_id, provider, provider_dispute_id, amount,
         currency, status, as_of, revision, created_at, updated_at)
     SELECT 'dp_' || (1000000 + i), 'cus_' || (1000000 + i), 'pay_' || (1000000 + i), 'stripe',
         'dp_p' || i, 1, 'usd', 'needs_response', i, 1, i, i FROM numbers WHERE i <= 20000",
    "INSERT INTO credit_notes (id, customer_id, payment_id, provider, provider_credit_note_id,
         amount, amount_given_back, currency, status, as_of, created_at, updated_at)
     SELECT 'cn_' || (1000000 + i), 'cus_' || (1000000 + i), 'pay_' || (1000000 + i), 'stripe',
         'cn_p' || i, 1, 1, 'usd', 'issued', i, i, i FROM numbers WHERE i <= 20000",
    "INSERT INTO checkout_sessions (id, customer_id, mode, status, price_id, quantity, amount,
         currency, trial_days, grants, success_url, cancel_url, provider, provider_session_id,
         provider_subscription_id, rate_key, browser_hash, created_at, requested_at, updated_at)
     SELECT 'cs_' || (1000000 + i), 'cus_' || (1000000 + i), 'payment',
         CASE WHEN i % 10000 = 7 THEN 'creating' ELSE 'complete' END, 'price_1000001', 1, 1, 'usd',
         0, '{}', '', '', 'stripe', 'cs_p' || i, 'sub_p' || i, 'user_' || i, 'b' || i, i, i, i % 70
     FROM numbers WHERE i <= 20000",
    "INSERT INTO credit_balances (customer_id, unit, available, held, entries)
     SELECT 'cus_' || (1000000 + i), 'credits', 100, 0, 1 FROM numbers",
    "INSERT INTO credit_grants (id, customer_id, unit, class, fact, granted, spent, held, expired,
         revoked, payment_id, provider_subscription_id, reason, starts_at, expires_at, created_at)
     SELECT 'grant_' || (1000000 + i), 'cus_' || (1000000 + i), 'credits', 'purchased', 'f' || i,
         100, 0, 0, CASE WHEN i % 2 = 0 THEN 100 ELSE 0 END, 0, 'pay_' || (1000000 + i),
         'sub_p' || i, '', 0, CASE WHEN i % 2 = 0 OR i % 10000 = 7 THEN 7 ELSE 1000000 + i END, i
     FROM numbers",
    "INSERT INTO credit_entries (id, customer_id, unit, number, kind, grant_id, amount, held_amount,
         balance_before, balance_after, held_after, effective_at, recorded_at)
     SELECT 'entry_' || (1000000 + i),
         CASE WHEN i % 2 = 0 THEN 'cus_1000001' ELSE 'cus_' || (1000000 + i) END, 'credits', i,
         'consume', 'grant_' || (1000000 + i), -1, 0, 2, 1, 0, i, i FROM numbers",
    "INSERT INTO credit_holds (id, customer_id, unit, amount, captured, status, placed_by,
         expires_at, created_at)
     SELECT 'hold_' || (1000000 + i), 'cus_' || (1000000 + i), 'credits', 1, 0,
         CASE WHEN i % 10000 = 7 THEN 'open' ELSE 'released' END, 'merchant', i % 70, i
     FROM numbers",
    "INSERT INTO credit_debts (id, customer_id, unit, grant_id, amount, settled, created_at,
         updated_at)
     SELECT 'debt_' || (1000000 + i), 'cus_' || (1000000 + i), 'credits', 'grant_' || (1000000 + i),
         1, 1, i, i FROM numbers WHERE i <= 20000",
    "INSERT INTO entitlements (id, customer_id, feature, source, starts_at, created_at, updated_at)
     SELECT 'ent_' || (1000000 + i), 'cus_' || (1000000 + i), 'api', 'sub_p' || i, 0, i, i
     FROM numbers",
    "INSERT INTO inbox_events (id, provider, provider_event_id, kind, ordering_key, object_id,
         payload, state, attempts, lease_token, leased_until, next_attempt_at, occurred_at,
         received_at, payload_purged_at)
     SELECT 'evt_' || (1000000 + i), 'stripe', 'evt_p' || i, 'invoice.paid', 'cus_p' || (i % 5000),
         'in_p' || i, '', CASE WHEN i % 4 = 0 THEN 'pending' WHEN i % 1000 = 1 THEN 'parked'
             ELSE 'applied' END, 0, 0, 0, CASE WHEN i % 8 = 0 THEN 1000000 + i ELSE i % 70 END, i,
         i, CASE WHEN i <= 50000 THEN 1 END
     FROM numbers",
    "INSERT INTO idempotency_keys (customer_id, operation, idempotency_key, request_hash, answer,
         created_at)
     SELECT 'cus_' || (1000000 + i), 'credits.consume', 'order-' || i, '', '{}', i FROM numbers",
    "INSERT INTO api_keys (id, name, prefix, hash, created_at)
     SELECT 'key_' || (1000000 + i), 'k', 'tg', 'hash_' || i, i FROM numbers",
    "INSERT INTO allowance_schedules (id, customer_id, provider, provider_subscription_id,
         provider_item_id, payment_id, price_id, position, unit, amount, interval_unit,
         interval_count, kind, line_from, covered_from, covered_until, next_at, created_at)
     SELECT 'as_' || (1000000 + i), 'cus_' || (1000000 + i), 'stripe', 'sub_p' || i, 'si_p' || i,
         'pay_' || (1000000 + i), 'price_1000001', 0, 'credits', 1, 'month', 1, 'period', i, i,
         i + 1, CASE WHEN i % 10000 = 7 THEN 7 WHEN i % 10 = 0 THEN 1000000 + i END, i
     FROM numbers",
    "INSERT INTO provider_calls (id, customer_id, kind, fact, object_id, parameters,
         idempotency_key, urgency, state, attempts, next_attempt_at, lease_token, leased_until,
         created_at, updated_at)
     SELECT 'call_' || (1000000 + i), 'cus_' || (1000000 + i), 'k', 'c' || i, 'sub_p' || i, '{}',
         'ik' || i, CASE WHEN i % 20000 = 7 THEN 'duty' ELSE 'wish' END,
         CASE WHEN i % 10000 = 7 THEN 'intended' ELSE 'done' END, 1, i % 70, 1, 0, i, i
     FROM numbers",
    "INSERT INTO outbox_events (id, customer_id, kind, fact, data, state, created_at, recorded_at)
     SELECT 'out_' || (1000000 + i), 'cus_' || (1000000 + i), 'k', 'o' || i, '{}',
         CASE WHEN i % 10000 = 7 THEN 'pending' ELSE 'spread' END, i, i
     FROM numbers WHERE i <= 20000",
    "INSERT INTO deliveries (id, outbox_event_id, receiver, state, attempts, next_attempt_at,
         lease_token, leased_until, created_at)
     SELECT 'dlv_' || (1000000 + i), 'out_' || (1000000 + i), 'rcv_' || (i % 4),
         CASE WHEN i % 10000 = 7 THEN 'pending' WHEN i % 100 = 1 THEN 'failed' ELSE 'delivered' END,
         1, i % 70, 1, 0, i FROM numbers WHERE i <= 20000",
    "INSERT INTO collections (id, owner, name, feature, search_cost, dimensions, generation,
         created_at)
     VALUES ('col_1', '', 'handbook', 'kb', 0, 1, 0, 1)",
    "INSERT INTO documents (id, collection_id, customer_id, content, chunks, created_at)
     SELECT 'doc_' || (1000000 + i), 'col_1', 'cus_' || (1000000 + i), '', 0, i FROM numbers",
    "INSERT INTO audit_log (id, actor, action, object_id, created_at)
     SELECT 'aud_' || (1000000 + i), 'key_' || (1000000 + i), 'a', 'obj_' || i, i
     FROM numbers WHERE i <= 20000",
];

#[derive(Clone, Copy)]
enum Value {
    Is(&'static str),
    At(i64),
}

use Value::{At, Is};

/// A statement's name and arguments that some row answers to.
type Hot = (&'static str, &'static [Value]);

/// Many rows as one argument.
const ACCOUNTS: &str = r#"[{"customer_id":"cus_1000077","unit":"credits"},
    {"customer_id":"cus_1000078","unit":"credits"}]"#;
const SPENT: &str = r#"[{"id":"grant_1000077","amount":1},{"id":"grant_1000079","amount":1}]"#;
const BALANCES: &str = r#"[{"customer_id":"cus_1000077","unit":"credits","available_now":99,
    "entries_now":2,"entries_before":1}]"#;
const KEYS: &str = r#"[{"customer_id":"cus_1000077","idempotency_key":"order-77"}]"#;
const NAMES: &str = r#"[{"external_id":"user_77"},{"external_id":"user_78"}]"#;
const EVENT_IDS: &str = r#"[{"id":"evt_1000077"},{"id":"evt_1000078"}]"#;

const APPLIED: &str = r#"[{"id":"evt_1000004","done_at":99},{"id":"evt_1000012","done_at":99}]"#;
const NEWS: &str = r#"[{"id":"out_1000007"},{"id":"out_1000008"}]"#;
const SESSIONS: &str = r#"[{"id":"cs_1000077","payment_intent":"pi_p77","now_at":1}]"#;
const COUNTERPARTS: &str = r#"[{"provider":"stripe","provider_customer_id":"cus_p77"}]"#;
const CUSTOMERS: &str = r#"[{"id":"cus_1000077"},{"id":"cus_1000078"}]"#;
const PAYMENTS: &str = r#"[{"provider":"stripe","name":"pi_p77"},
    {"provider":"stripe","name":"pi_none"}]"#;

const LAST: Value = Is("~");
const PAGE: Value = At(50);

/// What a delivery and the work on it ask for.
const EVENTS: &[Hot] = &[
    ("inbox_events.stored_fold", &[Is(EVENT_IDS)]),
    ("inbox_events.find", &[Is("stripe"), Is("evt_p77")]),
    ("inbox_events.next", &[At(NOW), At(NOW), At(NOW)]),
    ("inbox_events.lease", &[At(99), Is("evt_1000004"), At(0)]),
    ("inbox_events.next_alike", &[Is(""), At(24), At(NOW), Is("invoice.paid"), At(0)]),
    ("inbox_events.set_aside_until", &[At(NOW), PAGE]),
    ("inbox_events.look_again", &[Is("evt_1000004")]),
    ("outbox_events.waiting", &[]),
    ("outbox_events.spread", &[Is(NEWS)]),
    ("credit_balances.ensure_fold", &[Is(ACCOUNTS)]),
    ("inbox_events.renew", &[At(99), Is("evt_1000004"), At(0)]),
    ("inbox_events.applied_fold", &[Is(APPLIED)]),
    ("checkout_sessions.lock_fold", &[Is(SESSIONS)]),
    ("checkout_sessions.complete_fold", &[Is(SESSIONS)]),
    ("provider_customers.owner_fold", &[Is(COUNTERPARTS)]),
    ("customers.lock_fold", &[Is(CUSTOMERS)]),
    ("payments.known_fold", &[Is(PAYMENTS)]),
    ("unsettled.paid_alike", &[Is("stripe"), Is("pi_p77"), At(100), Is("usd")]),
    (
        "payments.find_named",
        &[
            Is("stripe"),
            Is("in_p77"),
            Is("pi_p77"),
            Is("cs_p77"),
            Is("in_p77"),
            Is("pi_p77"),
            Is("cs_p77"),
        ],
    ),
    ("prices.product_name", &[Is("price_1000077")]),
    ("credit_debts.owing_fold", &[Is(ACCOUNTS)]),
    ("inbox_events.get", &[Is("evt_1000004")]),
    ("inbox_events.list", &[LAST, PAGE]),
    ("inbox_events.list_state", &[Is("parked"), LAST, PAGE]),
    ("inbox_events.list_state", &[Is("applied"), LAST, PAGE]),
    ("inbox_events.purgeable", &[LAST, PAGE]),
    ("event_log.oldest", &[Is("pending")]),
    ("event_log.oldest", &[Is("parked")]),
    ("provider_customers.owner", &[Is("stripe"), Is("cus_p77")]),
    ("provider_customers.current", &[Is("stripe"), Is("cus_1000077")]),
    ("subscriptions.find", &[Is("stripe"), Is("sub_p77")]),
    ("products.find", &[Is("stripe"), Is("prod_p77")]),
    ("prices.find", &[Is("stripe"), Is("price_p77")]),
    ("payments.find", &[Is("stripe"), Is("pi_p77")]),
    ("payments.by_intent", &[Is("stripe"), Is("pi_p77")]),
    ("invoices.find", &[Is("stripe"), Is("in_p77")]),
    ("invoices.newest_paid", &[Is("stripe"), Is("sub_p77"), Is("cycle"), Is("create")]),
    ("checkout_sessions.find", &[Is("stripe"), Is("cs_p77")]),
    ("checkout_sessions.by_subscription", &[Is("sub_p77")]),
    ("entitlements.of_source", &[Is("sub_p77")]),
    ("outbox_events.pending", &[PAGE]),
    ("deliveries.receivers_due", &[At(NOW)]),
    ("deliveries.next", &[At(NOW), Is("rcv_3")]),
];

/// What a request of a shop or a customer asks for.
const REQUESTS: &[Hot] = &[
    ("api_keys.find", &[Is("hash_77")]),
    ("customers.find", &[Is("user_77")]),
    ("idempotency_keys.get", &[Is("cus_1000077"), Is("credits.consume"), Is("order-77")]),
    ("credit_balances.lock", &[Is("cus_1000077"), Is("credits")]),
    ("credit_grants.live", &[Is("cus_1000077"), Is("credits")]),
    ("credit_balances.open_fold", &[Is(ACCOUNTS)]),
    ("credit_grants.live_fold", &[Is(ACCOUNTS)]),
    ("credit_grants.spend_fold", &[Is(SPENT)]),
    ("credit_balances.set_fold", &[Is(BALANCES)]),
    ("idempotency_keys.get_fold", &[Is("credits.consume"), Is("credits.consume"), Is(KEYS)]),
    ("customers.find_fold", &[Is(NAMES)]),
    ("credit_grants.find", &[Is("f77")]),
    ("credit_grants.of_payment", &[Is("pay_1000077")]),
    ("credit_grants.of_subscription", &[Is("sub_p77")]),
    ("credit_debts.open", &[Is("cus_1000077"), Is("credits")]),
    ("entitlements.of_feature", &[Is("cus_1000077"), Is("api")]),
    ("checkout_sessions.recent", &[Is("user_77"), At(0)]),
    ("checkout_sessions.of_browser", &[Is("b77")]),
    ("checkout_sessions.open_subscriptions", &[Is("cus_1000077"), Is("b77"), Is("cus_1000077")]),
    ("provider_calls.find", &[Is("c77")]),
    ("provider_calls.open_of_object", &[Is("sub_p77")]),
];

/// What timers ask for again and again, mostly in vain.
const TIMERS: &[Hot] = &[
    ("credit_grants.expired", &[At(NOW), PAGE]),
    ("credit_holds.expired", &[At(NOW), PAGE]),
    ("allowance_schedules.due", &[At(NOW), PAGE]),
    ("allowance_schedules.of_item", &[Is("stripe"), Is("si_p77")]),
    ("allowance_schedules.waiting", &[Is("pay_1000077")]),
    ("allowance_schedules.stop_subscription", &[Is("stripe"), Is("sub_p77")]),
    ("provider_calls.due", &[Is("duty"), At(NOW), At(NOW), PAGE]),
    ("provider_calls.due", &[Is("wish"), At(NOW), At(NOW), PAGE]),
    ("provider_calls.unsettled", &[]),
    ("gauges.provider_calls", &[]),
    ("checkout_sessions.stale", &[At(NOW), PAGE]),
    ("unsettled.sessions", &[Is("stripe"), Is(""), PAGE]),
    ("unsettled.due_subscriptions", &[Is("stripe"), Is(""), PAGE]),
    ("unsettled.refunds", &[Is("stripe"), Is(""), PAGE]),
    ("unsettled.sessions_of", &[Is("stripe"), Is("cus_1000077"), Is(""), PAGE]),
    ("unsettled.subscriptions_of", &[Is("stripe"), Is("cus_1000077"), Is(""), PAGE]),
    ("unsettled.due_subscriptions_of", &[Is("stripe"), Is("cus_1000077"), Is(""), PAGE]),
    ("unsettled.invoices_of", &[Is("stripe"), Is("cus_1000077"), Is(""), PAGE]),
    ("unsettled.refunds_of", &[Is("stripe"), Is("cus_1000077"), Is(""), PAGE]),
    ("unsettled.disputes_of", &[Is("stripe"), Is("cus_1000077"), Is(""), PAGE]),
];

/// Pages of lists.
const LISTS: &[Hot] = &[
    ("customers.list", &[LAST, PAGE]),
    ("subscriptions.of_customer", &[Is("cus_1000077"), LAST, PAGE]),
    ("payments.list", &[Is("cus_1000077"), LAST, PAGE]),
    ("invoices.list", &[Is("cus_1000077"), LAST, PAGE]),
    ("refunds.list", &[Is("cus_1000077"), LAST, PAGE]),
    ("credit_grants.list", &[Is("cus_1000077"), LAST, PAGE]),
    ("credit_entries.list", &[Is("cus_1000001"), Is("credits"), At(1_000_000), PAGE]),
    ("credit_debts.list", &[Is("cus_1000077"), LAST, PAGE]),
    ("documents.list", &[Is("col_1"), LAST, PAGE]),
    ("outbox_events.list", &[LAST, PAGE]),
    ("outbox_events.list_customer", &[Is("cus_1000077"), LAST, PAGE]),
    ("deliveries.list", &[LAST, PAGE]),
    ("deliveries.list_state", &[Is("failed"), LAST, PAGE]),
    ("deliveries.list_receiver", &[Is("rcv_3"), LAST, PAGE]),
    ("provider_calls.list", &[LAST, PAGE]),
    ("provider_calls.list_state", &[Is("done"), LAST, PAGE]),
    ("audit_log.list", &[LAST, PAGE]),
    ("audit_log.of_object", &[Is("obj_77"), PAGE]),
];

/// Speed matters more than that the rows last; what they refer to is there. Nobody analyzes what we
/// fill: PostgreSQL would forget its plans, as it does when told so here.
async fn prepare(raw: &mut Raw) -> anyhow::Result<()> {
    let session: &[&str] = match raw {
        Raw::Sqlite(_) => &["PRAGMA foreign_keys = OFF", "PRAGMA synchronous = OFF"],
        Raw::Postgres(_) => &["SET session_replication_role = replica"],
        Raw::Mysql(_) => &["SET SESSION foreign_key_checks = 0, SESSION unique_checks = 0"],
    };
    for text in session {
        raw.execute(text).await?;
    }
    if let Raw::Postgres(_) = raw {
        for table in tables() {
            raw.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).await?;
        }
    }
    Ok(())
}

fn tables() -> impl Iterator<Item = &'static str> {
    HISTORY.iter().filter_map(|text| text.split_whitespace().nth(2))
}

async fn fill(raw: &mut Raw) -> anyhow::Result<()> {
    let numbers = [
        "CREATE TABLE digits (d BIGINT PRIMARY KEY)",
        "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)",
        "CREATE TABLE numbers (i BIGINT PRIMARY KEY)",
        "INSERT INTO numbers
         SELECT a.d * 10000 + b.d * 1000 + c.d * 100 + d.d * 10 + e.d + 1
         FROM digits a, digits b, digits c, digits d, digits e ORDER BY 1",
    ];
    for text in numbers.iter().chain(HISTORY) {
        raw.execute(text).await?;
    }
    Ok(())
}

/// What a server does by itself, sooner or later.
async fn analyze(raw: &mut Raw) -> anyhow::Result<()> {
    match raw {
        Raw::Mysql(_) => {
            for table in tables() {
                raw.execute(&format!("ANALYZE TABLE {table}")).await?;
            }
        }
        Raw::Postgres(_) => {
            raw.execute("ANALYZE").await?;
        }
        // Nobody does that to a file of ours.
        Raw::Sqlite(_) => {}
    }
    Ok(())
}

fn statement(name: &str) -> &'static Sql {
    let found = store::statements().find(|sql| sql.name == name);
    assert!(found.is_some(), "there is no statement {name}");
    found.unwrap()
}

fn cases() -> Vec<(&'static Sql, Vec<Arg>)> {
    let mut cases: Vec<(&'static Sql, Vec<Arg>)> = Vec::new();
    for (name, values) in [EVENTS, REQUESTS, TIMERS, LISTS].into_iter().flatten() {
        let args = values.iter().map(|value| match value {
            Is(text) => Arg::from(*text),
            At(number) => Arg::from(*number),
        });
        cases.push((statement(name), args.collect()));
    }
    let holdings = store::statements().filter(|sql| sql.name.starts_with("holdings."));
    cases.extend(holdings.map(|sql| (sql, vec![Arg::from("cus_1000077")])));
    cases
}

async fn check_reads_little(fresh: &Fresh) -> anyhow::Result<()> {
    let mut raw = Raw::connect(fresh).await?;
    let cases = cases();
    let mut greedy = Vec::new();
    prepare(&mut raw).await?;
    // A connection keeps the plans that it made while its deployment was new. It must not be the
    // one that fills: who is busy for seconds misses what the tests beside this one tell PostgreSQL
    // of their tables, and then forgets everything.
    let mut keeper = Raw::connect(fresh).await?;
    let mut kept = Vec::new();
    for (number, (sql, args)) in cases.iter().enumerate() {
        kept.push(keeper.keep_plan(&format!("kept_{number}"), sql, args).await?);
    }
    let began = std::time::Instant::now();
    fill(&mut raw).await?;
    eprintln!("{}: filled in {:?}", fresh.name, began.elapsed());
    for (number, (sql, args)) in cases.iter().enumerate() {
        let name = format!("kept_{number}");
        assert_eq!(keeper.kept_plan(&name, args).await?, kept[number], "it was forgotten");
        if let Some(read) = keeper.rows_read_by_kept_plan(&name, args).await?
            && ROWS_READ_MAX < read
        {
            greedy.push(format!("{} reads {read} by an old plan:\n{}", sql.name, kept[number]));
        }
    }
    analyze(&mut raw).await?;
    for (sql, args) in &cases {
        let read = raw.rows_read(sql, args).await?;
        if ROWS_READ_MAX < read {
            greedy.push(format!("{} reads {read}:\n{}", sql.name, raw.plan(sql, args).await?));
        }
    }
    assert!(greedy.is_empty(), "{}:\n{}", fresh.name, greedy.join("\n\n"));
    Ok(())
}

/// One database after the other would take three times as long.
async fn check_on(name: &str) -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        if fresh.name == name {
            check_reads_little(&fresh).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn row_17_hot_statements_read_little_on_sqlite() -> anyhow::Result<()> {
    check_on("sqlite").await
}

#[tokio::test]
async fn row_17_hot_statements_read_little_on_postgres() -> anyhow::Result<()> {
    check_on("postgres").await
}

#[tokio::test]
async fn row_17_hot_statements_read_little_on_mysql() -> anyhow::Result<()> {
    check_on("mysql").await
}
