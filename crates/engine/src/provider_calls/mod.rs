//! What we ask of the provider: the wish is written first, the call is made under its key, and what
//! came of it is applied in the transaction that settles the row.
//!
//! An unknown outcome is a state: whoever repeats the request, or the sweeper, asks again under the
//! same key, and beyond the day for which the provider remembers keys, reads the object instead.

mod asking;
mod hearing;
mod sweeping;

use crate::Engine;
use crate::clock::random;
use crate::failures::Failure;
use crate::lists::{Listed, Page};
use domain::codes::Code;
use domain::ids::{CustomerId, ProviderCallId};
use providers::errors::ProviderError;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::Tx;
use store::provider_calls::{CallState, ProviderCall};

/// How long one attempt may take, the client's own retries included.
const LEASE_SECONDS: i64 = 150;
/// A request makes its call itself; only when it died is the sweeper to do it.
const FOREGROUND_SECONDS: i64 = 20;
const BACKOFF_SECONDS_MAX: i64 = 600;
/// The provider remembers an idempotency key for a day.
const KEY_LIFE_SECONDS: i64 = 23 * 60 * 60;
/// How long a request waits for the same wish of another one.
const WAIT_MAX: Duration = Duration::from_secs(30);
const WAIT_PAUSE: Duration = Duration::from_millis(50);
const WAIT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What we may ask. It is kept as JSON beside its key: one key, one set of parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(crate) enum Wish {
    #[serde(rename = "customer.create")]
    CustomerCreate { customer: String, email: Option<String>, name: Option<String> },
    /// Ends with its period.
    #[serde(rename = "subscription.cancel_at_period_end")]
    SubscriptionEnd { subscription: String },
    #[serde(rename = "subscription.resume")]
    SubscriptionResume { subscription: String },
    /// Ends now; what is still to be paid for it is void.
    #[serde(rename = "subscription.cancel")]
    SubscriptionCancel { subscription: String },
    /// Ends now and gives the newest payment back: the customer has another one.
    #[serde(rename = "subscription.cancel_surplus")]
    SubscriptionCancelSurplus { subscription: String },
    /// Changes one item now; what costs something waits for the money.
    #[serde(rename = "subscription.change")]
    SubscriptionChange {
        subscription: String,
        item: String,
        price: String,
        quantity: i64,
        is_more: bool,
    },
    /// Changes with the next period.
    #[serde(rename = "subscription.change_later")]
    SubscriptionChangeLater {
        subscription: String,
        now: Vec<PlanItem>,
        then: Vec<PlanItem>,
        unit: String,
        count: u32,
    },
    /// Gives a payment back, whole where no amount is named.
    #[serde(rename = "refund.create")]
    RefundCreate { payment_intent: String, amount: Option<i64>, reason: Option<String> },
    /// Stays what it is after all.
    #[serde(rename = "subscription.keep")]
    SubscriptionKeep { subscription: String },
}

/// One price of a plan, by the provider's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanItem {
    pub price: String,
    pub quantity: i64,
}

impl Wish {
    fn text(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| broken(&error))
    }

    /// Whether a row stands for this very wish.
    pub(crate) fn is_of(&self, call: &ProviderCall) -> Result<bool, Failure> {
        Ok(call.parameters == self.text()?)
    }

    fn read(call: &ProviderCall) -> Result<Self, Failure> {
        serde_json::from_str(&call.parameters).map_err(|error| broken(&error))
    }

    const fn kind(&self) -> &'static str {
        match self {
            Wish::CustomerCreate { .. } => "customer.create",
            Wish::SubscriptionEnd { .. } => "subscription.cancel_at_period_end",
            Wish::SubscriptionResume { .. } => "subscription.resume",
            Wish::SubscriptionCancel { .. } => "subscription.cancel",
            Wish::SubscriptionCancelSurplus { .. } => "subscription.cancel_surplus",
            Wish::SubscriptionChange { .. } => "subscription.change",
            Wish::SubscriptionChangeLater { .. } => "subscription.change_later",
            Wish::SubscriptionKeep { .. } => "subscription.keep",
            Wish::RefundCreate { .. } => "refund.create",
        }
    }

    /// Whether it has to be done however long that takes: nobody is charged on because we gave up.
    const fn is_duty(&self) -> bool {
        matches!(
            self,
            Wish::SubscriptionEnd { .. }
                | Wish::SubscriptionCancel { .. }
                | Wish::SubscriptionCancelSurplus { .. }
        )
    }
}

