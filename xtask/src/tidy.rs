//! The house rules that no compiler knows. Each rule is a function that lists what breaks it.

mod pitfalls;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::steps::Repository;

const LINES_PER_FILE: usize = 600;
const LINES_PER_FUNCTION: usize = 70;
const COLUMNS: usize = 100;
const CODES: &str = "crates/domain/src/codes.rs";

/// Which crate may name which. A new edge needs a record in `docs/decisions/` and a line here.
const EDGES: [(&str, &[&str]); 7] = [
    ("domain", &[]),
    ("retrieval", &[]),
    ("sandbox", &[]),
    ("store", &["domain"]),
    ("providers", &["domain"]),
    ("engine", &["domain", "store", "providers", "retrieval"]),
    ("server", &["domain", "store", "engine", "providers", "sandbox"]),
];

/// Words that would let the rules of `domain` depend on the moment, on luck or on rounding.
const IMPURE: [&str; 10] = [
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "getrandom",
    "async fn",
    "f64",
    "f32",
    "tokio",
    "std::fs",
];

/// The beginnings of statements; upper case, as the house writes SQL.
const SQL: [&str; 7] = [
    "SELECT ",
    "INSERT INTO ",
    "DELETE FROM ",
    "UPDATE ",
    "CREATE TABLE",
    "ALTER TABLE",
    "PRAGMA ",
];

/// A few names that only a provider's own wire format has.
const PROVIDER_WORDS: [&str; 4] =
    ["Stripe-Signature", "checkout.session.", "customer.subscription.", "whsec_"];

/// One source file, read once for all rules.
struct Source {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// Lines of code with their numbers: comments and the tests below `mod tests` are left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        numbered
            .take_while(|(_, line)| !line.starts_with("mod tests {"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

pub fn run(repository: &Repository) -> Result<()> {
    eprintln!("==> house rules");
    let broken = broken_rules(repository)?;
    if broken.is_empty() {
        return Ok(());
    }
    for line in &broken {
        eprintln!("{line}");
    }
    bail!("{} places break a house rule", broken.len())
}

fn broken_rules(repository: &Repository) -> Result<Vec<String>> {
    let mut sources = Vec::new();
    for folder in ["crates", "xtask", "e2e", "fuzz", "sim"] {
        collect(&repository.root, &repository.path(folder), &mut sources)?;
    }
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    let mut broken = crate_edges(repository)?;
    for source in &sources {
        shape(source, &mut broken);
        forbidden_words(source, &mut broken);
    }
    broken.extend(undocumented_errors(repository, &sources));
    broken.extend(pitfalls::unproven(repository, &sources));
    broken.extend(lock_file_addresses(repository)?);
    Ok(broken)
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {folder:?}"))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            // What cargo builds is not ours; the fuzz targets have a folder of their own for it.
            if path.file_name().is_none_or(|name| name != "target") {
                collect(root, &path, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let relative = path.strip_prefix(root)?.to_string_lossy().into_owned();
            sources.push(Source { path: relative, text });
        }
    }
    Ok(())
}

/// The crates each manifest names among its ordinary dependencies.
fn crate_edges(repository: &Repository) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for entry in fs::read_dir(repository.path("crates"))? {
        let folder: PathBuf = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == name) else {
            broken.push(format!("crates/{name}: unknown crate, add it to EDGES in xtask/tidy"));
            continue;
        };
        for target in ordinary_dependencies(&manifest) {
            let ours = EDGES.iter().any(|(to, _)| *to == target);
            if ours && !allowed.contains(&target) {
                broken.push(format!("crates/{name}/Cargo.toml: must not depend on {target}"));
            }
        }
    }
    Ok(broken)
}

fn ordinary_dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            names.push(name);
        }
    }
    names
}

/// Module doc, lengths, ignored tests, and notes to oneself.
fn shape(source: &Source, broken: &mut Vec<String>) {
    let path = &source.path;
    let first = source.text.lines().find(|line| !line.starts_with("#!["));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        broken.push(format!("{path}:1: a module begins with a `//!` line"));
    }
    let lines = source.text.lines().count();
    if lines > LINES_PER_FILE {
        broken.push(format!("{path}: {lines} lines, the limit is {LINES_PER_FILE}"));
    }
    for (index, line) in source.text.lines().enumerate() {
        let number = index + 1;
        if line.chars().count() > COLUMNS {
            broken.push(format!("{path}:{number}: wider than {COLUMNS} columns"));
        }
        let comment = line.split_once("//").map_or("", |(_, comment)| comment);
        if ["TODO", "FIXME", "XXX"].iter().any(|word| comment.contains(word)) {
            broken.push(format!("{path}:{number}: a note to oneself; write an issue instead"));
        }
        if line.trim_start().starts_with("#[ignore") {
            broken.push(format!("{path}:{number}: an ignored test proves nothing"));
        }
    }
    long_functions(source, broken);
}

