//! One suite, run on SQLite and on a private PostgreSQL.

mod backends;
mod credits;
mod inbox;
mod schema;
