//! Instants, half-open periods and calendar arithmetic that keeps its anchor day.
//!
//! It refuses to know what time it is: every instant comes in from the caller's clock.

use jiff::civil::Date;
use jiff::{Span, tz::TimeZone};

/// An instant in microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The first instant a calendar can carry forward: 9999-01-01.
const LATEST_SECONDS: i64 = 253_370_764_800;

/// The seconds of a span such as `90s`, `15m`, `12h` or `30d`.
///
/// ```
/// assert_eq!(domain::time::span_seconds("2m"), Some(120));
/// assert_eq!(domain::time::span_seconds("2"), None);
/// ```
pub fn span_seconds(text: &str) -> Option<u32> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number = digits.parse::<u32>().ok().filter(|number| 0 < *number)?;
    number.checked_mul(unit_seconds)
}

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds, as providers send them; saturates outside the calendar.
    ///
    /// ```
    /// assert_eq!(domain::time::Timestamp::from_seconds(2).micros(), 2_000_000);
    /// assert!(domain::time::Timestamp::from_seconds(i64::MAX).micros() > 0);
    /// ```
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.clamp(-LATEST_SECONDS, LATEST_SECONDS) * 1_000_000)
    }

    /// An instant in RFC 3339, or the beginning of a date in UTC.
    ///
    /// ```
    /// use domain::time::Timestamp;
    /// assert_eq!(Timestamp::parse("1970-01-02"), Some(Timestamp::from_seconds(86_400)));
    /// assert_eq!(Timestamp::parse("yesterday"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let at = match text.parse::<jiff::Timestamp>() {
            Ok(at) => at,
            Err(_) => text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
        };
        Some(Self(at.as_microsecond()))
    }

    /// Microseconds since the epoch: the form the database keeps.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch: the form providers speak.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Later by `seconds`; saturates.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    fn to_jiff(self) -> jiff::Timestamp {
        let limit = LATEST_SECONDS * 1_000_000;
        jiff::Timestamp::from_microsecond(self.0.clamp(-limit, limit))
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// The calendar date in UTC.
    pub fn date(self) -> Date {
        self.to_jiff().to_zoned(TimeZone::UTC).date()
    }
}

/// RFC 3339 in UTC with a zone, for people and JSON.
///
/// ```
/// let at = domain::time::Timestamp::from_seconds(0);
/// assert_eq!(at.to_string(), "1970-01-01T00:00:00Z");
/// ```
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_jiff().fmt(f)
    }
}

/// A billing or grant interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    /// The field's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
            Unit::Year => "year",
        }
    }

    /// Reads the field's word; "fortnight" is refused.
    ///
    /// ```
    /// use domain::time::Unit;
    /// assert_eq!(Unit::parse("month"), Some(Unit::Month));
    /// assert_eq!(Unit::parse("fortnight"), None);
    /// ```
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "day" => Some(Unit::Day),
            "week" => Some(Unit::Week),
            "month" => Some(Unit::Month),
            "year" => Some(Unit::Year),
            _ => None,
        }
    }
}

/// How often something recurs: every `count` of `unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    pub unit: Unit,
    pub count: u32,
}

/// `[start, end)`: the end belongs to the next period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Period {
    /// Whether the instant lies inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

impl Interval {
    /// One month, the interval in which allowances are granted unless the price says otherwise.
    pub const MONTH: Interval = Interval { unit: Unit::Month, count: 1 };

    /// The instant `steps` intervals after `anchor`, counted from the anchor itself so that the
    /// thirty-first of January comes back to the thirty-first in March.
    ///
    /// ```
    /// use domain::time::{Interval, Timestamp};
    /// let jan31 = Timestamp::from_seconds(1_738_281_600); // 2025-01-31
    /// assert_eq!(Interval::MONTH.after(jan31, 1).to_string(), "2025-02-28T00:00:00Z");
    /// assert_eq!(Interval::MONTH.after(jan31, 2).to_string(), "2025-03-31T00:00:00Z");
    /// ```
    pub fn after(self, anchor: Timestamp, steps: u32) -> Timestamp {
        let amount = i64::from(self.count) * i64::from(steps);
        let span = match self.unit {
            Unit::Day => Span::new().try_days(amount),
            Unit::Week => Span::new().try_weeks(amount),
            Unit::Month => Span::new().try_months(amount),
            Unit::Year => Span::new().try_years(amount),
        };
        let zoned = anchor.to_jiff().to_zoned(TimeZone::UTC);
        match span.and_then(|span| zoned.checked_add(span)) {
            Ok(later) => Timestamp(later.timestamp().as_microsecond()),
            Err(_) => Timestamp::from_seconds(LATEST_SECONDS),
        }
    }

