//! The binary from outside, one file per topic.

mod authorisation;
mod browsers;
mod clocks;
mod crashes;
mod credits;
mod dashboards;
mod databases;
mod debits;
mod deliveries;
mod endurance;
mod handovers;
mod hosted_pages;
mod inputs;
mod operators;
mod outages;
mod processes;
mod replicas;
mod sdks;
