//! The table of `docs/PITFALLS.md` against the tests: every row names tests that exist, or says why
//! the pitfall does not concern a server like ours, and no test of a pitfall is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::Source;
use crate::steps::Repository;

const TABLE: &str = "docs/PITFALLS.md";
const PITFALLS: usize = 120;
const PREFIX: &str = "pitfall_";

/// What is wrong with the table, a line each.
pub(super) fn unproven(repository: &Repository, sources: &[Source]) -> Vec<String> {
    let Ok(text) = fs::read_to_string(repository.path(TABLE)) else {
        return vec![format!("{TABLE}: it is missing")];
    };
    let tests = tests_of(sources);
    let rows: BTreeMap<usize, &str> = text.lines().filter_map(row).collect();
    let mut broken = Vec::new();
    for number in 1..=PITFALLS {
        let Some(row) = rows.get(&number) else {
            broken.push(format!("{TABLE}: pitfall {number} has no row"));
            continue;
        };
        let named: BTreeSet<&str> =
            row.split('`').filter(|word| word.starts_with(PREFIX)).collect();
        let missing =
            tests.get(&number).into_iter().flatten().filter(|test| !named.contains(*test));
        broken.extend(missing.map(|test| format!("{TABLE}: row {number} does not name {test}")));
        let unknown = named.iter().filter(|name| !tests.values().any(|all| all.contains(*name)));
        broken.extend(unknown.map(|name| format!("{TABLE}: there is no test {name}")));
        if named.is_empty() && !row.contains("Does not apply: ") {
            broken.push(format!("{TABLE}: row {number} has neither a test nor a reason"));
        }
    }
    broken
}

/// The number a row of the table begins with, and the row.
fn row(line: &str) -> Option<(usize, &str)> {
    let (number, rest) = line.strip_prefix("| ")?.split_once(" |")?;
    Some((number.trim().parse().ok()?, rest))
}

/// The names of the tests, by the pitfall their name begins with.
fn tests_of(sources: &[Source]) -> BTreeMap<usize, BTreeSet<&str>> {
    let mut tests: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for line in sources.iter().flat_map(|source| source.text.lines()) {
        let declared = line.trim_start().trim_start_matches("async ").strip_prefix("fn ");
        let Some(name) = declared.and_then(|rest| rest.split('(').next()) else {
            continue;
        };
        let number = name.strip_prefix(PREFIX).and_then(|rest| rest.get(..3));
        if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
            tests.entry(number).or_default().insert(name);
        }
    }
    tests
}
