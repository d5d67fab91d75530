//! Ids and secrets, random like Stripe's own.

use std::cell::Cell;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An object id such as `cus_` and 24 letters and digits.
pub fn object(prefix: &str) -> String {
    format!("{prefix}_{}", letters(24))
}

pub fn letters(count: usize) -> String {
    let mut bytes = vec![0_u8; count];
    match SEEDED.get() {
        Some(state) => SEEDED.set(Some(fill_seeded(state, &mut bytes))),
        None => getrandom::fill(&mut bytes).expect("the operating system gives random bytes"),
    }
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % 62])).collect()
}

thread_local! {
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on the ids of this thread follow from the seed.
pub fn seed(seed: u64) {
    SEEDED.set(Some(seed));
}

/// An xorshift generator; returns the state to go on with, which is never zero.
fn fill_seeded(state: u64, bytes: &mut [u8]) -> u64 {
    let mut state = state | 1 << 63;
    for byte in bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8;
    }
    state
}
