//! Expansion: any path is taken or refused, and folding what it expanded gives the plain answer.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::doors::{Answer, Door, Pairs, pairs};
use crate::random::Random;

const ADDRESSES: [&str; 10] = [
    "charges",
    "checkout/sessions",
    "customers",
    "events",
    "invoices",
    "payment_intents",
    "payment_methods",
    "prices",
    "products",
    "subscriptions",
];

/// What the sandbox shows at one address, and the words that its paths are made of.
pub struct Shown {
    plain: Vec<(String, Value)>,
    words: Vec<String>,
}

/// A shop with one of each, looked at once.
pub async fn prepare(door: &Door) -> Result<Shown> {
    populate(door).await?;
    let mut plain = Vec::new();
    let mut words = BTreeSet::from(["data".to_owned(), "*".to_owned(), String::new()]);
    for address in ADDRESSES {
        let path = format!("/v1/{address}");
        let list = expect(door.get(&path, &Vec::new()).await?)?;
        for element in list["data"].as_array().context("a list")? {
            let id = element["id"].as_str().context("an id")?;
            let path = format!("{path}/{id}");
            plain.push((path.clone(), expect(door.get(&path, &Vec::new()).await?)?));
        }
        collect_words(&list, &mut words);
        plain.push((path, list));
    }
    Ok(Shown { plain, words: words.into_iter().collect() })
}

async fn populate(door: &Door) -> Result<()> {
    let make = async |path: &str, form: Pairs| -> Result<Value> {
        expect(door.post(path, &form, None).await?)
    };
    let product = make("/v1/products", pairs(&[("name", "Pro")])).await?;
    let product = product["id"].as_str().context("an id")?.to_owned();
    let mut price = pairs(&[("currency", "usd"), ("unit_amount", "2000")]);
    price.push(("product".to_owned(), product));
    let mut monthly = price.clone();
    monthly.extend(pairs(&[("recurring[interval]", "month")]));
    let price = make("/v1/prices", price).await?;
    let monthly = make("/v1/prices", monthly).await?;
    let customer = pairs(&[
        ("payment_method", "pm_card_visa"),
        ("invoice_settings[default_payment_method]", "pm_card_visa"),
    ]);
    let customer = make("/v1/customers", customer).await?;
    let customer = customer["id"].as_str().context("an id")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("an id");
    let mut subscription = pairs(&[("customer", customer)]);
    subscription.push(("items[0][price]".to_owned(), text(&monthly["id"])?));
    make("/v1/subscriptions", subscription).await?;
    let mut session = pairs(&[
        ("mode", "payment"),
        ("customer", customer),
        ("success_url", "https://example.com/done"),
        ("line_items[0][quantity]", "1"),
    ]);
    session.push(("line_items[0][price]".to_owned(), text(&price["id"])?));
    let session = make("/v1/checkout/sessions", session).await?;
    let path = format!("/_sandbox/checkout/{}/complete", text(&session["id"])?);
    make(&path, pairs(&[("payment_method", "pm_card_visa")])).await?;
    Ok(())
}

fn expect(answer: Answer) -> Result<Value> {
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    Ok(answer.body)
}

fn collect_words(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                words.insert(key.clone());
                collect_words(value, words);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|value| collect_words(value, words)),
        _ => {}
    }
}

pub async fn run(door: &Door, shown: &Shown, random: &mut Random) -> Result<()> {
    let (address, plain) = random.pick(&shown.plain);
    let mut query = Vec::new();
    let count = if random.percent(2) { 60 } else { 1 + random.below(4) };
    for _ in 0..count {
        // Half of the paths follow what is there, so that they are often taken.
        let path = match random.percent(50) {
            true => existing_path(plain, random),
            false => any_path(&shown.words, random),
        };
        query.push(("expand[]".to_owned(), path));
    }
    let answer = door.get(address, &query).await?;
    ensure!([200, 400].contains(&answer.status), "{address} {query:?}: {}", answer.status);
    if answer.status == 200 {
        let folded = fold(plain, &answer.body);
        ensure!(folded == *plain, "{address} {query:?}: {folded} is not {plain}");
    }
    Ok(())
}

fn any_path(words: &[String], random: &mut Random) -> String {
    let length = 1 + random.below(6);
    let parts: Vec<&str> = (0..length).map(|_| random.pick(words).as_str()).collect();
    parts.join(".")
}

fn existing_path(plain: &Value, random: &mut Random) -> String {
    let mut parts = Vec::new();
    let mut value = plain;
    while parts.len() < 6 {
        match value {
            Value::Object(object) if !object.is_empty() => {
                let keys: Vec<&String> = object.keys().collect();
                let key = *random.pick(&keys);
                parts.push(key.as_str());
                value = &object[key];
            }
            Value::Array(elements) if !elements.is_empty() => value = random.pick(elements),
            _ => break,
        }
    }
    parts.join(".")
}

/// The expanded answer with every object that stands for an id put back to it, and without the
/// parts that are only shown on request.
fn fold(plain: &Value, expanded: &Value) -> Value {
    match (plain, expanded) {
        (Value::String(_), Value::Object(object)) => {
            object.get("id").cloned().unwrap_or(Value::Null)
        }
        (Value::Object(plain), Value::Object(expanded)) => {
            let kept = plain.iter().map(|(key, value)| {
                let found = expanded.get(key).map_or(Value::Null, |found| fold(value, found));
                (key.clone(), found)
            });
            Value::Object(kept.collect())
        }
        (Value::Array(plain), Value::Array(expanded)) if plain.len() == expanded.len() => {
            let pairs = plain.iter().zip(expanded);
            Value::Array(pairs.map(|(plain, expanded)| fold(plain, expanded)).collect())
        }
        (_, expanded) => expanded.clone(),
    }
}
