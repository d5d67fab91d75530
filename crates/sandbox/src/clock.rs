//! The business clock (wall clock plus an adjustable offset) and calendar arithmetic on it.
//! This is the only file of the crate that reads the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

pub const DAY: i64 = 86_400;
pub const MICROS: i64 = 1_000_000;
/// 2200-01-01: far enough for every test, and far from any overflow.
pub const END_OF_TIME: i64 = 7_258_118_400;

#[derive(Clone)]
pub struct Clock {
    offset: Arc<AtomicI64>,
    /// Stands where a simulation puts it.
    wall: Option<Arc<AtomicI64>>,
}

impl Clock {
    pub fn new(offset: Arc<AtomicI64>) -> Clock {
        Clock { offset, wall: None }
    }

    /// Both parts stand until somebody moves them.
    pub fn standing(wall: Arc<AtomicI64>, offset: Arc<AtomicI64>) -> Clock {
        Clock { offset, wall: Some(wall) }
    }

    fn wall_us(&self) -> i64 {
        self.wall.as_ref().map_or_else(wall_us, |wall| wall.load(Ordering::SeqCst))
    }

    /// Business time in whole seconds, as objects carry it.
    pub fn now(&self) -> i64 {
        self.wall_us().saturating_add(self.offset_us()).div_euclid(MICROS)
    }

    pub fn offset_us(&self) -> i64 {
        self.offset.load(Ordering::SeqCst)
    }

    pub fn set_offset_us(&self, offset_us: i64) {
        self.offset.store(offset_us, Ordering::SeqCst);
    }

    /// The offset that makes `instant` be now.
    pub fn offset_for(&self, instant: i64) -> i64 {
        instant.saturating_mul(MICROS).saturating_sub(self.wall_us())
    }
}

/// Wall time in whole seconds: signatures and delivery retries live on it.
pub fn wall() -> i64 {
    wall_us().div_euclid(MICROS)
}

pub fn wall_ms() -> i64 {
    wall_us().div_euclid(1_000)
}

#[expect(clippy::disallowed_methods, reason = "the crate's one clock")]
fn wall_us() -> i64 {
    Timestamp::now().as_microsecond()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    Day,
    Week,
    Month,
    Year,
}

