//! `tollgate sandbox` as a process of its own, with everything in memory.

use std::fs;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::answers::Api;
use crate::servers::{kill, tollgate, wait_for_line};

const READY_PREFIX: &str = "SANDBOX_READY ";

/// A running sandbox. Dropping it kills it, and nothing is left.
#[derive(Debug)]
pub struct Sandbox {
    child: Child,
    pub ready: Ready,
}

/// The line that it prints once it serves.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub base_url: String,
    pub secret_key: String,
}

impl Sandbox {
    pub fn start() -> Result<Self> {
        let mut command = tollgate(&["sandbox", "--ephemeral", "--port", "0"])?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        match wait_for_line(stdout, READY_PREFIX) {
            Ok((json, _)) => Ok(Self { child, ready: serde_json::from_str(&json)? }),
            Err(error) => {
                kill(&mut child)?;
                bail!("{command:?}: {error:#}");
            }
        }
    }

    pub fn api(&self) -> Result<Api> {
        Api::new(&self.ready.base_url, Some(&self.ready.secret_key))
    }

    /// The most memory it ever held, where the system tells.
    pub fn peak_memory_mb(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes / 1024)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Killing a process that has ended already is the only way this fails.
        let _ended_already = kill(&mut self.child);
    }
}
