//! Whole calls: parameters made from the published schema, in any combination and order. Nothing
//! panics, nothing is answered with a 5xx, and time can pass in between.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::doors::{Door, Pairs, pairs};
use crate::random::Random;

const STEPS: usize = 40;
const MAX_DEPTH: usize = 6;

/// Values for texts whose parameter says nothing about them.
const TEXTS: [&str; 16] = [
    "",
    "a",
    "Pro",
    "a@example.com",
    "https://example.com",
    "pm_card_visa",
    "now",
    "DE123456789",
    "name:'a' AND created>1",
    "0",
    "12.5",
    "-1",
    "\u{1F600}",
    "line\nbreak",
    "unset",
    "min",
];

const METHODS: [&str; 12] = [
    "pm_card_visa",
    "pm_card_visa",
    "pm_card_mastercard",
    "pm_card_visa_chargeDeclined",
    "pm_card_chargeCustomerFail",
    "pm_card_authenticationRequired",
    "pm_card_createDispute",
    "pm_card_createDisputeInquiry",
    "pm_card_threeDSecure2Required",
    "pm_card_pendingRefund",
    "pm_card_refundFail",
    "pm_usBankAccount_success",
];

const INTEGERS: [i64; 20] = [
    0,
    1,
    1,
    1,
    2,
    3,
    7,
    10,
    12,
    15,
    31,
    50,
    100,
    999,
    2_000,
    99_999_999,
    100_000_000,
    -1,
    i64::MAX,
    i64::MIN,
];

const SPANS: [&str; 8] = ["1h", "1d", "7d", "31d", "1mo", "3mo", "1y", "period-end"];

/// The operations of the published schema.
pub struct Calls {
    root: Value,
    operations: Vec<(String, String)>,
    made: AtomicU64,
    accepted: AtomicU64,
}

/// Ids that were answered, by the kind of their object.
type Pool = BTreeMap<String, Vec<String>>;

impl Calls {
    pub fn read() -> Result<Calls> {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
        let folder = std::env::var("TOLLGATE_SHARED").unwrap_or_else(|_| beside.to_owned());
        let file = PathBuf::from(folder).join("stripe/spec3.subset.json");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("this target is made from {}", file.display()))?;
        let root: Value = serde_json::from_str(&text)?;
        let mut operations = Vec::new();
        for (path, methods) in root["paths"].as_object().context("paths")? {
            for method in methods.as_object().context("methods")?.keys() {
                // Nobody delivers here, and the clock would wait for it.
                let waits = path == "/v1/webhook_endpoints" && method == "post";
                if !waits {
                    operations.push((method.to_uppercase(), path.clone()));
                }
            }
        }
        Ok(Calls { root, operations, made: AtomicU64::new(0), accepted: AtomicU64::new(0) })
    }

    pub async fn run(&self, door: &Door, random: &mut Random) -> Result<()> {
        let mut pool = Pool::new();
        let mut calls = Vec::new();
        let outcome = self.sequence(door, random, &mut pool, &mut calls).await;
        outcome.with_context(|| format!("after\n{}\n", calls.join("\n")))
    }

    /// Refusals alone would prove little.
    pub fn summary(&self) -> String {
        let accepted = self.accepted.load(Ordering::Relaxed);
        format!("{accepted} of {} calls were accepted", self.made.load(Ordering::Relaxed))
    }

    async fn sequence(
        &self,
        door: &Door,
        random: &mut Random,
        pool: &mut Pool,
        calls: &mut Vec<String>,
    ) -> Result<()> {
        start(door, pool).await?;
        let now = door.send("GET", "/_sandbox/clock", String::new(), None).await?;
        let mut now = now.body["now"].as_i64().context("a time")?;
        for _ in 0..STEPS {
            let (method, address, body) = match random.below(12) {
                0 => {
                    let span = format!("{{\"advance\":\"{}\"}}", random.pick(&SPANS));
                    ("POST".to_owned(), "/_sandbox/clock".to_owned(), span)
                }
                1 => self.completion(random, pool),
                _ => {
                    let (method, path) = random.pick(&self.operations);
                    let (address, form) = self.call(method, path, now, random, pool);
                    let text = crate::doors::encoded(&form);
                    match method.as_str() {
                        "POST" => (method.clone(), address, text),
                        _ => (method.clone(), format!("{address}?{text}"), String::new()),
                    }
                }
            };
            let shown = format!("{method} {address} {body}");
            let answer = door.send(&method, &address, body, None).await;
            calls.push(match &answer {
                Ok(answer) => format!("{}  {shown}", answer.status),
                Err(_) => format!("  !  {shown}"),
            });
            let answer = answer?;
            self.made.fetch_add(1, Ordering::Relaxed);
            if answer.status == 200 {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(later) = answer.body["now"].as_i64() {
                now = later;
            }
            let is_error = answer.body.get("error").is_some();
            ensure!((answer.status < 300) != is_error, "{shown}: {}", answer.body);
            collect(&answer.body, pool);
        }
        Ok(())
    }

    fn completion(&self, random: &mut Random, pool: &Pool) -> (String, String, String) {
        let session = of_kind(pool, "checkout.session", random).unwrap_or("cs_missing".to_owned());
        let address = format!("/_sandbox/checkout/{session}/complete");
        ("POST".to_owned(), address, format!("payment_method={}", random.pick(&METHODS)))
    }

    fn call(
        &self,
        method: &str,
        pattern: &str,
        now: i64,
        random: &mut Random,
        pool: &Pool,
    ) -> (String, Pairs) {
        let mut address = Vec::new();
        let mut collection = "";
        for part in pattern.split('/') {
            if part.starts_with('{') {
                let kind = collection.trim_end_matches('s').trim_end_matches("ie");
                address.push(of_kind(pool, kind, random).unwrap_or("x_missing".to_owned()));
            } else {
                collection = part;
                address.push(part.to_owned());
            }
        }
        let operation = &self.root["paths"][pattern][method.to_lowercase()];
        let mut made = Maker { calls: self, pool, now, random, form: Vec::new() };
        let body = operation.pointer("/requestBody/content");
        let body = body.and_then(Value::as_object).and_then(|kinds| kinds.values().next());
        if let Some(kind) = body {
            made.object(&kind["schema"], "", 0);
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" && made.random.percent(15) {
                let name = parameter["name"].as_str().unwrap_or_default();
                made.value(&parameter["schema"], name, 1);
            }
        }
        (address.join("/"), made.form)
    }
}

