//! A small picture of the last days, drawn without a script, and the same as a table.

use domain::time::Timestamp;
use engine::overviews::EventDay;
use maud::{Markup, html};
use store::inbox::InboxState;

const WIDTH: i64 = 480;
const HEIGHT: i64 = 150;
/// Room for the labels above and below the bars.
const TOP: i64 = 20;
const BOTTOM: i64 = 22;
const GAP: i64 = 6;
/// From the ground up.
const STACK: [InboxState; 4] =
    [InboxState::Applied, InboxState::Ignored, InboxState::Pending, InboxState::Parked];

fn count(day: &EventDay, state: InboxState) -> i64 {
    day.counts.iter().find(|(one, _)| *one == state).map_or(0, |(_, count)| *count)
}

fn total(day: &EventDay) -> i64 {
    day.counts.iter().map(|(_, count)| count).sum()
}

/// The parts of one day's bar: state, upper edge, height. What is there at all can be seen.
fn parts(day: &EventDay, most: i64) -> Vec<(InboxState, i64, i64)> {
    let room = HEIGHT - TOP - BOTTOM;
    let mut ground = HEIGHT - BOTTOM;
    let mut found = Vec::new();
    for state in STACK {
        let count = count(day, state);
        if 0 < count {
            let height = (count * room / most.max(1)).max(2);
            ground -= height;
            found.push((state, ground, height));
        }
    }
    found
}

fn label(at: Timestamp) -> String {
    at.date().strftime("%-d %b").to_string()
}

/// Events per day, stacked by state.
pub fn events(days: &[EventDay]) -> Markup {
    let most = days.iter().map(total).max().unwrap_or(0);
    let received: i64 = days.iter().map(total).sum();
    let step = WIDTH / i64::try_from(days.len()).unwrap_or(1).max(1);
    let bars = || (0_i64..).zip(days);
    html! {
        figure .chart {
            figcaption { (received) " events received in the last " (days.len()) " days" }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
                aria-label="Events per day by state; the table below holds the numbers" {
                line .axis x1="0" x2=(WIDTH) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
                @for (index, day) in bars() {
                    @for (state, y, height) in parts(day, most) {
                        rect .{ "bar-" (state.as_str()) } x=(index * step + GAP / 2) y=(y)
                            width=(step - GAP) height=(height) {}
                    }
                    @if total(day) == most && 0 < most {
                        text x=(index * step + step / 2) y=(TOP - 6) text-anchor="middle" {
                            (most)
                        }
                    }
                }
                @if let (Some(first), Some(last)) = (days.first(), days.last()) {
                    text x="0" y=(HEIGHT - 6) { (label(first.begins_at)) }
                    text x=(WIDTH) y=(HEIGHT - 6) text-anchor="end" { (label(last.begins_at)) }
                }
            }
            ul .legend {
                @for state in STACK {
                    li { span .{ "key bar-" (state.as_str()) } {} (state.as_str()) }
                }
            }
            details { summary { "The numbers" } (table(days)) }
        }
    }
}

fn table(days: &[EventDay]) -> Markup {
    html! {
        div .scroll role="region" aria-label="Events per day" tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Day (UTC)" }
                    @for state in STACK { th scope="col" .number { (state.as_str()) } }
                } }
                tbody { @for day in days.iter().rev() { tr {
                    td { (label(day.begins_at)) }
                    @for state in STACK { td .number { (count(day, state)) } }
                } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_on_the_ground_and_stay_in_the_picture() {
        let counts = vec![(InboxState::Parked, 1), (InboxState::Applied, 1_000_000)];
        let day = EventDay { begins_at: Timestamp::from_seconds(0), counts };
        let parts = parts(&day, total(&day));
        let (first, last) = (&parts[0], &parts[1]);
        assert_eq!((first.0, first.1 + first.2), (InboxState::Applied, HEIGHT - BOTTOM));
        assert_eq!((last.0, last.2), (InboxState::Parked, 2), "one of a million can be seen");
        assert_eq!(last.1 + last.2, first.1);
        assert!(0 < last.1);
    }
}