/// rustfmt puts the closing brace of a function in the column of its first word.
fn long_functions(source: &Source, broken: &mut Vec<String>) {
    let mut open: Option<(usize, usize)> = None;
    for (index, line) in source.text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match open {
            Some((begin, column)) if indent == column && line.trim_start().starts_with('}') => {
                let length = index - begin + 1;
                if length > LINES_PER_FUNCTION {
                    let path = &source.path;
                    let number = begin + 1;
                    let limit = LINES_PER_FUNCTION;
                    let what = format!("a function of {length} lines, the limit is {limit}");
                    broken.push(format!("{path}:{number}: {what}"));
                }
                open = None;
            }
            None if begins_function(line) => open = Some((index, indent)),
            _ => {}
        }
    }
}

fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "async", "const", "extern", "\"C\""];
    let first = words.find(|word| !qualifiers.contains(word));
    first == Some("fn") && !line.trim_end().ends_with(['}', ';'])
}

/// Words that belong to one crate and were seen in another.
fn forbidden_words(source: &Source, broken: &mut Vec<String>) {
    let path = &source.path;
    let is_production = source.is_in("crates/") && path.contains("/src/");
    if !is_production {
        return;
    }
    let in_domain = source.is_in("crates/domain/");
    let may_have_sql = source.is_in("crates/store/") || source.is_in("crates/sandbox/");
    let may_name_provider = source.is_in("crates/providers/")
        || source.is_in("crates/sandbox/")
        || source.is_in("crates/server/");
    for (number, line) in source.code() {
        let found =
            |words: &[&'static str]| words.iter().find(|word| has_word(line, word)).copied();
        if in_domain && let Some(word) = found(&IMPURE) {
            broken.push(format!("{path}:{number}: `{word}` in the pure crate"));
        }
        if !may_have_sql && let Some(word) = found(&SQL) {
            broken.push(format!("{path}:{number}: SQL (`{}`) outside store", word.trim()));
        }
        if !may_name_provider && let Some(word) = found(&PROVIDER_WORDS) {
            broken.push(format!("{path}:{number}: a provider's word (`{word}`) outside providers"));
        }
    }
}

/// Whether the text contains the word and no longer name that ends in it.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
    })
}

/// Every code a client can receive is explained in docs/ERRORS.md, and none was ever taken away.
fn undocumented_errors(repository: &Repository, sources: &[Source]) -> Vec<String> {
    let page = fs::read_to_string(repository.path("docs/ERRORS.md")).unwrap_or_default();
    let Some(codes) = sources.iter().find(|source| source.path == CODES) else {
        return vec![format!("{CODES}: missing, although docs/ERRORS.md is checked against it")];
    };
    let declared: Vec<&str> = codes.code().filter_map(|(_, line)| declared_code(line)).collect();
    let mut broken = Vec::new();
    for code in &declared {
        if !page.contains(&format!("`{code}`")) {
            broken.push(format!("docs/ERRORS.md: `{code}` is not explained"));
        }
    }
    for code in page.lines().filter_map(explained_code) {
        if !declared.contains(&code) {
            broken.push(format!("{CODES}: `{code}` is gone; codes are only ever added"));
        }
    }
    broken
}

/// `Name => "code",` inside the list.
fn declared_code(line: &str) -> Option<&str> {
    line.split_once("=> \"")?.1.split_once('"').map(|(code, _)| code)
}

/// The first cell of a row of the table: `| `code` | …`.
fn explained_code(line: &str) -> Option<&str> {
    line.strip_prefix("| `")?.split_once('`').map(|(code, _)| code)
}

/// Lock files record what was installed, not from which mirror.
fn lock_file_addresses(repository: &Repository) -> Result<Vec<String>> {
    let path = "e2e/browser/package-lock.json";
    let text = fs::read_to_string(repository.path(path))?;
    let found = text.lines().enumerate().filter(|(_, line)| line.contains("\"resolved\""));
    Ok(found.map(|(index, _)| format!("{path}:{}: names a registry", index + 1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let repository = Repository::find().expect("xtask lies in the repository");
        assert_eq!(broken_rules(&repository).expect("readable"), Vec::<String>::new());
    }

    #[test]
    fn a_word_inside_a_longer_name_does_not_count() {
        assert!(has_word("let x: f64 = 1.0;", "f64"));
        assert!(!has_word("fn to_f64()", "f64"));
    }

    #[test]
    fn long_functions_are_found_by_their_closing_brace() {
        let body = "    let x = 1;\n".repeat(LINES_PER_FUNCTION);
        let text = format!("//! A module.\nfn long() {{\n{body}}}\nfn short() {{\n}}\n");
        let mut broken = Vec::new();
        long_functions(&Source { path: "a.rs".into(), text }, &mut broken);
        assert_eq!(broken, ["a.rs:2: a function of 72 lines, the limit is 70"]);
    }

    #[test]
    fn only_ordinary_dependencies_are_edges() {
        let manifest = "[dependencies]\nstore.workspace = true\n\n[dev-dependencies]\nx = \"1\"\n";
        assert_eq!(ordinary_dependencies(manifest), ["store"]);
    }
}
