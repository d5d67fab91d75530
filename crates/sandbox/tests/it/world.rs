//! A running sandbox, a shop that listens to its webhooks, and short ways to ask for things.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::schema::{self, Expansion, Question};

static TLS: Once = Once::new();

pub struct World {
    pub base: String,
    pub client: reqwest::Client,
    pub offset: Arc<AtomicI64>,
    /// How many objects of each kind the schema has judged.
    judged: Mutex<BTreeMap<String, usize>>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

/// An answer: status and JSON.
pub type Answer = (u16, Value);

impl World {
    pub async fn start() -> World {
        World::start_with(None, None).await
    }

    pub async fn start_in(directory: &Path) -> World {
        World::start_with(Some(directory), None).await
    }

    pub async fn start_with(
        data: Option<&Path>,
        after_advance: Option<sandbox::AfterAdvance>,
    ) -> World {
        TLS.call_once(|| {
            let provider = rustls::crypto::ring::default_provider();
            provider.install_default().expect("no other provider is installed");
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let offset = Arc::new(AtomicI64::new(0));
        let sandbox = sandbox::start(sandbox::Config {
            listener,
            reach: sandbox::Reach::ThisMachine,
            data: data.map(Path::to_owned),
            offset: offset.clone(),
            secret_key: None,
            after_advance,
        })
        .await
        .expect("the sandbox starts");
        let base = sandbox.base_url.clone();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            sandbox.serve(shutdown).await.expect("the sandbox serves");
        });
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client");
        World {
            base,
            client,
            offset,
            judged: Mutex::default(),
            stop: Some(stop),
            serving: Some(serving),
        }
    }

    /// A clean shutdown, as by Ctrl-C.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.take().expect("it runs").await.expect("it ends well");
    }

    /// The process dies: nothing is flushed.
    pub async fn kill(mut self) {
        let serving = self.serving.take().expect("it runs");
        serving.abort();
        let _ = serving.await;
        std::mem::forget(self.stop.take());
    }

