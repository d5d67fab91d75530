//! Reading parameters. What a handler reads is removed; what is left at `finish` was unknown to it
//! and is refused, as Stripe refuses it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::clock::END_OF_TIME;
use crate::errors::ApiError;
use crate::forms::{self, index};

pub type Metadata = BTreeMap<String, String>;

const MAX_METADATA_KEYS: usize = 50;
const MAX_TEXT: usize = 5_000;
/// Stripe's own limit: 99,999,999 in the smallest unit.
pub const MAX_AMOUNT: i64 = 99_999_999;

#[derive(Debug)]
pub struct Params {
    path: String,
    fields: Map<String, Value>,
}

/// What an update says about a value that can be emptied.
#[derive(Debug, Clone)]
pub enum Change<T> {
    Keep,
    Clear,
    Set(T),
}

impl<T> Change<T> {
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Change::Keep => {}
            Change::Clear => *field = None,
            Change::Set(value) => *field = Some(value),
        }
    }

    /// Reads the new value before it is set.
    pub fn apply_with<U>(
        self,
        field: &mut Option<U>,
        read: impl FnOnce(T) -> Result<U, ApiError>,
    ) -> Result<(), ApiError> {
        match self {
            Change::Keep => {}
            Change::Clear => *field = None,
            Change::Set(value) => *field = Some(read(value)?),
        }
        Ok(())
    }

    pub fn set(self) -> Option<T> {
        match self {
            Change::Set(value) => Some(value),
            Change::Keep | Change::Clear => None,
        }
    }
}

/// Metadata merges key by key; an empty value removes its key, an empty hash removes all.
#[derive(Debug, Clone)]
pub struct MetadataChange(Option<BTreeMap<String, String>>);

impl MetadataChange {
    pub fn apply(self, metadata: &mut Metadata) {
        match self.0 {
            None => metadata.clear(),
            Some(changes) => {
                for (key, value) in changes {
                    if value.is_empty() {
                        metadata.remove(&key);
                    } else {
                        metadata.insert(key, value);
                    }
                }
            }
        }
    }

    pub fn fresh(self) -> Metadata {
        let mut metadata = Metadata::new();
        self.apply(&mut metadata);
        metadata
    }
}

impl Params {
    /// The parameters of a form.
    pub fn read(encoded: &[u8]) -> Result<Params, ApiError> {
        Ok(Params::new(forms::decode(encoded)?))
    }

    pub fn new(fields: Map<String, Value>) -> Params {
        Params { path: String::new(), fields }
    }