/// When the sweeper may take a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pickup {
    /// A request is about to make the call itself.
    AfterForeground,
    /// Nobody waits for it.
    AtOnce,
}

/// What is kept of a settled call, or of the last failed attempt.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The provider's id of what was made or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Outcome {
    fn of(object: &str) -> Self {
        Self { object: Some(object.to_owned()), ..Self::default() }
    }

    fn failed(failure: &Failure) -> Self {
        let code = match failure {
            Failure::Refused { code, .. }
            | Failure::Declined { code, .. }
            | Failure::Provider { code, .. } => *code,
            _ => Code::Internal,
        };
        let code = Some(code.as_str().to_owned());
        Self { object: None, code, detail: Some(failure.told()) }
    }

    pub(crate) fn read(call: &ProviderCall) -> Self {
        let text = call.outcome.as_deref().unwrap_or("{}");
        serde_json::from_str(text).unwrap_or_default()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// The failure as it was told to whoever asked first.
    fn failure(self) -> Failure {
        let word = self.code.unwrap_or_default();
        let code = Code::ALL.iter().copied().find(|code| code.as_str() == word);
        let code = code.unwrap_or(Code::OutcomeUnknown);
        let detail = self.detail.unwrap_or_else(|| UNSETTLED.to_owned());
        match code {
            Code::CardDeclined
            | Code::InsufficientFunds
            | Code::ExpiredCard
            | Code::ProcessingError => Failure::Declined { code, message: detail },
            Code::OutcomeUnknown | Code::ProviderRefused | Code::ProviderUnavailable => {
                Failure::Provider { code, detail }
            }
            // A trouble of ours: whoever asks again learns the outcome.
            Code::Internal => unsettled(),
            _ => Failure::refused(code, detail),
        }
    }
}

const UNSETTLED: &str = "the payment provider has not answered yet; repeat the request";

fn broken(error: &serde_json::Error) -> Failure {
    let detail = format!("a stored call cannot be read: {error}");
    Failure::Provider { code: Code::ProviderRefused, detail }
}

fn in_the_way(open: &ProviderCall) -> Failure {
    let detail = format!("an earlier {} is not settled yet; try again later", open.kind);
    Failure::refused(Code::ChangePending, detail)
}

pub(crate) fn unsettled() -> Failure {
    Failure::Provider { code: Code::OutcomeUnknown, detail: UNSETTLED.to_owned() }
}

impl Engine {
    /// Writes a wish about an object, or finds the same one that is under way. Wishes about one
    /// object take turns; the caller holds the lock of its customer.
    pub(crate) async fn call_intend(
        &self,
        tx: &mut Tx,
        wish: &Wish,
        customer: Option<&CustomerId>,
        object: &str,
    ) -> Result<ProviderCall, Failure> {
        if let Some(open) = self.call_open(tx, wish, object).await? {
            return Ok(open);
        }
        let earlier = tx.provider_calls_count_of_object(object).await?;
        let fact = format!("{object}:{earlier}");
        let new = self.call_row(wish, customer, object, fact, Pickup::AfterForeground)?;
        if !tx.provider_calls_insert(&new).await? {
            return Err(unsettled());
        }
        Ok(new)
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
        if let Some(open) = tx.provider_calls_open_of_object(object).await? {
            return Err(in_the_way(&open));
        }
        let new = self.call_row(wish, Some(customer), object, fact, Pickup::AfterForeground)?;
        if !tx.provider_calls_insert(&new).await? {
            return Err(unsettled());
        }
        Ok(new)
    }

