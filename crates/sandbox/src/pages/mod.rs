//! Hosted pages: server-rendered, without scripts, marked as a simulation.

pub mod authentication;
pub mod checkout;
pub mod invoice;
pub mod portal;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{DOCTYPE, Markup, html};

pub const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1a1f36; --paper: #fff; --soft: #f3f5f9; --line: #8a93a6;
  --accent: #4338ca; --on-accent: #fff; --bad: #b3172f; --muted: #535b70; --mark: #fff3cd;
  --mark-ink: #5c4400; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaf2; --paper: #14171f; --soft: #1f2430;
  --line: #7b8499; --accent: #a5a0ff; --on-accent: #14171f; --bad: #ff9aa8; --muted: #aab2c5;
  --mark: #463800; --mark-ink: #ffe9a8; } }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--soft); }
.mark { margin: 0; padding: .5rem 1rem; text-align: center; background: var(--mark);
  color: var(--mark-ink); }
main { max-width: 34rem; margin: 1.5rem auto; padding: 1.5rem; background: var(--paper);
  border-radius: .75rem; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; } h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; padding: .4rem .25rem; border-bottom: 1px solid var(--line);
  vertical-align: top; } td { overflow-wrap: anywhere; } caption { text-align: left; }
td.amount, th.amount { text-align: right; white-space: nowrap; }
label { display: block; margin: .9rem 0 .25rem; font-weight: 600; }
input { width: 100%; padding: .6rem .7rem; font: inherit; color: inherit;
  background: var(--paper); border: 1px solid var(--line); border-radius: .5rem; }
::placeholder { color: var(--muted); opacity: 1; }
fieldset { margin: 1rem 0 0; padding: .5rem 1rem 1rem; border: 1px solid var(--line);
  border-radius: .5rem; } legend { font-weight: 600; padding: 0 .25rem; }
label.choice { font-weight: 400; display: flex; gap: .6rem; align-items: baseline; }
label.choice input { width: auto; } ul.plain { list-style: none; padding: 0; }
ul.plain li { padding: .5rem 0; border-bottom: 1px solid var(--line); }
form:has(#method_card:checked) .way:not(.by_card),
form:has(#method_bank:checked) .way:not(.by_bank),
form:has(#method_boleto:checked) .way:not(.by_boleto) { display: none; }
.grow { flex: 1; min-width: 10rem; width: auto; }
textarea { width: 100%; padding: .6rem .7rem; font: inherit; color: inherit;
  background: var(--paper); border: 1px solid var(--line); border-radius: .5rem; }
input[readonly] { background: var(--soft); }
button { font: inherit; font-weight: 600; padding: .7rem 1.1rem; border-radius: .5rem;
  border: 1px solid var(--accent); cursor: pointer; background: var(--paper);
  color: var(--accent); }
button.main { width: 100%; margin-top: 1.25rem; background: var(--accent);
  color: var(--on-accent); }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1rem; }
.alert { padding: .7rem 1rem; border: 2px solid var(--bad); border-radius: .5rem;
  color: var(--bad); font-weight: 600; }
.muted { color: var(--muted); } .row { display: flex; flex-wrap: wrap; gap: .75rem; }
@media (max-width: 36rem) { main { margin: 0; border-radius: 0; padding: 1rem; } }
@media print { .mark, nav { display: none; } body { background: none; } }
";

pub fn page(status: StatusCode, title: &str, body: Markup) -> Response {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) " · Tollgate sandbox" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                header class="mark" { "Tollgate sandbox — simulated, no real money" }
                main { (body) }
            }
        }
    };
    let mut response = (status, document).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                  base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page(
        status,
        title,
        html! {
            h1 { (title) }
            p { (text) }
        },
    )
}

pub fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "Not found", "This link does not lead anywhere.")
}

/// After a form, the browser asks for the next page anew.
pub fn go(target: &str) -> Response {
    // A header cannot hold every text; what cannot be a target is no page of ours.
    if HeaderValue::from_str(target).is_err() {
        return not_found();
    }
    Redirect::to(target).into_response()
}
