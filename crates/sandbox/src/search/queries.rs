//! The search query language: clauses such as `-email~'x'` or `metadata['k']:'v'`, joined by AND
//! or by OR, never by both.

use serde_json::Value;

use crate::errors::ApiError;

const MAX_CLAUSES: usize = 10;
const LEAST_SUBSTRING: usize = 3;

/// What a field holds decides which signs may follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Compared whole with `:` or in part with `~`.
    Text,
    /// Compared whole with `:`.
    Token,
    /// Compared with `:`, `=`, `<`, `<=`, `>` and `>=`.
    Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Is,
    Contains,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Null,
    /// In lower case: searching does not look at case.
    Text(String),
    Number(i64),
}

#[derive(Debug)]
pub struct Clause {
    negated: bool,
    pub field: String,
    /// The key of `metadata['key']`.
    pub key: Option<String>,
    sign: Sign,
    wanted: Wanted,
}

#[derive(Debug)]
pub struct Query {
    any: bool,
    clauses: Vec<Clause>,
}

impl Query {
    /// `resource` is the plural noun; `fields` are what it can be searched by.
    pub fn parse(text: &str, resource: &str, fields: &[(&str, Kind)]) -> Result<Query, ApiError> {
        let mut reader = Reader { rest: text.trim() };
        let (mut with_and, mut with_or) = (false, false);
        let mut clauses = Vec::new();
        loop {
            let clause = reader.clause().ok_or_else(unreadable)?;
            clauses.push(check(clause, resource, fields)?);
            if reader.rest.trim_start().is_empty() {
                break;
            }
            match reader.joint().ok_or_else(unreadable)? {
                Joint::And => with_and = true,
                Joint::Or => with_or = true,
            }
        }
        if with_and && with_or {
            return Err(ApiError::invalid(
                "Your search query uses both AND and OR. A query can use only one of them.",
            ));
        }
        if MAX_CLAUSES < clauses.len() {
            let message = format!("Your search query has more than {MAX_CLAUSES} clauses.");
            return Err(ApiError::invalid(message));
        }
        Ok(Query { any: with_or, clauses })
    }

    pub fn fits(&self, mut value_of: impl FnMut(&Clause) -> Value) -> bool {
        let mut outcomes = self.clauses.iter().map(|clause| clause.fits(&value_of(clause)));
        if self.any { outcomes.any(|fits| fits) } else { outcomes.all(|fits| fits) }
    }
}

impl Clause {
    fn fits(&self, value: &Value) -> bool {
        let fits = match (&self.wanted, value) {
            (Wanted::Null, value) => value.is_null(),
            (Wanted::Text(wanted), Value::String(text)) => self.text_fits(wanted, text),
            (Wanted::Text(wanted), Value::Bool(flag)) => *wanted == flag.to_string(),
            (Wanted::Number(wanted), Value::Number(number)) => {
                number.as_i64().is_some_and(|number| self.number_fits(*wanted, number))
            }
            _ => false,
        };
        fits != self.negated
    }

    fn text_fits(&self, wanted: &str, text: &str) -> bool {
        let text = text.to_lowercase();
        if self.sign == Sign::Contains { text.contains(wanted) } else { text == wanted }
    }

    fn number_fits(&self, wanted: i64, number: i64) -> bool {
        match self.sign {
            Sign::Is | Sign::Contains => number == wanted,
            Sign::Less => number < wanted,
            Sign::AtMost => number <= wanted,
            Sign::Greater => wanted < number,
            Sign::AtLeast => wanted <= number,
        }
    }
}

fn unreadable() -> ApiError {
    ApiError::invalid(
        "We were unable to parse your search query. Try using the format \
         `metadata[\"key\"]:\"value\"` to query for metadata or key:\"value\" to query for other \
         fields.",
    )
}

/// A clause must name a field of the resource and compare it in a way the field allows.
fn check(mut clause: Clause, resource: &str, fields: &[(&str, Kind)]) -> Result<Clause, ApiError> {
    let field = &clause.field;
    let known = match &clause.key {
        Some(_) if field == "metadata" => Some(Kind::Token),
        Some(_) => None,
        None => fields.iter().find(|(name, _)| name == field).map(|(_, kind)| *kind),
    };
    let Some(kind) = known else {
        let message = format!(
            "Field `{field}` is an unsupported search field for resource `{resource}`. See \
             https://stripe.com/docs/search#query-fields-for-{} for a list of supported fields.",
            resource.replace('_', "-"),
        );
        return Err(ApiError::invalid(message));
    };
    let allowed = match (kind, clause.sign) {
        (_, Sign::Is) => true,
        (Kind::Text, Sign::Contains) => true,
        (Kind::Number, sign) => sign != Sign::Contains,
        (Kind::Text | Kind::Token, _) => false,
    };
    if !allowed {
        let message = format!("Field `{field}` does not support this operator in search queries.");
        return Err(ApiError::invalid(message));
    }
    match (kind, &clause.wanted) {
        (Kind::Number, Wanted::Text(text)) => {
            let number = text.parse().map_err(|_| {
                ApiError::invalid(format!("Field `{field}` can be compared with numbers only."))
            })?;
            clause.wanted = Wanted::Number(number);
        }
        (Kind::Text | Kind::Token, Wanted::Number(number)) => {
            clause.wanted = Wanted::Text(number.to_string());
        }
        _ => {}
    }
    let short = match &clause.wanted {
        Wanted::Text(text) => text.chars().count() < LEAST_SUBSTRING,
        Wanted::Null | Wanted::Number(_) => true,
    };
    if clause.sign == Sign::Contains && short {
        let message =
            format!("Substring searches need at least {LEAST_SUBSTRING} characters: `{field}`.");
        return Err(ApiError::invalid(message));
    }
    Ok(clause)
}

