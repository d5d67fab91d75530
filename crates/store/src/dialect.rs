//! The only place where backends differ: placeholders, row locks, conflicts, tables of rows and
//! column types.

/// How MySQL spells a statement, and what the number of rows it reports means.
#[derive(Debug)]
pub struct MysqlStatement {
    pub text: String,
    pub counts: Counts,
}

/// What MySQL's number of changed rows says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    Rows,
    /// A row that was there already is reported like a new one; `DUPLICATE` tells them apart.
    NewRows,
    /// A row that was there already and has changed is reported as two.
    NewOrChangedRows,
}

/// What a statement that met an existing row leaves as the last inserted id. No table of ours makes
/// ids by itself, so it is 0 after every other statement.
pub const DUPLICATE: u64 = 1;

/// The kinds of server that speak MySQL's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    Mysql,
    Mariadb,
}

impl Flavour {
    /// By what `SELECT VERSION()` answers.
    pub fn of(version: &str) -> Self {
        match version.contains("MariaDB") {
            true => Flavour::Mariadb,
            false => Flavour::Mysql,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Flavour::Mysql => "MySQL",
            Flavour::Mariadb => "MariaDB",
        }
    }

    /// The collation that compares byte by byte and takes no trailing space for padding. Neither
    /// server knows the other's name for it.
    pub fn collation(self) -> &'static str {
        match self {
            Flavour::Mysql => "utf8mb4_0900_bin",
            Flavour::Mariadb => "utf8mb4_nopad_bin",
        }
    }
}

/// The end of an insert that passes over rows that are there.
pub const PASSING_OVER: &str = " ON CONFLICT DO NOTHING";

/// `INSERT … VALUES (?, …)` for so many rows, which passes over none.
pub fn repeated(text: &str, rows: usize) -> String {
    let Some((before, row)) = text.split_once("VALUES ") else { return text.to_owned() };
    let row = row.strip_suffix(PASSING_OVER).unwrap_or(row);
    format!("{before}VALUES {}", vec![row; rows].join(", "))
}

/// `?` becomes `$1`, `$2`, … for PostgreSQL. Statements hold no question marks in literals.
pub fn numbered(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut position = 0;
    for part in text.split_inclusive('?') {
        match part.strip_suffix('?') {
            Some(before) => {
                position += 1;
                out.push_str(before);
                out.push('$');
                out.push_str(&position.to_string());
            }
            None => out.push_str(part),
        }
    }
    out
}

/// What SQLite reads.
pub fn sqlite(text: &str) -> String {
    with_rows(&without_row_locks(text), |columns| {
        let read = columns.iter().map(|(name, _)| format!("value ->> '{name}' AS {name}"));
        format!("(SELECT {} FROM json_each(?)) AS r", listed(read))
    })
}

/// What PostgreSQL reads.
pub fn postgres(text: &str) -> String {
    let text = with_rows(text, |columns| {
        let typed = columns.iter().map(|(name, kind)| match *kind {
            "BIGINT" => format!("{name} BIGINT"),
            _ => format!("{name} TEXT"),
        });
        format!("json_to_recordset(CAST(? AS JSON)) AS r({})", listed(typed))
    });
    numbered(&text)
}

