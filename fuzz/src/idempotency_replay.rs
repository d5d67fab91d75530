//! Replays: whatever is sent in whatever order, a key has one effect and one answer.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::doors::{Answer, Door, Pairs, pairs};
use crate::random::Random;

const KEYS: [&str; 4] = ["k1", "k2", "k3", "\u{7f}~"];
const STEPS: usize = 24;

/// The first answer to a key that was kept.
struct Kept {
    request: (String, Pairs),
    status: u16,
    body: Value,
}

pub async fn run(door: &Door, random: &mut Random) -> Result<()> {
    let mut kept: HashMap<&str, Kept> = HashMap::new();
    let mut customers = BTreeSet::new();
    for _ in 0..STEPS {
        let (path, form) = request(random);
        let key = random.percent(80).then(|| *random.pick(&KEYS[..3]));
        if random.percent(15) {
            // Twice at once: one of them acts, the other replays it or is told to wait.
            let (first, second) =
                tokio::join!(door.post(&path, &form, key), door.post(&path, &form, key));
            judge(&mut kept, &mut customers, key, &path, &form, first?)?;
            judge(&mut kept, &mut customers, key, &path, &form, second?)?;
            continue;
        }
        let answer = door.post(&path, &form, key).await?;
        judge(&mut kept, &mut customers, key, &path, &form, answer)?;
    }
    let listed = door.get("/v1/customers", &pairs(&[("limit", "100")])).await?;
    let listed = listed.body["data"].as_array().context("a list")?.iter();
    let listed: BTreeSet<String> = listed.map(|row| row["id"].to_string()).collect();
    ensure!(listed == customers, "{listed:?} exist, {customers:?} were answered");
    Ok(())
}

fn request(random: &mut Random) -> (String, Pairs) {
    let (path, form): (&str, &[(&str, &str)]) = match random.below(8) {
        0 => ("/v1/customers", &[("name", "a")]),
        1 => ("/v1/customers", &[("name", "b")]),
        2 => ("/v1/customers", &[("email", "a@example.com"), ("metadata[x]", "1")]),
        3 => ("/v1/customers", &[("colour", "unknown")]),
        4 => ("/v1/products", &[("name", "a")]),
        5 => ("/v1/payment_intents", &DECLINED),
        6 => ("/v1/customers/cus_missing", &[("name", "a")]),
        _ => ("/v1/nothing/here", &[]),
    };
    (path.to_owned(), pairs(form))
}

/// A decline is kept like a success: its attempt has happened.
const DECLINED: [(&str, &str); 4] = [
    ("amount", "1000"),
    ("currency", "usd"),
    ("payment_method", "pm_card_visa_chargeDeclined"),
    ("confirm", "true"),
];

fn judge<'a>(
    kept: &mut HashMap<&'a str, Kept>,
    customers: &mut BTreeSet<String>,
    key: Option<&'a str>,
    path: &str,
    form: &Pairs,
    answer: Answer,
) -> Result<()> {
    let request = (path.to_owned(), form.clone());
    let what = format!("{key:?} {request:?}: {}: {}", answer.status, answer.body);
    match key.and_then(|key| kept.get(key)) {
        Some(first) if first.request == request => {
            ensure!(answer.replayed, "not marked as a replay: {what}");
            ensure!(answer.status == first.status && answer.body == first.body, "differs: {what}");
        }
        // What is wrong with the address or the fields may be said before the key is looked at.
        Some(_) => {
            let kind = &answer.body["error"]["type"];
            ensure!(400 <= answer.status, "acted under a foreign key: {what}");
            ensure!(kind == "idempotency_error" || answer.status == 404, "not refused: {what}");
        }
        None => {
            ensure!(!answer.replayed, "a replay of nothing: {what}");
            if answer.status == 200 && path == "/v1/customers" {
                customers.insert(answer.body["id"].to_string());
            }
            if let (Some(key), 200 | 402) = (key, answer.status) {
                kept.insert(key, Kept { request, status: answer.status, body: answer.body });
            }
        }
    }
    Ok(())
}
