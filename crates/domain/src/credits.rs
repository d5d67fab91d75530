//! Credits: lots with a class and an expiry, the order in which they burn, holds.
//!
//! Credits are not money. A lot is exact at every moment (INV-CREDITS):
//! granted = spent + held + expired + revoked + available, and no number is negative.

use crate::ids::GrantId;
use crate::time::Timestamp;

/// A positive number of credits at the unit's own scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credits(i64);

/// Far above any real balance, and small enough that sums of a million lots cannot overflow.
const MOST: i64 = 1_000_000_000_000;

/// Why an amount or a unit was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreditError {
    #[error("amount must be from 1 to {MOST}, not {0}")]
    Amount(i64),
    #[error("unit {0:?} must be 1 to 32 of a-z, 0-9 and '_'")]
    Unit(String),
}

impl Credits {
    /// The largest amount there is.
    pub const MAX: Credits = Credits(MOST);

    /// Refuses zero, negative and absurd amounts.
    ///
    /// ```
    /// use domain::credits::Credits;
    /// assert!(Credits::new(1).is_ok());
    /// assert!(Credits::new(0).is_err());
    /// assert!(Credits::new(-5).is_err());
    /// assert!(Credits::new(i64::MAX).is_err());
    /// ```
    pub const fn new(amount: i64) -> Result<Self, CreditError> {
        if 1 <= amount && amount <= MOST {
            Ok(Self(amount))
        } else {
            Err(CreditError::Amount(amount))
        }
    }

    /// So many times the amount, where that is still an amount.
    ///
    /// ```
    /// use domain::credits::Credits;
    /// let pack = Credits::new(100).unwrap();
    /// assert_eq!(pack.times(3), Credits::new(300));
    /// assert!(Credits::MAX.times(2).is_err());
    /// ```
    pub const fn times(self, quantity: i64) -> Result<Self, CreditError> {
        match self.0.checked_mul(quantity) {
            Some(product) => Self::new(product),
            None => Err(CreditError::Amount(i64::MAX)),
        }
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// The unit of credits that nobody has to name.
pub const DEFAULT_UNIT: &str = "credits";

/// Checks a unit's name. Units never mix.
///
/// ```
/// assert!(domain::credits::check_unit("tokens").is_ok());
/// assert!(domain::credits::check_unit("").is_err());
/// ```
pub fn check_unit(unit: &str) -> Result<(), CreditError> {
    let fits = (1..=32).contains(&unit.len())
        && unit.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if fits { Ok(()) } else { Err(CreditError::Unit(unit.chars().take(32).collect())) }
}

/// Where credits come from; declared in burn order: what resets goes first, what was paid for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Allowance,
    Trial,
    Bonus,
    Promotional,
    Purchased,
}

impl Class {
    pub const ALL: [Class; 5] =
        [Class::Allowance, Class::Trial, Class::Bonus, Class::Promotional, Class::Purchased];

    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Allowance => "allowance",
            Class::Trial => "trial",
            Class::Bonus => "bonus",
            Class::Promotional => "promotional",
            Class::Purchased => "purchased",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// Bonus, promotional and trial credits burn alike, by expiry.
    const fn burn_rank(self) -> u8 {
        match self {
            Class::Allowance => 0,
            Class::Trial | Class::Bonus | Class::Promotional => 1,
            Class::Purchased => 2,
        }
    }

