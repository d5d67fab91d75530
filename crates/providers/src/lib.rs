//! Payment providers: calls out, proof of webhooks in, and the mapping of their words to ours.
