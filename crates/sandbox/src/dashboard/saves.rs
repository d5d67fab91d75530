//! Saving everything to a file, loading it again, and starting anew.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use maud::html;

use crate::app::App;
use crate::{dashboard, pages, states};

pub async fn show(Shared(app): Shared<Arc<App>>) -> Response {
    let body = html! {
        p {
            "All accounts and the clock, as one file of JSON lines. Programs use "
            code { "tollgate sandbox save FILE" } ", " code { "load FILE" } " and "
            code { "reset" } "."
        }
        section aria-labelledby="save" {
            h2 id="save" { "Save" }
            p { a href="/_sandbox/save" download="sandbox.jsonl" { "Download the state" } }
        }
        section aria-labelledby="load" {
            h2 id="load" { "Load" }
            p { "What the file holds takes the place of everything that is here." }
            form method="post" action="/_sandbox/forms/load" enctype="multipart/form-data" {
                label for="file" { "A saved file" }
                div class="row" {
                    input id="file" name="file" type="file" required;
                    button type="submit" { "Load" }
                }
            }
        }
        section aria-labelledby="reset" {
            h2 id="reset" { "Reset" }
            p {
                "Every object of every account is forgotten, webhook endpoints, too. A running "
                code { "tollgate dev" } " has to be started with " code { "--fresh" }
                " afterwards."
            }
            form method="post" action="/_sandbox/forms/reset" {
                p {
                    label for="sure" {
                        input id="sure" name="sure" type="checkbox" value="yes" required;
                        " I want to lose everything here"
                    }
                }
                button type="submit" { "Forget everything" }
            }
        }
    };
    dashboard::page(&app, "/_sandbox/saves", "Save and load", body)
}

pub async fn load(Shared(app): Shared<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match file_in(kind.unwrap_or_default(), &body) {
        None => app.board.failed("No file was sent."),
        Some(file) => match states::replace(&app, file).await {
            Ok(rows) => app.board.done(format!("{rows} rows were loaded.")),
            Err(error) => app.board.failed(format!("Nothing was loaded: {error}.")),
        },
    }
    pages::go("/_sandbox/saves")
}

/// The content of the one file of a form, between its boundaries.
fn file_in<'a>(content_type: &str, body: &'a [u8]) -> Option<&'a [u8]> {
    let (_, boundary) = content_type.split_once("boundary=")?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    let start = find(body, b"\r\n\r\n")? + 4;
    let end = find(&body[start..], format!("\r\n--{boundary}").as_bytes())? + start;
    Some(&body[start..end]).filter(|file| !file.is_empty())
}

fn find(body: &[u8], wanted: &[u8]) -> Option<usize> {
    body.windows(wanted.len()).position(|window| window == wanted)
}

pub async fn reset(Shared(app): Shared<Arc<App>>) -> Response {
    match states::forget(&app).await {
        Ok(()) => app.board.done("Everything is forgotten."),
        Err(error) => app.board.failed(format!("Nothing was forgotten: {error}.")),
    }
    pages::go("/_sandbox")
}

#[cfg(test)]
mod tests {
    use super::file_in;

    #[test]
    fn a_file_is_found_in_its_form() {
        let body =
            b"--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\na\n\r\nb\r\n--x--\r\n";
        let kind = "multipart/form-data; boundary=x";
        assert_eq!(file_in(kind, body), Some(&b"a\n\r\nb"[..]));
        assert_eq!(file_in(kind, b"--x\r\n\r\n\r\n--x--"), None);
        assert_eq!(file_in(kind, b"nothing"), None);
        assert_eq!(file_in("text/plain", body), None);
    }
}
