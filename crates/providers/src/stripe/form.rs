//! The body of a request: names with brackets, as the API wants nested values.

use std::collections::BTreeMap;

/// Pairs in the order they were added.
#[derive(Debug, Clone, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves the name out when there is no value.
    pub(super) fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// `name[key]=value` for every entry.
    pub(super) fn with_map(mut self, name: &str, map: &BTreeMap<String, String>) -> Self {
        for (key, value) in map {
            self = self.with(&format!("{name}[{key}]"), value);
        }
        self
    }

    /// `application/x-www-form-urlencoded`, which is also how a query is written.
    pub(super) fn encode(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push('&');
            }
            percent(&mut text, name);
            text.push('=');
            percent(&mut text, value);
        }
        text
    }
}

fn percent(text: &mut String, part: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_names_and_any_text_survive() {
        let map = BTreeMap::from([("a&b".to_owned(), "1=2 \u{e9}".to_owned())]);
        let form = Form::new().with("mode", "payment").with_some("no", None).with_map("m", &map);
        assert_eq!(form.encode(), "mode=payment&m%5Ba%26b%5D=1%3D2%20%C3%A9");
        assert_eq!(Form::new().encode(), "");
    }
}
