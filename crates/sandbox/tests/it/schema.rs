//! The API's published schema as a judge of every answer and event: required and unknown keys,
//! types, null, lists, unions, expanded objects. Values of open enums are not judged.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Map, Value};

/// Differences that are known and have a reason: where, and why they are so.
const KNOWN_GAPS: [(&str, &str); 0] = [];

pub struct Schema {
    root: Value,
    pub version: String,
}

/// Where ids may have become objects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expansion {
    Asked,
    Never,
}

/// What was asked for, as far as it says what the answer looks like.
pub struct Question<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub expansion: Expansion,
}

/// The schema in the shared folder; none, and a line that says so, where that folder is absent.
pub fn shared() -> Option<&'static Schema> {
    static SCHEMA: OnceLock<Option<Schema>> = OnceLock::new();
    SCHEMA.get_or_init(load).as_ref()
}

/// The folder that lies beside the repository unless the environment names another.
pub fn shared_folder() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let folder = std::env::var("TOLLGATE_SHARED").unwrap_or_else(|_| beside.to_owned());
    let folder = PathBuf::from(folder);
    if folder.exists() {
        return Some(folder);
    }
    eprintln!("not checked against what is shared: there is no {}", folder.display());
    None
}

fn load() -> Option<Schema> {
    let folder = shared_folder()?;
    let file = folder.join("stripe/spec3.subset.json");
    let text = std::fs::read_to_string(&file).expect("the schema is readable");
    let root: Value = serde_json::from_str(&text).expect("the schema is JSON");
    let version = root["info"]["version"].as_str().expect("it names its version").to_owned();
    Some(Schema { root, version })
}

impl Schema {
    /// What is wrong with an answer. Paths outside the schema are judged by the object they show.
    pub fn check_answer(&self, question: &Question<'_>, status: u16, body: &Value) -> Vec<String> {
        let mut check =
            Check { schemas: self.schemas(), expansion: question.expansion, found: vec![] };
        if 400 <= status {
            check.value(&self.schemas()["error"], body, "error");
        } else {
            match self.answer_schema(question) {
                Some(schema) => check.value(schema, body, "answer"),
                None => check.named(body, "answer"),
            }
            self.check_events_within(body, &mut check);
        }
        check.problems(&format!("{} {}", question.method, question.path))
    }

    /// What is wrong with an event: its envelope, its object, and the names of what changed.
    pub fn check_event(&self, event: &Value) -> Vec<String> {
        let kind = event["type"].as_str().unwrap_or("?");
        let mut check =
            Check { schemas: self.schemas(), expansion: Expansion::Never, found: vec![] };
        check.value(&self.schemas()["event"], event, "event");
        self.check_event_data(event, &mut check);
        check.problems(kind)
    }

    fn check_event_data<'a>(&'a self, event: &Value, check: &mut Check<'a>) {
        let kind = event["type"].as_str().unwrap_or("?");
        let Some(name) = self.root["x-stripe-events"][kind]["object"].as_str() else {
            check.found.push(format!("{kind}: no such type of event"));
            return;
        };
        let schema = &self.schemas()[name];
        let data = &event["data"];
        let asked = std::mem::replace(&mut check.expansion, Expansion::Never);
        check.value(schema, &data["object"], name);
        check.expansion = asked;
        for key in data["previous_attributes"].as_object().into_iter().flat_map(Map::keys) {
            if schema["properties"].get(key).is_none() {
                check.found.push(format!("{name}: {key} among the previous attributes"));
            }
        }
    }

    fn check_events_within<'a>(&'a self, body: &Value, check: &mut Check<'a>) {
        match body["object"].as_str() {
            Some("event") => self.check_event_data(body, check),
            Some("list") => {
                for element in body["data"].as_array().into_iter().flatten() {
                    self.check_events_within(element, check);
                }
            }
            _ => {}
        }
    }

    fn schemas(&self) -> &Value {
        &self.root["components"]["schemas"]
    }

    /// The schema of an answer, by the path that fits with the fewest placeholders.
    fn answer_schema(&self, question: &Question<'_>) -> Option<&Value> {
        let paths = self.root["paths"].as_object()?.iter();
        let fitting = paths.filter(|(pattern, _)| fits(pattern, question.path));
        let (_, methods) = fitting.min_by_key(|(pattern, _)| pattern.matches('{').count())?;
        let answer = methods.get(question.method.to_ascii_lowercase())?;
        answer.pointer("/responses/200/content/application~1json/schema")
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let fits = pattern.split('/').all(|expected| {
        parts.next().is_some_and(|part| expected.starts_with('{') || expected == part)
    });
    fits && parts.next().is_none()
}

