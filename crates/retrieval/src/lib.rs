//! Chunking, embedding and nearest-first search: knows nothing of customers or money.