    /// The account of the key that every request of these tests uses.
    pub async fn account(&self) -> String {
        text(&self.look("/v1/account").await["id"])
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(self.request("POST", path).form(form)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth("sk_test_it")
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let (client, request) = request.build_split();
        let request = request.expect("a request");
        let asked = Asked::of(&request);
        let response = client.execute(request).await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if asked.check(status, &body) {
            count_objects(&body, &mut self.judged.lock().expect("not poisoned"));
        }
        (status, body)
    }

    /// What must work.
    pub async fn make(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let (status, body) = self.post(path, form).await;
        assert_eq!(status, 200, "{path} {form:?}: {body}");
        body
    }

    pub async fn look(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub async fn advance(&self, span: &str) -> Answer {
        let body = serde_json::json!({ "advance": span });
        let url = format!("{}/_sandbox/clock", self.base);
        self.send(self.client.post(url).json(&body)).await
    }

    pub async fn price(&self, amount: &str, interval: Option<&str>) -> String {
        let product = id(&self.make("/v1/products", &[("name", "Pro")]).await);
        let mut form = vec![("product", product.as_str()), ("currency", "usd")];
        form.push(("unit_amount", amount));
        if let Some(interval) = interval {
            form.push(("recurring[interval]", interval));
        }
        id(&self.make("/v1/prices", &form).await)
    }

    /// A customer whose invoices are charged to this test card.
    pub async fn payer(&self, card: &str) -> String {
        let customer = id(&self.make("/v1/customers", &[("email", "ada@example.com")]).await);
        self.give_card(&customer, card).await;
        customer
    }

    pub async fn give_card(&self, customer: &str, card: &str) {
        let path = format!("/v1/payment_methods/{card}/attach");
        let method = id(&self.make(&path, &[("customer", customer)]).await);
        let setting = [("invoice_settings[default_payment_method]", method.as_str())];
        self.make(&format!("/v1/customers/{customer}"), &setting).await;
    }

    pub async fn session(&self, price: &str, mode: &str, more: &[(&str, &str)]) -> Value {
        let mut form = vec![
            ("mode", mode),
            ("line_items[0][price]", price),
            ("line_items[0][quantity]", "1"),
            ("success_url", "http://shop.test/ok?session_id={CHECKOUT_SESSION_ID}"),
            ("cancel_url", "http://shop.test/no"),
        ];
        form.extend_from_slice(more);
        self.make("/v1/checkout/sessions", &form).await
    }

    pub fn judged(&self) -> BTreeMap<String, usize> {
        self.judged.lock().expect("not poisoned").clone()
    }

    /// How many events of each type there are.
    pub async fn events_of_every_kind(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        let mut path = "/v1/events?limit=100".to_owned();
        loop {
            let list = self.look(&path).await;
            let events = list["data"].as_array().expect("a list");
            for event in events {
                *kinds.entry(text(&event["type"])).or_default() += 1;
            }
            let Some(last) = events.last().filter(|_| list["has_more"] == true) else {
                return kinds;
            };
            path = format!("/v1/events?limit=100&starting_after={}", id(last));
        }
    }

    /// The types of all events, oldest first.
    pub async fn events(&self) -> Vec<String> {
        let list = self.look("/v1/events?limit=100").await;
        let mut kinds: Vec<String> = list["data"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|event| text(&event["type"]))
            .collect();
        kinds.reverse();
        kinds
    }
}

fn count_objects(value: &Value, counts: &mut BTreeMap<String, usize>) {
    match value {
        Value::Object(object) => {
            if let Some(kind) = object.get("object").and_then(Value::as_str) {
                *counts.entry(kind.to_owned()).or_default() += 1;
            }
            object.values().for_each(|value| count_objects(value, counts));
        }
        Value::Array(elements) => elements.iter().for_each(|value| count_objects(value, counts)),
        _ => {}
    }
}

/// What the answer to a request is judged by.
struct Asked {
    method: String,
    path: String,
    version: Option<String>,
    expansion: Expansion,
}

impl Asked {
    fn of(request: &reqwest::Request) -> Asked {
        let version = request.headers().get("stripe-version");
        let query = request.url().query().unwrap_or_default().as_bytes();
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        let expands = [query, body].concat().windows(6).any(|part| part == b"expand");
        Asked {
            method: request.method().to_string(),
            path: request.url().path().to_owned(),
            version: version.map(|value| value.to_str().expect("a version").to_owned()),
            expansion: if expands { Expansion::Asked } else { Expansion::Never },
        }
    }

    /// Whether the answer was judged; one that is found wrong ends the test.
    fn check(&self, status: u16, body: &Value) -> bool {
        let Some(schema) = schema::shared() else {
            return false;
        };
        let is_latest = self.version.as_ref().is_none_or(|version| *version == schema.version);
        if !self.path.starts_with("/v1/") || !is_latest {
            return false;
        }
        let Asked { method, path, expansion, .. } = self;
        let question = Question { method, path, expansion: *expansion };
        let problems = schema.check_answer(&question, status, body);
        assert!(problems.is_empty(), "{}\n{body}", problems.join("\n"));
        true
    }
}

pub fn id(object: &Value) -> String {
    text(&object["id"])
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Records webhooks; answers with the statuses it was given, then with 200.
pub struct Shop {
    pub url: String,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    hooks: Mutex<Vec<Hook>>,
    statuses: Mutex<VecDeque<u16>>,
    delay_ms: AtomicI64,
    /// What the schema says against the events that came.
    problems: Mutex<Vec<String>>,
}

#[derive(Clone, Debug)]
pub struct Hook {
    pub signature: String,
    pub body: Vec<u8>,
    pub event: Value,
    pub authorization: String,
}

impl Shop {
    pub async fn open(statuses: &[u16]) -> Shop {
        let heard = Arc::new(Heard::default());
        heard.statuses.lock().expect("not poisoned").extend(statuses);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let router = Router::new().route("/hook", post(hear)).with_state(heard.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Shop { url, heard }
    }

    pub fn answer_after(&self, delay: Duration) {
        let delay_ms = i64::try_from(delay.as_millis()).expect("a short delay");
        self.heard.delay_ms.store(delay_ms, Ordering::SeqCst);
    }

    pub fn hooks(&self) -> Vec<Hook> {
        let problems = self.heard.problems.lock().expect("not poisoned").join("\n");
        assert!(problems.is_empty(), "{problems}");
        self.heard.hooks.lock().expect("not poisoned").clone()
    }

    pub fn kinds(&self) -> Vec<String> {
        let hooks = self.hooks();
        hooks.iter().map(|hook| hook.event["type"].as_str().unwrap_or("").to_owned()).collect()
    }

    /// Waits until `count` webhooks have come in.
    pub async fn wait_for(&self, count: usize) -> Vec<Hook> {
        for _ in 0..200 {
            if count <= self.hooks().len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let hooks = self.hooks();
        assert!(count <= hooks.len(), "{count} webhooks were awaited, {:?} came", self.kinds());
        hooks
    }

    pub async fn subscribe(&self, world: &World, kinds: &[&str]) -> Value {
        let mut form = vec![("url", self.url.as_str())];
        form.extend(kinds.iter().map(|kind| ("enabled_events[]", *kind)));
        world.make("/v1/webhook_endpoints", &form).await
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.hooks();
        }
    }
}

async fn hear(State(heard): State<Arc<Heard>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let delay_ms = heard.delay_ms.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0))).await;
    let header = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
    };
    let event = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if let Some(schema) = schema::shared()
        && event["api_version"] == schema.version
    {
        let problems = schema.check_event(&event);
        heard.problems.lock().expect("not poisoned").extend(problems);
    }
    heard.hooks.lock().expect("not poisoned").push(Hook {
        signature: header("stripe-signature"),
        body: body.to_vec(),
        event,
        authorization: header("authorization"),
    });
    let status = heard.statuses.lock().expect("not poisoned").pop_front().unwrap_or(200);
    StatusCode::from_u16(status).expect("a status")
}
