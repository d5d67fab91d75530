//! The harness of the end-to-end tests and of the load generators: a real process, real HTTP,
//! nothing of the server's code.

pub mod answers;
pub mod audits;
pub mod balancers;
pub mod crowds;
pub mod databases;
pub mod deliveries;
pub mod deployments;
pub mod loads;
pub mod logs;
pub mod purchases;
pub mod replicas;
pub mod reports;
pub mod requests;
pub mod rows;
pub mod sandboxes;
pub mod servers;
pub mod services;
pub mod tools;
pub mod webhooks;
pub mod wires;
