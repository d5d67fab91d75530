//! Forms: nothing panics, and what was understood is understood again when it is written plainly.

use anyhow::{Result, ensure};
use serde_json::{Map, Value};

use crate::random::Random;

const PIECES: [&str; 34] = [
    "a",
    "b",
    "items",
    "metadata",
    "expand",
    "[",
    "]",
    "[]",
    "[0]",
    "[1]",
    "[7]",
    "[999]",
    "[1000]",
    "[18446744073709551616]",
    "[-1]",
    "[00]",
    "[a]",
    "[b]",
    "[x y]",
    "][",
    "=",
    "=1",
    "=",
    "&",
    "&",
    "&a",
    "%5B",
    "%5D",
    "%5b0%5d",
    "%",
    "%zz",
    "+",
    "é",
    "\u{1F600}",
];

pub fn run(random: &mut Random) -> Result<()> {
    let encoded = form(random);
    let Some(decoded) = sandbox::fuzzing::decode_form(&encoded) else {
        return Ok(());
    };
    let mut plain = url::form_urlencoded::Serializer::new(String::new());
    let mut pairs = 0;
    write(&decoded, &mut |key, value| {
        plain.append_pair(key, value);
        pairs += 1;
    });
    let plain = plain.finish();
    let again = sandbox::fuzzing::decode_form(plain.as_bytes());
    ensure!(
        again.as_ref() == Some(&decoded),
        "{:?} was read as {decoded:?}, but {plain:?} as {again:?}",
        String::from_utf8_lossy(&encoded)
    );
    Ok(())
}

fn form(random: &mut Random) -> Vec<u8> {
    let mut encoded = Vec::new();
    let length = if random.percent(5) { 3_000 } else { 1 + random.below(40) };
    for _ in 0..length {
        encoded.extend_from_slice(random.pick(&PIECES).as_bytes());
    }
    // A few bytes are anything at all.
    for _ in 0..random.below(4) {
        let at = random.below(encoded.len());
        encoded[at] = random.number().to_le_bytes()[0];
    }
    if random.percent(3) {
        let deep = "[c]".repeat(random.below(5_000));
        encoded.extend_from_slice(format!("&deep{deep}=1").as_bytes());
    }
    encoded
}

fn write(fields: &Map<String, Value>, pair: &mut impl FnMut(&str, &str)) {
    for (key, value) in fields {
        write_value(key, value, pair);
    }
}

fn write_value(key: &str, value: &Value, pair: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                write_value(&format!("{key}[{index}]"), element, pair);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                write_value(&format!("{key}[{name}]"), value, pair);
            }
        }
        Value::String(text) => pair(key, text),
        other => pair(key, &other.to_string()),
    }
}
