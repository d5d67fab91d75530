//! What we ask of the provider: the wish is written first, the call is made under its key, and what
//! came of it is applied in the transaction that settles the row.
//!
//! An unknown outcome is a state: whoever repeats the request, or the sweeper, asks again under the
//! same key, and beyond the day for which the provider remembers keys, reads the object instead.

mod asking;
mod hearing;
mod sweeping;
mod wishes;
mod writing;

pub(crate) use wishes::{PlanItem, Wish};
pub(crate) use writing::Standing;

use crate::Engine;
use crate::failures::Failure;
use crate::lists::{Listed, Page};
use domain::codes::Code;
use domain::ids::ProviderCallId;
use providers::errors::ProviderError;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::provider_calls::{CallState, ProviderCall};

/// How long one attempt may take, the client's own retries included.
const ATTEMPT_MAX: Duration = Duration::from_secs(130);
/// Longer than an attempt: what comes of it is still to be read and written.
const LEASE_SECONDS: i64 = 150;
const BACKOFF_SECONDS_MAX: i64 = 600;
/// The provider remembers an idempotency key for a day.
const KEY_LIFE_SECONDS: i64 = 23 * 60 * 60;
/// How long a request waits for the same wish of another one.
const WAIT_MAX: Duration = Duration::from_secs(30);
const WAIT_PAUSE: Duration = Duration::from_millis(50);
const WAIT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Our own code for a change that a plan at the provider stands in the way of.
const PLANNED_OTHERWISE: &str = "planned_otherwise";

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

pub(crate) fn unsettled() -> Failure {
    Failure::Provider { code: Code::OutcomeUnknown, detail: UNSETTLED.to_owned() }
}

impl Engine {
    /// Makes the call, or waits for whoever makes it: the row, done, or why it is not.
    pub(crate) async fn call_finish(&self, id: &ProviderCallId) -> Result<ProviderCall, Failure> {
        let mut waited = Duration::ZERO;
        let mut pause = WAIT_PAUSE;
        while waited < WAIT_MAX {
            let wall = self.clock().wall();
            // Who only waits must not take the one writer's turn.
            let mut tx = self.store().read("provider_calls.look").await?;
            let mut call = tx.provider_calls_get(id).await?.ok_or_else(unsettled)?;
            let beside = match &call.object_id {
                Some(object) => tx.provider_calls_open_of_object(object).await?,
                None => Vec::new(),
            };
            drop(tx);
            let is_free = call.leased_until <= wall;
            let is_alone = beside.iter().all(|beside| beside.leased_until <= wall);
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
            if is_free && is_alone && self.call_lease(&mut call).await? {
                return self.call_make(call).await;
            }
            self.clock().pause(pause).await;
            waited += pause;
            pause = (2 * pause).min(WAIT_PAUSE_MAX);
        }
        Err(unsettled())
    }

    /// Takes a call that was free a moment ago; `false` where somebody was faster, or another call
    /// about the same object is being made.
    async fn call_lease(&self, call: &mut ProviderCall) -> Result<bool, Failure> {
        let wall = self.clock().wall();
        let mut tx = self.store().begin("provider_calls.lease").await?;
        if let Some(customer) = &call.customer_id {
            tx.customers_lock(customer).await?;
        }
        let leased = tx.provider_calls_lease(call, wall, wall.plus_seconds(LEASE_SECONDS)).await?;
        if leased {
            // The row may have been read long before its turn came, and an event heard since.
            *call = tx.provider_calls_get(&call.id).await?.ok_or_else(unsettled)?;
        }
        tx.commit().await?;
        Ok(leased)
    }

    /// One attempt at a leased call.
    async fn call_make(&self, call: ProviderCall) -> Result<ProviderCall, Failure> {
        let wish = Wish::read(&call)?;
        if self.call_is_overtaken(&call, &wish).await? {
            let detail = "a later wish about the subscription has taken its place";
            let failure = Failure::refused(Code::ChangePending, detail);
            return self.call_refused(&call, &wish, failure).await;
        }
        let attempt = self.clock().within(ATTEMPT_MAX, self.call_ask(&call, &wish)).await;
        let late = || ProviderError::Unknown { cause: "the attempt took too long".to_owned() };
        match attempt.unwrap_or_else(|| Err(late())) {
            Ok(answer) => match self.call_hear(&call, answer).await {
                Ok(call) => Ok(call),
                Err(failure) => self.call_later(&call, failure).await,
            },
            Err(error) if may_pass(&error, &wish) => self.call_later(&call, error.into()).await,
            Err(error) if self.is_about_the_key(&call, &error).await => {
                self.call_later(&call, error.into()).await
            }
            Err(error) => self.call_refused(&call, &wish, refusal(error)).await,
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
        wish: &Wish,
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
        if let Some(subscription) = wish.subscription() {
            self.call_reread(subscription).await;
        }
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
        ProviderError::Refused { code: Some(code), .. } if code == PLANNED_OTHERWISE => {
            let detail = "another plan comes with the next period";
            Failure::refused(Code::ChangePending, detail)
        }
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