impl Interval {
    pub const NAMES: [&'static str; 4] = ["day", "week", "month", "year"];

    pub fn parse(name: &str) -> Option<Interval> {
        match name {
            "day" => Some(Interval::Day),
            "week" => Some(Interval::Week),
            "month" => Some(Interval::Month),
            "year" => Some(Interval::Year),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Interval::Day => "day",
            Interval::Week => "week",
            Interval::Month => "month",
            Interval::Year => "year",
        }
    }

    /// The longest one interval can be.
    fn longest(self) -> i64 {
        match self {
            Interval::Day => DAY,
            Interval::Week => 7 * DAY,
            Interval::Month => 31 * DAY,
            Interval::Year => 366 * DAY,
        }
    }
}

/// `anchor` moved by `count` intervals in UTC; a day the month lacks becomes its last day.
/// The answer is capped at `END_OF_TIME`.
pub fn add(anchor: i64, interval: Interval, count: i64) -> i64 {
    let span = match interval {
        Interval::Day => Span::new().try_days(count),
        Interval::Week => Span::new().try_weeks(count),
        Interval::Month => Span::new().try_months(count),
        Interval::Year => Span::new().try_years(count),
    };
    let moved = span.and_then(|span| {
        let start = Timestamp::from_second(anchor)?.to_zoned(TimeZone::UTC);
        Ok(start.checked_add(span)?.timestamp().as_second())
    });
    moved.unwrap_or(END_OF_TIME).min(END_OF_TIME)
}

/// The first boundary after `start` of the periods counted from `anchor`. Counting from the anchor
/// keeps 31 January -> 28 February -> 31 March.
pub fn next_boundary(anchor: i64, interval: Interval, interval_count: i64, start: i64) -> i64 {
    let longest = interval.longest().saturating_mul(interval_count.max(1));
    let mut periods = (start.saturating_sub(anchor) / longest).max(0);
    loop {
        periods += 1;
        let boundary = add(anchor, interval, periods.saturating_mul(interval_count.max(1)));
        if start < boundary || boundary == END_OF_TIME {
            return boundary;
        }
    }
}

/// The period around `instant`, of those counted from `anchor` in both directions.
pub fn period_around(
    anchor: i64,
    interval: Interval,
    interval_count: i64,
    instant: i64,
) -> (i64, i64) {
    let count = interval_count.max(1);
    let longest = interval.longest().saturating_mul(count);
    let mut periods = instant.saturating_sub(anchor).div_euclid(longest);
    let boundary = |periods: i64| add(anchor, interval, periods.saturating_mul(count));
    while instant < boundary(periods) && instant < END_OF_TIME {
        periods -= 1;
    }
    loop {
        let (start, end) = (boundary(periods), boundary(periods.saturating_add(1)));
        if instant < end || END_OF_TIME <= end {
            return (start, end);
        }
        periods += 1;
    }
}

/// The first moment after `now` on this day of a month, in UTC; months that lack the day have it
/// on their last. What is not given is as it is now.
pub fn next_day_of_month(now: i64, month: Option<i64>, day: i64, time: [Option<i64>; 3]) -> i64 {
    let found = || {
        let start = Timestamp::from_second(now)?.to_zoned(TimeZone::UTC);
        let part = |given: Option<i64>, own: i8| given.map_or(own, |part| part.clamp(0, 59) as i8);
        let time = jiff::civil::Time::new(
            part(time[0], start.hour()),
            part(time[1], start.minute()),
            part(time[2], start.second()),
            0,
        )?;
        for months in 0..=12 {
            let first = start.date().first_of_month().checked_add(Span::new().months(months))?;
            if month.is_some_and(|month| month != i64::from(first.month())) {
                continue;
            }
            let day = day.clamp(1, i64::from(first.days_in_month())) as i8;
            let date = jiff::civil::Date::new(first.year(), first.month(), day)?;
            let instant = date.to_datetime(time).to_zoned(TimeZone::UTC)?.timestamp().as_second();
            if now < instant {
                return Ok::<i64, jiff::Error>(instant);
            }
        }
        Ok(END_OF_TIME)
    };
    found().unwrap_or(END_OF_TIME)
}

/// Where periods of so many months are counted from so that they fall on this day wherever a month
/// has it: `anchor` itself, or the same time in an earlier month that is long enough.
pub fn long_month_before(anchor: i64, day: i64, months: i64) -> i64 {
    let found = || {
        let start = Timestamp::from_second(anchor)?.to_zoned(TimeZone::UTC);
        for step in 0..=12 {
            let back = Span::new().try_months(step * months.clamp(1, 36))?;
            let first = start.date().first_of_month().checked_sub(back)?;
            if day <= i64::from(first.days_in_month()) {
                let date = first.checked_add(Span::new().try_days(day - 1)?)?;
                let moved = date.to_datetime(start.time()).to_zoned(TimeZone::UTC)?;
                return Ok::<i64, jiff::Error>(moved.timestamp().as_second());
            }
        }
        Ok(anchor)
    };
    found().unwrap_or(anchor)
}

/// A calendar date for people, such as `31 January 2026`.
pub fn date(instant: i64) -> String {
    match Timestamp::from_second(instant) {
        Ok(timestamp) => timestamp.to_zoned(TimeZone::UTC).strftime("%-d %B %Y").to_string(),
        Err(_) => instant.to_string(),
    }
}

/// An instant for people, such as `31 January 2026, 10:00 UTC`.
pub fn minute(instant: i64) -> String {
    match Timestamp::from_second(instant) {
        Ok(timestamp) => {
            timestamp.to_zoned(TimeZone::UTC).strftime("%-d %B %Y, %H:%M UTC").to_string()
        }
        Err(_) => instant.to_string(),
    }
}

/// An instant for programs, such as `2026-01-31T10:00:00Z`.
pub fn exact(instant: i64) -> String {
    Timestamp::from_second(instant).map_or_else(|_| instant.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a valid instant").as_second()
    }

    #[test]
    fn month_ends_come_back() {
        let anchor = at("2026-01-31T10:00:00Z");
        let february = next_boundary(anchor, Interval::Month, 1, anchor);
        assert_eq!(february, at("2026-02-28T10:00:00Z"));
        let march = next_boundary(anchor, Interval::Month, 1, february);
        assert_eq!(march, at("2026-03-31T10:00:00Z"));
        let april = next_boundary(anchor, Interval::Month, 1, march);
        assert_eq!(april, at("2026-04-30T10:00:00Z"));
    }

    #[test]
    fn far_boundaries_are_found_from_the_anchor() {
        let anchor = at("2026-01-15T00:00:00Z");
        let start = at("2046-05-15T00:00:00Z");
        let next = next_boundary(anchor, Interval::Month, 1, start);
        assert_eq!(next, at("2046-06-15T00:00:00Z"));
        let daily = next_boundary(anchor, Interval::Day, 1, start + 5);
        assert_eq!(daily, at("2046-05-16T00:00:00Z"));
    }

    #[test]
    fn periods_go_back_before_their_anchor() {
        let anchor = at("2026-01-31T00:00:00Z");
        let around = |instant: &str| period_around(anchor, Interval::Month, 1, at(instant));
        let december = (at("2025-12-31T00:00:00Z"), anchor);
        assert_eq!(around("2026-01-30T23:59:59Z"), december);
        assert_eq!(around("2025-12-31T00:00:00Z"), december);
        assert_eq!(around("2026-01-31T00:00:00Z"), (anchor, at("2026-02-28T00:00:00Z")));
        let old = (at("2005-02-28T00:00:00Z"), at("2005-03-31T00:00:00Z"));
        assert_eq!(around("2005-03-01T00:00:00Z"), old);
    }

    #[test]
    fn the_31st_comes_back_after_a_shorter_month() {
        let november = at("2026-11-30T12:00:00Z");
        let grid = long_month_before(november, 31, 1);
        assert_eq!(grid, at("2026-10-31T12:00:00Z"));
        let around = period_around(grid, Interval::Month, 1, november);
        assert_eq!(around, (november, at("2026-12-31T12:00:00Z")));
        assert_eq!(long_month_before(november, 30, 1), november);
        let quarterly = long_month_before(at("2027-02-28T12:00:00Z"), 31, 3);
        assert_eq!(quarterly, at("2026-08-31T12:00:00Z"));
    }

    #[test]
    fn the_next_day_of_a_month() {
        let now = at("2026-02-10T08:30:15Z");
        let next = |month, day, hour| next_day_of_month(now, month, day, [hour, None, None]);
        assert_eq!(next(None, 15, None), at("2026-02-15T08:30:15Z"));
        assert_eq!(next(None, 31, Some(0)), at("2026-02-28T00:30:15Z"));
        assert_eq!(next(None, 10, None), at("2026-03-10T08:30:15Z"));
        assert_eq!(next(Some(2), 1, None), at("2027-02-01T08:30:15Z"));
        assert_eq!(next(Some(11), 31, None), at("2026-11-30T08:30:15Z"));
    }

    #[test]
    fn sums_are_capped() {
        assert_eq!(add(0, Interval::Year, i64::MAX), END_OF_TIME);
        assert_eq!(next_boundary(i64::MAX, Interval::Year, i64::MAX, 0), END_OF_TIME);
    }
}
