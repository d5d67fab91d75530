//! Chunking, local vectors and exact search together.

mod properties;
mod questions;
