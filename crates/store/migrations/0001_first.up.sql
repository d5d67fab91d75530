-- The main job: catalogue, checkout, subscriptions, payments, credits, access, documents, inbox.
-- One text for every backend: TEXT compares byte by byte, BIGINT holds amounts and microseconds,
-- booleans are 0 or 1, JSON is text that only we parse. `dialect.rs` spells the types.

CREATE TABLE deployment (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    mode TEXT NOT NULL CHECK (mode IN ('test', 'live')),
    created_at BIGINT NOT NULL
);

CREATE TABLE customers (
    id VARCHAR(255) PRIMARY KEY,
    external_id VARCHAR(255) UNIQUE,
    email TEXT,
    name TEXT,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE provider_customers (
    provider VARCHAR(64) NOT NULL,
    provider_customer_id VARCHAR(255) NOT NULL,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    generation BIGINT NOT NULL CHECK (generation >= 0),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (provider, provider_customer_id),
    UNIQUE (provider, customer_id, generation)
);

CREATE TABLE products (
    id VARCHAR(255) PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT,
    active BIGINT NOT NULL CHECK (active IN (0, 1)),
    metadata TEXT NOT NULL,
    provider VARCHAR(64) NOT NULL,
    provider_product_id VARCHAR(255),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, provider_product_id)
);

CREATE TABLE prices (
    id VARCHAR(255) PRIMARY KEY,
    product_id VARCHAR(255) NOT NULL REFERENCES products (id),
    unit_amount BIGINT NOT NULL CHECK (unit_amount >= 0),
    currency TEXT NOT NULL,
    interval_unit TEXT CHECK (interval_unit IN ('day', 'week', 'month', 'year')),
    interval_count BIGINT NOT NULL CHECK (interval_count >= 1),
    nickname TEXT,
    active BIGINT NOT NULL CHECK (active IN (0, 1)),
    trial_days BIGINT NOT NULL CHECK (trial_days >= 0),
    grants TEXT NOT NULL,
    provider VARCHAR(64) NOT NULL,
    provider_price_id VARCHAR(255),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, provider_price_id)
);
CREATE INDEX prices_product ON prices (product_id);

CREATE TABLE features (
    id VARCHAR(255) PRIMARY KEY,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE checkout_sessions (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) REFERENCES customers (id),
    mode TEXT NOT NULL CHECK (mode IN ('payment', 'subscription')),
    status VARCHAR(255) NOT NULL
        CHECK (status IN ('creating', 'open', 'processing', 'complete', 'expired', 'failed')),
    price_id VARCHAR(255) NOT NULL REFERENCES prices (id),
    quantity BIGINT NOT NULL CHECK (quantity >= 1),
    amount BIGINT NOT NULL CHECK (amount >= 0),
    currency TEXT NOT NULL,
    trial_days BIGINT NOT NULL CHECK (trial_days >= 0),
    grants TEXT NOT NULL,
    email TEXT,
    success_url TEXT NOT NULL,
    cancel_url TEXT NOT NULL,
    provider VARCHAR(64) NOT NULL,
    provider_session_id VARCHAR(255),
    provider_payment_intent_id TEXT,
    provider_subscription_id VARCHAR(255),
    url TEXT,
    rate_key VARCHAR(255) NOT NULL,
    browser_hash VARCHAR(255),
    idempotency_key VARCHAR(255),
    request_hash TEXT,
    created_at BIGINT NOT NULL,
    requested_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, provider_session_id),
    UNIQUE (rate_key, idempotency_key)
);
CREATE INDEX checkout_sessions_customer ON checkout_sessions (customer_id);
CREATE INDEX checkout_sessions_rate ON checkout_sessions (rate_key, requested_at);
CREATE INDEX checkout_sessions_browser ON checkout_sessions (browser_hash);
CREATE INDEX checkout_sessions_subscription ON checkout_sessions (provider_subscription_id);

