//! The table: one row for each thing that was measured, what it is held to, and whether it holds.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::databases::Backend;

/// What a value is held to.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// It is only told.
    None,
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
    /// At least this part of the ceiling.
    OfCeiling(f64),
}

#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub backend: Option<Backend>,
    pub unit: &'static str,
    pub value: f64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub ceiling: Option<f64>,
    pub target: Target,
    /// Answers that were no success: a rate with some of them holds nothing.
    pub refused: u64,
}

impl Row {
    pub fn new(name: &str, backend: Option<Backend>, unit: &'static str, value: f64) -> Self {
        Self {
            name: name.to_owned(),
            backend,
            unit,
            value,
            p50_ms: None,
            p99_ms: None,
            ceiling: None,
            target: Target::None,
            refused: 0,
        }
    }

    pub fn times(self, p50_ms: f64, p99_ms: f64) -> Self {
        Self { p50_ms: Some(p50_ms), p99_ms: Some(p99_ms), ..self }
    }

    pub fn under(self, ceiling: Option<f64>) -> Self {
        Self { ceiling, ..self }
    }

    pub fn held_to(self, target: Target) -> Self {
        Self { target, ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.ceiling.map(|ceiling| self.value / ceiling)
    }

    /// Nothing where there is no target, or no ceiling to compare with.
    pub fn is_ok(&self) -> Option<bool> {
        let holds = match self.target {
            Target::None => return None,
            Target::AtLeast(limit) => limit <= self.value,
            Target::AtMost(limit) => self.value <= limit,
            Target::Below(limit) => self.value < limit,
            Target::OfCeiling(part) => part <= self.ratio()?,
        };
        Some(holds && self.refused == 0)
    }

    fn target_text(&self) -> Option<String> {
        match self.target {
            Target::None => None,
            Target::AtLeast(limit) => Some(format!(">= {limit} {}", self.unit)),
            Target::AtMost(limit) => Some(format!("<= {limit} {}", self.unit)),
            Target::Below(limit) => Some(format!("< {limit} {}", self.unit)),
            Target::OfCeiling(part) => Some(format!(">= {part} of the ceiling")),
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "backend": self.backend.map(Backend::name),
            "unit": self.unit,
            "value": self.value,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "ceiling": self.ceiling,
            "ratio": self.ratio(),
            "target": self.target_text(),
            "ok": self.is_ok(),
        })
    }

    /// The row as a line of its own.
    pub fn summary(&self) -> String {
        let filled = self.cells().into_iter().filter(|cell| !cell.is_empty());
        filled.collect::<Vec<_>>().join("  ")
    }

    fn cells(&self) -> [String; 10] {
        let number = |value: Option<f64>| value.map_or(String::new(), short);
        let ok = self.is_ok().map_or("", |ok| if ok { "yes" } else { "NO" });
        [
            self.name.clone(),
            self.backend.map_or("", Backend::name).to_owned(),
            short(self.value),
            self.unit.to_owned(),
            number(self.p50_ms),
            number(self.p99_ms),
            number(self.ceiling),
            self.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}")),
            self.target_text().unwrap_or_default(),
            ok.to_owned(),
        ]
    }
}

const HEADINGS: [&str; 10] =
    ["name", "backend", "value", "unit", "p50 ms", "p99 ms", "ceiling", "ratio", "target", "ok"];

/// Three digits that mean something.
fn short(value: f64) -> String {
    match value.abs() {
        size if 100.0 <= size => format!("{value:.0}"),
        size if 10.0 <= size => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The table, as Markdown: it is read on a terminal and pasted into a document. Below it, how busy
/// the machine was with other work.
pub fn print(rows: &[Row], load_before: &str) -> Result<()> {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| lines.iter().map(|cells| cells[column].len()).max().unwrap_or_default())
        .collect();
    lines.insert(1, std::array::from_fn(|column| "-".repeat(widths[column])));
    let mut out = std::io::stdout().lock();
    for cells in &lines {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "| {} |", padded.collect::<Vec<_>>().join(" | "))?;
    }
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    writeln!(out, "\n{cores} cores, load averages before the run: {load_before}")?;
    Ok(())
}

pub fn write_json(rows: &[Row], file: &Path) -> Result<()> {
    let values: Vec<Value> = rows.iter().map(Row::json).collect();
    std::fs::write(file, serde_json::to_string_pretty(&values)? + "\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64) -> Row {
        Row::new("x", None, "per s", value)
    }

    #[test]
    fn a_row_holds_what_its_target_says() {
        let under = |ceiling| row(90.0).under(ceiling).held_to(Target::OfCeiling(1.0)).is_ok();
        assert_eq!(under(Some(90.0)), Some(true));
        assert_eq!(under(Some(91.0)), Some(false));
        assert_eq!(under(None), None);
        assert_eq!(row(40.0).held_to(Target::Below(40.0)).is_ok(), Some(false));
        assert_eq!(row(1.0).is_ok(), None);
    }

    #[test]
    fn a_rate_with_refusals_holds_nothing() {
        let refused = Row { refused: 1, ..row(3.0).held_to(Target::AtLeast(2.0)) };
        assert_eq!(refused.is_ok(), Some(false));
    }
}