    /// Every whole or begun interval of `covered` that has started by `now`, oldest first.
    ///
    /// Each begins where the one before it ends; ends are counted from the first start, so that a
    /// clipped month does not shorten those after it.
    ///
    /// A yearly payment that refills monthly yields twelve of these over the year, and a server
    /// that was down for a season yields the missed ones too.
    ///
    /// ```
    /// use domain::time::{Interval, Period, Timestamp, Unit};
    /// let start = Timestamp::from_seconds(0);
    /// let year = Period { start, end: Interval { unit: Unit::Year, count: 1 }.after(start, 1) };
    /// assert_eq!(Interval::MONTH.begun_within(year, start).len(), 1);
    /// assert_eq!(Interval::MONTH.begun_within(year, year.end).len(), 12);
    /// ```
    pub fn begun_within(self, covered: Period, now: Timestamp) -> Vec<Period> {
        let mut periods = Vec::new();
        for step in 0..MAX_GRANT_PERIODS {
            let start = match periods.last() {
                None => covered.start,
                Some(Period { end, .. }) => *end,
            };
            if start >= covered.end || now < start {
                break;
            }
            let end = self.end_within(covered, step);
            if end <= start {
                break;
            }
            periods.push(Period { start, end });
        }
        periods
    }

    /// Where an interval of `covered` ends. A period anchored on the thirty-first that was clipped
    /// to a shorter month is some days longer than its own first day suggests: those days belong
    /// to it and are no period of their own.
    fn end_within(self, covered: Period, step: u32) -> Timestamp {
        let end = self.after(covered.start, step + 1);
        let clipped = matches!(self.unit, Unit::Month | Unit::Year);
        let tail_end = end.plus_seconds(if clipped { CLIPPED_DAYS_MAX * 86_400 } else { 0 });
        if covered.end <= tail_end { covered.end } else { end }
    }
}

/// The thirty-first of January becomes the twenty-eighth of February.
const CLIPPED_DAYS_MAX: i64 = 3;

/// A ten-year prepayment refilled daily is the most one payment can ask for.
const MAX_GRANT_PERIODS: u32 = 3_700;

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Timestamp {
        let at: jiff::Timestamp = format!("{text}T10:00:00Z").parse().unwrap();
        Timestamp::from_micros(at.as_microsecond())
    }

    #[test]
    fn row_125_months_and_years_keep_their_anchor() {
        let cases = [
            ("2024-01-31", Interval::MONTH, 1, "2024-02-29"),
            ("2025-01-31", Interval::MONTH, 1, "2025-02-28"),
            ("2025-01-31", Interval::MONTH, 2, "2025-03-31"),
            ("2025-01-31", Interval::MONTH, 3, "2025-04-30"),
            ("2024-02-29", Interval { unit: Unit::Year, count: 1 }, 1, "2025-02-28"),
            ("2024-02-29", Interval { unit: Unit::Year, count: 1 }, 4, "2028-02-29"),
        ];
        for (anchor, interval, steps, expected) in cases {
            assert_eq!(interval.after(day(anchor), steps), day(expected), "{anchor} + {steps}");
        }
    }

    #[test]
    fn the_last_grant_period_ends_with_the_payment() {
        let covered = Period { start: day("2025-01-31"), end: day("2025-03-15") };
        let periods = Interval::MONTH.begun_within(covered, day("2026-01-01"));
        let ends: Vec<_> = periods.iter().map(|period| period.end).collect();
        assert_eq!(ends, [day("2025-02-28"), day("2025-03-15")]);
    }

    #[test]
    fn a_clipped_month_is_one_grant_period() {
        let months = [
            ("2025-01-31", "2025-02-28"),
            ("2025-02-28", "2025-03-31"),
            ("2025-03-31", "2025-04-30"),
            ("2025-04-30", "2025-05-31"),
            ("2024-02-29", "2024-03-30"),
        ];
        for (start, end) in months {
            let covered = Period { start: day(start), end: day(end) };
            let periods = Interval::MONTH.begun_within(covered, day("2026-01-01"));
            assert_eq!(periods, [covered], "{start}");
        }
        let covered = Period { start: day("2027-02-28"), end: day("2028-02-29") };
        assert_eq!(Interval::MONTH.begun_within(covered, day("2029-01-01")).len(), 12);
    }
}
