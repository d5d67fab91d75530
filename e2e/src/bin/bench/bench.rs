//! What is being measured, how long and how often, and what has come of it so far.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::Arguments;
use crate::ceilings::{self, Ceiling};
use crate::databases::Backend;
use crate::loads::Outcome;
use crate::rows::Row;

/// What one repetition of a row came to.
#[derive(Debug, Clone)]
pub struct Figure {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub refused: u64,
}

impl Figure {
    pub fn of(outcome: &Outcome) -> Result<Self> {
        ensure!(outcome.answered() > 0, "nothing succeeded: {:?}", outcome.refusals);
        if !outcome.refusals.is_empty() {
            eprintln!("refused: {:?}", outcome.refusals);
        }
        Ok(Self {
            per_second: outcome.per_second(),
            p50_ms: outcome.percentile_ms(50),
            p99_ms: outcome.percentile_ms(99),
            refused: outcome.refused(),
        })
    }

    /// The repetition in the middle, with its own times; refusals of all count.
    pub fn median(figures: Vec<Figure>) -> Figure {
        Self::median_of(figures, |figure| figure.per_second)
    }

    pub fn median_of(mut figures: Vec<Figure>, key: impl Fn(&Figure) -> f64) -> Figure {
        figures.sort_by(|left, right| key(left).total_cmp(&key(right)));
        let refused = figures.iter().map(|figure| figure.refused).sum();
        let middle = figures.swap_remove((figures.len() - 1) / 2);
        Figure { refused, ..middle }
    }

    pub fn row(self, name: &str, backend: Backend) -> Row {
        let row = Row::new(name, Some(backend), "per s", self.per_second);
        Row { refused: self.refused, ..row.times(self.p50_ms, self.p99_ms) }
    }
}

/// A run of the command.
pub struct Bench {
    pub rows: Vec<Row>,
    /// What could not be measured, or did not hold what a checker asks.
    failures: Vec<String>,
    pub length: Duration,
    pub is_quick: bool,
    pub growth: u64,
    pub accounts: usize,
    repetitions: u32,
    only: Vec<String>,
    backends: Vec<Backend>,
    ceilings: HashMap<(Ceiling, Backend), Option<f64>>,
    bar: ProgressBar,
}

impl Bench {
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let (seconds, repetitions) = if arguments.quick { (2, 1) } else { (8, 3) };
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} [{elapsed_precise}] {msg}")?);
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Self {
            rows: Vec::new(),
            failures: Vec::new(),
            length: Duration::from_secs(arguments.seconds.unwrap_or(seconds)),
            is_quick: arguments.quick,
            growth: arguments.growth.unwrap_or(if arguments.quick { 20_000 } else { 1_000_000 }),
            accounts: arguments.accounts.max(1),
            repetitions: arguments.repetitions.unwrap_or(repetitions),
            only: arguments.only.clone(),
            backends: arguments.backend.clone(),
            ceilings: HashMap::new(),
            bar,
        })
    }

    pub fn repetitions(&self) -> u32 {
        self.repetitions
    }

    /// Whether a row was asked for: by the beginning of its name, or by naming none at all.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    pub fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    pub fn wants_on(&self, backend: Backend) -> bool {
        self.backends.is_empty() || self.backends.contains(&backend)
    }

    /// Whether somebody insists on a backend where a row is not usual.
    pub fn names(&self, backend: Backend) -> bool {
        self.backends.contains(&backend)
    }

    /// What happens now, on the bar, or as a line where there is no terminal.
    pub fn say(&self, backend: Backend, name: &str, repetition: u32) {
        let of = self.repetitions;
        self.note(&format!("{}: {name} {}/{of}", backend.name(), repetition + 1));
    }

    pub fn note(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.set_message(text.to_owned());
        }
    }

    /// A finished row is told at once: whoever stops the run keeps what it found.
    pub fn add(&mut self, row: Row) {
        self.bar.suspend(|| eprintln!("    {}", row.summary()));
        self.rows.push(row);
    }

    /// Measured once in a run; its figures are rows as well.
    pub async fn ceiling(&mut self, which: Ceiling, backend: Backend) -> Result<Option<f64>> {
        // One writer knows no difference between one account and many.
        let which = match (which, backend) {
            (Ceiling::Hot, Backend::Sqlite) => Ceiling::Spread,
            _ => which,
        };
        if let Some(known) = self.ceilings.get(&(which, backend)) {
            return Ok(*known);
        }
        let rows = ceilings::measure(self, which, backend).await?;
        let found = rows.first().map(|row| row.value);
        self.ceilings.insert((which, backend), found);
        for row in rows {
            self.add(row);
        }
        Ok(found)
    }

    /// One row that fails does not keep the others from being measured.
    pub fn attempt(&mut self, backend: Backend, name: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            let failure = format!("{} {name}: {error:#}", backend.name());
            self.bar.suspend(|| eprintln!("    FAILED {failure}"));
            self.failures.push(failure);
        }
    }

    pub fn finish(&self) -> Result<()> {
        self.bar.finish_and_clear();
        ensure!(self.failures.is_empty(), "{}", self.failures.join("; "));
        Ok(())
    }
}
