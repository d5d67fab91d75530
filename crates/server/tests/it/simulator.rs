//! `tollgate sandbox` as people and scripts meet it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate");

/// A running sandbox; dropping it kills it.
struct Simulator {
    child: Child,
    facts: Value,
    stdout: BufReader<std::process::ChildStdout>,
}

fn command(arguments: &[&str], here: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("sandbox").args(arguments).current_dir(here).env_clear();
    command
}

impl Simulator {
    fn start(arguments: &[&str], here: &Path) -> Self {
        // For our own requests; another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut command = command(arguments, here);
        command.args(["--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let facts = line.strip_prefix("SANDBOX_READY ").expect("the line says that it is ready");
        Self { facts: serde_json::from_str(facts).unwrap(), child, stdout }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_else(|| panic!("{name} is missing"))
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let address = format!("{}{path}", self.fact("base_url"));
        let request =
            server::dev::local_client().unwrap().post(address).bearer_auth(self.fact("secret_key"));
        let answer = request.form(form).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn get(&self, path: &str) -> u16 {
        let address = format!("{}{path}", self.fact("base_url"));
        let request =
            server::dev::local_client().unwrap().get(address).bearer_auth(self.fact("secret_key"));
        request.send().await.unwrap().status().as_u16()
    }

    /// As Ctrl-C does; answers how it ended, and what it had still printed.
    fn stop(mut self, signal: &str) -> (Option<i32>, String, String) {
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        let limit = Instant::now() + Duration::from_secs(10);
        while Instant::now() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                let (mut rest, mut told) = (String::new(), String::new());
                self.stdout.read_to_string(&mut rest).unwrap();
                let mut stderr = self.child.stderr.take().expect("stderr is piped");
                stderr.read_to_string(&mut told).unwrap();
                return (status.code(), rest, told);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not stop");
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // It has ended already wherever a test stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn one_line_on_stdout_says_where_it_is_and_a_signal_ends_it_well() {
    let here = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-INT"] {
        let simulator = Simulator::start(&["--ephemeral"], here.path());
        assert!(simulator.fact("base_url").starts_with("http://127.0.0.1:"));
        assert!(simulator.fact("secret_key").starts_with("sk_test_"));
        assert_eq!(simulator.facts["data"], Value::Null);
        let customer = simulator.post("/v1/customers", &[("name", "Ada")]).await;
        assert_eq!(customer["name"], "Ada");
        let (code, rest, told) = simulator.stop(signal);
        assert_eq!((code, rest.as_str()), (Some(0), ""), "{told}");
        assert!(told.contains("/_sandbox") && told.contains("4242 4242 4242 4242"), "{told}");
        assert!(told.contains("not for production"), "{told}");
        assert!(!told.contains("WARNING"), "{told}");
    }
    let left: Vec<_> = std::fs::read_dir(here.path()).unwrap().collect();
    assert!(left.is_empty(), "--ephemeral left {left:?}");
}

#[tokio::test]
async fn its_data_outlives_it_and_belongs_to_one_process() {
    let here = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(&[], here.path());
    let id = simulator.post("/v1/customers", &[]).await["id"].as_str().unwrap().to_owned();
    let data = here.path().join("tollgate-sandbox").canonicalize().unwrap();
    assert_eq!(Path::new(simulator.fact("data")), data);

    let second = command(&["--port", "0"], here.path()).output().unwrap();
    assert!(!second.status.success() && second.stdout.is_empty());
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains("tollgate-sandbox"), "{message}");

    let mut clock = Command::new(BINARY);
    clock.args(["clock", "advance", "1d", "--data"]).arg(&data).env_clear();
    let moved = clock.output().unwrap();
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));

    simulator.stop("-TERM");
    assert!(!data.join("running.json").exists());
    let again = Simulator::start(&[], here.path());
    assert_eq!(again.get(&format!("/v1/customers/{id}")).await, 200);
}

#[tokio::test]
async fn a_taken_port_is_said() {
    let here = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = command(&["--ephemeral", "--port", &port], here.path()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(message.contains(&port) && message.contains("--port 0"), "{message}");
}

#[tokio::test]
async fn beyond_this_machine_only_when_told_and_never_silently() {
    let here = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(&["--ephemeral", "--host", "0.0.0.0"], here.path());
    // Its links lead somewhere all the same.
    assert!(simulator.fact("base_url").starts_with("http://127.0.0.1:"));
    assert_eq!(simulator.get("/_sandbox").await, 200);
    let (_, _, told) = simulator.stop("-TERM");
    assert!(told.contains("WARNING") && told.contains("NOT FOR PRODUCTION"), "{told}");
}

/// `tollgate sandbox …` to its end.
fn run(arguments: &[&str], here: &Path) -> std::process::Output {
    command(arguments, here).output().expect("the binary runs")
}

#[tokio::test]
async fn a_saved_state_is_loaded_whether_it_runs_or_not() {
    let here = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(&[], here.path());
    let id = simulator.post("/v1/customers", &[]).await["id"].as_str().unwrap().to_owned();
    let customer = format!("/v1/customers/{id}");
    // It runs: all three go over HTTP, which the data directory tells the way to.
    assert!(run(&["save", "running.jsonl"], here.path()).status.success());
    assert!(run(&["reset"], here.path()).status.success());
    assert_eq!(simulator.get(&customer).await, 404);
    let url = simulator.fact("base_url").to_owned();
    assert!(run(&["load", "running.jsonl", "--url", &url], here.path()).status.success());
    assert_eq!(simulator.get(&customer).await, 200);
    simulator.stop("-TERM");

    // Nobody runs: all three go to the files.
    assert!(run(&["save", "stopped.jsonl"], here.path()).status.success());
    assert!(run(&["reset"], here.path()).status.success());
    let simulator = Simulator::start(&[], here.path());
    assert_eq!(simulator.get(&customer).await, 404);
    simulator.stop("-TERM");
    assert!(run(&["load", "stopped.jsonl"], here.path()).status.success());
    let simulator = Simulator::start(&[], here.path());
    assert_eq!(simulator.get(&customer).await, 200);

    std::fs::write(here.path().join("garbage"), "{\"format\":\"other\"}\n").unwrap();
    let refused = run(&["load", "garbage"], here.path());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && message.contains("format"), "{message}");
    assert_eq!(simulator.get(&customer).await, 200);
    simulator.stop("-TERM");
    assert!(!run(&["load", "garbage"], here.path()).status.success());
    let nowhere = run(&["save", "x.jsonl", "--data", "nowhere"], here.path());
    assert!(!nowhere.status.success() && !here.path().join("nowhere").exists());
}
