//! The people of a simulated shop: what each has done so far, as far as they know it themselves.

use engine::Subject;
use std::collections::BTreeSet;

/// How something that was asked for has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process died or failed: only asking again with the same key tells.
    Unknown,
    Taken,
    Refused,
}

/// Credits that somebody has asked to spend.
#[derive(Debug, Clone)]
pub struct Spending {
    pub key: String,
    pub amount: i64,
    pub ending: Ending,
}

/// Credits that somebody has asked to set aside.
#[derive(Debug, Clone)]
pub struct Held {
    pub key: String,
    pub amount: i64,
    pub placed: Ending,
    pub id: Option<String>,
    /// How much is to be taken of it; zero gives it back.
    pub capture: Option<i64>,
    pub captured: Ending,
}

/// Money that the shop has asked us to give back.
#[derive(Debug, Clone)]
pub struct Return {
    pub key: String,
    pub payment: String,
    /// None is all that is left.
    pub amount: Option<i64>,
    pub ending: Ending,
}

#[derive(Debug, Clone)]
pub struct Person {
    pub name: String,
    /// Payment pages that were opened and not finished: the provider's ids.
    pub pages: Vec<String>,
    /// Every page that was ever opened for them.
    pub sessions: BTreeSet<String>,
    pub spendings: Vec<Spending>,
    pub held: Vec<Held>,
    pub returns: Vec<Return>,
    serial: u64,
}

impl Person {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            pages: Vec::new(),
            sessions: BTreeSet::new(),
            spendings: Vec::new(),
            held: Vec::new(),
            returns: Vec::new(),
            serial: 0,
        }
    }

    pub fn subject(&self) -> Subject {
        Subject::Own(self.name.clone())
    }

    /// A key that nobody has used before.
    pub fn key(&mut self) -> String {
        self.serial += 1;
        format!("{}-{}", self.name, self.serial)
    }

    /// What was certainly spent, and what may have been.
    pub fn spent(&self) -> (i64, i64) {
        let (mut certain, mut possible) = (0, 0);
        let mut add = |ending: Ending, amount: i64| match ending {
            Ending::Taken => {
                certain += amount;
                possible += amount;
            }
            Ending::Unknown => possible += amount,
            Ending::Refused => {}
        };
        for spending in &self.spendings {
            add(spending.ending, spending.amount);
        }
        for held in &self.held {
            if let Some(amount) = held.capture {
                add(held.captured, amount);
            }
        }
        (certain, possible)
    }
}
