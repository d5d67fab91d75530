//! The harness of the end-to-end tests: a real process, real HTTP, nothing of the server's code.

pub mod answers;
pub mod balancers;
pub mod purchases;
pub mod replicas;
pub mod sandboxes;
pub mod servers;
pub mod services;
pub mod tools;
pub mod webhooks;