    /// The same wish, if it is under way; another one stands in its way.
    pub(crate) async fn call_open(
        &self,
        tx: &mut Tx,
        wish: &Wish,
        object: &str,
    ) -> Result<Option<ProviderCall>, Failure> {
        let Some(open) = tx.provider_calls_open_of_object(object).await? else {
            return Ok(None);
        };
        if open.parameters == wish.text()? {
            return Ok(Some(open));
        }
        Err(in_the_way(&open))
    }

    /// Writes a wish that a business fact demands, once for that fact, whatever else is under way.
    pub(crate) async fn call_demand(
        &self,
        tx: &mut Tx,
        wish: &Wish,
        customer: &CustomerId,
        object: &str,
        fact: String,
    ) -> Result<bool, Failure> {
        let new = self.call_row(wish, Some(customer), object, fact, Pickup::AtOnce)?;
        Ok(tx.provider_calls_insert(&new).await?)
    }

    fn call_row(
        &self,
        wish: &Wish,
        customer: Option<&CustomerId>,
        object: &str,
        fact: String,
        pickup: Pickup,
    ) -> Result<ProviderCall, Failure> {
        let wall = self.clock().wall();
        let id = ProviderCallId::new(wall, random());
        Ok(ProviderCall {
            customer_id: customer.cloned(),
            kind: wish.kind().to_owned(),
            fact,
            object_id: Some(object.to_owned()),
            parameters: wish.text()?,
            idempotency_key: format!("tollgate-{id}"),
            state: CallState::Intended,
            attempts: 0,
            next_attempt_at: match pickup {
                Pickup::AfterForeground => wall.plus_seconds(FOREGROUND_SECONDS),
                Pickup::AtOnce => wall,
            },
            lease_token: 0,
            leased_until: domain::time::Timestamp::from_micros(0),
            outcome: None,
            created_at: wall,
            updated_at: wall,
            id,
        })
    }

