//! Secrets that must be readable: sealed in the database under a key that can be replaced.
//!
//! A sealed secret names its key and is bound to the row it belongs to, so that it opens nowhere
//! else. All other secrets are hashed.

use crate::clock::random_secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;

const KEY_BYTES: usize = 32;
const KEY_NAME_LENGTH_MAX: usize = 32;

/// Why the keys are not keys. Never quotes one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("key {0} must look like name:base64 of {KEY_BYTES} bytes")]
    Shape(usize),
    #[error("two keys have the same name")]
    SameName,
}

/// Why a sealed secret stays sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("no encryption key is configured")]
    NoKey,
    #[error("it was sealed under key {0:?}, which is not configured")]
    UnknownKey(String),
    #[error("it does not belong to this row, or is damaged")]
    Damaged,
}

/// The operator's keys: the first one seals, all of them open.
#[derive(Clone, Default)]
pub struct SealingKeys {
    keys: Vec<(String, Arc<LessSafeKey>)>,
}

impl std::fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(name, _)| name)).finish()
    }
}

impl SealingKeys {
    /// Reads `name:base64` keys.
    pub fn parse(texts: &[SecretString]) -> Result<Self, KeysError> {
        let mut keys: Vec<(String, Arc<LessSafeKey>)> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let shape = || KeysError::Shape(index + 1);
            let (name, key) = text.expose_secret().split_once(':').ok_or_else(shape)?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !(1..=KEY_NAME_LENGTH_MAX).contains(&name.len()) || !name.bytes().all(plain) {
                return Err(shape());
            }
            let bytes = STANDARD.decode(key.trim()).map_err(|_| shape())?;
            let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| shape())?;
            if keys.iter().any(|(known, _)| known == name) {
                return Err(KeysError::SameName);
            }
            keys.push((name.to_owned(), Arc::new(LessSafeKey::new(key))));
        }
        Ok(Self { keys })
    }

    /// Seals a text for one row.
    pub(crate) fn seal(&self, row: &str, text: &str) -> Result<String, SealError> {
        let (name, key) = self.keys.first().ok_or(SealError::NoKey)?;
        let random = random_secret();
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&random[..NONCE_LEN]);
        let mut bytes = text.as_bytes().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::from(row), &mut bytes)
            .map_err(|_| SealError::Damaged)?;
        let sealed = [nonce.as_slice(), &bytes].concat();
        Ok(format!("{name}:{}", STANDARD.encode(sealed)))
    }

    /// Opens what was sealed for that row.
    pub(crate) fn open(&self, row: &str, sealed: &str) -> Result<SecretString, SealError> {
        let (name, text) = sealed.split_once(':').ok_or(SealError::Damaged)?;
        let key = self.keys.iter().find(|(known, _)| known == name);
        let Some((_, key)) = key else {
            return Err(SealError::UnknownKey(name.to_owned()));
        };
        let bytes = STANDARD.decode(text).map_err(|_| SealError::Damaged)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut sealed = sealed.to_vec();
        let plain = key
            .open_in_place(nonce, Aad::from(row), &mut sealed)
            .map_err(|_| SealError::Damaged)?;
        let plain = std::str::from_utf8(plain).map_err(|_| SealError::Damaged)?;
        Ok(SecretString::from(plain))
    }

    /// Whether a secret was sealed under another key than new ones are.
    pub(crate) fn is_outdated(&self, sealed: &str) -> bool {
        let name = sealed.split_once(':').map(|(name, _)| name);
        self.keys.first().is_some_and(|(newest, _)| Some(newest.as_str()) != name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> SealingKeys {
        let texts: Vec<SecretString> = names
            .iter()
            .map(|name| {
                let byte = name.as_bytes()[0];
                format!("{name}:{}", STANDARD.encode([byte; KEY_BYTES])).into()
            })
            .collect();
        SealingKeys::parse(&texts).unwrap()
    }

    #[test]
    fn a_sealed_secret_opens_under_its_key_and_for_its_row_only() {
        let old = keys(&["old"]);
        let sealed = old.seal("hook_1", "whsec_a").unwrap();
        assert!(!sealed.contains("whsec"));
        assert_ne!(sealed, old.seal("hook_1", "whsec_a").unwrap(), "each sealing is different");
        let rotated = keys(&["new", "old"]);
        assert_eq!(rotated.open("hook_1", &sealed).unwrap().expose_secret(), "whsec_a");
        assert!(rotated.is_outdated(&sealed) && !old.is_outdated(&sealed));
        assert_eq!(rotated.open("hook_2", &sealed).unwrap_err(), SealError::Damaged);
        let unknown = keys(&["new"]).open("hook_1", &sealed).unwrap_err();
        assert_eq!(unknown, SealError::UnknownKey("old".into()));
        for damaged in ["", "old", "old:", "old:AAAA", "old:%%%"] {
            assert_eq!(old.open("hook_1", damaged).unwrap_err(), SealError::Damaged, "{damaged}");
        }
        assert_eq!(SealingKeys::default().seal("hook_1", "a").unwrap_err(), SealError::NoKey);
    }

    #[test]
    fn keys_that_are_none_are_refused_without_quoting_them() {
        let short = format!("a:{}", STANDARD.encode([1; 16]));
        for text in ["", "a", "a:", "a:AAAA", ":AAAA", "a b:AAAA", &short] {
            let refused = SealingKeys::parse(&[SecretString::from(text)]).unwrap_err();
            assert_eq!(refused, KeysError::Shape(1), "{text}");
        }
        let twice = format!("a:{}", STANDARD.encode([1; 32]));
        let twice = [SecretString::from(twice.as_str()), SecretString::from(twice.as_str())];
        assert_eq!(SealingKeys::parse(&twice).unwrap_err(), KeysError::SameName);
        assert_eq!(format!("{:?}", keys(&["new", "old"])), r#"["new", "old"]"#);
    }
}
