//! A few years, and that a seed repeats itself.

use sim::years::{self, Summary};

const STEPS: u64 = 120;
/// Unoptimised, a year's futures are larger than an ordinary thread takes.
const STACK_BYTES: usize = 64 * 1024 * 1024;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;

/// On a thread and a runtime of its own, as the long run does it.
fn play(seed: u64) -> Result<Summary, String> {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let year = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(years::play(seed, STEPS)).map_err(|broken| {
            let lines = broken.last_lines.join("\n");
            let message = broken.message;
            format!("{lines}\n{message}\nrepeat: cargo xtask sim --seed {seed} --steps {STEPS}")
        })
    });
    year.unwrap().join().unwrap()
}

#[test]
fn the_same_seed_is_the_same_year() {
    let (first, again) = (play(1).unwrap(), play(1).unwrap());
    assert_eq!(first, again);
    assert_ne!(first.digest, play(5).unwrap().digest);
    assert!(0 < first.events && 0 < first.steps && 0 < first.audits, "{first:?}");
}

#[test]
fn no_year_of_the_fixed_set_breaks_an_invariant() {
    let (mut deaths, mut faults) = (0, 0);
    for seed in SEEDS {
        match play(seed) {
            Ok(year) => {
                deaths += year.deaths;
                faults += year.faults;
            }
            Err(report) => panic!("{report}"),
        }
    }
    assert!(0 < deaths && 0 < faults, "{deaths} deaths and {faults} faults prove nothing");
}
