//! The call sequences with which the provider's own command line triggers events: each one runs
//! against a sandbox of its own and must bring about the event that its file is named after.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use serde_json::{Map, Value};

use crate::schema;
use crate::world::World;

/// Sequences about resources that the sandbox does not have, each with the resource.
const LEFT_OUT: [(&str, &str); 1] =
    [("payment_intent.partially_funded", "cash balances of customers and bank transfers")];

/// Sequences whose parameters ended with an older version of the API, which they therefore ask for.
const OLDER: [&str; 5] = [
    "customer.discount.created",
    "customer.discount.deleted",
    "customer.discount.updated",
    "promotion_code.created",
    "promotion_code.updated",
];
const OLDER_VERSION: &str = "2024-06-20";

/// Files named after what happens rather than after an event.
const OTHER_NAMES: [(&str, &str); 2] = [
    ("subscription.payment_failed", "invoice.payment_failed"),
    ("subscription.payment_succeeded", "invoice.payment_succeeded"),
];

const AT_ONCE: usize = 4;
const PATIENCE: u32 = 40;
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn every_trigger_emits_the_event_it_is_named_after() {
    let Some(folder) = schema::shared_folder() else {
        return;
    };
    let scripts = scripts(&folder.join("stripe/fixtures/stripe-cli-triggers"));
    assert!(70 <= scripts.len(), "only {} sequences were found", scripts.len());
    for (name, _) in LEFT_OUT {
        assert!(scripts.iter().any(|(found, _)| found == name), "{name} is left out of nothing");
    }
    let running = scripts.iter().filter(|(name, _)| LEFT_OUT.iter().all(|(left, _)| left != name));
    let outcomes = running.map(|(name, script)| async move {
        let outcome = run(name, script).await;
        outcome.err().map(|problem| format!("{name}: {problem}"))
    });
    let problems: Vec<String> = stream::iter(outcomes)
        .buffered(AT_ONCE)
        .filter_map(async |problem| problem)
        .collect()
        .await;
    let count = scripts.len() - LEFT_OUT.len();
    let failed = problems.len();
    assert!(problems.is_empty(), "{failed} of {count} do not run:\n{}", problems.join("\n"));
}

/// Name and content of each file.
fn scripts(folder: &Path) -> Vec<(String, Value)> {
    let files = std::fs::read_dir(folder).expect("the folder of sequences");
    let mut scripts: Vec<(String, Value)> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("it is readable");
            (name, serde_json::from_str(&text).expect("it is JSON"))
        })
        .collect();
    scripts.sort_by(|(left, _), (right, _)| left.cmp(right));
    scripts
}

async fn run(name: &str, script: &Value) -> Result<(), String> {
    let world = World::start().await;
    let version = OLDER.contains(&name).then_some(OLDER_VERSION);
    let mut answers: HashMap<String, Value> = HashMap::new();
    for step in script["fixtures"].as_array().expect("steps") {
        let step_name = step["name"].as_str().expect("a name");
        let (status, body) = take(&world, step, &answers, version).await?;
        let may_fail = step.get("expected_error_type");
        if status != 200 && may_fail != Some(&body["error"]["type"]) {
            return Err(format!("{step_name}: {status}: {}", body["error"]["message"]));
        }
        answers.insert(step_name.to_owned(), body);
    }
    let other_name = OTHER_NAMES.iter().find(|(file, _)| *file == name);
    let kind = other_name.map_or(name, |(_, kind)| kind);
    for _ in 0..PATIENCE {
        let listed = world.look(&format!("/v1/events?type={kind}")).await;
        if listed["data"].as_array().is_some_and(|events| !events.is_empty()) {
            return Ok(());
        }
        // Payments that take days succeed or fail when the days have passed.
        if name.contains("async_payment") {
            world.advance("7d").await;
        }
        // The sequence stops nine days before the end, and the notice comes seven days before it.
        if name == "subscription_schedule.expiring" {
            let path = format!(
                "/v1/test_helpers/test_clocks/{}/advance",
                answers["test_clock"]["id"].as_str().unwrap_or_default()
            );
            world.post(&path, &[("frozen_time", "1579651200")]).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("all calls were accepted, but {kind} never came: {:?}", world.events().await))
}

async fn take(
    world: &World,
    step: &Value,
    answers: &HashMap<String, Value>,
    version: Option<&str>,
) -> Result<(u16, Value), String> {
    let path = fill(step["path"].as_str().expect("a path"), answers)?;
    let method = step["method"].as_str().expect("a method").to_uppercase();
    let mut form = Vec::new();
    for (key, value) in step["params"].as_object().into_iter().flatten() {
        flatten(key, value, answers, &mut form)?;
    }
    // The command line plays the buyer on an address of the hosted page; here the buyer has one
    // of his own.
    if let Some(rest) = path.strip_prefix("/v1/payment_pages/") {
        return Ok(match rest.strip_suffix("/confirm") {
            None => world.get(&format!("/v1/checkout/sessions/{rest}")).await,
            Some(session) => {
                form.retain(|(key, _)| key == "payment_method");
                let address = format!("/_sandbox/checkout/{session}/complete");
                world.send(world.request("POST", &address).form(&form)).await
            }
        });
    }
    let is_form = method == "POST";
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
    let address = if is_form { path } else { format!("{path}?{query}") };
    let mut request = world.request(&method, &address);
    if let Some(version) = version {
        request = request.header("stripe-version", version);
    }
    let request = if is_form { request.form(&form) } else { request };
    Ok(world.send(request).await)
}

/// `{"a": {"b": [1]}}` -> `a[b][0]=1`.
fn flatten(
    key: &str,
    value: &Value,
    answers: &HashMap<String, Value>,
    form: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let inner: Map<String, Value> = match value {
        Value::Object(object) => object.clone(),
        Value::Array(elements) => {
            let numbered = elements.iter().enumerate();
            numbered.map(|(index, element)| (index.to_string(), element.clone())).collect()
        }
        Value::String(text) => {
            form.push((key.to_owned(), fill(text, answers)?));
            return Ok(());
        }
        other => {
            form.push((key.to_owned(), other.to_string()));
            return Ok(());
        }
    };
    inner
        .iter()
        .try_for_each(|(name, value)| flatten(&format!("{key}[{name}]"), value, answers, form))
}

/// `${step:field.of.its.answer|default}` becomes what the step answered.
fn fill(text: &str, answers: &HashMap<String, Value>) -> Result<String, String> {
    let Some((before, rest)) = text.split_once("${") else {
        return Ok(text.to_owned());
    };
    let (reference, after) = rest.split_once('}').ok_or(format!("{text}: unfinished"))?;
    let (reference, default) = match reference.split_once('|') {
        Some((reference, default)) => (reference, Some(default)),
        None => (reference, None),
    };
    let (step, field) = reference.split_once(':').ok_or(format!("{text}: no field"))?;
    let pointer = format!("/{}", field.replace('.', "/"));
    let found = answers.get(step).and_then(|answer| answer.pointer(&pointer));
    let found = found.and_then(Value::as_str).or(default);
    let found = found.ok_or_else(|| format!("no {reference} in {:?}", answers.get(step)))?;
    Ok(format!("{before}{found}{}", fill(after, answers)?))
}
