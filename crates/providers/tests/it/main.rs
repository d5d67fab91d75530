//! The Stripe adapter against recorded bodies, signature vectors and a scripted double.

mod calls;
mod client;
mod double;
mod events;
mod lists;
mod robustness;
mod samples;
mod shapes;
mod signatures;
mod traffic;
