//! The server's outside: settings, commands, callers, error shapes and the list of routes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do, by panicking"
)]

mod admin;
mod auth;
mod commands;
mod config;
mod connections;
mod copies;
mod openapi;
mod operations;
mod outages;
mod pages;
mod payments;
mod problems;
#[path = "../../../providers/tests/it/samples.rs"]
mod samples;
mod servers;
mod simulator;
mod subscriptions;
mod sync_runs;
mod traffic;
mod webhook_endpoints;
mod webhooks;