struct Check<'a> {
    schemas: &'a Value,
    expansion: Expansion,
    found: Vec<String>,
}

impl<'a> Check<'a> {
    fn problems(self, title: &str) -> Vec<String> {
        let is_known = |problem: &str| KNOWN_GAPS.iter().any(|(gap, _)| problem.contains(gap));
        let new = self.found.into_iter().filter(|problem| !is_known(problem));
        new.map(|problem| format!("{title}: {problem}")).collect()
    }

    /// By the schema that the object itself names.
    fn named(&mut self, value: &Value, at: &str) {
        let name = value["object"].as_str().unwrap_or_default();
        if name == "list" || name == "search_result" {
            let data = value["data"].as_array().into_iter().flatten();
            data.for_each(|element| self.named(element, at));
            return;
        }
        let is_deleted = value["deleted"] == true;
        let name = if is_deleted { format!("deleted_{name}") } else { name.to_owned() };
        match self.schemas.get(&name) {
            Some(schema) => self.value(schema, value, &name),
            None => self.found.push(format!("{at}: no schema is called {name:?}")),
        }
    }

    fn value(&mut self, schema: &'a Value, value: &Value, at: &str) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().expect("a reference has a last part");
            let schema = self.schemas.get(name).expect("references lead somewhere");
            let is_resource = schema.get("x-resourceId").is_some();
            return self.value(schema, value, if is_resource { name } else { at });
        }
        if value.is_null() {
            if schema["nullable"] != true {
                self.found.push(format!("{at}: must not be null"));
            }
            return;
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return parts.iter().for_each(|part| self.value(part, value, at));
        }
        if let Some(branches) = schema["anyOf"].as_array() {
            return self.union(schema, branches, value, at);
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema, value, at),
            Some("array") => match value.as_array() {
                Some(elements) => elements
                    .iter()
                    .for_each(|element| self.value(&schema["items"], element, &format!("{at}[]"))),
                None => self.wrong_type("an array", value, at),
            },
            kind => self.leaf(schema, kind.unwrap_or("anything"), value, at),
        }
    }

    fn union(&mut self, schema: &Value, branches: &'a [Value], value: &Value, at: &str) {
        let is_expandable = schema.get("x-expansionResources").is_some();
        if is_expandable && value.is_object() && self.expansion == Expansion::Never {
            self.found.push(format!("{at}: an object where its id belongs"));
        }
        let judged = branches.iter().map(|branch| {
            let mut check =
                Check { schemas: self.schemas, expansion: self.expansion, found: vec![] };
            check.value(branch, value, at);
            check.found
        });
        // The branch that fits best is the one that was meant.
        let best = judged.min_by_key(Vec::len);
        self.found.extend(best.unwrap_or_default());
    }

    fn object(&mut self, schema: &'a Value, value: &Value, at: &str) {
        let Some(object) = value.as_object() else {
            return self.wrong_type("an object", value, at);
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().expect("names are texts");
            if !object.contains_key(name) {
                self.found.push(format!("{at}.{name}: missing"));
            }
        }
        for (key, inner) in object {
            let at = format!("{at}.{key}");
            match (&schema["properties"][key], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(true)) => {}
                // The API counts some lists without its schema saying so.
                (Value::Null, _) if key == "total_count" && value["object"] == "list" => {}
                (Value::Null, Value::Null | Value::Bool(false)) => {
                    self.found.push(format!("{at}: unknown"));
                }
                (Value::Null, schema) | (schema, _) => self.value(schema, inner, &at),
            }
        }
    }

    fn leaf(&mut self, schema: &Value, kind: &str, value: &Value, at: &str) {
        let fits = match kind {
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            _ => true,
        };
        if !fits {
            return self.wrong_type(kind, value, at);
        }
        let is_open = schema["x-open-enum"] == true;
        if let (Some(values), false) = (schema["enum"].as_array(), is_open)
            && !values.contains(value)
        {
            self.found.push(format!("{at}: {value} is none of {}", schema["enum"]));
        }
    }

    fn wrong_type(&mut self, expected: &str, value: &Value, at: &str) {
        let shown: String = value.to_string().chars().take(60).collect();
        self.found.push(format!("{at}: {expected} was expected, not {shown}"));
    }
}

