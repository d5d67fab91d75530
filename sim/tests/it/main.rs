//! The simulation on a fixed set of seeds; the long run is `cargo xtask sim`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod orders;
mod years;