    /// Makes the call, or waits for whoever makes it: the row, done, or why it is not.
    pub(crate) async fn call_finish(&self, id: &ProviderCallId) -> Result<ProviderCall, Failure> {
        let mut waited = Duration::ZERO;
        let mut pause = WAIT_PAUSE;
        while waited < WAIT_MAX {
            let wall = self.clock().wall();
            // Who only waits must not take the one writer's turn.
            let mut tx = self.store().read("provider_calls.look").await?;
            let mut call = tx.provider_calls_get(id).await?.ok_or_else(unsettled)?;
            drop(tx);
            let is_free = call.leased_until <= wall;
            match call.state {
                CallState::Done => return Ok(call),
                CallState::Refused => return Err(Outcome::read(&call).failure()),
                // Who waited for an attempt that failed does not make the next one: a provider that
                // is down would be asked by everybody in turn.
                CallState::Unknown if is_free && !waited.is_zero() => {
                    return Err(Outcome::read(&call).failure());
                }
                CallState::Unknown | CallState::Intended => {}
            }
            if is_free && self.call_lease(&mut call).await? {
                return self.call_make(call).await;
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (2 * pause).min(WAIT_PAUSE_MAX);
        }
        Err(unsettled())
    }

    /// Takes a call that was free a moment ago; `false` where somebody was faster.
    async fn call_lease(&self, call: &mut ProviderCall) -> Result<bool, Failure> {
        let wall = self.clock().wall();
        let mut tx = self.store().begin("provider_calls.lease").await?;
        let leased = tx.provider_calls_lease(call, wall, wall.plus_seconds(LEASE_SECONDS)).await?;
        tx.commit().await?;
        Ok(leased)
    }

    /// One attempt at a leased call.
    async fn call_make(&self, call: ProviderCall) -> Result<ProviderCall, Failure> {
        let wish = Wish::read(&call)?;
        let answer = self.call_ask(&call, &wish).await;
        match answer {
            Ok(answer) => match self.call_hear(&call, answer).await {
                Ok(call) => Ok(call),
                Err(failure) => self.call_later(&call, failure).await,
            },
            Err(error) if may_pass(&error, &wish) => self.call_later(&call, error.into()).await,
            Err(error) if self.is_about_the_key(&call, &error).await => {
                self.call_later(&call, error.into()).await
            }
            Err(error) => self.call_refused(&call, refusal(error)).await,
        }
    }

    /// Whether a refusal says nothing about an earlier attempt that may have been carried out: the
    /// key was refused since, or may belong to another account, which knows nothing of ours.
    async fn is_about_the_key(&self, call: &ProviderCall, error: &ProviderError) -> bool {
        if call.attempts <= 1 {
            return false;
        }
        match error {
            ProviderError::Unauthorized => true,
            ProviderError::NotFound { .. } => !matches!(self.check_own_account().await, Ok(true)),
            _ => false,
        }
    }

    /// The outcome is not known, or could not be applied: it is asked for again.
    async fn call_later(
        &self,
        call: &ProviderCall,
        failure: Failure,
    ) -> Result<ProviderCall, Failure> {
        let wall = self.clock().wall();
        let wait = (1_i64 << call.attempts.clamp(1, 20)).min(BACKOFF_SECONDS_MAX);
        let outcome = Outcome::failed(&failure).text();
        tracing::warn!(
            call.id = %call.id, call.kind = call.kind, call.attempts = call.attempts, %failure,
            "a call to the provider has no outcome yet"
        );
        let mut tx = self.store().begin("provider_calls.retry").await?;
        tx.provider_calls_retry(call, &outcome, wall.plus_seconds(wait), wall).await?;
        tx.commit().await?;
        Err(failure)
    }

    async fn call_refused(
        &self,
        call: &ProviderCall,
        failure: Failure,
    ) -> Result<ProviderCall, Failure> {
        tracing::warn!(
            call.id = %call.id, call.kind = call.kind, %failure, "the provider refused a call"
        );
        let outcome = Outcome::failed(&failure).text();
        let mut tx = self.store().begin("provider_calls.refused").await?;
        let wall = self.clock().wall();
        tx.provider_calls_finish(call, CallState::Refused, &outcome, wall).await?;
        tx.commit().await?;
        Err(failure)
    }

    /// The calls we made or mean to make, newest first.
    pub async fn provider_calls_list(
        &self,
        page: Page,
        state: Option<&str>,
    ) -> Result<Listed<ProviderCall>, Failure> {
        let state = match state {
            None => None,
            Some(word) => Some(CallState::parse(word).ok_or_else(|| {
                Failure::invalid("state", "state must be intended, unknown, done or refused")
            })?),
        };
        let mut tx = self.store().read("provider_calls.list").await?;
        let rows = tx.provider_calls_list(state, page.cursor(), page.fetch()).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }
}

/// What a refusal means, where we have a word for it.
fn refusal(error: ProviderError) -> Failure {
    let gone = ["charge_already_refunded", "charge_disputed", "charge_not_refundable"];
    match &error {
        ProviderError::Refused { code: Some(code), .. } if gone.contains(&code.as_str()) => {
            let detail = "the payment has gone back already, or is disputed";
            Failure::refused(Code::PaymentNotRefundable, detail)
        }
        _ => error.into(),
    }
}

/// Whether asking again can end differently. A wrong api key is the operator's to mend: what has to
/// be done waits for that, what somebody only wished for is refused.
fn may_pass(error: &ProviderError, wish: &Wish) -> bool {
    match error {
        ProviderError::Unauthorized => wish.is_duty(),
        // It has happened, whatever the answer looks like.
        ProviderError::Malformed(_) => true,
        error => error.is_retryable(),
    }
}
