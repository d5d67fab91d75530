//! The server's outside: settings, callers, error shapes and the list of routes.

mod auth;
mod config;
mod openapi;
mod pages;
mod problems;
mod servers;
