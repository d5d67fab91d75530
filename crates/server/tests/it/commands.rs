//! The binary as people and scripts meet it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate");

/// Runs a command to its end, with nothing of our own environment but the path.
pub fn tollgate(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(dir.path()).env_clear().envs(variables.iter().copied());
    command.output().expect("the binary runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Demo {
    child: Child,
    facts: Value,
}

impl Demo {
    fn start(data: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["dev", "--port", "0", "--sandbox-port", "0", "--data"]).arg(data);
        command.env_clear().stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let facts = line.strip_prefix("TOLLGATE_READY ").expect("the line says that it is ready");
        Self { facts: serde_json::from_str(facts).unwrap(), child }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_else(|| panic!("{name} is missing"))
    }

    /// As a supervisor stops it; answers how it ended.
    fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        let limit = Instant::now() + Duration::from_secs(10);
        while Instant::now() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not stop");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn help_names_every_command() {
    let help = tollgate(&["--help"], &[]);
    assert!(help.status.success());
    let help = text(&help.stdout);
    for command in
        ["dev", "sandbox", "serve", "migrate", "copy", "doctor", "token", "keys", "clock"]
    {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
}

#[test]
fn the_help_of_serve_names_every_setting() {
    let help = text(&tollgate(&["serve", "--help"], &[]).stdout);
    let words: Vec<&str> = help.split(|it: char| !it.is_ascii_uppercase() && it != '_').collect();
    for name in server::config::variables() {
        assert!(words.contains(&name), "{name}: {help}");
    }
}

#[test]
fn row_2_serve_refuses_incomplete_settings() {
    let secret = "sk_test_that_nobody_should_see";
    let variables = [("DATABASE_URL", "sqlite:///never.db"), ("STRIPE_SECRET_KEY", secret)];
    let refused = tollgate(&["serve"], &variables);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("STRIPE_WEBHOOK_SECRET"), "{said}");
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn migrations_and_keys_need_no_payment_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", dir.path().join("tollgate.db").display());
    let variables = [("DATABASE_URL", database.as_str())];
    for arguments in [&["migrate", "up"][..], &["keys", "create", "--name", "ci"]] {
        let output = tollgate(arguments, &variables);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }
    let secret = [("JWT_SECRET", "0123456789abcdef0123456789abcdef")];
    let token = tollgate(&["token", "--customer", "anna"], &secret);
    assert!(token.status.success(), "{}", text(&token.stderr));
}

#[test]
fn a_schema_that_is_not_current_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", dir.path().join("tollgate.db").display());
    let variables = [
        ("DATABASE_URL", database.as_str()),
        ("STRIPE_SECRET_KEY", "sk_test_4eC39HqLyjWDarjtT1zdp7dc"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef"),
        ("STRIPE_API_BASE", "http://127.0.0.1:9"),
    ];
    for arguments in [&["sync", "--dry-run"][..], &["keys", "list"], &["keys", "revoke", "x"]] {
        let refused = tollgate(arguments, &variables);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("run `tollgate migrate up`"), "{arguments:?}: {said}");
    }
    let status = text(&tollgate(&["migrate", "status"], &variables).stdout);
    assert!(status.contains("missing") && !status.contains("applied"), "{status}");
}

#[test]
fn commands_without_a_demo_say_so() {
    for arguments in [
        vec!["clock", "advance", "1d"],
        vec!["token", "--customer", "x", "--data", "nowhere"],
        vec!["migrate", "status", "--data", "nowhere"],
        vec!["keys", "create", "--name", "x"],
        vec!["token", "--customer", "x", "--expires-in", "soon"],
    ] {
        let output = tollgate(&arguments, &[]);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_demo_starts_stops_and_keeps_its_secrets() {
    use std::os::unix::fs::PermissionsExt;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let demo = Demo::start(dir.path());
    let mode = std::fs::metadata(dir.path().join("dev.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let second = tollgate(&["dev", "--data", data], &[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(second.stdout.is_empty() && text(&second.stderr).contains(data));

    let token = tollgate(&["token", "--customer", "anna", "--data", data], &[]);
    let key = tollgate(&["keys", "create", "--name", "test", "--data", data], &[]);
    let client = server::dev::local_client().unwrap();
    let balance = format!("{}/v1/credits/balance", demo.fact("api_url"));
    for (query, made) in [("", &token), ("?customer=demo", &key)] {
        let bearer = text(&made.stdout).trim().to_owned();
        let answer = client.get(format!("{balance}{query}")).bearer_auth(bearer).send().await;
        assert_eq!(answer.unwrap().status(), 200, "{}", text(&made.stderr));
    }
    let status = tollgate(&["migrate", "status", "--data", data], &[]);
    assert!(text(&status.stdout).contains("applied"), "{}", text(&status.stderr));
    let doctor = tollgate(&["doctor", "--data", data], &[]);
    assert!(doctor.status.success(), "{}", text(&doctor.stdout));

    let clock = tollgate(&["clock", "advance", "12h", "--data", data], &[]);
    assert!(clock.status.success(), "{}", text(&clock.stderr));
    let clock = tollgate(&["clock", "advance", "sideways", "--data", data], &[]);
    assert_eq!(clock.status.code(), Some(1));

    let before = demo.facts.clone();
    assert_eq!(demo.stop(), Some(0));
    assert!(!dir.path().join("running.json").exists());
    let again = Demo::start(dir.path());
    for name in ["admin_key", "customer_id", "webhook_secret"] {
        assert_eq!(again.fact(name), before[name].as_str().unwrap(), "{name}");
    }
    let secrets = std::fs::read_to_string(dir.path().join("dev.json")).unwrap();
    let secrets: Value = serde_json::from_str(&secrets).unwrap();
    let endpoints = format!("{}/v1/webhook_endpoints", again.fact("sandbox_url"));
    let endpoints = client.get(endpoints).bearer_auth(secrets["provider_key"].as_str().unwrap());
    let endpoints: Value = endpoints.send().await.unwrap().json().await.unwrap();
    let urls: Vec<_> =
        endpoints["data"].as_array().unwrap().iter().map(|one| &one["url"]).collect();
    assert_eq!(urls, [&format!("{}/payments/webhook", again.fact("api_url"))], "it moved along");
    assert_eq!(again.stop(), Some(0));
}