    /// The seeds show two numbers: what a plan refills, and everything that is kept until used.
    pub const fn is_monthly(self) -> bool {
        matches!(self, Class::Allowance | Class::Trial)
    }
}

/// The part of a lot that decides what may be drawn from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    pub id: GrantId,
    pub class: Class,
    pub available: i64,
    pub starts_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

impl Lot {
    /// A lot is unusable from `expires_at` on, even if the expiry job is late.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.starts_at <= now && !self.is_expired(now)
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// So much from that lot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    pub lot: GrantId,
    pub amount: i64,
}

/// Fewer credits are usable than were asked for; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{required} credits are required and {available} are available")]
pub struct Shortage {
    pub required: i64,
    pub available: i64,
}

/// The sum that can be spent now.
pub fn usable(lots: &[Lot], now: Timestamp) -> i64 {
    lots.iter().filter(|lot| lot.is_usable(now)).map(|lot| lot.available.max(0)).sum()
}

/// Decides which lots pay: by class, then soonest expiry, then oldest (id order is time order).
///
/// ```
/// use domain::credits::{Class, Credits, Lot, plan_burn};
/// use domain::ids::GrantId;
/// use domain::time::Timestamp;
/// let now = Timestamp::from_seconds(10);
/// let lot = |class, available| Lot {
///     id: GrantId::new(now, [0; 10]), class, available, starts_at: now, expires_at: None,
/// };
/// let lots = [lot(Class::Purchased, 5), lot(Class::Allowance, 2)];
/// let draws = plan_burn(&lots, Credits::new(3).unwrap(), now).unwrap();
/// assert_eq!(draws.iter().map(|draw| draw.amount).collect::<Vec<_>>(), [2, 1]);
/// ```
pub fn plan_burn(lots: &[Lot], amount: Credits, now: Timestamp) -> Result<Vec<Draw>, Shortage> {
    let available = usable(lots, now);
    if available < amount.get() {
        return Err(Shortage { required: amount.get(), available });
    }
    let mut order: Vec<&Lot> =
        lots.iter().filter(|lot| lot.is_usable(now) && 0 < lot.available).collect();
    order.sort_by_key(|lot| {
        let expiry = lot.expires_at.map_or(i64::MAX, Timestamp::micros);
        (lot.class.burn_rank(), expiry, lot.id.clone())
    });
    let mut missing = amount.get();
    let mut draws = Vec::new();
    for lot in order {
        let taken = lot.available.min(missing);
        if taken == 0 {
            break;
        }
        draws.push(Draw { lot: lot.id.clone(), amount: taken });
        missing -= taken;
    }
    Ok(draws)
}

/// Splits what a hold reserved into what is captured, in the order it was drawn, and the rest that
/// goes back. More than was held cannot be captured.
pub fn plan_capture(draws: &[Draw], amount: i64) -> Option<(Vec<Draw>, Vec<Draw>)> {
    let held: i64 = draws.iter().map(|draw| draw.amount).sum();
    if amount < 0 || held < amount {
        return None;
    }
    let mut missing = amount;
    let mut captured = Vec::new();
    let mut released = Vec::new();
    for draw in draws {
        let taken = draw.amount.min(missing);
        missing -= taken;
        if 0 < taken {
            captured.push(Draw { amount: taken, ..draw.clone() });
        }
        if taken < draw.amount {
            released.push(Draw { amount: draw.amount - taken, ..draw.clone() });
        }
    }
    Some((captured, released))
}

/// How many credits of a lot a refund of `refunded` of `paid` withdraws in all. Refunds are
/// cumulative, so two partial ones are not counted twice; the last one takes the remainder.
///
/// ```
/// assert_eq!(domain::credits::withdrawn_by_refund(500, 500, 1000), 250);
/// assert_eq!(domain::credits::withdrawn_by_refund(100, 1999, 1999), 100);
/// assert_eq!(domain::credits::withdrawn_by_refund(100, 1, 0), 100);
/// ```
pub fn withdrawn_by_refund(granted: i64, refunded: i64, paid: i64) -> i64 {
    if refunded <= 0 {
        return 0;
    }
    if paid <= refunded {
        return granted;
    }
    let share = i128::from(granted) * i128::from(refunded) / i128::from(paid);
    i64::try_from(share).unwrap_or(granted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn lot(name: &str, class: Class, available: i64, expires_at: Option<i64>) -> Lot {
        let id = GrantId::parse(&format!("grant_{name}")).unwrap();
        Lot { id, class, available, starts_at: at(0), expires_at: expires_at.map(at) }
    }

    fn spell(draws: &[Draw]) -> String {
        let one =
            |draw: &Draw| format!("{}-{}", draw.lot.as_str().replace("grant_", ""), draw.amount);
        draws.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn row_88_allowance_then_promotional_then_purchased_soonest_expiry_first() {
        let lots = [
            lot("p", Class::Purchased, 5, None),
            lot("q", Class::Purchased, 5, Some(50)),
            lot("b", Class::Bonus, 5, None),
            lot("t", Class::Trial, 5, Some(90)),
            lot("a", Class::Allowance, 5, Some(99)),
            lot("x", Class::Allowance, 5, Some(10)),
        ];
        let draws = plan_burn(&lots, Credits::new(22).unwrap(), at(10)).unwrap();
        assert_eq!(spell(&draws), "a-5 t-5 b-5 q-5 p-2");
        let shortage = plan_burn(&lots, Credits::new(26).unwrap(), at(10)).unwrap_err();
        assert_eq!(shortage, Shortage { required: 26, available: 25 });
    }

    #[test]
    fn a_capture_takes_in_drawing_order_and_releases_the_rest() {
        let draws = plan_burn(
            &[lot("a", Class::Allowance, 3, None), lot("p", Class::Purchased, 9, None)],
            Credits::new(8).unwrap(),
            at(1),
        )
        .unwrap();
        let (captured, released) = plan_capture(&draws, 4).unwrap();
        assert_eq!((spell(&captured), spell(&released)), ("a-3 p-1".into(), "p-4".into()));
        assert_eq!(plan_capture(&draws, 9), None);
        assert_eq!(plan_capture(&draws, 0).unwrap().0, []);
    }

    #[test]
    fn future_lots_wait_for_their_start() {
        let mut future = lot("f", Class::Bonus, 5, None);
        future.starts_at = at(100);
        assert_eq!(usable(std::slice::from_ref(&future), at(99)), 0);
        assert_eq!(usable(&[future], at(100)), 5);
    }

    fn lots() -> impl Strategy<Value = Vec<Lot>> {
        let class = prop::sample::select(Class::ALL.to_vec());
        let one = (class, 0_i64..50, prop::option::of(0_i64..20));
        prop::collection::vec(one, 0..12).prop_map(|lots| {
            let numbered = lots.into_iter().enumerate();
            numbered.map(|(n, (c, a, e))| lot(&format!("{n:03}"), c, a, e)).collect()
        })
    }

    proptest! {
        #[test]
        fn burning_takes_exactly_the_amount_and_never_more_than_a_lot_has(
            lots in lots(), amount in 1_i64..400, now in 0_i64..20,
        ) {
            match plan_burn(&lots, Credits::new(amount).unwrap(), at(now)) {
                Ok(draws) => {
                    prop_assert_eq!(draws.iter().map(|draw| draw.amount).sum::<i64>(), amount);
                    for draw in &draws {
                        let lot = lots.iter().find(|lot| lot.id == draw.lot).unwrap();
                        prop_assert!(0 < draw.amount && draw.amount <= lot.available);
                        prop_assert!(lot.is_usable(at(now)));
                    }
                }
                Err(shortage) => {
                    prop_assert_eq!(shortage.available, usable(&lots, at(now)));
                    prop_assert!(shortage.available < amount);
                }
            }
        }

        #[test]
        fn a_capture_and_its_release_are_the_hold(
            amounts in prop::collection::vec(1_i64..50, 1..6), part in 0_i64..300,
        ) {
            let draws: Vec<Draw> = amounts.iter().enumerate().map(|(n, amount)| Draw {
                lot: GrantId::parse(&format!("grant_{n}")).unwrap(), amount: *amount,
            }).collect();
            let held: i64 = amounts.iter().sum();
            match plan_capture(&draws, part) {
                Some((captured, released)) => {
                    let sum = |draws: &[Draw]| draws.iter().map(|draw| draw.amount).sum::<i64>();
                    prop_assert_eq!(sum(&captured), part);
                    prop_assert_eq!(sum(&captured) + sum(&released), held);
                }
                None => prop_assert!(held < part),
            }
        }
    }
}
