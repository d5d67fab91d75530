//! Node with a browser or the official SDK, and Python with the official SDK: scripts that test
//! from their side.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Runs `e2e/browser/NAME.mjs`; its argument is one JSON object, its last line another.
pub fn run_in_browser(name: &str, input: &Value) -> Result<Value> {
    let mut command = Command::new("node");
    command.env("TOLLGATE_NODE_MODULES", tool("TOLLGATE_NODE_MODULES", "browser/node_modules")?);
    let chromium = std::env::var("TOLLGATE_CHROMIUM");
    command.env("TOLLGATE_CHROMIUM", chromium.as_deref().unwrap_or("/usr/bin/chromium"));
    run(command, &folder().join(format!("browser/{name}.mjs")), input)
}

/// Runs `e2e/node/NAME.mjs` with the official SDK.
pub fn run_in_node(name: &str, input: &Value) -> Result<Value> {
    let mut command = Command::new("node");
    command.env("TOLLGATE_NODE_MODULES", tool("TOLLGATE_NODE_MODULES", "browser/node_modules")?);
    run(command, &folder().join(format!("node/{name}.mjs")), input)
}

/// Runs `e2e/python/NAME.py` in the virtual environment with the official SDK.
pub fn run_in_python(name: &str, input: &Value) -> Result<Value> {
    let mut command = Command::new(tool("TOLLGATE_PYTHON", "venv/bin/python")?);
    // A compiled copy beside the script would dirty the source tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    run(command, &folder().join(format!("python/{name}.py")), input)
}

fn run(mut command: Command, script: &Path, input: &Value) -> Result<Value> {
    let command = command.arg(script).arg(input.to_string()).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let Output { status, stdout, stderr } = output;
    let text = String::from_utf8_lossy(&stdout);
    if !status.success() {
        bail!("{}: {status}\n{text}{}", script.display(), String::from_utf8_lossy(&stderr));
    }
    let last = text.lines().last().unwrap_or("null");
    serde_json::from_str(last).with_context(|| format!("{}: {last:?}", script.display()))
}

/// A tool of `cargo xtask setup`, named by its environment or where it installs it.
fn tool(variable: &str, relative: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let path = folder().join("../target/tools").join(relative);
    match path.canonicalize() {
        // The link `python` must be kept: it is what makes the environment virtual.
        Ok(_) => Ok(path),
        Err(_) => bail!("{} is missing: run `cargo xtask setup` once", path.display()),
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the shared specification, or nothing where that folder is absent.
pub fn shared_file(relative: &str) -> Result<Option<String>> {
    let folder = match std::env::var_os("TOLLGATE_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => folder().join("../../shared"),
    };
    if !folder.exists() {
        return Ok(None);
    }
    let path = folder.join(relative);
    let text = std::fs::read_to_string(&path);
    text.map(Some).with_context(|| format!("cannot read {}", path.display()))
}
