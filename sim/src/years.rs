//! One year of one shop under one seed: people act, things go wrong, the auditor looks.

use crate::audits;
use crate::couriers::{Courier, Habits};
use crate::dice::Dice;
use crate::people::Person;
use crate::weather::Rates;
use crate::worlds::World;
use anyhow::{Result, bail};

const YEAR_SECONDS: i64 = 365 * 86_400;
const QUIET_EVERY: u64 = 30;
/// More rounds than any honest backlog needs.
const ROUNDS_MAX: u32 = 200;
const BACKOFF_SECONDS: i64 = 301;
const APPLIED_PER_STEP_MAX: u64 = 40;

pub struct Year {
    pub world: World,
    pub dice: Dice,
    pub people: Vec<Person>,
    pub courier: Courier,
    pub memory: audits::Memory,
}

/// What a year came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub seed: u64,
    /// The journal of everything that happened, in a few characters.
    pub digest: String,
    pub events: u64,
    pub deaths: u64,
    pub faults: u64,
    /// Steps of the database and calls of the provider.
    pub steps: u64,
    pub audits: u64,
}

/// An invariant did not hold, or the simulation itself broke.
#[derive(Debug)]
pub struct Broken {
    pub seed: u64,
    pub steps: u64,
    pub message: String,
    pub last_lines: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    BuyPack,
    BuyAccess,
    Subscribe,
    TwoTabs,
    FinishPage,
    ChangeCard,
    CancelOrResume,
    CancelNow,
    ChangePlan,
    WishForAnotherPlan,
    GiveBack,
    Refund,
    AnswerDispute,
    Spend,
    Hold,
    EndHold,
    Nothing,
}

const ACTIONS: &[(u64, Action)] = &[
    (8, Action::BuyPack),
    (4, Action::BuyAccess),
    (8, Action::Subscribe),
    (2, Action::TwoTabs),
    (20, Action::FinishPage),
    (6, Action::ChangeCard),
    (5, Action::CancelOrResume),
    (1, Action::CancelNow),
    (4, Action::ChangePlan),
    (4, Action::WishForAnotherPlan),
    (3, Action::GiveBack),
    (4, Action::Refund),
    (4, Action::AnswerDispute),
    (14, Action::Spend),
    (4, Action::Hold),
    (4, Action::EndHold),
    (5, Action::Nothing),
];

/// Plays the year of a seed in so many steps.
pub async fn play(seed: u64, steps: u64) -> Result<Summary, Box<Broken>> {
    let early = |error: anyhow::Error| {
        let message = format!("{error:#}");
        Box::new(Broken { seed, steps, message, last_lines: Vec::new() })
    };
    let mut year = Year::begin(seed).await.map_err(early)?;
    match year.run(steps).await {
        Ok(()) => Ok(year.summary(seed)),
        Err(error) => {
            let message = format!("{error:#}");
            let last_lines = year.world.weather.last_lines();
            Err(Box::new(Broken { seed, steps, message, last_lines }))
        }
    }
}

impl Year {
    async fn begin(seed: u64) -> Result<Year> {
        let mut dice = Dice::new(seed);
        let world = World::open(seed, &mut dice).await?;
        let habits = Habits::drawn(&mut dice);
        let courier = Courier::new(&world, dice.split(), habits);
        world.weather.set_rates(Rates::drawn(&mut dice));
        let names: &[&str] = if dice.percent(25) { &["ada", "bob"] } else { &["ada"] };
        let people = names.iter().map(|name| Person::new(name)).collect();
        Ok(Year { world, dice, people, courier, memory: audits::Memory::default() })
    }

    fn summary(&self, seed: u64) -> Summary {
        let (steps, faults) = self.world.weather.counts();
        Summary {
            seed,
            digest: self.world.weather.digest(),
            events: self.courier.events,
            deaths: self.world.deaths,
            faults,
            steps,
            audits: self.memory.audits,
        }
    }

    async fn run(&mut self, steps: u64) -> Result<()> {
        let average = YEAR_SECONDS / i64::try_from(steps.max(1))?;
        for step in 0..steps {
            let span = self.dice.between(60, 2 * average);
            self.world.advance(span).await?;
            self.world.weather.note(format!("step {step}, {} later", hours(span)));
            self.act().await?;
            self.courier.collect(&self.world);
            self.courier.deliver(&mut self.world).await?;
            self.work().await?;
            self.look().await?;
            if step % QUIET_EVERY == QUIET_EVERY - 1 {
                self.quiet().await?;
            }
        }
        self.quiet().await
    }

