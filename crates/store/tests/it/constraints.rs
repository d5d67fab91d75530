//! What the schema itself refuses, whoever writes: this is SQL past all our code.

use crate::backends;
use crate::raw::Raw;
use sqlx::error::ErrorKind;

/// One row of each table that the others refer to.
const ROWS: [(&str, &str, &str); 9] = [
    ("customers", "id, metadata, created_at, updated_at", "'cus_1', '{}', 1, 1"),
    (
        "products",
        "id, name, active, metadata, provider, provider_product_id, created_at, updated_at",
        "'prod_1', 'Pro', 1, '{}', 'stripe', 'prod_p', 1, 1",
    ),
    (
        "prices",
        "id, product_id, unit_amount, currency, interval_count, active, trial_days, grants,
         provider, provider_price_id, created_at, updated_at",
        "'price_1', 'prod_1', 100, 'usd', 1, 1, 0, '{}', 'stripe', 'price_p', 1, 1",
    ),
    (
        "subscriptions",
        "id, customer_id, provider, provider_subscription_id, status, price_id, product_id,
         quantity, cancel_at_period_end, started_at, grants, as_of, revision, created_at,
         updated_at",
        "'sub_1', 'cus_1', 'stripe', 'sub_p', 'active', 'price_1', 'prod_1', 1, 0, 1, '{}', 1, 1, 1,
         1",
    ),
    (
        "payments",
        "id, customer_id, provider, fact, price_id, amount, currency, amount_refunded, status,
         created_at, updated_at",
        "'pay_1', 'cus_1', 'stripe', 'pi_p', 'price_1', 100, 'usd', 0, 'paid', 1, 1",
    ),
    (
        "provider_customers",
        "provider_customer_id, provider, customer_id, generation, created_at",
        "'cus_p', 'stripe', 'cus_1', 0, 1",
    ),
    (
        "inbox_events",
        "id, provider, provider_event_id, kind, ordering_key, payload, state, attempts,
         lease_token, leased_until, next_attempt_at, occurred_at, received_at",
        "'evt_1', 'stripe', 'evt_p', 'invoice.paid', 'cus_p', '', 'pending', 0, 0, 0, 0, 1, 1",
    ),
    (
        "refunds",
        "id, customer_id, payment_id, provider, provider_refund_id, amount, currency, status,
         as_of, created_at, updated_at",
        "'re_1', 'cus_1', 'pay_1', 'stripe', 're_p', 1, 'usd', 'succeeded', 1, 1, 1",
    ),
    (
        "credit_holds",
        "id, customer_id, unit, amount, captured, status, placed_by, expires_at, created_at",
        "'hold_1', 'cus_1', 'credits', 1, 0, 'open', 'merchant', 1, 1",
    ),
];

async fn filled(fresh: &backends::Fresh) -> anyhow::Result<Raw> {
    let mut raw = Raw::connect(fresh).await?;
    for (table, columns, values) in ROWS {
        raw.execute(&format!("INSERT INTO {table} ({columns}) VALUES ({values})")).await?;
    }
    Ok(raw)
}

fn kind(error: &sqlx::Error) -> ErrorKind {
    error.as_database_error().map_or(ErrorKind::Other, |error| error.kind())
}

async fn refusal(raw: &mut Raw, text: &str) -> sqlx::Error {
    let refused = raw.execute(text).await;
    assert!(refused.is_err(), "accepted: {text}");
    refused.unwrap_err()
}

