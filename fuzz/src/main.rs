//! `cargo run --release --manifest-path fuzz/Cargo.toml -- form_decoder --seconds 60`: random but
//! repeatable input. A failure prints the case's number; `--case NUMBER` runs it again alone.

mod api_calls;
mod doors;
mod expand_paths;
mod form_decoder;
mod idempotency_replay;
mod random;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use doors::Door;
use random::Random;

/// A sandbox remembers every account, so it is thrown away after so many cases.
const CASES_PER_SANDBOX: u64 = 200;
/// The case under way, for the message of a panic.
static CASE: AtomicU64 = AtomicU64::new(0);
const REPORT_EVERY: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Arguments {
    target: Target,
    /// How long to go on.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The number of the first case.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run this case only.
    #[arg(long)]
    case: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Target {
    ApiCalls,
    ExpandPaths,
    FormDecoder,
    IdempotencyReplay,
}

/// What a target keeps from case to case.
struct Stage {
    door: Door,
    shown: Option<expand_paths::Shown>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let target = arguments.target;
    // A panic inside a handler would be answered with a 500; here it ends everything.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        eprintln!("{target:?}: case {}", CASE.load(Ordering::SeqCst));
        std::process::abort();
    }));
    let length = Duration::from_secs(arguments.seconds);
    let started = Instant::now();
    let mut reported = started;
    let mut number = arguments.case.unwrap_or(arguments.seed);
    let mut count = 0_u64;
    let calls = match target {
        Target::ApiCalls => Some(api_calls::Calls::read()?),
        _ => None,
    };
    let mut stage = Stage::set(target).await?;
    while started.elapsed() < length {
        if count % CASES_PER_SANDBOX == CASES_PER_SANDBOX - 1 && target != Target::FormDecoder {
            stage = Stage::set(target).await?;
        }
        CASE.store(number, Ordering::SeqCst);
        case(target, &stage, calls.as_ref(), number)
            .await
            .with_context(|| format!("case {number}"))?;
        count += 1;
        if arguments.case.is_some() {
            break;
        }
        if REPORT_EVERY < reported.elapsed() {
            reported = Instant::now();
            eprintln!("{target:?}: {count} cases up to {number}");
        }
        number += 1;
    }
    if let Some(calls) = &calls {
        eprintln!("{target:?}: {}", calls.summary());
    }
    eprintln!("{target:?}: {count} cases without a failure, {:?}", started.elapsed());
    Ok(())
}

impl Stage {
    async fn set(target: Target) -> Result<Stage> {
        let door = Door::open().await?;
        let shown = match target {
            Target::ExpandPaths => Some(expand_paths::prepare(&door).await?),
            _ => None,
        };
        Ok(Stage { door, shown })
    }
}

async fn case(
    target: Target,
    stage: &Stage,
    calls: Option<&api_calls::Calls>,
    number: u64,
) -> Result<()> {
    let mut random = Random::new(number);
    match (target, &stage.shown, calls) {
        (Target::FormDecoder, ..) => form_decoder::run(&mut random),
        (Target::IdempotencyReplay, ..) => {
            idempotency_replay::run(&stage.door.account(number), &mut random).await
        }
        (_, Some(shown), _) => expand_paths::run(&stage.door, shown, &mut random).await,
        (_, _, Some(calls)) => calls.run(&stage.door.account(number), &mut random).await,
        _ => Ok(()),
    }
}