    /// The full name of a parameter, such as `recurring[interval]`.
    pub fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}[{key}]", self.path) }
    }

    pub fn change(&mut self, key: &str) -> Result<Change<String>, ApiError> {
        match self.fields.remove(key) {
            None => Ok(Change::Keep),
            Some(Value::String(text)) if text.is_empty() => Ok(Change::Clear),
            Some(Value::String(text)) if MAX_TEXT < text.chars().count() => {
                let name = self.name(key);
                Err(ApiError::invalid(format!("{name} is longer than {MAX_TEXT} characters."))
                    .param(&name))
            }
            Some(Value::String(text)) => Ok(Change::Set(text)),
            Some(_) => Err(self.invalid(key, "Invalid string")),
        }
    }

    pub fn text(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        Ok(self.change(key)?.set())
    }

    /// Whether the parameter is a plain value rather than a hash or a list.
    pub fn is_text(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(Value::is_string)
    }

    /// A plain value, left where it is.
    pub fn peek(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(Value::as_str)
    }

    pub fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// Takes a parameter out as it came.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.fields.remove(key)
    }

    /// Adds what another endpoint is to read.
    pub fn put(&mut self, key: &str, value: Value) {
        self.fields.insert(key.to_owned(), value);
    }

    /// The address of a web page.
    pub fn url(&mut self, key: &str) -> Result<Change<String>, ApiError> {
        let change = self.change(key)?;
        let is_web = |text: &str| {
            let parsed = url::Url::parse(text);
            parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
                && !text.contains(char::is_control)
        };
        match &change {
            Change::Set(text) if !is_web(text) => {
                Err(self.invalid(key, "Not a valid URL").code("url_invalid"))
            }
            _ => Ok(change),
        }
    }

    pub fn text_is(&self, key: &str, text: &str) -> bool {
        self.fields.get(key).is_some_and(|value| value == text)
    }

    /// Takes the parameter out when it is there to clear something.
    pub fn take_if_empty(&mut self, key: &str) -> bool {
        let empty = self.text_is(key, "");
        if empty {
            self.fields.remove(key);
        }
        empty
    }

    /// The names in a hash whose keys are the caller's, such as currencies.
    pub fn keys(&self) -> Vec<String> {
        self.fields.keys().cloned().collect()
    }

    pub fn only_has(&self, keys: &[&str]) -> bool {
        self.fields.keys().all(|key| keys.contains(&key.as_str()))
    }

    pub fn required(&mut self, key: &str) -> Result<String, ApiError> {
        self.text(key)?.ok_or_else(|| ApiError::missing_parameter(&self.name(key)))
    }

    pub fn integer(&mut self, key: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(integer) => Ok(Some(integer)),
            Err(_) => {
                let shown: String = text.chars().take(50).collect();
                Err(ApiError::invalid(format!("Invalid integer: {shown}"))
                    .code("parameter_invalid_integer")
                    .param(&self.name(key)))
            }
        }
    }

    /// An amount of money: from zero to Stripe's maximum.
    pub fn amount(&mut self, key: &str) -> Result<Option<i64>, ApiError> {
        self.within(key, 0, MAX_AMOUNT)
    }

    pub fn quantity(&mut self, key: &str) -> Result<Option<i64>, ApiError> {
        self.within(key, 0, 999_999)
    }

    pub fn timestamp(&mut self, key: &str) -> Result<Option<i64>, ApiError> {
        self.within(key, 0, END_OF_TIME)
    }

    pub fn within(&mut self, key: &str, least: i64, most: i64) -> Result<Option<i64>, ApiError> {
        let found = self.integer(key)?;
        let name = self.name(key);
        match found {
            Some(number) if number < least => {
                Err(ApiError::invalid(format!("{name} must be at least {least}: {number}"))
                    .code("parameter_invalid_integer")
                    .param(&name))
            }
            Some(number) if most < number => {
                Err(ApiError::invalid(format!("{name} must be at most {most}: {number}"))
                    .code("parameter_invalid_integer")
                    .param(&name))
            }
            found => Ok(found),
        }
    }

    pub fn boolean(&mut self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.text(key)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.invalid(key, "Invalid boolean")),
        }
    }

    /// One of Stripe's words.
    pub fn word(
        &mut self,
        key: &str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, ApiError> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Some(word)),
            None => {
                let name = self.name(key);
                let message = format!("Invalid {name}: must be one of {}", words.join(", "));
                Err(ApiError::invalid(message).param(&name))
            }
        }
    }

    pub fn hash(&mut self, key: &str) -> Result<Option<Params>, ApiError> {
        let path = self.name(key);
        match self.fields.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Params { path, fields })),
            Some(_) => Err(self.invalid(key, "Invalid object")),
        }
    }

    pub fn hashes(&mut self, key: &str) -> Result<Vec<Params>, ApiError> {
        let path = self.name(key);
        let elements = self.elements(key)?.unwrap_or_default();
        let hashes = elements.into_iter().map(|(index, element)| match element {
            Value::Object(fields) => Ok(Params { path: format!("{path}[{index}]"), fields }),
            _ => Err(self.invalid(key, "Invalid array")),
        });
        hashes.collect()
    }

    pub fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, ApiError> {
        let Some(elements) = self.elements(key)? else {
            return Ok(None);
        };
        let texts = elements.into_iter().map(|(_, element)| match element {
            Value::String(text) => Ok(text),
            _ => Err(self.invalid(key, "Invalid array")),
        });
        texts.collect::<Result<Vec<String>, ApiError>>().map(Some)
    }

    /// The elements of a list by their indexes, which may leave some out.
    fn elements(&mut self, key: &str) -> Result<Option<Vec<(usize, Value)>>, ApiError> {
        match self.fields.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(Some(Vec::new())),
            Some(Value::Array(elements)) => Ok(Some(elements.into_iter().enumerate().collect())),
            Some(Value::Object(fields)) => {
                let elements = fields.into_iter().map(|(key, value)| Some((index(&key)?, value)));
                let elements: Option<Vec<(usize, Value)>> = elements.collect();
                let mut elements = elements.ok_or_else(|| self.invalid(key, "Invalid array"))?;
                elements.sort_by_key(|(index, _)| *index);
                Ok(Some(elements))
            }
            Some(_) => Err(self.invalid(key, "Invalid array")),
        }
    }

    /// Every field as a text, for hashes whose keys the caller chooses.
    pub fn into_texts(self) -> Result<BTreeMap<String, String>, ApiError> {
        let mut texts = BTreeMap::new();
        for (key, value) in &self.fields {
            match value {
                Value::String(text) if text.chars().count() <= MAX_TEXT => {
                    texts.insert(key.clone(), text.clone())
                }
                _ => return Err(self.invalid(key, "Invalid string")),
            };
        }
        Ok(texts)
    }

    pub fn metadata(&mut self) -> Result<MetadataChange, ApiError> {
        let name = self.name("metadata");
        let fields = match self.fields.remove("metadata") {
            None => return Ok(MetadataChange(Some(BTreeMap::new()))),
            Some(Value::String(text)) if text.is_empty() => return Ok(MetadataChange(None)),
            Some(Value::Object(fields)) => fields,
            // Keys 0, 1, 2 look like a list to the form decoder.
            Some(Value::Array(values)) => {
                values.into_iter().enumerate().map(|(key, text)| (key.to_string(), text)).collect()
            }
            Some(_) => return Err(self.invalid("metadata", "Invalid object")),
        };
        let mut changes = BTreeMap::new();
        for (key, value) in fields {
            let Value::String(text) = value else {
                let message = "Metadata values must be strings.";
                return Err(ApiError::invalid(message).param(&format!("{name}[{key}]")));
            };
            if key.is_empty() || 40 < key.chars().count() || 500 < text.chars().count() {
                let message = "Metadata keys have up to 40 characters and values up to 500.";
                return Err(ApiError::invalid(message).param(&name));
            }
            changes.insert(key, text);
        }
        if MAX_METADATA_KEYS < changes.len() {
            let message = format!("Metadata has up to {MAX_METADATA_KEYS} keys.");
            return Err(ApiError::invalid(message).param(&name));
        }
        Ok(MetadataChange(Some(changes)))
    }

    /// An address as Stripe shows it: all six fields, or nothing.
    pub fn address(&mut self, key: &str) -> Result<Change<Value>, ApiError> {
        if self.take_if_empty(key) {
            return Ok(Change::Clear);
        }
        let Some(mut hash) = self.hash(key)? else {
            return Ok(Change::Keep);
        };
        let mut address = Map::new();
        for part in ["city", "country", "line1", "line2", "postal_code", "state"] {
            address.insert(part.to_owned(), json!(hash.text(part)?));
        }
        hash.finish()?;
        Ok(Change::Set(Value::Object(address)))
    }

    /// Parameters Stripe knows and this sandbox accepts without simulating them.
    pub fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.fields.remove(*key);
        }
    }

    /// Parameters Stripe knows and this sandbox cannot honour: silence would mislead.
    pub fn refuse(&mut self, keys: &[&str]) -> Result<(), ApiError> {
        for key in keys {
            let simulated_off = self.fields.get(*key).is_none_or(|value| value == "");
            if !simulated_off {
                let name = self.name(key);
                let message = format!("The sandbox does not simulate {name} yet.");
                return Err(ApiError::invalid(message).param(&name));
            }
            self.fields.remove(*key);
        }
        Ok(())
    }

    pub fn finish(&self) -> Result<(), ApiError> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(key) => {
                let name = self.name(key);
                Err(ApiError::invalid(format!("Received unknown parameter: {name}"))
                    .code("parameter_unknown")
                    .param(&name))
            }
        }
    }

    pub fn invalid(&self, key: &str, what: &str) -> ApiError {
        let name = self.name(key);
        ApiError::invalid(format!("{what}: {name}")).param(&name)
    }
}