/// Enough to begin with: otherwise most calls would be about nothing.
async fn start(door: &Door, pool: &mut Pool) -> Result<()> {
    let mut make = async |path: &str, form: &Pairs| -> Result<String> {
        let answer = door.post(path, form, None).await?;
        ensure!(answer.status == 200, "{path}: {}", answer.body);
        collect(&answer.body, pool);
        Ok(answer.body["id"].as_str().context("an id")?.to_owned())
    };
    let product = make("/v1/products", &pairs(&[("name", "Pro")])).await?;
    let mut price = pairs(&[("currency", "usd"), ("unit_amount", "2000")]);
    price.push(("product".to_owned(), product));
    make("/v1/prices", &price).await?;
    price.extend(pairs(&[("recurring[interval]", "month")]));
    let price = make("/v1/prices", &price).await?;
    let customer = pairs(&[
        ("payment_method", "pm_card_visa"),
        ("invoice_settings[default_payment_method]", "pm_card_visa"),
    ]);
    let customer = make("/v1/customers", &customer).await?;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    make("/v1/subscriptions", &pairs(&form)).await?;
    Ok(())
}

fn collect(value: &Value, pool: &mut Pool) {
    match value {
        Value::Object(object) => {
            if let (Some(id), Some(kind)) = (value["id"].as_str(), value["object"].as_str()) {
                let ids = pool.entry(kind.to_owned()).or_default();
                if !ids.iter().any(|known| known == id) {
                    ids.push(id.to_owned());
                }
            }
            object.values().for_each(|value| collect(value, pool));
        }
        Value::Array(elements) => elements.iter().for_each(|value| collect(value, pool)),
        _ => {}
    }
}

/// An id of the kind, or of one whose name ends so; seldom that of another kind.
fn of_kind(pool: &Pool, kind: &str, random: &mut Random) -> Option<String> {
    let wild = random.percent(3);
    let kinds: Vec<&Vec<String>> = pool
        .iter()
        .filter(|(found, _)| wild || (!kind.is_empty() && found.ends_with(kind)))
        .map(|(_, ids)| ids)
        .collect();
    (!kinds.is_empty()).then(|| {
        let ids = *random.pick(&kinds);
        random.pick(ids).clone()
    })
}

