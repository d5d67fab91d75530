-- Webhook truth: money that goes back, the whole life of a subscription, our own outgoing effects,
-- intents of calls to the provider, reconciliation, and the operator's view.

ALTER TABLE deployment ADD COLUMN provider_account TEXT;
ALTER TABLE provider_customers ADD COLUMN deleted_at BIGINT;
CREATE INDEX provider_customers_customer ON provider_customers (customer_id);
ALTER TABLE inbox_events ADD COLUMN headers TEXT;
ALTER TABLE inbox_events ADD COLUMN payload_purged_at BIGINT;
-- The operator's view of the inbox: by state, by kind, by object; and whose payloads are still here.
CREATE INDEX inbox_events_state ON inbox_events (state, id);
CREATE INDEX inbox_events_kind ON inbox_events (kind, id);
CREATE INDEX inbox_events_object ON inbox_events (object_id);
-- What waits is taken in the order in which it is due, without sorting what is due.
DROP INDEX inbox_events_due;
CREATE INDEX inbox_events_due ON inbox_events (state, next_attempt_at, id);
CREATE INDEX inbox_events_payload ON inbox_events (id) WHERE payload_purged_at IS NULL;
ALTER TABLE api_keys ADD COLUMN scope VARCHAR(255) NOT NULL DEFAULT 'server'
    CHECK (scope IN ('server', 'admin', 'metrics'));

ALTER TABLE subscriptions ADD COLUMN collection TEXT;
ALTER TABLE subscriptions ADD COLUMN pause_behavior TEXT;
ALTER TABLE subscriptions ADD COLUMN pause_resumes_at BIGINT;
-- The plan that waits for money (`pending_at` is null) or for its day.
ALTER TABLE subscriptions ADD COLUMN pending_price_id TEXT;
ALTER TABLE subscriptions ADD COLUMN pending_at BIGINT;
ALTER TABLE subscriptions ADD COLUMN provider_schedule_id TEXT;
-- Until when money has arrived; the period may run ahead of it.
ALTER TABLE subscriptions ADD COLUMN paid_until BIGINT;
-- Set where the customer had another live one already.
ALTER TABLE subscriptions ADD COLUMN surplus_since BIGINT;

ALTER TABLE invoices ADD COLUMN due_at BIGINT;
-- The end of the latest period of a plan that this invoice bills.
ALTER TABLE invoices ADD COLUMN covers_until BIGINT;

-- Every price of a subscription, each with its own period and what it grants.
CREATE TABLE subscription_items (
    provider VARCHAR(64) NOT NULL,
    provider_item_id VARCHAR(255) NOT NULL,
    subscription_id VARCHAR(255) NOT NULL REFERENCES subscriptions (id),
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    position BIGINT NOT NULL CHECK (position >= 0),
    provider_price_id TEXT,
    price_id VARCHAR(255) REFERENCES prices (id),
    quantity BIGINT NOT NULL,
    period_start BIGINT,
    period_end BIGINT,
    grants TEXT NOT NULL,
    PRIMARY KEY (provider, provider_item_id)
);
CREATE INDEX subscription_items_customer ON subscription_items (customer_id);
CREATE INDEX subscription_items_subscription ON subscription_items (subscription_id, position);

-- One movement of money of a payment: an invoice can be paid by several.
CREATE TABLE charges (
    provider VARCHAR(64) NOT NULL,
    provider_charge_id VARCHAR(255) NOT NULL,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    payment_id VARCHAR(255) NOT NULL REFERENCES payments (id),
    provider_payment_intent_id TEXT,
    status TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    amount_captured BIGINT NOT NULL CHECK (amount_captured >= 0),
    amount_refunded BIGINT NOT NULL CHECK (amount_refunded >= 0),
    currency TEXT NOT NULL,
    as_of BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (provider, provider_charge_id)
);
CREATE INDEX charges_customer ON charges (customer_id);
CREATE INDEX charges_payment ON charges (payment_id);

