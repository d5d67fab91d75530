//! Chunking, embedding and nearest-first search: knows nothing of customers or money.
//!
//! Who may see what is decided before anything here is called: a segment holds only what its
//! caller put in.

pub mod chunking;
pub mod embedding;
pub mod segments;
