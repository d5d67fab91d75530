//! What a long run says while it lasts and at its end.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::databases::Backend;
use crate::rows::{self, Row};

const SECOND: Duration = Duration::from_secs(1);

/// The rows so far, and a bar that says what is being done.
pub struct Report {
    pub rows: Vec<Row>,
    /// What could not be measured, or did not hold what a checker asks.
    failures: Vec<String>,
    bar: ProgressBar,
    load_before: String,
}

impl Report {
    pub fn new() -> Result<Self> {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} [{elapsed_precise}] {msg}")?);
        bar.enable_steady_tick(Duration::from_millis(200));
        let load_before = load_averages();
        Ok(Self { rows: Vec::new(), failures: Vec::new(), bar, load_before })
    }

    /// What happens now, on the bar, or as a line where there is no terminal.
    pub fn note(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.set_message(text.to_owned());
        }
    }

    /// How far it is; nothing where there is no terminal.
    pub fn progress(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("    {text}"));
    }

    /// Lets so much time pass and tells how much of it has.
    pub async fn pass(&self, text: &str, length: Duration) {
        self.note(&format!("{text}: {} s", length.as_secs()));
        let seconds = length.as_secs();
        for second in 0..seconds {
            self.progress(&format!("{text}: {second} of {seconds} s"));
            tokio::time::sleep(SECOND).await;
        }
    }

    /// A finished row is told at once: whoever stops the run keeps what it found.
    pub fn add(&mut self, row: Row) {
        self.say(&row.summary());
        self.rows.push(row);
    }

    /// One row that fails does not keep the others from being measured.
    pub fn attempt(&mut self, backend: Backend, name: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            let failure = format!("{} {name}: {error:#}", backend.name());
            self.say(&format!("FAILED {failure}"));
            self.failures.push(failure);
        }
    }

    /// The table, even of a run that breaks off; and whether everything could be measured.
    pub fn conclude(&self, json: Option<&Path>) -> Result<()> {
        self.bar.finish_and_clear();
        if !self.rows.is_empty() {
            rows::print(&self.rows, &self.load_before)?;
        }
        if let Some(file) = json {
            rows::write_json(&self.rows, file)?;
        }
        ensure!(self.failures.is_empty(), "{}", self.failures.join("; "));
        Ok(())
    }
}

/// Of the last one, five and fifteen minutes, where the system tells.
fn load_averages() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(", ")
}
