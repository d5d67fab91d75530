//! The simulation on a fixed set of seeds; the long run is `cargo xtask sim`.

mod orders;
mod years;
