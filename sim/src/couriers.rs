//! Brings the sandbox's events to the process: some twice, some late, some in the shape of another
//! version, in any order, and some never.

use crate::dice::Dice;
use crate::searches::Search;
use crate::worlds::World;
use anyhow::{Context as _, Result};
use sandbox::Happened;
use std::collections::BTreeSet;

/// One of each shape that the sandbox can still make.
pub const VERSIONS: [&str; 6] = [
    "2024-04-10",
    "2024-06-20",
    "2025-03-31.basil",
    "2025-09-30.clover",
    "2026-03-25.dahlia",
    "2026-10-28.endive",
];
/// For so long, less an hour, the provider lists an event.
const LISTED_SECONDS: i64 = 30 * 86_400 - 3_600;
const MICROS: i64 = 1_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;
/// The tolerance of signatures and more: a payload is signed when it is sent.
const RETRY_MICROS: i64 = HOUR_MICROS;

/// How the courier treats events, in percent.
#[derive(Debug, Clone)]
pub struct Habits {
    pub loses: u64,
    pub doubles: u64,
    pub delays: u64,
    pub reorders: bool,
    /// How what was lost is found; brought late after all where nobody searches.
    pub search: Option<Search>,
    /// Which shapes there are; one is drawn for each delivery.
    pub versions: Vec<&'static str>,
}

impl Habits {
    pub fn drawn(dice: &mut Dice) -> Self {
        let versions = match dice.below(3) {
            0 => vec![*dice.pick(&VERSIONS)],
            1 => vec!["2026-10-28.endive"],
            _ => VERSIONS.to_vec(),
        };
        Self {
            loses: *dice.pick(&[0, 0, 10, 30]),
            doubles: *dice.pick(&[0, 20]),
            delays: *dice.pick(&[0, 15, 50]),
            reorders: dice.percent(60),
            search: *dice.pick(&[None, Some(Search::Objects), Some(Search::Events)]),
            versions,
        }
    }
}

#[derive(Debug, Clone)]
struct Parcel {
    due: i64,
    event: String,
    kind: String,
    version: &'static str,
}

pub struct Courier {
    dice: Dice,
    pub habits: Habits,
    seen: i64,
    parcels: Vec<Parcel>,
    /// Events that nobody will bring.
    lost: Vec<Happened>,
    /// Events that were answered with success: none of them may get lost any more.
    pub acknowledged: BTreeSet<String>,
    pub events: u64,
}

impl Courier {
    /// What has happened before does not concern it.
    pub fn new(world: &World, dice: Dice, habits: Habits) -> Self {
        let seen = world.sandbox.happened_after(0).last().map_or(0, |event| event.place);
        Self {
            dice,
            habits,
            seen,
            parcels: Vec::new(),
            lost: Vec::new(),
            acknowledged: BTreeSet::new(),
            events: 0,
        }
    }

    /// Takes over what has happened since the last time.
    pub fn collect(&mut self, world: &World) {
        for event in world.sandbox.happened_after(self.seen) {
            self.seen = event.place;
            self.events += 1;
            if self.dice.percent(self.habits.loses) {
                world.weather.note(format!("  lost {} {}", event.kind, event.id));
                self.lost.push(event);
                continue;
            }
            let copies = if self.dice.percent(self.habits.doubles) { 2 } else { 1 };
            for _ in 0..copies {
                let late = self.dice.percent(self.habits.delays);
                let hours = if late { self.dice.between(1, 24 * 20) } else { 0 };
                self.parcels.push(Parcel {
                    due: world.now() + hours * HOUR_MICROS,
                    event: event.id.clone(),
                    kind: event.kind.clone(),
                    version: self.dice.pick::<&str>(self.habits.versions.as_slice()),
                });
            }
        }
    }

    /// What was lost is found by asking; or else it was only late.
    pub async fn find_lost(&mut self, world: &World) -> Result<()> {
        let forgotten = world.now() / MICROS - LISTED_SECONDS;
        if let Some(search) = self.habits.search {
            world.weather.note(format!("{search:?} are searched"));
            search.run(&world.engine).await?;
            let lists = |lost: &Happened| search == Search::Objects || forgotten < lost.created;
            self.lost.retain(|lost| !lists(lost));
        }
        for Happened { id: event, kind, .. } in std::mem::take(&mut self.lost) {
            let version = *self.dice.pick(self.habits.versions.as_slice());
            self.parcels.push(Parcel { due: world.now(), event, kind, version });
        }
        Ok(())
    }

    /// Gives up waiting: everything is due.
    pub fn hurry(&mut self, world: &World) {
        for parcel in &mut self.parcels {
            parcel.due = parcel.due.min(world.now());
        }
    }

    pub fn is_done(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Brings everything that is due, or about a share of it.
    pub async fn deliver(&mut self, world: &mut World) -> Result<()> {
        let now = world.now();
        let all = std::mem::take(&mut self.parcels);
        let (mut due, later): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|parcel| parcel.due <= now);
        self.parcels = later;
        if self.habits.reorders {
            self.dice.shuffle(&mut due);
        }
        for parcel in due {
            self.bring(world, parcel).await?;
        }
        Ok(())
    }

    async fn bring(&mut self, world: &mut World, parcel: Parcel) -> Result<()> {
        let payload = world.sandbox.event(&parcel.event, parcel.version);
        let payload = payload.map_err(anyhow::Error::msg)?.context("an event is gone")?;
        let signature = world.signature(&payload)?;
        let answer = world
            .attempt(async |engine| {
                engine.receive_webhook(payload.as_bytes(), Some(&signature)).await
            })
            .await?;
        let heard = match &answer {
            Some(Ok(_)) => "taken",
            Some(Err(_)) => "refused",
            None => "died",
        };
        world
            .weather
            .note(format!("  {heard} {} {} as {}", parcel.kind, parcel.event, parcel.version));
        match answer {
            Some(Ok(_)) => {
                self.acknowledged.insert(parcel.event);
            }
            _ => {
                let due = world.now() + RETRY_MICROS;
                self.parcels.push(Parcel { due, ..parcel });
            }
        }
        Ok(())
    }
}
