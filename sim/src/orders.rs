//! Every order of a story's events, in every shape, told twice, with one lost: one end state.

use crate::couriers::VERSIONS;
use crate::dice::Dice;
use crate::dumps::{Dump, differences, dump};
use crate::searches::Search;
use crate::stories::Story;
use crate::worlds::{Kept, World};
use anyhow::{Context as _, Result, ensure};

const BACKOFF_SECONDS: i64 = 301;
const ROUNDS_MAX: u32 = 50;
/// Five shapes, one for each generation; the sandbox makes none older than 2024-04-10.
pub const SHAPES: [&str; 5] = [VERSIONS[0], VERSIONS[1], VERSIONS[2], VERSIONS[3], VERSIONS[5]];
const LATEST: &str = VERSIONS[5];

/// How much of all orders is tried.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub seed: u64,
    /// At most so many permutations of the essential events.
    pub permutations: usize,
    /// So many shuffles of all events.
    pub shuffles: usize,
    pub shapes: &'static [&'static str],
}

/// A story that was played once, ready to be told in any order.
pub struct Told {
    pub world: World,
    before: Kept,
    now: i64,
    /// All events of the story, as they happened: their ids and kinds.
    events: Vec<(String, String)>,
    clean: Dump,
}

/// One way to tell it.
#[derive(Debug, Clone)]
pub struct Telling {
    pub order: Vec<usize>,
    pub shape: &'static str,
    /// The event that nobody brings.
    pub lost: Option<Lost>,
}

/// An event that is lost, by its place in the order, and how what it told of is found.
#[derive(Debug, Clone, Copy)]
pub struct Lost {
    place: usize,
    search: Search,
}

impl Told {
    /// Plays the story.
    pub async fn play(story: Story, seed: u64) -> Result<Told> {
        let mut dice = Dice::new(seed);
        let mut world = World::open(seed, &mut dice).await?;
        story.prepare(&mut world).await?;
        let all: Vec<_> = world.sandbox.happened_after(0);
        let seen = all.last().map_or(0, |event| event.place);
        for event in all {
            bring(&mut world, &event.id, LATEST).await?;
        }
        finish(&mut world).await?;
        // What is asked of us while the story is lived is in the database before it is told.
        story.happen(&mut world).await?;
        let before = world.keep().await?;
        let now = world.now();
        let events = world.sandbox.happened_after(seen);
        let events: Vec<_> = events.into_iter().map(|event| (event.id, event.kind)).collect();
        ensure!(!events.is_empty(), "{} has no events", story.name());
        let mut told = Told { world, before, now, events, clean: Dump::new() };
        let order = (0..told.events.len()).collect();
        told.clean = told.tell(&Telling { order, shape: LATEST, lost: None }).await?;
        Ok(told)
    }

    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// The places of the events that carry the story.
    pub fn essential(&self, story: Story) -> Vec<usize> {
        let place = |kind: &&str| self.events.iter().position(|(_, told)| told == kind);
        story.essential().iter().filter_map(place).collect()
    }

    /// The end state of one telling.
    async fn tell(&mut self, telling: &Telling) -> Result<Dump> {
        self.world.go_back(&self.before, self.now).await?;
        for (index, place) in telling.order.iter().enumerate() {
            let (id, _) = self.events.get(*place).context("no such event")?;
            if !telling.loses(index) {
                bring(&mut self.world, id, telling.shape).await?;
            }
        }
        if let Some(lost) = telling.lost {
            lost.search.run(&self.world.engine).await?;
        }
        finish(&mut self.world).await?;
        dump(&mut self.world.books).await
    }

    /// What this telling ends in, where that is not what a clean one ends in.
    pub async fn check(&mut self, telling: &Telling) -> Result<Vec<String>> {
        let end = self.tell(telling).await?;
        Ok(differences(&self.clean, &end))
    }

    /// The kinds of a telling, in its order, for people.
    pub fn named(&self, telling: &Telling) -> String {
        let kinds: Vec<_> = telling
            .order
            .iter()
            .enumerate()
            .map(|(index, place)| match telling.loses(index) {
                true => format!("({})", self.events[*place].1),
                false => self.events[*place].1.clone(),
            })
            .collect();
        let found = telling.lost.map_or("", |lost| lost.search.name());
        format!("as {}: {}{found}", telling.shape, kinds.join(", "))
    }

    /// All tellings of a sample.
    pub fn tellings(&self, story: Story, sample: Sample) -> Vec<Telling> {
        let mut dice = Dice::new(sample.seed);
        let mut essential = permutations(&self.essential(story));
        if sample.permutations < essential.len() {
            dice.shuffle(&mut essential);
            essential.truncate(sample.permutations);
        }
        // The others are told too, before or after those whose order is tried.
        let others: Vec<usize> =
            (0..self.count()).filter(|place| !self.essential(story).contains(place)).collect();
        let mut orders = Vec::new();
        for (index, order) in essential.into_iter().enumerate() {
            orders.push(if index.is_multiple_of(2) {
                [order, others.clone()].concat()
            } else {
                [others.clone(), order].concat()
            });
        }
        for _ in 0..sample.shuffles {
            let mut order: Vec<usize> = (0..self.count()).collect();
            dice.shuffle(&mut order);
            orders.push(order);
        }
        let mut tellings = Vec::new();
        for order in orders {
            for shape in sample.shapes {
                tellings.push(Telling { order: order.clone(), shape, lost: None });
            }
            let shape = *dice.pick(sample.shapes);
            let place = usize::try_from(dice.below(order.len() as u64)).unwrap_or(0);
            let search = *dice.pick(&[Search::Objects, Search::Events]);
            tellings.push(Telling { order, shape, lost: Some(Lost { place, search }) });
        }
        tellings
    }
}

impl Telling {
    fn loses(&self, index: usize) -> bool {
        self.lost.is_some_and(|lost| lost.place == index)
    }
}

/// Brings one event and lets it be applied at once, then brings it again.
async fn bring(world: &mut World, id: &str, shape: &str) -> Result<()> {
    let payload = world.sandbox.event(id, shape).map_err(anyhow::Error::msg)?;
    let payload = payload.context("an event is gone")?;
    for _ in 0..2 {
        let signature = world.signature(&payload)?;
        world.engine.receive_webhook(payload.as_bytes(), Some(&signature)).await?;
        while world.engine.apply_next().await? {}
    }
    Ok(())
}

/// Waits out every pause, until nothing is pending.
async fn finish(world: &mut World) -> Result<()> {
    for _ in 0..ROUNDS_MAX {
        while world.engine.apply_next().await? {}
        world.engine.run_timers().await?;
        world.engine.provider_calls_sweep().await?;
        if crate::audits::pending(&mut world.books).await? == 0 {
            return Ok(());
        }
        world.tick(BACKOFF_SECONDS);
    }
    anyhow::bail!("events are still pending")
}

/// Every order of some places.
fn permutations(places: &[usize]) -> Vec<Vec<usize>> {
    if places.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, first) in places.iter().enumerate() {
        let mut rest = places.to_vec();
        rest.remove(index);
        for mut order in permutations(&rest) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}