enum Joint {
    And,
    Or,
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, start: &str) -> bool {
        match self.rest.strip_prefix(start) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Clauses stand apart by a space, which means AND, or by a word in any case.
    fn joint(&mut self) -> Option<Joint> {
        if !self.rest.starts_with(char::is_whitespace) {
            return None;
        }
        self.skip_spaces();
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(end);
        let joint = match word.to_ascii_lowercase().as_str() {
            "and" => Joint::And,
            "or" => Joint::Or,
            _ => return Some(Joint::And),
        };
        self.rest = after;
        Some(joint)
    }

    fn clause(&mut self) -> Option<Clause> {
        self.skip_spaces();
        let negated = self.take("-");
        let is_name = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '.');
        let end = self.rest.find(|sign| !is_name(sign))?;
        let (field, rest) = self.rest.split_at(end);
        let field = Some(field.to_owned()).filter(|field| !field.is_empty())?;
        self.rest = rest;
        let mut key = None;
        if self.take("[") {
            key = Some(self.quoted()?);
            if !self.take("]") {
                return None;
            }
        }
        self.skip_spaces();
        let sign = self.sign()?;
        self.skip_spaces();
        let wanted = self.wanted()?;
        Some(Clause { negated, field, key, sign, wanted })
    }

    fn sign(&mut self) -> Option<Sign> {
        let signs = [
            ("<=", Sign::AtMost),
            (">=", Sign::AtLeast),
            ("<", Sign::Less),
            (">", Sign::Greater),
            (":", Sign::Is),
            ("=", Sign::Is),
            ("~", Sign::Contains),
        ];
        signs.into_iter().find(|(text, _)| self.take(text)).map(|(_, sign)| sign)
    }

    fn wanted(&mut self) -> Option<Wanted> {
        if self.rest.starts_with(['\'', '"']) {
            return Some(Wanted::Text(self.quoted()?.to_lowercase()));
        }
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word.to_ascii_lowercase().as_str() {
            "null" => Some(Wanted::Null),
            "true" | "false" => Some(Wanted::Text(word.to_ascii_lowercase())),
            number => number.parse().ok().map(Wanted::Number),
        }
    }

    /// A text in single or double quotes; a backslash takes the next sign as it is.
    fn quoted(&mut self) -> Option<String> {
        let mut signs = self.rest.char_indices();
        let (_, quote) = signs.next().filter(|(_, sign)| matches!(sign, '\'' | '"'))?;
        let mut text = String::new();
        while let Some((position, sign)) = signs.next() {
            match sign {
                '\\' => text.push(signs.next()?.1),
                sign if sign == quote => {
                    self.rest = &self.rest[position + quote.len_utf8()..];
                    return Some(text);
                }
                sign => text.push(sign),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIELDS: &[(&str, Kind)] =
        &[("name", Kind::Text), ("status", Kind::Token), ("amount", Kind::Number)];

    fn fits(query: &str) -> bool {
        let query = Query::parse(query, "things", FIELDS).expect(query);
        query.fits(|clause| match (clause.field.as_str(), clause.key.as_deref()) {
            ("name", _) => json!("Ada's \"Shop\""),
            ("status", _) => json!("paid"),
            ("amount", _) => json!(500),
            ("metadata", Some("plan")) => json!("Pro"),
            _ => Value::Null,
        })
    }

    #[test]
    fn clauses_select() {
        for query in [
            "status:'paid'",
            "status:\"PAID\"",
            "-status:'open'",
            "name~\"shop\"",
            "name:'ada\\'s \"shop\"'",
            "metadata['plan']:'pro'",
            "metadata[\"none\"]:null",
            "-metadata['plan']:null",
            "amount>499 amount<501",
            "amount>=500 and amount<=500",
            "amount:500",
            "amount='500'",
            "status:'open' OR amount : 500",
        ] {
            assert!(fits(query), "{query}");
        }
        for query in [
            "status:'pai'",
            "-status:'paid'",
            "status:'paid' AND amount>500",
            "name~'hops'",
            "metadata['plan']:null",
            "metadata['none']:'pro'",
        ] {
            assert!(!fits(query), "{query}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for query in [
            "",
            "status",
            "status:",
            "status:paid",
            "status:'paid",
            "status:'paid'amount:5",
            "status:'paid' AND",
            "status:'paid' AND name:'x' OR name:'y'",
            "colour:'red'",
            "name['x']:'y'",
            "metadata[plan]:'pro'",
            "metadata:'pro'",
            "status~'paid'",
            "status>5",
            "name~'ab'",
            "amount~500",
            "amount:'many'",
            "(status:'paid')",
            "--status:'paid'",
            "status:'\\",
            "é:'x'",
        ] {
            assert!(Query::parse(query, "things", FIELDS).is_err(), "{query}");
        }
        let long = ["amount:1"; 11].join(" ");
        assert!(Query::parse(&long, "things", FIELDS).is_err());
    }
}
