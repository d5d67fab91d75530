//! What the database holds beside what its clients were told: everything promised is there once,
//! and nothing twice.

use std::collections::HashMap;

use anyhow::{Result, ensure};

use crate::crowds::{Crowd, EVENT, KEY};
use crate::databases::{Backend, Database};
use crate::logs::{Log, Told};
use crate::rows::{Row, Target};

const EXAMPLES: usize = 5;

/// A line in somebody else's account is nobody's.
const LINES: &str = "SELECT CONCAT(COALESCE(e.reference, ''), '@', COALESCE(c.external_id, '')) \
    FROM credit_entries e JOIN customers c ON c.id = e.customer_id WHERE e.kind = 'consume'";
const EVENTS: &str = "SELECT provider_event_id FROM inbox_events";
/// A payment that made two lots is told twice, and so are two payments of one session.
const LOTS: &str = "SELECT COALESCE(p.provider_session_id, '') FROM credit_grants g \
    JOIN payments p ON p.id = g.payment_id";
const UNSETTLED: &str =
    "SELECT COUNT(*) FROM inbox_events WHERE state NOT IN ('applied', 'ignored')";
/// Lines that do not add their amount, which is negative where credits go, that take more or less
/// than was asked, or that do not follow from the line before them.
const BROKEN_LINES: &str = "SELECT COUNT(*) FROM ( \
    SELECT kind, amount, number, balance_before, balance_after, \
        LAG(number) OVER (PARTITION BY customer_id, unit ORDER BY number) AS last_number, \
        LAG(balance_after) OVER (PARTITION BY customer_id, unit ORDER BY number) AS last_balance \
    FROM credit_entries) AS lines_in_order \
    WHERE balance_before <> COALESCE(last_balance, 0) \
        OR number <> COALESCE(last_number, 0) + 1 \
        OR balance_after <> balance_before + amount \
        OR (kind = 'consume' AND amount <> -1)";
/// What was granted, less what the lines of the ledger took, is not what the account has.
const WRONG_BALANCES: &str = "SELECT COUNT(*) FROM credit_balances b \
    LEFT JOIN (SELECT customer_id, unit, SUM(granted) AS granted, \
        SUM(granted - spent - held - expired - revoked) AS remaining \
        FROM credit_grants GROUP BY customer_id, unit) g \
        ON g.customer_id = b.customer_id AND g.unit = b.unit \
    LEFT JOIN (SELECT customer_id, unit, COUNT(*) AS line_count, \
        SUM(CASE WHEN kind = 'consume' THEN amount ELSE 0 END) AS consumed \
        FROM credit_entries GROUP BY customer_id, unit) e \
        ON e.customer_id = b.customer_id AND e.unit = b.unit \
    WHERE b.available <> COALESCE(g.granted, 0) + COALESCE(e.consumed, 0) \
        OR b.available <> COALESCE(g.remaining, 0) \
        OR b.entries <> COALESCE(e.line_count, 0)";

/// Lots and lines of accounts that have no balance.
const MISSING_ACCOUNTS: &str = "SELECT COUNT(*) FROM ( \
        SELECT customer_id, unit FROM credit_grants UNION \
        SELECT customer_id, unit FROM credit_entries) a \
    WHERE NOT EXISTS (SELECT 1 FROM credit_balances b \
        WHERE b.customer_id = a.customer_id AND b.unit = a.unit)";

/// One number that was found, and whether it should be zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub name: String,
    pub count: u64,
    pub is_fault: bool,
    examples: Vec<String>,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Audit {
    pub findings: Vec<Finding>,
}

impl Audit {
    /// Compares, once nothing moves any more.
    pub async fn of(crowd: &Crowd, database: &Database) -> Result<Self> {
        let mut audit = Self::default();
        let [by_event, by_session] = crowd.purchases_by();
        let mut lines = Found::of(&crowd.consumes);
        let asked = |line: &str| {
            let (key, account) = line.rsplit_once('@')?;
            numbered(key, KEY).filter(|number| crowd.account(*number) == account)
        };
        database.each_text(LINES, |line| lines.add(line, asked(line))).await?;
        audit.compare("consumes", &crowd.consumes, lines);

        let mut events = Found::of(&crowd.events);
        let mut paid = Found::of(&crowd.purchases);
        let tell = |id: &str| match by_event.get(id) {
            Some(number) => paid.add(id, Some(*number)),
            None => events.add(id, numbered(id, EVENT)),
        };
        database.each_text(EVENTS, tell).await?;
        audit.compare("events", &crowd.events, events);
        audit.compare("purchase_events", &crowd.purchases, paid);

        let mut lots = Found::of(&crowd.purchases);
        database.each_text(LOTS, |session| lots.add(session, found(&by_session, session))).await?;
        audit.compare("purchases", &crowd.purchases, lots);

        let wrong = [
            ("events_unsettled", UNSETTLED),
            ("lines_broken", BROKEN_LINES),
            ("balances_wrong", WRONG_BALANCES),
            ("accounts_missing", MISSING_ACCOUNTS),
        ];
        for (name, text) in wrong {
            let count = u64::try_from(database.number(text).await?)?;
            audit.add(name.to_owned(), count, true, Vec::new());
        }
        Ok(audit)
    }