CREATE TABLE subscriptions (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    provider VARCHAR(64) NOT NULL,
    provider_subscription_id VARCHAR(255) NOT NULL,
    status TEXT NOT NULL,
    price_id VARCHAR(255) REFERENCES prices (id),
    product_id VARCHAR(255) REFERENCES products (id),
    quantity BIGINT NOT NULL,
    period_start BIGINT,
    period_end BIGINT,
    cancel_at BIGINT,
    cancel_at_period_end BIGINT NOT NULL CHECK (cancel_at_period_end IN (0, 1)),
    canceled_at BIGINT,
    ended_at BIGINT,
    trial_start BIGINT,
    trial_end BIGINT,
    past_due_since BIGINT,
    started_at BIGINT NOT NULL,
    grants TEXT NOT NULL,
    as_of BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, provider_subscription_id)
);
CREATE INDEX subscriptions_customer ON subscriptions (customer_id);

CREATE TABLE invoices (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    provider VARCHAR(64) NOT NULL,
    provider_invoice_id VARCHAR(255) NOT NULL,
    provider_subscription_id VARCHAR(255),
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    number TEXT,
    currency TEXT NOT NULL,
    total BIGINT NOT NULL,
    amount_due BIGINT NOT NULL,
    amount_paid BIGINT NOT NULL,
    attempt_count BIGINT NOT NULL,
    hosted_url TEXT,
    pdf_url TEXT,
    issued_at BIGINT,
    paid_at BIGINT,
    as_of BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, provider_invoice_id)
);
CREATE INDEX invoices_customer ON invoices (customer_id);
CREATE INDEX invoices_subscription ON invoices (provider_subscription_id);

-- One purchase is one row: `fact` is its invoice, else its payment intent, else its session.
CREATE TABLE payments (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    provider VARCHAR(64) NOT NULL,
    fact VARCHAR(512) NOT NULL,
    provider_payment_intent_id VARCHAR(255),
    provider_invoice_id VARCHAR(255),
    provider_session_id TEXT,
    price_id VARCHAR(255) REFERENCES prices (id),
    amount BIGINT NOT NULL CHECK (amount >= 0),
    currency TEXT NOT NULL,
    amount_refunded BIGINT NOT NULL CHECK (amount_refunded >= 0),
    status TEXT NOT NULL
        CHECK (status IN ('pending', 'paid', 'failed', 'refunded', 'partially_refunded')),
    description TEXT,
    paid_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, fact)
);
CREATE INDEX payments_customer ON payments (customer_id);
CREATE INDEX payments_intent ON payments (provider_payment_intent_id);
CREATE INDEX payments_invoice ON payments (provider_invoice_id);

-- What a paid invoice line still has to refill: a yearly payment refills every month.
CREATE TABLE allowance_schedules (
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
CREATE INDEX allowance_schedules_due ON allowance_schedules (next_at);

CREATE TABLE credit_grants (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    unit VARCHAR(255) NOT NULL,
    class TEXT NOT NULL
        CHECK (class IN ('allowance', 'trial', 'bonus', 'promotional', 'purchased')),
    fact VARCHAR(512) NOT NULL UNIQUE,
    granted BIGINT NOT NULL CHECK (granted > 0),
    spent BIGINT NOT NULL CHECK (spent >= 0),
    held BIGINT NOT NULL CHECK (held >= 0),
    expired BIGINT NOT NULL CHECK (expired >= 0),
    revoked BIGINT NOT NULL CHECK (revoked >= 0),
    payment_id VARCHAR(255),
    provider_subscription_id VARCHAR(255),
    reason TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    CHECK (spent + held + expired + revoked <= granted)
);
CREATE INDEX credit_grants_customer ON credit_grants (customer_id, unit);
CREATE INDEX credit_grants_expiry ON credit_grants (expires_at);
CREATE INDEX credit_grants_payment ON credit_grants (payment_id);
CREATE INDEX credit_grants_subscription ON credit_grants (provider_subscription_id);

-- Derived from the ledger; its row is the lock of one customer's credits of one unit.
CREATE TABLE credit_balances (
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    unit VARCHAR(255) NOT NULL,
    available BIGINT NOT NULL CHECK (available >= 0),
    held BIGINT NOT NULL CHECK (held >= 0),
    entries BIGINT NOT NULL CHECK (entries >= 0),
    PRIMARY KEY (customer_id, unit)
);

CREATE TABLE credit_holds (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    unit TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount > 0),
    captured BIGINT NOT NULL CHECK (captured >= 0),
    status VARCHAR(255) NOT NULL CHECK (status IN ('open', 'captured', 'released', 'expired')),
    placed_by TEXT NOT NULL CHECK (placed_by IN ('merchant', 'customer')),
    reference TEXT,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    closed_at BIGINT
);
CREATE INDEX credit_holds_customer ON credit_holds (customer_id);
CREATE INDEX credit_holds_expiry ON credit_holds (status, expires_at);

