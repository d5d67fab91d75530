//! Pages for customers and operators: server-rendered, without scripts, escaped by construction.

pub mod admin;
pub mod layout;
pub mod pay;
pub mod portal;
pub mod pricing;
pub mod sessions;
