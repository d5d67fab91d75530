//! `tollgate dev` as a process of its own, with its data in a folder that a test can keep.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::answers::Api;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);
const READY_PREFIX: &str = "TOLLGATE_READY ";
const LOG_LINES_SHOWN: usize = 60;

/// The line that `dev` prints once it serves.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub api_url: String,
    pub sandbox_url: String,
    /// Opens the account of the provider that this server sells from.
    pub sandbox_key: String,
    pub admin_key: String,
    pub customer_id: String,
    pub customer_token: String,
    pub webhook_secret: String,
}

/// A running `tollgate dev`. Dropping it kills it; its data lives as long as its `Data`.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    pub ready: Ready,
    /// What a person reads at the start: stderr up to the ready line.
    pub welcome: String,
    /// What stdout held beside the ready line, which should be nothing.
    pub stdout: String,
    pub started_in: Duration,
    log: PathBuf,
}

/// No comparison with the provider is ever due.
pub(crate) const NO_LOOPS: [(&str, &str); 3] =
    [("SYNC_PENDING_SECONDS", "0"), ("SYNC_EVENTS_SECONDS", "0"), ("SYNC_OBJECTS_SECONDS", "0")];

/// A data directory that outlives the processes using it.
#[derive(Debug)]
pub struct Data {
    folder: TempDir,
}

impl Data {
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tollgate-e2e-").tempdir()?;
        Ok(Self { folder })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts `tollgate dev` on free ports and waits until it serves.
    pub fn start(&self) -> Result<Dev> {
        self.start_with(&[], &[])
    }

    /// Nothing is found by asking the provider: only what is delivered is known.
    pub fn start_without_loops(&self) -> Result<Dev> {
        self.start_with(&[], &NO_LOOPS)
    }

    pub fn start_with(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Result<Dev> {
        self.launch(tollgate(&[])?, arguments, settings)
    }

    /// Starts it so that a file that may not grow is an error, as on a full disk, and no signal.
    pub fn start_deaf_to_full_files(&self) -> Result<Dev> {
        let mut shell = Command::new("bash");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binary()?);
        forget_settings(&mut shell);
        self.launch(shell, &[], &NO_LOOPS)
    }

    fn launch(
        &self,
        mut command: Command,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Result<Dev> {
        let log = self.folder.path().join("server.log");
        let logged = fs::read_to_string(&log).unwrap_or_default().len();
        command.args(["dev", "--port", "0", "--sandbox-port", "0"]);
        command.arg("--data").arg(self.path()).args(arguments);
        command.envs(settings.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::options().create(true).append(true).open(&log)?);
        let started = Instant::now();
        let mut child = command.spawn().context("cannot start tollgate dev")?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (ready, printed) = match wait_for_line(stdout, READY_PREFIX) {
            Ok(found) => found,
            Err(error) => {
                kill(&mut child)?;
                bail!("{error:#}; its log:\n{}", last_lines(&log));
            }
        };
        let started_in = started.elapsed();
        let ready = serde_json::from_str(&ready)?;
        let mut welcome = fs::read_to_string(&log).unwrap_or_default();
        welcome.drain(..logged.min(welcome.len()));
        Ok(Dev { child, ready, welcome, stdout: printed, started_in, log })
    }

    /// One of the generated secrets of `dev.json`.
    pub fn secret(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.path().join("dev.json"))?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        let secret = value.get(name).and_then(serde_json::Value::as_str);
        Ok(secret.with_context(|| format!("dev.json has no {name}"))?.to_string())
    }

    /// Runs another command of the binary on the same data.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = tollgate(arguments)?;
        command.arg("--data").arg(self.path());
        Ok(command.output()?)
    }

    /// `tollgate clock advance`: answers when everything that became due is applied.
    pub fn advance_clock(&self, by: &str) -> Result<()> {
        let output = self.run(&["clock", "advance", by])?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "clock advance {by}: {errors}");
        Ok(())
    }
}

