//! The use cases against the sandbox over HTTP, on SQLite and on a private PostgreSQL.

mod credits;
mod orders;
mod purchases;
mod search;
mod worlds;
