//! The only place where backends differ: placeholders, row locks and column types.

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

/// SQLite has one writer, who holds the whole database: row locks are neither known nor needed.
pub fn without_row_locks(text: &str) -> String {
    text.replace("FOR UPDATE SKIP LOCKED", "").replace("FOR NO KEY UPDATE", "")
}

/// PostgreSQL's names of the column types that the migrations are written in. Text compares byte by
/// byte, because provider ids differ by letter case and cursors rely on one order everywhere.
pub fn postgres_types(text: &str) -> String {
    text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map(|word| {
            let (name, rest) = match word.char_indices().next_back() {
                Some((at, c)) if !c.is_ascii_alphanumeric() && c != '_' => word.split_at(at),
                _ => (word, ""),
            };
            match name {
                "TEXT" => format!("TEXT COLLATE \"C\"{rest}"),
                "BLOB" => format!("BYTEA{rest}"),
                _ => word.to_owned(),
            }
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
    }
}
