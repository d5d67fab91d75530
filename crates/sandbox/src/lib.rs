//! A Stripe-compatible provider that runs on your machine: API, hosted pages, clock, webhooks.
