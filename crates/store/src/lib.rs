//! Every SQL statement, the migrations, transactions, the inbox and idempotency.
