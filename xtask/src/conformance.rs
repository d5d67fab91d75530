//! The shared conformance driver, with the official Python SDK, against `tollgate sandbox`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::steps::Repository;

/// Of 171. What the issue asks for; the page below explains each one that is missing.
const MUST_PASS: usize = 165;
const EXPLAINED_IN: &str = "docs/SANDBOX.md";
const READY_PREFIX: &str = "SANDBOX_READY ";

/// Runs the driver unless the shared folder is absent.
pub fn run(repository: &Repository, python: &Path, tollgate: &Path) -> Result<()> {
    let driver = shared(repository).join("stripe/conformance.py");
    if !driver.exists() {
        eprintln!("==> conformance: skipped, there is no {}", driver.display());
        return Ok(());
    }
    eprintln!("==> conformance");
    let sandbox = Sandbox::start(tollgate)?;
    let mut command = Command::new(python);
    command.arg(&driver).args(["--base", &sandbox.base_url, "--key", &sandbox.secret_key]);
    command.args(["--retries", "--settle", "10", "--quiet"]);
    command.args(["--complete", "{base}/_sandbox/checkout/{id}/complete"]);
    // A compiled copy beside the driver would need a folder that can be written.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.stdin(Stdio::null()).output().context("cannot start the driver")?;
    drop(sandbox);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary: Vec<&str> = text.lines().skip_while(|line| !line.is_empty()).collect();
    eprintln!("{}", summary.join("\n"));
    let page = fs::read_to_string(repository.path(EXPLAINED_IN))?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    judge(&text, &page)
}

fn shared(repository: &Repository) -> PathBuf {
    let named = std::env::var_os("TOLLGATE_SHARED");
    named.map_or_else(|| repository.path("../shared"), PathBuf::from)
}

/// Enough must pass, and the page must name every check that does not.
fn judge(text: &str, page: &str) -> Result<()> {
    let last = text.lines().last().unwrap_or_default();
    let passed = last.split_once(" passed").and_then(|(number, _)| number.parse::<usize>().ok());
    let passed = passed.with_context(|| format!("the driver ended with {last:?}"))?;
    let failed: Vec<&str> = text.lines().filter_map(failed_check).collect();
    let unexplained: Vec<&str> =
        failed.iter().filter(|check| !explains(page, check)).copied().collect();
    ensure!(
        unexplained.is_empty(),
        "{} failed checks have no line in {EXPLAINED_IN}:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    if passed < MUST_PASS {
        bail!("{passed} checks pass, {MUST_PASS} must:\n{}", failed.join("\n"));
    }
    Ok(())
}

/// `FAIL  group: name  -- detail` -> `group: name`.
fn failed_check(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("FAIL  ")?;
    Some(rest.split_once("  -- ").map_or(rest, |(check, _)| check))
}

/// A line of a list that begins with the check in backquotes.
fn explains(page: &str, check: &str) -> bool {
    let beginning = format!("* `{check}`: ");
    page.lines().any(|line| line.len() > beginning.len() && line.starts_with(&beginning))
}

/// A running `tollgate sandbox`. Dropping it kills it, and nothing is left.
struct Sandbox {
    child: Child,
    base_url: String,
    secret_key: String,
}

impl Sandbox {
    fn start(tollgate: &Path) -> Result<Sandbox> {
        let mut command = Command::new(tollgate);
        command.args(["sandbox", "--ephemeral", "--port", "0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut sandbox = Sandbox { child, base_url: String::new(), secret_key: String::new() };
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some(ready) = line.strip_prefix(READY_PREFIX) {
                sandbox.base_url = text_field(ready, "base_url").context("no base_url")?.into();
                sandbox.secret_key = text_field(ready, "secret_key").context("no key")?.into();
                return Ok(sandbox);
            }
        }
        bail!("{command:?} ended without {READY_PREFIX}");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Killing a process that has ended already is the only way this fails.
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

/// Addresses and keys hold nothing that JSON would escape.
fn text_field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(passed: usize, failures: &str) -> String {
        format!("PASS  a: b\n{failures}\n\n{passed} passed, 1 failed, 0 skipped")
    }

    #[test]
    fn what_fails_must_be_explained() {
        let failure = "FAIL  prices: many  -- blocked by 'many'";
        let page = "* `prices: many`: the driver never makes `many`.\n";
        assert!(judge(&output(MUST_PASS, failure), page).is_ok());
        assert!(judge(&output(MUST_PASS, failure), "* `prices: many`: ").is_err());
        assert!(judge(&output(MUST_PASS, failure), "prices: many").is_err());
        assert!(judge(&output(MUST_PASS - 1, failure), page).is_err());
        assert!(judge("Traceback", page).is_err());
    }

    #[test]
    fn the_ready_line_is_read() {
        let ready = r#"{"base_url":"http://127.0.0.1:1","secret_key":"sk_test_x"}"#;
        assert_eq!(text_field(ready, "secret_key"), Some("sk_test_x"));
        assert_eq!(text_field(ready, "secret"), None);
    }
}
