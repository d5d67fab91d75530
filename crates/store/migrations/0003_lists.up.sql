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
