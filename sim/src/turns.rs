//! Running what the simulated process does: one piece of work, or two that overlap.
//!
//! Two pieces of work change turns where they call the provider, in the order of the dice. No
//! transaction is open there, so neither can keep the other waiting.

use crate::dice::Dice;
use crate::weather::Weather;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// The answer, or none where the process died on the way.
pub async fn alone<T>(weather: &Weather, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if weather.has_died() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Both answers, or none where the process died on the way.
pub async fn both<A, B>(
    weather: &Weather,
    dice: &mut Dice,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> Option<(A, B)> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut answers, mut firsts_turn) = ((None, None), true);
    weather.take_turns(true);
    let ended = poll_fn(|context| {
        loop {
            let polled = if firsts_turn {
                first.as_mut().poll(context).map(|answer| answers.0 = Some(answer))
            } else {
                second.as_mut().poll(context).map(|answer| answers.1 = Some(answer))
            };
            if polled.is_pending() && weather.has_died() {
                return Poll::Ready(None);
            }
            match (polled, answers.0.is_some(), answers.1.is_some()) {
                (Poll::Ready(()), true, true) => return Poll::Ready(Some(())),
                (Poll::Ready(()), done, _) => firsts_turn = !done,
                (Poll::Pending, false, false) if weather.has_yielded() => {
                    firsts_turn = dice.percent(50);
                }
                // Alone now: nobody else to go first.
                (Poll::Pending, _, _) if weather.has_yielded() => {}
                (Poll::Pending, _, _) => return Poll::Pending,
            }
        }
    })
    .await;
    weather.take_turns(false);
    ended?;
    match answers {
        (Some(first), Some(second)) => Some((first, second)),
        _ => None,
    }
}