CREATE TABLE refunds (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    payment_id VARCHAR(255) NOT NULL REFERENCES payments (id),
    provider VARCHAR(64) NOT NULL,
    provider_refund_id VARCHAR(255) NOT NULL,
    provider_charge_id TEXT,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    currency TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    as_of BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, provider_refund_id)
);
CREATE INDEX refunds_customer ON refunds (customer_id);
CREATE INDEX refunds_payment ON refunds (payment_id);

CREATE TABLE disputes (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    payment_id VARCHAR(255) NOT NULL REFERENCES payments (id),
    provider VARCHAR(64) NOT NULL,
    provider_dispute_id VARCHAR(255) NOT NULL,
    provider_charge_id TEXT,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    currency TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    evidence_due_at BIGINT,
    as_of BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, provider_dispute_id)
);
CREATE INDEX disputes_customer ON disputes (customer_id);
CREATE INDEX disputes_payment ON disputes (payment_id);

-- Money of a paid invoice that went to the customer's balance or back outside the provider; what a
-- credit note refunds to the card is a refund.
CREATE TABLE credit_notes (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    payment_id VARCHAR(255) NOT NULL REFERENCES payments (id),
    provider VARCHAR(64) NOT NULL,
    provider_credit_note_id VARCHAR(255) NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    amount_given_back BIGINT NOT NULL CHECK (amount_given_back >= 0),
    currency TEXT NOT NULL,
    status TEXT NOT NULL,
    as_of BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, provider_credit_note_id)
);
CREATE INDEX credit_notes_customer ON credit_notes (customer_id);
CREATE INDEX credit_notes_payment ON credit_notes (payment_id);

-- A paid line is known by when it begins and ends; what it refills may begin later. One that pays
-- for more inside a period (`change`) raises that period's refills.
CREATE TABLE allowance_schedules_wider (
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
    kind VARCHAR(255) NOT NULL CHECK (kind IN ('period', 'change')),
    line_from BIGINT NOT NULL,
    covered_from BIGINT NOT NULL,
    covered_until BIGINT NOT NULL,
    next_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (provider, provider_item_id, position, kind, line_from, covered_until)
);
INSERT INTO allowance_schedules_wider
    SELECT id, customer_id, provider, provider_subscription_id, provider_item_id, payment_id,
        price_id, position, unit, amount, interval_unit, interval_count, 'period', covered_from,
        covered_from, covered_until, next_at, created_at
    FROM allowance_schedules;
DROP TABLE allowance_schedules;
ALTER TABLE allowance_schedules_wider RENAME TO allowance_schedules;
CREATE INDEX allowance_schedules_due ON allowance_schedules (next_at);
CREATE INDEX allowance_schedules_customer ON allowance_schedules (customer_id);
CREATE INDEX allowance_schedules_subscription ON allowance_schedules (provider_subscription_id);
CREATE INDEX allowance_schedules_payment ON allowance_schedules (payment_id);

-- The part of `revoked` that money which went back has taken; it is restored when a dispute is won
-- or a refund fails.
ALTER TABLE credit_grants ADD COLUMN withdrawn BIGINT NOT NULL DEFAULT 0 CHECK (withdrawn >= 0);
-- When a lot expires that has something left to expire: most have not, and are passed over.
ALTER TABLE credit_grants ADD COLUMN due_at BIGINT GENERATED ALWAYS AS
    (CASE WHEN spent + held + expired + revoked < granted THEN expires_at END) VIRTUAL;
CREATE INDEX credit_grants_due ON credit_grants (due_at);
DROP INDEX credit_grants_expiry;
-- What later grants have paid of a debt.
ALTER TABLE credit_debts ADD COLUMN settled BIGINT NOT NULL DEFAULT 0 CHECK (settled >= 0);
CREATE INDEX credit_debts_customer ON credit_debts (customer_id, unit);

-- The ledger learns one more kind: `restore`.
CREATE TABLE credit_entries_wider (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL,
    unit VARCHAR(255) NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN
        ('grant', 'consume', 'hold', 'capture', 'release', 'expire', 'revoke', 'restore')),
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
INSERT INTO credit_entries_wider SELECT * FROM credit_entries;
DROP TABLE credit_entries;
ALTER TABLE credit_entries_wider RENAME TO credit_entries;
CREATE INDEX credit_entries_grant ON credit_entries (grant_id);

