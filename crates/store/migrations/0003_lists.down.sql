CREATE INDEX audit_log_object ON audit_log (object_id);
CREATE INDEX outbox_events_customer ON outbox_events (customer_id);
CREATE INDEX refunds_customer ON refunds (customer_id);
DROP INDEX payments_session;
DROP INDEX deliveries_next;
DROP INDEX audit_log_listed;
DROP INDEX credit_debts_listed;
DROP INDEX outbox_events_listed;
DROP INDEX refunds_listed;
