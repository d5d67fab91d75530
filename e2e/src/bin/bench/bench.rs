//! What is being measured, how long and how often, and what has come of it so far.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::databases::Backend;
use e2e::loads::Outcome;
use e2e::reports::Report;
use e2e::rows::Row;

use crate::Arguments;
use crate::ceilings::{self, Ceiling};

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
    pub report: Report,
    pub length: Duration,
    pub is_quick: bool,
    pub growth: u64,
    pub accounts: usize,
    repetitions: u32,
    only: Vec<String>,
    backends: Vec<Backend>,
    ceilings: HashMap<(Ceiling, Backend), Option<f64>>,
}

impl Bench {
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let (seconds, repetitions) = if arguments.quick { (2, 1) } else { (8, 3) };
        Ok(Self {
            report: Report::new()?,
            length: Duration::from_secs(arguments.seconds.unwrap_or(seconds)),
            is_quick: arguments.quick,
            growth: arguments.growth.unwrap_or(if arguments.quick { 20_000 } else { 1_000_000 }),
            accounts: arguments.accounts.max(1),
            repetitions: arguments.repetitions.unwrap_or(repetitions),
            only: arguments.only.clone(),
            backends: arguments.backend.clone(),
            ceilings: HashMap::new(),
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
        self.report.note(&format!("{}: {name} {}/{of}", backend.name(), repetition + 1));
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
            self.report.add(row);
        }
        Ok(found)
    }
}