-- Our own effects, written in the transaction that causes them: one row for one fact.
CREATE TABLE outbox_events (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) REFERENCES customers (id),
    kind TEXT NOT NULL,
    fact VARCHAR(512) NOT NULL UNIQUE,
    object_id TEXT,
    data TEXT NOT NULL,
    state VARCHAR(255) NOT NULL CHECK (state IN ('pending', 'spread')),
    created_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL
);
CREATE INDEX outbox_events_state ON outbox_events (state, id);
CREATE INDEX outbox_events_customer ON outbox_events (customer_id);

CREATE TABLE webhook_endpoints (
    id VARCHAR(255) PRIMARY KEY,
    url TEXT NOT NULL,
    description TEXT,
    kinds TEXT NOT NULL,
    secret TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- One event for one receiver: an endpoint, or the mail hook.
CREATE TABLE deliveries (
    id VARCHAR(255) PRIMARY KEY,
    outbox_event_id VARCHAR(255) NOT NULL REFERENCES outbox_events (id),
    receiver VARCHAR(255) NOT NULL,
    state VARCHAR(255) NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    lease_token BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    status_code BIGINT,
    error TEXT,
    created_at BIGINT NOT NULL,
    delivered_at BIGINT,
    UNIQUE (outbox_event_id, receiver)
);
CREATE INDEX deliveries_due ON deliveries (state, next_attempt_at);
CREATE INDEX deliveries_state ON deliveries (state, id);
CREATE INDEX deliveries_receiver ON deliveries (receiver, id);

-- What we are about to ask of the provider: written before, settled after, asked again by a sweeper
-- under the same idempotency key while the outcome is unknown.
CREATE INDEX checkout_sessions_status ON checkout_sessions (status, updated_at);
CREATE TABLE provider_calls (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) REFERENCES customers (id),
    kind TEXT NOT NULL,
    fact VARCHAR(512) NOT NULL UNIQUE,
    object_id VARCHAR(512),
    parameters TEXT NOT NULL,
    idempotency_key VARCHAR(512) NOT NULL UNIQUE,
    urgency TEXT NOT NULL CHECK (urgency IN ('duty', 'wish')),
    state VARCHAR(255) NOT NULL CHECK (state IN ('intended', 'unknown', 'done', 'refused')),
    attempts BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    lease_token BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    outcome TEXT,
    heard_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX provider_calls_due ON provider_calls (state, next_attempt_at);
CREATE INDEX provider_calls_state ON provider_calls (state, id);
CREATE INDEX provider_calls_object ON provider_calls (object_id);

CREATE TABLE sync_runs (
    id VARCHAR(255) PRIMARY KEY,
    kind VARCHAR(255) NOT NULL,
    scope TEXT,
    dry_run BIGINT NOT NULL CHECK (dry_run IN (0, 1)),
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'partial', 'failed')),
    cursor_text TEXT,
    report TEXT NOT NULL,
    error TEXT,
    leased_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT
);
CREATE INDEX sync_runs_kind ON sync_runs (kind, id);

CREATE TABLE admin_sessions (
    id VARCHAR(255) PRIMARY KEY,
    api_key_id VARCHAR(255) NOT NULL REFERENCES api_keys (id),
    hash VARCHAR(255) NOT NULL UNIQUE,
    csrf TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    closed_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX admin_sessions_expiry ON admin_sessions (expires_at);

CREATE TABLE audit_log (
    id VARCHAR(255) PRIMARY KEY,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object_id VARCHAR(512) NOT NULL,
    detail TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX audit_log_object ON audit_log (object_id);

-- A collection may hold most of the documents there are.
CREATE INDEX documents_page ON documents (collection_id, id);
DROP INDEX documents_collection;

-- A deployment that is copied here from another database: how far each table has come. Nothing is
-- served before all of it is finished.
CREATE TABLE copies (
    table_name VARCHAR(255) PRIMARY KEY,
    source VARCHAR(512) NOT NULL,
    last_key TEXT,
    rows_copied BIGINT NOT NULL CHECK (rows_copied >= 0),
    started_at BIGINT NOT NULL,
    finished_at BIGINT
);
