//! Deterministic simulation: one seed is one year of a shop, with every fault that year had.
//!
//! The provider is the sandbox, called inside the process; the database is a file that outlives the
//! process, which dies where the seed says. An auditor keeps its own books.

pub mod audits;
pub mod books;
pub mod buying;
pub mod catalogue;
pub mod convergence;
pub mod couriers;
pub mod dice;
pub mod dumps;
pub mod orders;
pub mod people;
pub mod searches;
pub mod spending;
pub mod stories;
pub mod tables;
pub mod transport;
pub mod turns;
pub mod weather;
pub mod wishes;
pub mod worlds;
pub mod years;