impl Dev {
    /// The server as its administrator.
    pub fn admin(&self) -> Result<Api> {
        Api::new(&self.ready.api_url, Some(&self.ready.admin_key))
    }

    /// The server as the demo customer.
    pub fn customer(&self) -> Result<Api> {
        Api::new(&self.ready.api_url, Some(&self.ready.customer_token))
    }

    /// The server as a stranger.
    pub fn nobody(&self) -> Result<Api> {
        Api::new(&self.ready.api_url, None)
    }

    /// The sandbox, with a key of the provider's test mode.
    pub fn sandbox(&self) -> Result<Api> {
        Api::new(&self.ready.sandbox_url, Some(&self.ready.sandbox_key))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`: no destructor, no flush, nothing.
    pub fn kill(mut self) -> Result<()> {
        kill(&mut self.child)
    }

    /// Sends a signal and waits for the exit.
    pub fn stop(mut self, signal: &str) -> Result<ExitStatus> {
        stop(&mut self.child, signal, &self.log)
    }

    /// The end of the log, for a message about a failure.
    pub fn log(&self) -> String {
        last_lines(&self.log)
    }

    /// What was logged after the welcome, whose links are secret on purpose.
    pub fn log_after_welcome(&self) -> Result<String> {
        let text = fs::read_to_string(&self.log)?;
        let start = text.rfind(&self.welcome).map_or(0, |at| at + self.welcome.len());
        Ok(text[start..].to_string())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log ends with:\n{}", self.log());
        }
        // Killing a process that has ended already is the only way this fails.
        let _ended_already = kill(&mut self.child);
    }
}

/// The binary with its first arguments, free of the settings of the developer's shell.
pub fn tollgate(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments);
    forget_settings(&mut command);
    Ok(command)
}

fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let is_setting = name.to_str().is_some_and(|name| {
            let prefixes = ["TOLLGATE_", "STRIPE_", "PAYMENT_"];
            let names = ["DATABASE_URL", "WEBHOOK_SECRET", "FRONTEND_URL", "LOG_LEVEL"];
            prefixes.iter().any(|prefix| name.starts_with(prefix)) || names.contains(&name)
        });
        if is_setting {
            command.env_remove(name);
        }
    }
}

/// Where the binary is: named by `cargo xtask test`, else built here once.
fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TOLLGATE_BIN") {
        return Ok(named.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("e2e has no parent")?;
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root.join(folder),
        None => root.join("target"),
    };
    let binary = target.join("debug/tollgate");
    if !binary.exists() {
        let mut build = Command::new("cargo");
        let status = build.args(["build", "--package", "server"]).current_dir(root).status()?;
        ensure!(status.success(), "cargo build --package server failed");
    }
    Ok(binary)
}

/// What follows the prefix on its line, and everything printed before.
pub(crate) fn wait_for_line(
    stdout: impl std::io::Read + Send + 'static,
    prefix: &str,
) -> Result<(String, String)> {
    let (sender, receiver) = mpsc::channel();
    // The thread goes on reading after the ready line, so that the server never blocks on a full
    // pipe; it ends with the process.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _nobody_listens_any_more = sender.send(line);
        }
    });
    let deadline = Instant::now() + READY_TIMEOUT;
    let mut printed = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = receiver.recv_timeout(left);
        let line = line.with_context(|| format!("no ready line; stdout was:\n{printed}"))?;
        match line.strip_prefix(prefix) {
            Some(found) => return Ok((found.to_string(), printed)),
            None => printed = printed + &line + "\n",
        }
    }
}

pub(crate) fn kill(child: &mut Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

pub(crate) fn stop(child: &mut Child, signal: &str, log: &Path) -> Result<ExitStatus> {
    let asked = Command::new("kill").arg(signal).arg(child.id().to_string()).status()?;
    ensure!(asked.success(), "cannot send {signal}");
    let started = Instant::now();
    while started.elapsed() < EXIT_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("still running {EXIT_TIMEOUT:?} after {signal}; its log:\n{}", last_lines(log))
}

pub(crate) fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
