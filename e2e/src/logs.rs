//! What clients were told of each of their wishes, to be compared with what the database holds. A
//! long load has millions of wishes, so each is a number and one byte.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a wish ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Not yet: somebody is still asking.
    Nothing,
    /// With a 2xx: the server has promised it.
    Success,
    /// With something else, or with no answer, after which nobody asked again.
    GivenUp,
}

/// All wishes of one kind, by their numbers.
#[derive(Debug, Default)]
pub struct Log(Mutex<Vec<Told>>);

impl Log {
    /// A number that no other wish of this kind has.
    pub fn begin(&self) -> usize {
        let mut told = self.lock();
        told.push(Told::Nothing);
        told.len() - 1
    }

    /// The same, while there are fewer than so many.
    pub fn begin_below(&self, limit: usize) -> Option<usize> {
        let mut told = self.lock();
        let number = told.len();
        (number < limit).then(|| {
            told.push(Told::Nothing);
            number
        })
    }

    pub fn note(&self, number: usize, what: Told) {
        self.lock()[number] = what;
    }

    pub fn told(&self) -> Vec<Told> {
        self.lock().clone()
    }

    /// At most so many of those that succeeded, from all over the log.
    pub fn sample(&self, most: usize) -> Vec<usize> {
        let told = self.lock();
        let successes = told.iter().enumerate().filter(|(_, told)| **told == Told::Success);
        let numbers: Vec<usize> = successes.map(|(number, _)| number).collect();
        let step = numbers.len().div_ceil(most.max(1)).max(1);
        numbers.into_iter().step_by(step).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_over_what_succeeded() {
        let log = Log::default();
        for number in 0..10 {
            assert_eq!(log.begin(), number);
            log.note(number, if number == 4 { Told::GivenUp } else { Told::Success });
        }
        assert_eq!(log.sample(3), [0, 3, 7]);
        assert_eq!(log.sample(100).len(), 9);
        assert_eq!(log.begin_below(10), None);
    }
}
