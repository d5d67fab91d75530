//! The long runs: `cargo xtask sim` and `cargo xtask orders` start this.

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use sim::orders::{SHAPES, Sample, Told};
use sim::stories::Story;
use sim::years::{self, Broken, Summary};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

#[derive(Parser)]
#[command(name = "sim", about = "A shop's year under faults, audited")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play years, one for each seed.
    Years {
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many seeds.
        #[arg(long, default_value_t = 1)]
        seeds: u64,
        /// Into how many steps a year is cut.
        #[arg(long, default_value_t = 120)]
        steps: u64,
        /// Threads; one for each core unless said otherwise.
        #[arg(long)]
        threads: Option<usize>,
        /// Show every line of the journal when a seed fails, and go on after a failure.
        #[arg(long)]
        keep_going: bool,
    },
    /// Tell six stories in every order, in every shape, with one event lost.
    Orders {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many of the orders of the essential events, at most.
        #[arg(long, default_value_t = 120)]
        permutations: usize,
        /// How many shuffles of all events.
        #[arg(long, default_value_t = 2_000)]
        shuffles: usize,
        /// Only the stories whose names begin so: "renewal", "first", …
        #[arg(long)]
        story: Vec<String>,
    },
}

/// Every order of the stories' events.
fn orders(seed: u64, permutations: usize, shuffles: usize, wanted: &[String]) -> Result<()> {
    let is_wanted = |story: &Story| wanted.iter().any(|word| story.name().starts_with(word));
    let stories: Vec<Story> =
        Story::ALL.into_iter().filter(|story| wanted.is_empty() || is_wanted(story)).collect();
    if stories.is_empty() {
        bail!("no story begins so; there are {}", Story::ALL.map(Story::name).join(", "));
    }
    let shapes = &SHAPES;
    let sample = Sample { seed, permutations, shuffles, shapes };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let (told, broken) = (AtomicU64::new(0), AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(story) = stories.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let outcome = runtime().and_then(|runtime| {
                        runtime.block_on(story_in_all_orders(*story, sample, &told, &broken))
                    });
                    if let Err(error) = outcome {
                        eprintln!("{}: {error:#}", story.name());
                        broken.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let (told, broken) = (told.into_inner(), broken.into_inner());
    eprintln!("{told} tellings in {:.1} s", started.elapsed().as_secs_f32());
    if 0 < broken {
        bail!("{broken} of {told} tellings ended otherwise than the clean one");
    }
    eprintln!("every telling ended as the clean one");
    Ok(())
}

const SHOWN_FAILURES: u64 = 3;

async fn story_in_all_orders(
    story: Story,
    sample: Sample,
    told: &AtomicU64,
    broken: &AtomicU64,
) -> Result<()> {
    let started = Instant::now();
    let mut played = Told::play(story, sample.seed).await?;
    let tellings = played.tellings(story, sample);
    let mut failures = 0;
    for telling in &tellings {
        let found = played.check(telling).await?;
        told.fetch_add(1, Ordering::SeqCst);
        if found.is_empty() {
            continue;
        }
        failures += 1;
        broken.fetch_add(1, Ordering::SeqCst);
        if failures <= SHOWN_FAILURES {
            eprintln!("{}, {}", story.name(), played.named(telling));
            found.iter().for_each(|line| eprintln!("  {line}"));
        }
    }
    eprintln!(
        "{}: {} events, {} tellings, {failures} ended otherwise, {:.1} s",
        story.name(),
        played.count(),
        tellings.len(),
        started.elapsed().as_secs_f32()
    );
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

#[derive(Default)]
struct Total {
    events: u64,
    deaths: u64,
    faults: u64,
    steps: u64,
    audits: u64,
}

impl Total {
    fn add(&mut self, year: &Summary) {
        self.events += year.events;
        self.deaths += year.deaths;
        self.faults += year.faults;
        self.steps += year.steps;
        self.audits += year.audits;
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Years { seed, seeds, steps, threads, keep_going } => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            play(seed, seeds, steps, threads.unwrap_or(cores), keep_going)
        }
        Command::Orders { seed, permutations, shuffles, story } => {
            orders(seed, permutations, shuffles, &story)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(first: u64, seeds: u64, steps: u64, threads: usize, keep_going: bool) -> Result<()> {
    let (next, done) = (AtomicU64::new(first), AtomicU64::new(0));
    let (total, broken) = (Mutex::new(Total::default()), Mutex::new(Vec::new()));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    let stopped = !keep_going && broken.lock().is_ok_and(|found| !found.is_empty());
                    if first + seeds <= seed || stopped {
                        return;
                    }
                    match one(seed, steps) {
                        Ok(year) => {
                            if let Ok(mut total) = total.lock() {
                                total.add(&year);
                            }
                        }
                        Err(failure) => {
                            report(&failure);
                            if let Ok(mut found) = broken.lock() {
                                found.push(failure.seed);
                            }
                        }
                    }
                    let done = done.fetch_add(1, Ordering::SeqCst) + 1;
                    if done.is_multiple_of(50) || done == seeds {
                        let seconds = started.elapsed().as_secs_f32();
                        eprintln!("{done} of {seeds} years, {seconds:.1} s");
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_default();
    let broken = broken.into_inner().unwrap_or_default();
    eprintln!(
        "{} events, {} faults, {} deaths, {} steps, {} audits in {:.1} s",
        total.events,
        total.faults,
        total.deaths,
        total.steps,
        total.audits,
        started.elapsed().as_secs_f32()
    );
    if !broken.is_empty() {
        bail!("{} of {seeds} years broke an invariant: seeds {broken:?}", broken.len());
    }
    eprintln!("{seeds} years, no invariant broken");
    Ok(())
}

/// A year on a runtime of its own, so that nothing but its seed decides what happens.
fn one(seed: u64, steps: u64) -> Result<Summary, Box<Broken>> {
    match runtime() {
        Ok(runtime) => runtime.block_on(years::play(seed, steps)),
        Err(error) => {
            let message = error.to_string();
            Err(Box::new(Broken { seed, steps, message, last_lines: Vec::new() }))
        }
    }
}

fn report(failure: &Broken) {
    eprintln!();
    for line in &failure.last_lines {
        eprintln!("  {line}");
    }
    eprintln!("seed {}: {}", failure.seed, failure.message);
    eprintln!("repeat: cargo xtask sim --seed {} --steps {}", failure.seed, failure.steps);
}
