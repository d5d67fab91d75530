//! Writing: a wish becomes a row with its key, before anybody is asked.

use super::{ProviderCall, Wish, unsettled};
use crate::Engine;
use crate::clock::random;
use crate::failures::Failure;
use domain::codes::Code;
use domain::ids::{CustomerId, ProviderCallId};
use domain::time::Timestamp;
use store::Tx;
use store::provider_calls::CallState;

/// A request makes its call itself; only when it died is the sweeper to do it.
const FOREGROUND_SECONDS: i64 = 20;

/// When the sweeper may take a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pickup {
    /// A request is about to make the call itself.
    AfterForeground,
    /// Nobody waits for it.
    AtOnce,
}

/// What a wish finds when it comes.
pub(crate) enum Standing {
    /// Nothing about the object is unsettled.
    Free,
    /// The same wish is under way.
    UnderWay(Box<ProviderCall>),
    /// Others are, and it passes them.
    Passing,
}

fn in_the_way(open: &ProviderCall) -> Failure {
    let detail = format!("an earlier {} is not settled yet; try again later", open.kind);
    Failure::refused(Code::ChangePending, detail)
}

impl Engine {
    /// Writes a wish about an object, or finds the same one that is under way. Wishes about one
    /// object take turns; the caller holds the lock of its customer.
    pub(crate) async fn call_intend(
        &self,
        tx: &mut Tx,
        wish: &Wish,
        customer: &CustomerId,
        object: &str,
    ) -> Result<ProviderCall, Failure> {
        match self.call_standing(tx, wish, object).await? {
            Standing::UnderWay(open) => Ok(*open),
            Standing::Free | Standing::Passing => self.call_write(tx, wish, customer, object).await,
        }
    }

    /// Writes a wish as the newest about its object.
    pub(crate) async fn call_write(
        &self,
        tx: &mut Tx,
        wish: &Wish,
        customer: &CustomerId,
        object: &str,
    ) -> Result<ProviderCall, Failure> {
        let (earlier, _) = tx.provider_calls_of_object(object).await?;
        let fact = format!("{object}:{earlier}");
        self.call_insert(tx, wish, customer, object, fact, Pickup::AfterForeground).await
    }

    /// Writes a wish that the caller has named, once under that name. It takes its turn, too, even
    /// where the one before it looks the same.
    pub(crate) async fn call_intend_named(
        &self,
        tx: &mut Tx,
        wish: &Wish,
        customer: &CustomerId,
        object: &str,
        fact: String,
    ) -> Result<ProviderCall, Failure> {
        if let Some(open) = tx.provider_calls_open_of_object(object).await?.first() {
            return Err(in_the_way(open));
        }
        self.call_insert(tx, wish, customer, object, fact, Pickup::AfterForeground).await
    }

    /// Writes a wish that the state of things demands, each time it comes to be so, whatever else
    /// is under way.
    pub(crate) async fn call_demand(
        &self,
        tx: &mut Tx,
        wish: &Wish,
        customer: &CustomerId,
        object: &str,
        name: &str,
    ) -> Result<(), Failure> {
        let (earlier, _) = tx.provider_calls_of_object(object).await?;
        let fact = format!("{name}:{object}:{earlier}");
        self.call_insert(tx, wish, customer, object, fact, Pickup::AtOnce).await.map(drop)
    }

    /// What stands before a wish: the same one, nothing, or what it may pass.
    pub(crate) async fn call_standing(
        &self,
        tx: &mut Tx,
        wish: &Wish,
        object: &str,
    ) -> Result<Standing, Failure> {
        let mut standing = Standing::Free;
        let open = tx.provider_calls_open_of_object(object).await?;
        for earlier in open.into_iter().rev() {
            // One that was heard is done, whether or not it is so any more: it says nothing of now.
            let is_open = earlier.heard_at.is_none();
            if is_open && wish.is_of(&earlier)? && !is_overtaken(tx, &earlier, wish).await? {
                return Ok(Standing::UnderWay(Box::new(earlier)));
            }
            let other = Wish::read(&earlier)?;
            if !wish.passes(&other) {
                return Err(in_the_way(&earlier));
            }
            standing = Standing::Passing;
        }
        Ok(standing)
    }

    /// Whether something that was said later keeps a wish from being carried out.
    pub(super) async fn call_is_overtaken(
        &self,
        call: &ProviderCall,
        wish: &Wish,
    ) -> Result<bool, Failure> {
        let mut tx = self.store().read("provider_calls.overtaken").await?;
        is_overtaken(&mut tx, call, wish).await
    }

    async fn call_insert(
        &self,
        tx: &mut Tx,
        wish: &Wish,
        customer: &CustomerId,
        object: &str,
        fact: String,
        pickup: Pickup,
    ) -> Result<ProviderCall, Failure> {
        let wall = self.clock().wall();
        let id = ProviderCallId::new(wall, random());
        let (_, newest) = tx.provider_calls_of_object(object).await?;
        // The order of wishes about one object must not depend on clocks.
        let after = newest.map(|newest| Timestamp::from_micros(newest.micros() + 1));
        let new = ProviderCall {
            customer_id: Some(customer.clone()),
            kind: wish.kind().to_owned(),
            fact,
            object_id: Some(object.to_owned()),
            parameters: wish.text()?,
            idempotency_key: format!("tollgate-{id}"),
            urgency: wish.urgency(),
            state: CallState::Intended,
            attempts: 0,
            next_attempt_at: match pickup {
                Pickup::AfterForeground => wall.plus_seconds(FOREGROUND_SECONDS),
                Pickup::AtOnce => wall,
            },
            lease_token: 0,
            leased_until: Timestamp::from_micros(0),
            outcome: None,
            heard_at: None,
            created_at: after.map_or(wall, |after| after.max(wall)),
            updated_at: wall,
            id,
        };
        if !tx.provider_calls_insert(&new).await? {
            return Err(unsettled());
        }
        Ok(new)
    }
}

async fn is_overtaken(tx: &mut Tx, call: &ProviderCall, wish: &Wish) -> Result<bool, Failure> {
    let Some(object) = &call.object_id else {
        return Ok(false);
    };
    for later in tx.provider_calls_after(object, call.created_at).await? {
        if Wish::read(&later)?.overtakes(wish) {
            return Ok(true);
        }
    }
    Ok(false)
}
