//! Pages for customers: server-rendered, without scripts, escaped by construction.

pub mod layout;
pub mod pay;
pub mod portal;
pub mod pricing;
pub mod sessions;
