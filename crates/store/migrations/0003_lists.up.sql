-- Lists and lines that are read in an order have an index in that order: PostgreSQL takes no other
-- while the tables that it knows are empty.

CREATE INDEX refunds_listed ON refunds (customer_id, id);
CREATE INDEX outbox_events_listed ON outbox_events (customer_id, id);
CREATE INDEX credit_debts_listed ON credit_debts (customer_id, id);
CREATE INDEX audit_log_listed ON audit_log (object_id, id);
CREATE INDEX deliveries_next ON deliveries (receiver, state, next_attempt_at, outbox_event_id);
CREATE INDEX payments_session ON payments (provider_session_id);
DROP INDEX refunds_customer;
DROP INDEX outbox_events_customer;
DROP INDEX audit_log_object;

-- What the provider has still to tell the end of, which is asked for every few minutes: most has
-- been told, and is passed over.
ALTER TABLE subscriptions ADD COLUMN unpaid_since BIGINT GENERATED ALWAYS AS
    (CASE WHEN status IN ('incomplete', 'past_due', 'unpaid') THEN created_at END) VIRTUAL;
CREATE INDEX subscriptions_unpaid ON subscriptions (unpaid_since);
ALTER TABLE refunds ADD COLUMN open_since BIGINT GENERATED ALWAYS AS
    (CASE WHEN status NOT IN ('succeeded', 'failed', 'canceled') THEN created_at END) VIRTUAL;
CREATE INDEX refunds_open ON refunds (open_since);
