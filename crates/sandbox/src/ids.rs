//! Ids and secrets, random like Stripe's own.

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An object id such as `cus_` and 24 letters and digits.
pub fn object(prefix: &str) -> String {
    format!("{prefix}_{}", letters(24))
}

pub fn letters(count: usize) -> String {
    let mut bytes = vec![0_u8; count];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % 62])).collect()
}