/// A table of rows as MySQL reads it. What is read from the JSON text has a collation of its own,
/// what is cast has ours.
fn mysql_rows(text: &str) -> String {
    let text = with_rows(text, |columns| {
        let cast = columns.iter().map(|(name, kind)| match *kind {
            "BIGINT" => (*name).to_owned(),
            "TEXT" => format!("CAST({name} AS CHAR) AS {name}"),
            kind => format!("CAST({name} AS {}) AS {name}", kind.replace("VARCHAR", "CHAR")),
        });
        let typed = columns.iter().map(|(name, kind)| match *kind {
            "BIGINT" => format!("{name} BIGINT PATH '$.{name}'"),
            kind => {
                let kind = kind.replace("TEXT", "LONGTEXT");
                format!("{name} {kind} CHARACTER SET utf8mb4 PATH '$.{name}'")
            }
        });
        let table = format!("JSON_TABLE(?, '$[*]' COLUMNS ({})) AS j", listed(typed));
        format!("(SELECT {} FROM {table}) AS r", listed(cast))
    });
    // It names what an update reads before it says what is set. Rows that it only looks at, in a
    // small table for example, it would lock and wait for; so it is told to go by the key.
    let parts = text.strip_prefix("UPDATE ").and_then(|rest| {
        let (table, rest) = rest.split_once(" SET ")?;
        let (set, rest) = rest.split_once(" FROM ")?;
        let (rows, condition) = rest.rsplit_once(" WHERE ")?;
        let (rows, set) = (rows.trim(), set.trim());
        let keyed = format!("STRAIGHT_JOIN {table} FORCE INDEX (PRIMARY)");
        Some(format!("UPDATE {rows} {keyed} SET {set} WHERE {condition}"))
    });
    match parts {
        Some(update) if update.contains("JSON_TABLE(") => update,
        _ => text,
    }
}

