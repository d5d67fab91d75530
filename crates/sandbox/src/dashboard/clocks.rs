//! The clock on the first page, and the buttons that let time pass.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Form, State as Shared};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::clock::{DAY, Interval};
use crate::dashboard::{self, Outcome};
use crate::requests::Verb;
use crate::{advances, clock, pages};

/// What takes longer than this is shown as it goes on.
const PATIENCE: Duration = Duration::from_millis(700);

const STEPS: [(&str, &str); 4] = [
    ("1d", "Advance a day"),
    ("1w", "Advance a week"),
    ("1mo", "Advance a month"),
    ("period-end", "Jump to the next renewal"),
];

pub fn section(app: &App) -> Markup {
    let now = app.clock.now();
    let moving = app.board.notes().moving;
    html! {
        section aria-labelledby="clock" {
            h2 id="clock" { "Clock" }
            p { "Business time: " strong id="now" { (dashboard::instant(now)) } " (" (now) ")" }
            @match moving {
                Some((from, to)) => {
                    p id="moving" role="status" {
                        "On the way to " (dashboard::instant(to)) ". "
                        a href="/_sandbox" { "Look again" }
                    }
                    progress max=(to - from) value=(now - from) aria-labelledby="moving" {}
                }
                None => {
                    form method="post" action="/_sandbox/forms/advance" {
                        div class="row" {
                            @for (by, name) in STEPS {
                                button type="submit" name="by" value=(by) { (name) }
                            }
                        }
                    }
                    form method="post" action="/_sandbox/forms/advance" {
                        label for="by" { "Another span: 15m, 12h, 30d, 2w, 1mo or 1y" }
                        div class="row" {
                            input id="by" name="by" required size="6";
                            button type="submit" { "Advance" }
                        }
                    }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub struct Advance {
    by: String,
}

pub async fn advance(Shared(app): Shared<Arc<App>>, Form(form): Form<Advance>) -> Response {
    let going = tokio::spawn(async move {
        let outcome = match advances::advance(&app, &form.by).await {
            Ok(report) => Outcome::Done(told(&report)),
            Err(error) => Outcome::Failed(format!("The clock did not get there: {error}.")),
        };
        app.board.notes().outcome = Some(outcome);
    });
    // Most advances are over at once; the page shows the others on their way.
    let _ = tokio::time::timeout(PATIENCE, going).await;
    pages::go("/_sandbox")
}

fn told(report: &Value) -> String {
    let now = report["now"].as_i64().unwrap_or_default();
    format!("It is now {}; {} events on the way.", clock::minute(now), report["events"])
}

#[derive(Deserialize)]
pub struct AdvanceTestClock {
    id: String,
    by: String,
}

/// Test clocks go their own way, as the API moves them.
pub async fn advance_test_clock(
    Shared(app): Shared<Arc<App>>,
    Form(form): Form<AdvanceTestClock>,
) -> Response {
    let account = app.holder_of(&form.id);
    let frozen = app.read(&account, |state| {
        state.test_clocks.get(&form.id).map(|test_clock| test_clock.frozen_time)
    });
    let Some(frozen) = frozen else {
        return pages::not_found();
    };
    let target = match form.by.as_str() {
        "1d" => frozen.saturating_add(DAY),
        "1w" => frozen.saturating_add(7 * DAY),
        _ => clock::add(frozen, Interval::Month, 1),
    };
    let path = format!("test_helpers/test_clocks/{}/advance", form.id);
    let sent =
        dashboard::ask(&app, &account, Verb::Post, &path, &format!("frozen_time={target}")).await;
    if let Some(Err(error)) = sent {
        app.board.failed(error.message());
    }
    pages::go(&format!("/_sandbox/objects/{}", form.id))
}