    async fn act(&mut self) -> Result<()> {
        let who = usize::try_from(self.dice.below(self.people.len() as u64))?;
        let action = self.dice.weighted(ACTIONS).unwrap_or(Action::Nothing);
        self.world.weather.note(format!("{action:?} of {}", self.people[who].name));
        match action {
            Action::BuyPack => self.buy(who, "pack").await,
            Action::BuyAccess => self.buy(who, "access").await,
            Action::Subscribe => {
                let plan = *self.dice.pick(&["basic-monthly", "pro-monthly", "pro-yearly"]);
                self.buy(who, plan).await
            }
            Action::TwoTabs => self.open_two_pages(who).await,
            Action::FinishPage => self.finish_page(who).await,
            Action::ChangeCard => self.change_card(who).await,
            Action::CancelOrResume => self.cancel_or_resume(who).await,
            Action::CancelNow => self.cancel_now(who).await,
            Action::ChangePlan => self.change_plan(who).await,
            Action::WishForAnotherPlan => self.wish_for_another_plan(who).await,
            Action::GiveBack => self.give_back(who).await,
            Action::Refund => self.refund(who).await,
            Action::AnswerDispute => self.answer_dispute().await,
            Action::Spend => self.spend(who).await,
            Action::Hold => self.hold(who).await,
            Action::EndHold => self.end_hold(who).await,
            Action::Nothing => Ok(()),
        }
    }

    /// Most buyers pay on the page that they open.
    async fn buy(&mut self, who: usize, nickname: &str) -> Result<()> {
        self.open_page(who, nickname).await?;
        if self.dice.percent(75) { self.finish_page(who).await } else { Ok(()) }
    }

    /// What the process does by itself: some of its events, most of the time its timers.
    async fn work(&mut self) -> Result<()> {
        let most = if self.dice.percent(80) { APPLIED_PER_STEP_MAX } else { self.dice.below(4) };
        for _ in 0..most {
            let more = if self.dice.percent(15) {
                let mut dice = self.dice.split();
                let both = self
                    .world
                    .attempt_both(
                        &mut dice,
                        async |engine| engine.apply_next().await,
                        async |engine| engine.apply_next().await,
                    )
                    .await?;
                both.is_none_or(|(one, other)| one.unwrap_or(true) || other.unwrap_or(true))
            } else {
                let applied = self.world.attempt(async |engine| engine.apply_next().await).await?;
                applied.is_none_or(|applied| applied.unwrap_or(true))
            };
            if !more {
                break;
            }
        }
        if self.dice.percent(80) {
            self.world.attempt(async |engine| engine.run_timers().await).await?;
        }
        if self.dice.percent(50) {
            self.world.attempt(async |engine| engine.provider_calls_sweep().await).await?;
        }
        if let Some(search) = self.courier.habits.search
            && self.dice.percent(5)
        {
            self.world.attempt(async |engine| search.try_to_run(engine).await).await?;
        }
        Ok(())
    }

    /// Everything is told or reconciled, every timer has run: now the books must agree.
    async fn quiet(&mut self) -> Result<()> {
        let troubles = self.world.weather.rates();
        let losses = std::mem::replace(&mut self.courier.habits.loses, 0);
        self.world.weather.calm();
        self.world.weather.note("quiet".to_owned());
        self.learn_endings().await?;
        self.settle().await?;
        // What was being carried out when it was asked for has an answer now.
        self.learn_endings().await?;
        self.courier.find_lost(&self.world).await?;
        self.settle().await?;
        self.look().await?;
        audits::converged(self).await?;
        self.world.weather.set_rates(troubles);
        self.courier.habits.loses = losses;
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            self.courier.collect(&self.world);
            self.courier.hurry(&self.world);
            self.courier.deliver(&mut self.world).await?;
            while self.world.engine.apply_next().await? {}
            self.world.engine.run_timers().await?;
            self.world.engine.provider_calls_sweep().await?;
            let pending = audits::pending(&mut self.world.books).await?;
            if pending == 0 && self.courier.is_done() {
                return Ok(());
            }
            self.world.tick(BACKOFF_SECONDS);
        }
        bail!("events are still pending after {ROUNDS_MAX} rounds")
    }

    async fn look(&mut self) -> Result<()> {
        audits::always(self).await
    }
}

fn hours(seconds: i64) -> String {
    format!("{} h", seconds / 3600)
}
