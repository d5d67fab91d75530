//! The sandbox under a population: a year of everybody's renewals, and how long one call takes
//! when so much is there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::answers::{Api, list_at, text_at};
use e2e::loads::Outcome;
use e2e::rows::{Row, Target};
use e2e::sandboxes::Sandbox;
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bench::Bench;

/// What the sandbox promises at 10,000 customers.
const YEAR_LIMIT_SECONDS: f64 = 60.0;
const CALL_LIMIT_MS: f64 = 5.0;
/// Longer than anyone waits, so that a slow year is measured and not cut off.
const ADVANCE_TIMEOUT: Duration = Duration::from_secs(1800);
const CONNECTIONS: usize = 8;
const MONTHS: usize = 12;

/// One paying customer.
struct Subscriber {
    customer: String,
    subscription: String,
}

pub async fn measure(bench: &mut Bench, customers: usize, length: Duration) -> Result<()> {
    let sandbox = Sandbox::start()?;
    let api = sandbox.api()?;
    bench.report.note(&format!("sandbox: making {customers} customers with a subscription each"));
    let price = monthly_price(&api).await?;
    let subscribers = subscribers(&api, &price, customers).await?;

    bench.report.note("sandbox: advancing the clock by a year");
    let started = Instant::now();
    let clock = api.request(Method::POST, "/_sandbox/clock").json(&json!({ "advance": "1y" }));
    api.send(clock.timeout(ADVANCE_TIMEOUT)).await?.expect(200)?;
    let year = Row::new("sandbox_year", None, "s", started.elapsed().as_secs_f64());
    for subscriber in subscribers.iter().step_by(customers.div_ceil(50)) {
        renewed_for_a_year(&api, subscriber).await?;
    }
    bench.report.add(year.held_to(Target::Below(YEAR_LIMIT_SECONDS)));

    bench.report.note("sandbox: calling the API");
    let outcome = calls(&api, &price, &subscribers, length).await?;
    let (p50_ms, p99_ms) = (outcome.percentile_ms(50), outcome.percentile_ms(99));
    let row = Row::new("sandbox_call", None, "per s", outcome.per_second());
    bench.report.add(row.times(p50_ms, p99_ms));
    let row = Row::new("sandbox_call_slowest", None, "ms p99", p99_ms);
    bench.report.add(row.held_to(Target::Below(CALL_LIMIT_MS)));
    if let Some(memory_mb) = sandbox.peak_memory_mb() {
        bench.report.add(Row::new("sandbox_memory", None, "MiB at most", memory_mb as f64));
    }
    Ok(())
}

async fn make(api: &Api, path: &str, form: &[(&str, &str)]) -> Result<Value> {
    api.post_form(path, form).await?.expect(200)
}

async fn monthly_price(api: &Api) -> Result<String> {
    let product = text_at(&make(api, "/v1/products", &[("name", "Bench")]).await?, "/id");
    let form = [
        ("product", product.as_str()),
        ("currency", "usd"),
        ("unit_amount", "2999"),
        ("recurring[interval]", "month"),
    ];
    Ok(text_at(&make(api, "/v1/prices", &form).await?, "/id"))
}

async fn subscribers(api: &Api, price: &str, customers: usize) -> Result<Vec<Subscriber>> {
    let worker = async |number: usize| -> Result<Vec<Subscriber>> {
        let mut made = Vec::new();
        for n in (number..customers).step_by(CONNECTIONS) {
            made.push(subscriber(api, price, n).await?);
        }
        Ok(made)
    };
    let made = try_join_all((0..CONNECTIONS).map(worker)).await?;
    Ok(made.into_iter().flatten().collect())
}

async fn subscriber(api: &Api, price: &str, n: usize) -> Result<Subscriber> {
    let email = format!("bench-{n}@example.com");
    let form = [
        ("email", email.as_str()),
        ("payment_method", "pm_card_visa"),
        ("invoice_settings[default_payment_method]", "pm_card_visa"),
    ];
    let customer = text_at(&make(api, "/v1/customers", &form).await?, "/id");
    let form = [("customer", customer.as_str()), ("items[0][price]", price)];
    let subscription = make(api, "/v1/subscriptions", &form).await?;
    ensure!(subscription["status"] == "active", "not active: {subscription}");
    Ok(Subscriber { customer, subscription: text_at(&subscription, "/id") })
}

/// A fast year counts only if every month was billed and paid.
async fn renewed_for_a_year(api: &Api, subscriber: &Subscriber) -> Result<()> {
    let path = format!("/v1/invoices?limit=100&customer={}", subscriber.customer);
    let invoices = api.get(&path).await?.expect(200)?;
    let invoices = list_at(&invoices, "/data")?;
    let paid = invoices.iter().filter(|invoice| invoice["status"] == "paid").count();
    // The last renewal falls on the end of the year, where its invoice may still be a draft.
    ensure!(MONTHS <= paid && invoices.len() == MONTHS + 1, "{paid} of {}", invoices.len());
    Ok(())
}

/// One call after the other, of every kind that a shop makes.
async fn calls(
    api: &Api,
    price: &str,
    subscribers: &[Subscriber],
    length: Duration,
) -> Result<Outcome> {
    let started = Instant::now();
    let mut times_us = Vec::new();
    let mut n = 0;
    while started.elapsed() < length {
        // A step that shares no factor with the population visits all of it.
        let Subscriber { customer, subscription } = &subscribers[n * 7919 % subscribers.len()];
        let number = n.to_string();
        let begun = Instant::now();
        let answer = match n % 10 {
            0 => api.get(&format!("/v1/customers/{customer}")).await?,
            1 => api.get(&format!("/v1/subscriptions/{subscription}")).await?,
            2 => api.get(&format!("/v1/invoices?customer={customer}")).await?,
            3 => api.get(&format!("/v1/subscriptions?customer={customer}")).await?,
            4 => api.get("/v1/customers?limit=10").await?,
            5 => api.get("/v1/events?limit=10&type=invoice.paid").await?,
            6 => api.get(&format!("/v1/charges?customer={customer}")).await?,
            7 => {
                let form = [("metadata[visit]", number.as_str())];
                api.post_form(&format!("/v1/customers/{customer}"), &form).await?
            }
            8 => {
                let form = [("email", "more@example.com"), ("name", number.as_str())];
                api.post_form("/v1/customers", &form).await?
            }
            _ => {
                let form = [
                    ("mode", "subscription"),
                    ("customer", customer),
                    ("line_items[0][price]", price),
                    ("line_items[0][quantity]", "1"),
                    ("success_url", "https://example.com/done"),
                ];
                api.post_form("/v1/checkout/sessions", &form).await?
            }
        };
        times_us.push(u32::try_from(begun.elapsed().as_micros())?);
        answer.expect(200)?;
        n += 1;
    }
    times_us.sort_unstable();
    let elapsed = started.elapsed();
    Ok(Outcome { times_us, elapsed, refusals: BTreeMap::new(), bodies: Vec::new() })
}