/// `ROWS(a TEXT, b BIGINT)` is one argument, a JSON array of objects, read as a table `r` of these
/// columns: a statement does for many rows what it would do for one.
fn with_rows(text: &str, spell: impl Fn(&[(&str, &str)]) -> String) -> String {
    let Some((before, rest)) = text.split_once("ROWS(") else { return text.to_owned() };
    // A type may have a length in parentheses of its own.
    let mut depth = 1_u32;
    let end = rest.char_indices().find(|(_, c)| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let (columns, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
    let columns: Vec<_> =
        columns.split(',').filter_map(|column| column.trim().split_once(' ')).collect();
    format!("{before}{}{}", spell(&columns), after.strip_prefix(')').unwrap_or(after))
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// SQLite has one writer, who holds the whole database: row locks are neither known nor needed.
fn without_row_locks(text: &str) -> String {
    let locks = ["SKIP LOCKED", "FOR NO KEY UPDATE", "FOR UPDATE OF e", "FOR UPDATE"];
    locks.into_iter().fold(text.to_owned(), |text, lock| text.replace(lock, ""))
}

/// MySQL's spelling of a statement.
pub fn mysql(text: &str) -> MysqlStatement {
    let text = mysql_rows(text)
        .replace("FOR NO KEY UPDATE", "FOR UPDATE")
        .replace("CROSS JOIN", "STRAIGHT_JOIN")
        // MariaDB locks what it reads of the outermost tables, and cannot be told which.
        .replace("FOR UPDATE OF e", "FOR UPDATE")
        .replace("AS TEXT)", "AS CHAR)")
        .replace("AS BIGINT)", "AS SIGNED)")
        .replace("length(", "char_length(");
    if let Some((insert, update)) = text.split_once("DO UPDATE SET ") {
        // Whatever key it meets: MySQL cannot name one.
        let insert = insert.rsplit_once("ON CONFLICT").map_or(insert, |(before, _)| before);
        let update = replace_words(update, |word| match word.strip_prefix("excluded.") {
            Some(column) => format!("VALUES({column})"),
            None => word.to_owned(),
        });
        let text = format!("{insert}ON DUPLICATE KEY UPDATE {update}");
        return MysqlStatement { text, counts: Counts::NewOrChangedRows };
    }
    match text.contains("ON CONFLICT DO NOTHING") {
        true => MysqlStatement { text: mysql_conflicts(&text), counts: Counts::NewRows },
        false => MysqlStatement { text, counts: Counts::Rows },
    }
}

/// A plain insert that fails would do, but it leaves a shared lock on the row it met, and two that
/// want to change that row then wait for one another. `INSERT IGNORE` would hide other errors. So
/// the row is set to what it is, which locks it for writing, and marked in the answer.
fn mysql_conflicts(text: &str) -> String {
    let mut parts = text.split("ON CONFLICT DO NOTHING").peekable();
    let mut out = String::new();
    while let Some(part) = parts.next() {
        out.push_str(part);
        if parts.peek().is_some() {
            let insert = part.rsplit_once("INSERT INTO ").map_or("", |(_, insert)| insert);
            let names = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            let mut words = insert.split(names).filter(|word| !matches!(*word, "" | "SELECT"));
            let table = words.next().unwrap_or_default();
            let kept = format!("{table}.{}", words.next().unwrap_or_default());
            out.push_str(&format!(
                "ON DUPLICATE KEY UPDATE {kept} = \
                 IF(LAST_INSERT_ID({DUPLICATE}) = {DUPLICATE}, {kept}, {kept})"
            ));
        }
    }
    out
}

/// The migrations say `VARCHAR(n)` where MySQL needs a length for a key. SQLite and PostgreSQL have
/// no use for one.
pub fn without_lengths(text: &str) -> String {
    let mut parts = text.split("VARCHAR(");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| {
        out + "TEXT" + part.split_once(')').map_or(part, |(_, after)| after)
    })
}

/// PostgreSQL's names of the column types that the migrations are written in. Text compares byte by
/// byte, because provider ids differ by letter case and cursors rely on one order everywhere.
pub fn postgres_types(text: &str) -> String {
    replace_words(&without_lengths(text), |word| match word {
        "TEXT" => "TEXT COLLATE \"C\"".to_owned(),
        "BLOB" => "BYTEA".to_owned(),
        // Before 18 it knows no computed column that is not stored, and later none with an index.
        "VIRTUAL" => "STORED".to_owned(),
        _ => word.to_owned(),
    })
}

/// A migration as MySQL reads it: every line of ours is one column, one key or one statement's
/// beginning or end.
pub fn mysql_schema(text: &str, flavour: Flavour) -> String {
    let text = replace_words(text, |word| match word {
        "TEXT" => "LONGTEXT".to_owned(),
        "BLOB" => "LONGBLOB".to_owned(),
        // An index on a virtual column is kept up by purging, too, which computes it from texts.
        "VIRTUAL" => "STORED".to_owned(),
        _ => word.to_owned(),
    });
    let mut out = String::with_capacity(text.len() * 2);
    let (mut table, mut begun_at) = ("", 0);
    let mut references = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("CREATE TABLE ") {
            (table, begun_at) = (name.trim_end_matches(" ("), out.len());
        }
        if line == ");" {
            out.truncate(out.trim_end().len());
            for (column, target) in references.drain(..) {
                let has_index = out[begun_at..].contains(&format!(" KEY ({column}, "))
                    || out[begun_at..].contains(&format!(" UNIQUE ({column}, "))
                    || text.contains(&format!(" ON {table} ({column}"));
                // MySQL would make an index for the key where there is none, and give it up for
                // another that begins alike; so it is asked for.
                if !has_index {
                    out.push_str(&format!(",\n    INDEX ({column})"));
                }
                out.push_str(&format!(",\n    FOREIGN KEY ({column}) REFERENCES {target}"));
            }
            let collation = flavour.collation();
            out.push_str("\n) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE ");
            out.push_str(collation);
            out.push(';');
        } else if let Some((before, target)) = line.split_once(" REFERENCES ") {
            // MySQL reads a reference beside its column and forgets it.
            let column = before.split_whitespace().next().unwrap_or_default();
            references.push((column, target.trim_end_matches(',')));
            out.push_str(before);
            out.push_str(if target.ends_with(',') { "," } else { "" });
        } else if let Some(index) = line.strip_prefix("DROP INDEX ") {
            // An index of ours is called by its table and one more word.
            let index = index.trim_end_matches(';');
            let table = index.rsplit_once('_').map_or(index, |(table, _)| table);
            out.push_str(&format!("DROP INDEX {index} ON {table};"));
        } else {
            out.push_str(&whole_index(line));
        }
        out.push('\n');
    }
    mysql_conflicts(&out)
}

/// MySQL has no indexes over some rows: what narrowed them comes first in the key.
fn whole_index(line: &str) -> String {
    let narrowed = line.starts_with("CREATE INDEX ").then(|| line.split_once(") WHERE ")).flatten();
    let Some((before, condition)) = narrowed else { return line.to_owned() };
    let column = condition.split_whitespace().next().unwrap_or_default();
    before.replacen('(', &format!("({column}, "), 1) + ");"
}

/// Each word of letters, digits, underscores and dots through `replace`.
fn replace_words(text: &str, replace: impl Fn(&str) -> String) -> String {
    let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.';
    text.split_inclusive(is_end)
        .map(|word| match word.char_indices().next_back() {
            Some((at, c)) if is_end(c) => replace(&word[..at]) + &word[at..],
            _ => replace(word),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backend_gets_its_spelling() {
        assert_eq!(numbered("a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(without_row_locks("SELECT 1 FOR NO KEY UPDATE"), "SELECT 1 ");
        assert_eq!(postgres_types("(a TEXT,b BLOB)"), "(a TEXT COLLATE \"C\",b BYTEA)");
        assert_eq!(postgres_types("AS (a + 1) VIRTUAL;"), "AS (a + 1) STORED;");
        assert_eq!(without_lengths("a VARCHAR(255) NOT NULL,"), "a TEXT NOT NULL,");
    }

    #[test]
    fn mysql_tells_new_rows_from_those_it_met() {
        let ignoring = mysql("INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT DO NOTHING");
        assert_eq!(ignoring.counts, Counts::NewRows);
        assert_eq!(
            ignoring.text,
            "INSERT INTO t (a, b) VALUES (?, ?) \
             ON DUPLICATE KEY UPDATE t.a = IF(LAST_INSERT_ID(1) = 1, t.a, t.a)"
        );
        let upsert =
            mysql("INSERT INTO t (a) VALUES (?) ON CONFLICT (a) DO UPDATE SET b = excluded.b");
        assert_eq!(upsert.counts, Counts::NewOrChangedRows);
        assert_eq!(
            upsert.text,
            "INSERT INTO t (a) VALUES (?) ON DUPLICATE KEY UPDATE b = VALUES(b)"
        );
        assert_eq!(
            mysql("SELECT length(CAST(? AS TEXT))").text,
            "SELECT char_length(CAST(? AS CHAR))"
        );
    }

    #[test]
    fn mysql_keeps_references_and_narrowed_indexes() {
        let table = "CREATE TABLE t (\n    a BLOB,\n    b VARCHAR(9) REFERENCES u (id)\n);\n";
        let spelled = "CREATE TABLE t (\n    a LONGBLOB,\n    b VARCHAR(9),\n    INDEX (b),\n    \
                       FOREIGN KEY (b) REFERENCES u (id)\n) ENGINE = InnoDB CHARACTER SET utf8mb4 \
                       COLLATE utf8mb4_0900_bin;\n";
        assert_eq!(mysql_schema(table, Flavour::of("8.0.36")), spelled);
        let index = "CREATE INDEX t_a ON t (id) WHERE a IS NULL;\nDROP INDEX t_a;\n";
        let spelled = "CREATE INDEX t_a ON t (a, id);\nDROP INDEX t_a ON t;\n";
        assert_eq!(mysql_schema(index, Flavour::of("10.11.6-MariaDB")), spelled);
    }

    #[test]
    fn many_rows_are_one_argument() {
        let text = "UPDATE t SET a = r.b FROM ROWS(a VARCHAR(9), b BIGINT) WHERE t.a = r.a";
        assert_eq!(
            sqlite(text),
            "UPDATE t SET a = r.b FROM (SELECT value ->> 'a' AS a, value ->> 'b' AS b \
             FROM json_each(?)) AS r WHERE t.a = r.a"
        );
        assert_eq!(
            postgres(text),
            "UPDATE t SET a = r.b FROM json_to_recordset(CAST($1 AS JSON)) AS r(a TEXT, b BIGINT) \
             WHERE t.a = r.a"
        );
        assert_eq!(
            mysql(text).text,
            "UPDATE (SELECT CAST(a AS CHAR(9)) AS a, b FROM JSON_TABLE(?, '$[*]' COLUMNS \
             (a VARCHAR(9) CHARACTER SET utf8mb4 PATH '$.a', b BIGINT PATH '$.b')) AS j) AS r \
             STRAIGHT_JOIN t FORCE INDEX (PRIMARY) SET a = r.b WHERE t.a = r.a"
        );
    }
}
