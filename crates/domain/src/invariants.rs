//! What is always true: one definition each, used by tests and debug assertions.

/// The numbers of one lot of credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LotNumbers {
    pub granted: i64,
    pub spent: i64,
    pub held: i64,
    pub expired: i64,
    pub revoked: i64,
}

impl LotNumbers {
    /// A lot nothing has happened to.
    pub const fn new(granted: i64) -> Self {
        Self { granted, spent: 0, held: 0, expired: 0, revoked: 0 }
    }

    /// What is left of the lot, by INV-CREDITS.
    pub const fn available(&self) -> i64 {
        self.granted - self.spent - self.held - self.expired - self.revoked
    }
}

/// A broken invariant and the numbers that break it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id} is broken: {detail}")]
pub struct Broken {
    pub id: &'static str,
    pub detail: String,
}

/// INV-CREDITS: per lot, granted = spent + held + expired + revoked + available, none negative.
///
/// ```
/// use domain::invariants::{LotNumbers, lot_is_exact};
/// let lot = LotNumbers { granted: 5, spent: 6, held: 0, expired: 0, revoked: 0 };
/// assert!(lot_is_exact(&lot).is_err());
/// ```
pub fn lot_is_exact(lot: &LotNumbers) -> Result<(), Broken> {
    let parts = [lot.granted, lot.spent, lot.held, lot.expired, lot.revoked, lot.available()];
    if parts.iter().all(|part| 0 <= *part) {
        return Ok(());
    }
    Err(Broken { id: "INV-CREDITS", detail: format!("{lot:?}") })
}

/// One entry of the ledger, as far as balances are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerStep {
    pub before: i64,
    pub amount: i64,
    pub after: i64,
}

/// INV-LEDGER: every entry continues the one before it, and none leaves a negative balance.
pub fn ledger_replays(steps: &[LedgerStep]) -> Result<i64, Broken> {
    let mut balance = 0_i64;
    for (index, step) in steps.iter().enumerate() {
        let continues = step.before == balance
            && step.before.checked_add(step.amount) == Some(step.after)
            && 0 <= step.after;
        if !continues {
            let detail = format!("entry {index} {step:?} after a balance of {balance}");
            return Err(Broken { id: "INV-LEDGER", detail });
        }
        balance = step.after;
    }
    Ok(balance)
}
