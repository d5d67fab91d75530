//! Every size and time limit of the HTTP face, by name, and the one way to read a body within one.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use domain::codes::Code;
use futures::StreamExt;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Bodies of ordinary API requests and of forms.
pub const API_BODY_BYTES: usize = 1_000_000;
/// A stored document: five megabytes of text and its vector.
pub const DOCUMENT_BODY_BYTES: usize = 5_000_000;
/// A signed event; providers stay far below.
pub const WEBHOOK_BODY_BYTES: usize = 1_000_000;
/// How much of a body that is too large is still read, so that the sender hears the answer instead
/// of a closed connection.
const DRAINED_BYTES: usize = 32_000_000;
/// A token's or a key's length in the `Authorization` header.
pub const TOKEN_BYTES: usize = 8_192;
/// The end user's name in a token.
pub const SUBJECT_BYTES: usize = 255;
/// Our ids and the provider's.
pub const ID_BYTES: usize = 255;
/// `Idempotency-Key`, in visible ASCII.
pub const IDEMPOTENCY_KEY_BYTES: usize = 255;
/// No request may take longer; a clock step waits for its webhooks and gets more.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take to say what it wants; also how long an idle connection is kept.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The line and the headers of a request.
pub const HEADER_BYTES: usize = 65_536;
/// How many clients may be connected at once.
pub const CONNECTIONS: usize = 10_000;
/// How many open files are kept for everything that is no client's connection.
pub const FILES_RESERVED: usize = 200;
/// How long a client may read nothing of its answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bodies up to here are bounded by the connections; of larger ones so many are read at once, and
/// the others wait for their turn.
const SMALL_BODY_BYTES: usize = 65_536;
static LARGE_BODIES: Semaphore = Semaphore::const_new(128);
/// Monitors give up soon; a database that needs longer to answer them is as good as away.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a clock step may wait until everything it caused is applied.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(25);
/// How long requests in flight may take after the signal to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the success page waits for the provider; a buyer who has just paid must see a page.
pub const PROVIDER_WAIT: Duration = Duration::from_secs(2);
/// How often the success page asks again, and how many times.
pub const POLL_SECONDS: u32 = 2;
pub const POLLS: u32 = 30;
/// Pages show the newest so many payments.
pub const SHOWN_PAYMENTS: u32 = 12;
/// Operators' lists show so many rows at once, their picture so many days.
pub const SHOWN_ROWS: u32 = 50;
pub const SHOWN_DAYS: u32 = 14;
/// Payloads that are longer are folded.
pub const SHOWN_PAYLOAD_LINES: usize = 60;

/// The whole body, or the refusal of one that is too large.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {limit} bytes");
        Problem::new(Code::PayloadTooLarge, detail)
    };
    // What the sender announces need not be waited for.
    if DRAINED_BYTES as u64 <= body.size_hint().lower() {
        return Err(too_large());
    }
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut turn = None;
    let mut seen = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else {
            return Err(Problem::new(Code::InvalidRequest, "the body ended early"));
        };
        seen = seen.saturating_add(chunk.len());
        if limit < seen {
            (bytes, turn) = (Vec::new(), None);
            if DRAINED_BYTES < seen {
                break;
            }
        } else {
            if SMALL_BODY_BYTES < seen && turn.is_none() {
                turn = LARGE_BODIES.acquire().await.ok();
            }
            bytes.extend_from_slice(&chunk);
        }
    }
    if limit < seen {
        return Err(too_large());
    }
    Ok(Bytes::from(bytes))
}