#[tokio::test]
async fn row_14_the_providers_ids_are_unique_for_each_provider() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut raw = filled(&fresh).await?;
        for (table, columns, values) in ROWS {
            if !columns.contains("provider") {
                continue;
            }
            // Another row of ours about the same thing of theirs; a third is another provider's.
            let again = match columns.starts_with("id,") {
                true => values.replacen("_1'", "_2'", 1),
                false => values.replace(", 0, 1", ", 1, 1"),
            };
            let insert =
                |values: &str| format!("INSERT INTO {table} ({columns}) VALUES ({values})");
            let refused = refusal(&mut raw, &insert(&again)).await;
            let found = kind(&refused);
            assert!(matches!(found, ErrorKind::UniqueViolation), "{}: {refused}", fresh.name);
            let other = again.replace("'stripe'", "'other'");
            assert_eq!(raw.execute(&insert(&other)).await?, 1, "{}: {table}", fresh.name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn row_15_every_time_of_creation_is_there() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut raw = filled(&fresh).await?;
        for (table, columns, _) in ROWS {
            for column in ["created_at", "updated_at", "received_at"] {
                if !columns.split(',').any(|one| one.trim() == column) {
                    continue;
                }
                let nothing = format!("UPDATE {table} SET {column} = NULL");
                let refused = refusal(&mut raw, &nothing).await;
                let found = kind(&refused);
                let is_refused = matches!(found, ErrorKind::NotNullViolation);
                assert!(is_refused, "{}: {table}: {refused}", fresh.name);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn row_16_what_is_in_use_cannot_be_deleted() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut raw = filled(&fresh).await?;
        for table in ["products", "prices", "customers", "payments"] {
            let refused = refusal(&mut raw, &format!("DELETE FROM {table}")).await;
            let found = kind(&refused);
            let is_refused = matches!(found, ErrorKind::ForeignKeyViolation);
            assert!(is_refused, "{}: {table}: {refused}", fresh.name);
        }
        let nobodys = "UPDATE subscriptions SET product_id = 'prod_unknown'";
        let refused = refusal(&mut raw, nobodys).await;
        let is_refused = matches!(kind(&refused), ErrorKind::ForeignKeyViolation);
        assert!(is_refused, "{}: {refused}", fresh.name);
        // What nobody uses any more can go.
        for table in ["refunds", "payments", "subscriptions", "prices", "products"] {
            assert_eq!(raw.execute(&format!("DELETE FROM {table}")).await?, 1, "{}", fresh.name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn row_16_an_unknown_status_cannot_be_written() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut raw = filled(&fresh).await?;
        for (table, column) in [
            ("payments", "status = 'maybe'"),
            ("credit_holds", "status = 'maybe'"),
            ("credit_holds", "placed_by = 'nobody'"),
            ("inbox_events", "state = 'maybe'"),
            ("products", "active = 2"),
            ("payments", "amount = -1"),
            ("subscriptions", "cancel_at_period_end = 2"),
            ("refunds", "amount = -1"),
        ] {
            let refused = refusal(&mut raw, &format!("UPDATE {table} SET {column}")).await;
            let found = kind(&refused);
            let is_refused = matches!(found, ErrorKind::CheckViolation);
            assert!(is_refused, "{}: {table}: {refused}", fresh.name);
        }
    }
    Ok(())
}

/// What the older schema has no place for may go; what it knows stays as it was.
#[tokio::test]
async fn row_10_a_step_back_and_up_again_keeps_the_rows() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut raw = filled(&fresh).await?;
        for version in [3, 2] {
            assert_eq!(fresh.store.migrate_down().await?, Some(version), "{}", fresh.name);
        }
        let is_older = |table: &&str| *table != "refunds";
        for steps in ["down", "up"] {
            for table in ROWS.iter().map(|(table, ..)| *table).filter(is_older) {
                let (_, columns, values) = ROWS.iter().find(|(name, ..)| *name == table).unwrap();
                let (column, value) =
                    (columns.split(',').next().unwrap(), values.split(',').next().unwrap());
                let same =
                    format!("UPDATE {table} SET {column} = {value} WHERE {column} = {value}");
                assert_eq!(raw.execute(&same).await?, 1, "{}: {steps}: {table}", fresh.name);
            }
            fresh.store.migrate_up().await?;
        }
        let amounts = "UPDATE payments SET amount = 100 WHERE amount = 100 AND status = 'paid'";
        assert_eq!(raw.execute(amounts).await?, 1, "{}", fresh.name);
    }
    Ok(())
}