/// Writes parameters that mostly fit their schema.
struct Maker<'a> {
    calls: &'a Calls,
    pool: &'a Pool,
    now: i64,
    random: &'a mut Random,
    form: Pairs,
}

impl Maker<'_> {
    fn push(&mut self, name: &str, value: impl ToString) {
        self.form.push((name.to_owned(), value.to_string()));
    }

    fn object(&mut self, schema: &Value, name: &str, depth: usize) {
        let none = Map::new();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        // Few optional parameters at a time: each one more is one more reason to be refused.
        let chance = if depth == 0 { 12 } else { 30 };
        for (key, inner) in schema["properties"].as_object().unwrap_or(&none) {
            let needed = required.iter().any(|name| name == key);
            if self.random.percent(if needed { 97 } else { chance }) {
                let name = if name.is_empty() { key.clone() } else { format!("{name}[{key}]") };
                self.value(inner, &name, depth + 1);
            }
        }
        if schema["additionalProperties"].is_object() {
            self.push(&format!("{name}[k]"), "v");
        }
        if self.random.percent(1) {
            self.push(&format!("{name}[unknown]"), "x");
        }
    }

    fn value(&mut self, schema: &Value, name: &str, depth: usize) {
        if MAX_DEPTH < depth {
            return;
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let key = reference.rsplit('/').next().unwrap_or_default();
            let calls = self.calls;
            return self.value(&calls.root["components"]["schemas"][key], name, depth);
        }
        if let Some(branches) = schema["anyOf"].as_array() {
            let branch = self.random.pick(branches);
            return self.value(branch, name, depth);
        }
        if self.random.percent(1) {
            // The wrong shape altogether.
            let shape = *self.random.pick(&["", "[]", "[0][a]", "[a][b]"]);
            return self.push(&format!("{name}{shape}"), "x");
        }
        if let Some(values) = schema["enum"].as_array() {
            let value = self.random.pick(values).as_str().unwrap_or_default().to_owned();
            return self.push(name, value);
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema, name, depth),
            Some("array") => {
                for index in 0..1 + self.random.below(2) {
                    self.value(&schema["items"], &format!("{name}[{index}]"), depth + 1);
                }
            }
            Some("boolean") => {
                let value = self.random.percent(50);
                self.push(name, value);
            }
            Some("number") => {
                let value = *self.random.pick(&["0", "12.5", "100", "-1", "1e9", "NaN", "33.333"]);
                self.push(name, value);
            }
            Some("integer") => {
                let value = self.integer(schema, name);
                self.push(name, value);
            }
            _ => {
                let value = self.text(name);
                self.push(name, value);
            }
        }
    }

    fn integer(&mut self, schema: &Value, name: &str) -> i64 {
        let is_time = schema["format"] == "unix-time";
        if is_time && self.random.percent(90) {
            let days = i64::try_from(self.random.below(120)).unwrap_or(0) - 40;
            return self.now + days * 86_400;
        }
        if name.contains("amount") && self.random.percent(80) {
            return *self.random.pick(&[1, 50, 500, 1_000, 2_000, 12_345]);
        }
        *self.random.pick(&INTEGERS)
    }

    fn text(&mut self, name: &str) -> String {
        let last = name.trim_end_matches(']').rsplit('[').next().unwrap_or(name);
        let last = match last.parse::<usize>() {
            // The name of a list is that of its elements.
            Ok(_) => name
                .split(['[', ']'])
                .rfind(|part| !part.is_empty() && part.parse::<usize>().is_err()),
            Err(_) => Some(last),
        };
        let last = last.unwrap_or(name);
        match last {
            "currency" => (*self.random.pick(&["usd", "usd", "usd", "eur", "jpy", "kwd"])).into(),
            "payment_method" | "default_payment_method" if self.random.percent(60) => {
                (*self.random.pick(&METHODS)).to_owned()
            }
            _ if self.random.percent(1) => "x".repeat(self.random.below(6_000)),
            _ => {
                let kind = last.trim_end_matches('s');
                let found = of_kind(self.pool, kind, self.random);
                found.unwrap_or_else(|| (*self.random.pick(&TEXTS)).to_owned())
            }
        }
    }
}
