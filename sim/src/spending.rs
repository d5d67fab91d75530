//! Spending: consumption, and holds that are captured, given back or forgotten.

use crate::people::{Ending, Held, Spending};
use crate::years::Year;
use anyhow::Result;
use engine::Failure;
use engine::credits::ConsumeRequest;
use engine::holds::HoldRequest;

const UNIT: &str = "credits";

/// A refusal took nothing; any other failure may have come after the effect.
pub(crate) fn ending<T>(answer: Option<&Result<T, Failure>>) -> Ending {
    match answer {
        Some(Ok(_)) => Ending::Taken,
        Some(Err(Failure::Shortage { .. } | Failure::Refused { .. })) => Ending::Refused,
        Some(Err(_)) | None => Ending::Unknown,
    }
}

impl Year {
    pub(crate) async fn spend(&mut self, who: usize) -> Result<()> {
        let amount = self.dice.between(1, 45);
        let key = self.people[who].key();
        self.people[who].spendings.push(Spending { key, amount, ending: Ending::Unknown });
        let index = self.people[who].spendings.len() - 1;
        self.spend_once(who, index).await
    }

    async fn spend_once(&mut self, who: usize, index: usize) -> Result<()> {
        let subject = self.people[who].subject();
        let Spending { key, amount, .. } = self.people[who].spendings[index].clone();
        let asked = ConsumeRequest {
            amount,
            unit: UNIT.to_owned(),
            reference: None,
            idempotency_key: Some(key.clone()),
        };
        let answer = self
            .world
            .attempt(async |engine| engine.credits_consume(&subject, asked).await)
            .await?;
        let ending = ending(answer.as_ref());
        self.world.weather.note(format!("consume {amount} {key}: {ending:?}"));
        self.people[who].spendings[index].ending = ending;
        Ok(())
    }

    pub(crate) async fn hold(&mut self, who: usize) -> Result<()> {
        let key = self.people[who].key();
        let amount = self.dice.between(1, 45);
        let (id, capture) = (None, None);
        let (placed, captured) = (Ending::Unknown, Ending::Unknown);
        self.people[who].held.push(Held { key, amount, placed, id, capture, captured });
        let index = self.people[who].held.len() - 1;
        self.hold_once(who, index).await
    }

    async fn hold_once(&mut self, who: usize, index: usize) -> Result<()> {
        let subject = self.people[who].subject();
        let Held { key, amount, .. } = self.people[who].held[index].clone();
        let asked = HoldRequest {
            amount,
            unit: UNIT.to_owned(),
            expires_in: Some(7 * 24 * 3600),
            reference: None,
            idempotency_key: Some(key.clone()),
        };
        let answer =
            self.world.attempt(async |engine| engine.credits_hold(&subject, asked).await).await?;
        let ending = ending(answer.as_ref());
        self.world.weather.note(format!("hold {amount} {key}: {ending:?}"));
        let held = &mut self.people[who].held[index];
        held.placed = ending;
        held.id = answer.and_then(Result::ok).map(|hold| hold.id.to_string());
        Ok(())
    }

    /// Takes some of an open hold, or gives it back.
    pub(crate) async fn end_hold(&mut self, who: usize) -> Result<()> {
        let mut open = self.people[who].held.iter();
        let open = open.position(|held| held.id.is_some() && held.capture.is_none());
        let Some(index) = open else {
            return Ok(());
        };
        let amount = self.people[who].held[index].amount;
        let taken = if self.dice.percent(30) { 0 } else { self.dice.between(1, amount) };
        self.people[who].held[index].capture = Some(taken);
        self.end_hold_once(who, index).await
    }

    async fn end_hold_once(&mut self, who: usize, index: usize) -> Result<()> {
        let subject = self.people[who].subject();
        let held = self.people[who].held[index].clone();
        let (Some(id), Some(amount)) = (held.id, held.capture) else {
            return Ok(());
        };
        let answer = self
            .world
            .attempt(async |engine| match amount {
                0 => engine.credits_release(&subject, &id).await,
                _ => engine.credits_capture(&subject, &id, Some(amount)).await,
            })
            .await?;
        let ending = ending(answer.as_ref());
        self.world.weather.note(format!("take {amount} of {id}: {ending:?}"));
        self.people[who].held[index].captured = ending;
        Ok(())
    }

    /// Asks again, with the same keys, for whatever has no known ending.
    pub(crate) async fn learn_endings(&mut self) -> Result<()> {
        for who in 0..self.people.len() {
            for index in 0..self.people[who].spendings.len() {
                if self.people[who].spendings[index].ending == Ending::Unknown {
                    self.spend_once(who, index).await?;
                }
            }
            for index in 0..self.people[who].returns.len() {
                if self.people[who].returns[index].ending == Ending::Unknown {
                    self.give_back_once(who, index).await?;
                }
            }
            for index in 0..self.people[who].held.len() {
                if self.people[who].held[index].placed == Ending::Unknown {
                    self.hold_once(who, index).await?;
                }
                let held = &self.people[who].held[index];
                if held.capture.is_some() && held.captured == Ending::Unknown {
                    self.end_hold_once(who, index).await?;
                }
            }
        }
        Ok(())
    }
}