#[test]
fn the_judge_finds_what_is_wrong() {
    let Some(schema) = shared() else {
        return;
    };
    let question = |path| Question { method: "GET", path, expansion: Expansion::Never };
    let tax_rate = serde_json::json!({
        "id": "txr_1", "object": "tax_rate", "active": true, "country": null, "created": 1,
        "description": null, "display_name": "VAT", "effective_percentage": 19.5,
        "flat_amount": null, "inclusive": false, "jurisdiction": null, "jurisdiction_level": null,
        "livemode": false, "metadata": {"a": "b"}, "percentage": 19.5, "rate_type": "percentage",
        "state": null, "tax_type": "a value of tomorrow",
    });
    let check = |path: &'static str, body: &Value| schema.check_answer(&question(path), 200, body);
    let path = "/v1/tax_rates/txr_1";
    assert_eq!(check(path, &tax_rate), Vec::<String>::new());
    let wrong = [
        ("active", Value::Null, "must not be null"),
        ("percentage", "19.5".into(), "number was expected"),
        ("created", 1.5.into(), "integer was expected"),
        ("extra", true.into(), "unknown"),
        ("object", "price".into(), "is none of"),
        ("metadata", serde_json::json!({"a": 1}), "string was expected"),
    ];
    for (key, value, expected) in wrong {
        let mut body = tax_rate.clone();
        body[key] = value;
        let found = check(path, &body);
        assert!(found.len() == 1 && found[0].contains(expected), "{key}: {found:?}");
        let list = serde_json::json!({
            "object": "list", "data": [body], "has_more": false, "url": "/v1/tax_rates",
        });
        assert_eq!(check("/v1/tax_rates", &list).len(), 1, "{key} within a list");
    }
    let mut body = tax_rate.clone();
    body.as_object_mut().expect("an object").remove("created");
    assert_eq!(check(path, &body).len(), 1, "a missing key");
    let customer = serde_json::json!({"id": "cus_1", "object": "customer", "deleted": true});
    assert_eq!(check("/v1/customers/cus_1", &customer), Vec::<String>::new());
    assert!(!check("/v1/refunds/re_1", &customer).is_empty());
    let line = serde_json::json!({"object": "line_item", "taxes": [], "discount": customer});
    assert!(!check("/v1/a/path/of/ours", &line).is_empty());
}

#[test]
fn events_carry_the_object_of_their_type_with_ids_unexpanded() {
    let Some(schema) = shared() else {
        return;
    };
    let clock = serde_json::json!({
        "id": "clock_1", "object": "test_helpers.test_clock", "created": 1, "deletes_after": 2,
        "frozen_time": 1, "livemode": false, "name": null, "status": "ready",
        "status_details": {},
    });
    let event = |kind: &str, object: &Value, previous: Value| {
        serde_json::json!({
            "id": "evt_1", "object": "event", "api_version": schema.version, "created": 1,
            "data": {"object": object, "previous_attributes": previous}, "livemode": false,
            "pending_webhooks": 0, "request": {"id": null, "idempotency_key": null}, "type": kind,
        })
    };
    let ready = "test_helpers.test_clock.ready";
    let good = event(ready, &clock, serde_json::json!({"status": "advancing"}));
    assert_eq!(schema.check_event(&good), Vec::<String>::new());
    let unknown = event(ready, &clock, serde_json::json!({"state": "advancing"}));
    assert_eq!(schema.check_event(&unknown).len(), 1);
    let other = event("customer.created", &clock, serde_json::json!({}));
    assert!(!schema.check_event(&other).is_empty());
    assert_eq!(schema.check_event(&event("customer.born", &clock, Value::Null)).len(), 2);
}
