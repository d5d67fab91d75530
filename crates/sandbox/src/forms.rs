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
    for segment in path {
        let Node::Branch { children, next_index } = node else {
            return Err(clash());
        };
        let name = if segment.is_empty() {
            // `list[]` starts a new element each time.
            *next_index += 1;
            (*next_index - 1).to_string()
        } else {
            (*segment).to_owned()
        };
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

fn to_json(node: Node) -> Value {
    match node {
        Node::Text(text) => Value::String(text),
        Node::Branch { children, .. } => {
            let indexes: Option<Vec<usize>> = children.keys().map(|key| index(key)).collect();
            match indexes {
                Some(indexes) if !indexes.is_empty() => {
                    let mut elements: Vec<(usize, Node)> =
                        indexes.into_iter().zip(children.into_values()).collect();
                    elements.sort_by_key(|(index, _)| *index);
                    Value::Array(elements.into_iter().map(|(_, node)| to_json(node)).collect())
                }
                _ => {
                    let fields = children.into_iter().map(|(key, node)| (key, to_json(node)));
                    Value::Object(fields.collect())
                }
            }
        }
    }
}

fn index(key: &str) -> Option<usize> {
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
        check("l[1]=b&l[0]=a&l[10]=c", json!({"l": ["a", "b", "c"]}));
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
