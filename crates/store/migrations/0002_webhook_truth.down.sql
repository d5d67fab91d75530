-- Back to the main job. Restored credits have no word in the older ledger: they stay as grants.
DROP TABLE copies;
CREATE INDEX documents_collection ON documents (collection_id);
DROP INDEX documents_page;
DROP TABLE audit_log;
DROP TABLE admin_sessions;
DROP TABLE sync_runs;
DROP TABLE provider_calls;
DROP INDEX checkout_sessions_status;
DROP TABLE deliveries;
DROP TABLE webhook_endpoints;
DROP TABLE outbox_events;

CREATE TABLE credit_entries_narrower (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL,
    unit VARCHAR(255) NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL
        CHECK (kind IN ('grant', 'consume', 'hold', 'capture', 'release', 'expire', 'revoke')),
    grant_id VARCHAR(255) NOT NULL,
    hold_id TEXT,
    amount BIGINT NOT NULL,
    held_amount BIGINT NOT NULL,
    balance_before BIGINT NOT NULL,
    balance_after BIGINT NOT NULL CHECK (balance_after >= 0),
    held_after BIGINT NOT NULL CHECK (held_after >= 0),
    reference TEXT,
    effective_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    UNIQUE (customer_id, unit, number)
);
UPDATE credit_entries SET kind = 'grant' WHERE kind = 'restore';
INSERT INTO credit_entries_narrower SELECT * FROM credit_entries;
DROP TABLE credit_entries;
ALTER TABLE credit_entries_narrower RENAME TO credit_entries;
CREATE INDEX credit_entries_grant ON credit_entries (grant_id);

CREATE TABLE allowance_schedules_narrower (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    provider VARCHAR(64) NOT NULL,
    provider_subscription_id VARCHAR(255) NOT NULL,
    provider_item_id VARCHAR(255) NOT NULL,
    payment_id VARCHAR(255),
    price_id VARCHAR(255) NOT NULL REFERENCES prices (id),
    position BIGINT NOT NULL,
    unit TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount > 0),
    interval_unit TEXT NOT NULL,
    interval_count BIGINT NOT NULL,
    covered_from BIGINT NOT NULL,
    covered_until BIGINT NOT NULL,
    next_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (provider, provider_subscription_id, provider_item_id, position, covered_from)
);
INSERT INTO allowance_schedules_narrower
    SELECT id, customer_id, provider, provider_subscription_id, provider_item_id, payment_id,
        price_id, position, unit, amount, interval_unit, interval_count, covered_from,
        covered_until, next_at, created_at
    FROM allowance_schedules WHERE kind = 'period' ORDER BY line_from DESC
    ON CONFLICT DO NOTHING;
DROP TABLE allowance_schedules;
ALTER TABLE allowance_schedules_narrower RENAME TO allowance_schedules;
CREATE INDEX allowance_schedules_due ON allowance_schedules (next_at);

DROP INDEX credit_debts_customer;
ALTER TABLE credit_debts DROP COLUMN settled;
CREATE INDEX credit_grants_expiry ON credit_grants (expires_at);
DROP INDEX credit_grants_due;
ALTER TABLE credit_grants DROP COLUMN due_at;
ALTER TABLE credit_grants DROP COLUMN withdrawn;
DROP TABLE credit_notes;
DROP TABLE disputes;
DROP TABLE refunds;
DROP TABLE charges;
DROP TABLE subscription_items;
ALTER TABLE invoices DROP COLUMN covers_until;
ALTER TABLE invoices DROP COLUMN due_at;
ALTER TABLE subscriptions DROP COLUMN surplus_since;
ALTER TABLE subscriptions DROP COLUMN paid_until;
ALTER TABLE subscriptions DROP COLUMN provider_schedule_id;
ALTER TABLE subscriptions DROP COLUMN pending_at;
ALTER TABLE subscriptions DROP COLUMN pending_price_id;
ALTER TABLE subscriptions DROP COLUMN pause_resumes_at;
ALTER TABLE subscriptions DROP COLUMN pause_behavior;
ALTER TABLE subscriptions DROP COLUMN collection;
ALTER TABLE api_keys DROP COLUMN scope;
DROP INDEX inbox_events_payload;
DROP INDEX inbox_events_due;
CREATE INDEX inbox_events_due ON inbox_events (state, next_attempt_at);
DROP INDEX inbox_events_object;
DROP INDEX inbox_events_kind;
DROP INDEX inbox_events_state;
ALTER TABLE inbox_events DROP COLUMN payload_purged_at;
ALTER TABLE inbox_events DROP COLUMN headers;
DROP INDEX provider_customers_customer;
ALTER TABLE provider_customers DROP COLUMN deleted_at;
ALTER TABLE deployment DROP COLUMN provider_account;