    fn compare(&mut self, noun: &str, log: &Log, found: Found) {
        let told = log.told();
        if told.is_empty() && found.unknown.is_empty() {
            return;
        }
        let numbers = |is_meant: &dyn Fn(Told, u8) -> bool| -> Vec<usize> {
            let both = told.iter().zip(&found.counts).enumerate();
            both.filter(|(_, (told, count))| is_meant(**told, **count)).map(|(n, _)| n).collect()
        };
        let answered = numbers(&|told, _| told == Told::Success);
        self.add(format!("{noun}_answered"), answered.len() as u64, false, Vec::new());
        let unheard = numbers(&|told, count| told == Told::GivenUp && 0 < count);
        self.add(format!("{noun}_done_unheard"), unheard.len() as u64, false, Vec::new());
        let lost = numbers(&|told, count| told == Told::Success && count == 0);
        self.add_numbers(format!("{noun}_lost"), &lost);
        self.add_numbers(format!("{noun}_doubled"), &numbers(&|_, count| 1 < count));
        self.add_numbers(format!("{noun}_unfinished"), &numbers(&|told, _| told == Told::Nothing));
        let unknown = found.unknown.len() as u64 + found.more_unknown;
        self.add(format!("{noun}_of_nobody"), unknown, true, found.unknown);
    }

    fn add_numbers(&mut self, name: String, numbers: &[usize]) {
        let examples = numbers.iter().take(EXAMPLES).map(usize::to_string).collect();
        self.add(name, numbers.len() as u64, true, examples);
    }

    fn add(&mut self, name: String, count: u64, is_fault: bool, examples: Vec<String>) {
        self.findings.push(Finding { name, count, is_fault, examples });
    }

    /// What was found under a name.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.findings.iter().find(|one| one.name == name).map(|one| one.count)
    }

    /// What is not as it should be, with a few examples.
    pub fn faults(&self) -> Vec<String> {
        let faults = self.findings.iter().filter(|one| one.is_fault && 0 < one.count);
        faults.map(|one| format!("{}: {} {:?}", one.name, one.count, one.examples)).collect()
    }

    pub fn ensure_clean(&self) -> Result<()> {
        let faults = self.faults();
        ensure!(faults.is_empty(), "{}", faults.join("; "));
        Ok(())
    }

    /// As rows of a table: what was found, and what should be nothing.
    pub fn rows(&self, what: &str, backend: Backend) -> Vec<Row> {
        let row = |one: &Finding| {
            let name = format!("{what}_{}", one.name);
            let row = Row::new(&name, Some(backend), "", one.count as f64);
            row.held_to(if one.is_fault { Target::AtMost(0.0) } else { Target::None })
        };
        self.findings.iter().map(row).collect()
    }
}

/// How often the database holds each wish.
struct Found {
    counts: Vec<u8>,
    unknown: Vec<String>,
    more_unknown: u64,
}

impl Found {
    fn of(log: &Log) -> Self {
        Self { counts: vec![0; log.told().len()], unknown: Vec::new(), more_unknown: 0 }
    }

    fn add(&mut self, text: &str, number: Option<usize>) {
        match number.and_then(|number| self.counts.get_mut(number)) {
            Some(count) => *count = count.saturating_add(1),
            None if self.unknown.len() < EXAMPLES => self.unknown.push(text.to_owned()),
            None => self.more_unknown += 1,
        }
    }
}

fn numbered(text: &str, prefix: &str) -> Option<usize> {
    text.strip_prefix(prefix)?.parse().ok()
}

fn found(by: &HashMap<&str, usize>, key: &str) -> Option<usize> {
    by.get(key).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(counts: &[u8], unknown: &[&str]) -> Audit {
        let log = Log::default();
        for told in [Told::Success, Told::Success, Told::GivenUp, Told::GivenUp] {
            let number = log.begin();
            log.note(number, told);
        }
        let mut found = Found::of(&log);
        found.counts.copy_from_slice(counts);
        unknown.iter().for_each(|text| found.add(text, None));
        let mut audit = Audit::default();
        audit.compare("lines", &log, found);
        audit
    }

    #[test]
    fn what_was_promised_is_there_once_and_what_was_not_at_most_once() {
        let clean = audit(&[1, 1, 0, 1], &[]);
        assert_eq!(clean.faults(), Vec::<String>::new());
        assert_eq!(clean.count("lines_done_unheard"), Some(1));
    }

    #[test]
    fn what_is_lost_or_doubled_or_of_nobody_is_told() {
        assert_eq!(audit(&[1, 0, 0, 0], &[]).faults(), ["lines_lost: 1 [\"1\"]"]);
        assert_eq!(audit(&[1, 1, 2, 0], &[]).faults(), ["lines_doubled: 1 [\"2\"]"]);
        assert_eq!(audit(&[1, 1, 0, 0], &["x"]).faults(), ["lines_of_nobody: 1 [\"x\"]"]);
    }
}