CREATE TABLE credit_hold_draws (
    hold_id VARCHAR(255) NOT NULL REFERENCES credit_holds (id),
    position BIGINT NOT NULL,
    grant_id VARCHAR(255) NOT NULL REFERENCES credit_grants (id),
    amount BIGINT NOT NULL CHECK (amount > 0),
    PRIMARY KEY (hold_id, position)
);

-- The ledger: append-only, one line per change of one lot, numbered per customer and unit.
CREATE TABLE credit_entries (
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
CREATE INDEX credit_entries_grant ON credit_entries (grant_id);

CREATE TABLE credit_debts (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    unit VARCHAR(255) NOT NULL,
    grant_id VARCHAR(255) NOT NULL UNIQUE,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE entitlements (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    feature VARCHAR(255) NOT NULL,
    source VARCHAR(255) NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    revoked_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (source, feature)
);
CREATE INDEX entitlements_customer ON entitlements (customer_id, feature);

CREATE TABLE inbox_events (
    id VARCHAR(255) PRIMARY KEY,
    provider VARCHAR(64) NOT NULL,
    provider_event_id VARCHAR(255) NOT NULL,
    kind VARCHAR(255) NOT NULL,
    ordering_key VARCHAR(512) NOT NULL,
    object_id VARCHAR(512),
    api_version TEXT,
    payload BLOB NOT NULL,
    state VARCHAR(255) NOT NULL CHECK (state IN ('pending', 'applied', 'ignored', 'parked')),
    reason TEXT,
    attempts BIGINT NOT NULL,
    lease_token BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    applied_at BIGINT,
    UNIQUE (provider, provider_event_id)
);
CREATE INDEX inbox_events_due ON inbox_events (state, next_attempt_at);
CREATE INDEX inbox_events_ordering ON inbox_events (ordering_key, leased_until);

CREATE TABLE idempotency_keys (
    customer_id VARCHAR(255) NOT NULL,
    operation VARCHAR(255) NOT NULL,
    idempotency_key VARCHAR(255) NOT NULL,
    request_hash TEXT NOT NULL,
    answer TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (customer_id, operation, idempotency_key)
);

CREATE TABLE collections (
    id VARCHAR(255) PRIMARY KEY,
    owner VARCHAR(255) NOT NULL,
    name VARCHAR(255) NOT NULL,
    feature TEXT NOT NULL,
    search_cost BIGINT NOT NULL CHECK (search_cost >= 0),
    dimensions BIGINT NOT NULL CHECK (dimensions >= 1),
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (owner, name)
);

CREATE TABLE documents (
    id VARCHAR(255) PRIMARY KEY,
    collection_id VARCHAR(255) NOT NULL REFERENCES collections (id),
    customer_id VARCHAR(255) REFERENCES customers (id),
    source TEXT,
    content TEXT NOT NULL,
    chunks BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX documents_collection ON documents (collection_id);
CREATE INDEX documents_customer ON documents (customer_id);

CREATE TABLE chunks (
    id VARCHAR(255) PRIMARY KEY,
    document_id VARCHAR(255) NOT NULL REFERENCES documents (id),
    collection_id VARCHAR(255) NOT NULL,
    position BIGINT NOT NULL,
    content TEXT NOT NULL,
    embedding BLOB NOT NULL,
    UNIQUE (document_id, position)
);
CREATE INDEX chunks_collection ON chunks (collection_id);

CREATE TABLE api_keys (
    id VARCHAR(255) PRIMARY KEY,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash VARCHAR(255) NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- Single-use sign-in links (`kind` link) and the browser sessions they open (`kind` session).
CREATE TABLE portal_sessions (
    id VARCHAR(255) PRIMARY KEY,
    customer_id VARCHAR(255) NOT NULL REFERENCES customers (id),
    kind TEXT NOT NULL CHECK (kind IN ('link', 'session')),
    hash VARCHAR(255) NOT NULL UNIQUE,
    csrf TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    closed_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX portal_sessions_expiry ON portal_sessions (expires_at);
