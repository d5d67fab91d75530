//! Bracketed form decoding: `items[0][price]=x&metadata[a]=b&expand[]=c` becomes JSON whose leaves
//! are strings.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::errors::ApiError;

const MAX_PAIRS: usize = 2_000;
const MAX_DEPTH: usize = 10;
const MAX_INDEX: usize = 1_000;

enum Node {
    Text(String),
    Branch { children: BTreeMap<String, Node>, next_index: usize },
}

impl Node {
    fn branch() -> Node {
        Node::Branch { children: BTreeMap::new(), next_index: 0 }
    }
}

pub fn decode(encoded: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if std::str::from_utf8(encoded).is_err() {
        return Err(ApiError::invalid("Invalid UTF-8 in the request."));
    }
    let mut root = Node::branch();
    for (count, (key, value)) in url::form_urlencoded::parse(encoded).enumerate() {
        if count == MAX_PAIRS {
            return Err(ApiError::invalid(format!("More than {MAX_PAIRS} parameters.")));
        }
        insert(&mut root, &segments(&key)?, value.into_owned(), &key)?;
    }
    match to_json(root) {
        Value::Object(fields) => Ok(fields),
        _ => Err(ApiError::invalid("Parameters need names.")),
    }
}

/// `a[b][]` -> `["a", "b", ""]`.
fn segments(key: &str) -> Result<Vec<&str>, ApiError> {
    let invalid = || {
        let shown: String = key.chars().take(100).collect();
        ApiError::invalid(format!("Invalid parameter name: {shown}"))
    };
    let (name, rest) = match key.find('[') {
        None => (key, ""),
        Some(position) => key.split_at(position),
    };
    if name.is_empty() {
        return Err(invalid());
    }
    let mut found = vec![name];
    if rest.is_empty() {
        return Ok(found);
    }
    let inner =
        rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(invalid)?;
    for segment in inner.split("][") {
        if MAX_DEPTH <= found.len() || segment.contains(['[', ']']) {
            return Err(invalid());
        }
        found.push(segment);
    }
    Ok(found)
}

fn insert(root: &mut Node, path: &[&str], text: String, key: &str) -> Result<(), ApiError> {
    let clash = || ApiError::invalid(format!("Invalid hash or array: {key}"));
    let mut node = root;
    for (depth, segment) in path.iter().enumerate() {
        let Node::Branch { children, next_index } = node else {
            return Err(clash());
        };
        let name = match (*segment, next_index.checked_sub(1)) {
            ("", Some(last)) if goes_on(children.get(&last.to_string()), &path[depth + 1..]) => {
                last.to_string()
            }
            ("", _) => next_index.to_string(),
            (name, _) => name.to_owned(),
        };
        if let Some(index) = index(&name) {
            *next_index = (index + 1).max(*next_index);
        }
        node = children.entry(name).or_insert_with(Node::branch);
    }
    match node {
        Node::Branch { children, .. } if !children.is_empty() => Err(clash()),
        _ => {
            *node = Node::Text(text);
            Ok(())
        }
    }
}

/// `list[]` starts a new element each time, `list[][a]` only when the element has an `a` already.
fn goes_on(last: Option<&Node>, inner: &[&str]) -> bool {
    let Some(Node::Branch { .. }) = last.filter(|_| !inner.is_empty()) else {
        return false;
    };
    let mut found = last;
    for segment in inner {
        found = match found {
            Some(_) if segment.is_empty() => return true,
            Some(Node::Branch { children, .. }) => children.get(*segment),
            _ => None,
        };
    }
    found.is_none()
}

/// Keys 0, 1, 2 and so on are a list. Other numbers can be the caller's own names, of metadata for
/// example: whoever wants a list reads one from them.
fn to_json(node: Node) -> Value {
    let mut children = match node {
        Node::Text(text) => return Value::String(text),
        Node::Branch { children, .. } => children,
    };
    let is_list = (0..children.len()).all(|index| children.contains_key(&index.to_string()));
    if children.is_empty() || !is_list {
        let fields = children.into_iter().map(|(key, node)| (key, to_json(node)));
        return Value::Object(fields.collect());
    }
    let count = children.len();
    let nodes = (0..count).filter_map(|index| children.remove(&index.to_string()));
    Value::Array(nodes.map(to_json).collect())
}

pub fn index(key: &str) -> Option<usize> {
    key.parse().ok().filter(|index| *index < MAX_INDEX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(encoded: &str, expected: Value) {
        let decoded = decode(encoded.as_bytes()).expect("the form decodes");
        assert_eq!(Value::Object(decoded), expected, "{encoded}");
    }

    #[test]
    fn brackets_and_indexes() {
        check("a=1&b[c]=2&b[d]=3", json!({"a": "1", "b": {"c": "2", "d": "3"}}));
        check("l[]=x&l[]=y", json!({"l": ["x", "y"]}));
        check("l[1]=b&l[0]=a", json!({"l": ["a", "b"]}));
        check("l[0]=a&l[]=b", json!({"l": ["a", "b"]}));
        check("m[42]=x&m[7]=y", json!({"m": {"42": "x", "7": "y"}}));
        let pair = json!({"l": [{"a": "1", "b": {"c": "2"}}, {"a": "3"}]});
        check("l[][a]=1&l[][b][c]=2&l[][a]=3", pair);
        check("i[0][p][q]=1&i[0][n]=2", json!({"i": [{"p": {"q": "1"}, "n": "2"}]}));
        check("a=%20%5B&b=", json!({"a": " [", "b": ""}));
    }

    #[test]
    fn bad_forms_are_errors() {
        let deep = format!("a{}=1", "[b]".repeat(1_000));
        let many = "a=1&".repeat(MAX_PAIRS + 1);
        for bad in ["[a]=1", "a[b=1", "a]b=1&a]=2&[=1", "a=1&a[b]=2", "a[b]=1&a=2", &deep, &many] {
            assert!(decode(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(40)]);
        }
        assert!(decode(b"a=\xff").is_err());
    }
}
