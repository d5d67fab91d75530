//! Checkout sessions: what somebody set out to buy, with the grants that were on sale then.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::prices::{grants_parse, grants_text};
use crate::rows::{Row, id, opt_id};
use crate::sql::{Arg, args, statements};
use domain::catalogue::Grants;
use domain::ids::{CheckoutSessionId, CustomerId, PriceId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Payment,
    Subscription,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Payment => "payment",
            Mode::Subscription => "subscription",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Mode::Payment, Mode::Subscription].into_iter().find(|mode| mode.as_str() == word)
    }
}

/// `Creating` is the intent before the provider has answered: its outcome may be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStatus {
    Creating,
    Open,
    /// Completed, and the money is still on its way.
    Processing,
    Complete,
    Expired,
    Failed,
}

impl SessionStatus {
    const ALL: [SessionStatus; 6] = [
        SessionStatus::Creating,
        SessionStatus::Open,
        SessionStatus::Processing,
        SessionStatus::Complete,
        SessionStatus::Expired,
        SessionStatus::Failed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            SessionStatus::Creating => "creating",
            SessionStatus::Open => "open",
            SessionStatus::Processing => "processing",
            SessionStatus::Complete => "complete",
            SessionStatus::Expired => "expired",
            SessionStatus::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct CheckoutSession {
    pub id: CheckoutSessionId,
    /// Empty for a guest until the session completes.
    pub customer_id: Option<CustomerId>,
    pub mode: Mode,
    pub status: SessionStatus,
    pub price_id: PriceId,
    pub quantity: u32,
    pub amount: Money,
    pub trial_days: u32,
    pub grants: Grants,
    pub email: Option<String>,
    pub success_url: String,
    pub cancel_url: String,
    pub provider: String,
    pub provider_session_id: Option<String>,
    pub provider_payment_intent_id: Option<String>,
    pub provider_subscription_id: Option<String>,
    pub url: Option<String>,
    /// Whose attempts are counted: a customer, or a guest's address.
    pub rate_key: String,
    /// Digest of the secret in the browser of a guest, who may sign in there once all is paid.
    pub browser_hash: Option<String>,
    pub idempotency_key: Option<String>,
    pub request_hash: Option<String>,
    pub created_at: Timestamp,
    /// On the wall clock, for the rate limit.
    pub requested_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "checkout_sessions.insert":
        "INSERT INTO checkout_sessions (id, customer_id, mode, status, price_id, quantity, amount,
             currency, trial_days, grants, email, success_url, cancel_url, provider,
             provider_session_id, provider_payment_intent_id, provider_subscription_id, url,
             rate_key, browser_hash, idempotency_key, request_hash, created_at, requested_at,
             updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING";
    GET = "checkout_sessions.get": "SELECT * FROM checkout_sessions WHERE id = ?";
    LOCK = "checkout_sessions.lock":
        "SELECT * FROM checkout_sessions WHERE id = ? FOR NO KEY UPDATE";
    LOCK_FOLD = "checkout_sessions.lock_fold":
        "SELECT s.* FROM ROWS(id VARCHAR(255)) CROSS JOIN checkout_sessions s WHERE s.id = r.id
         ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED";
    FIND = "checkout_sessions.find":
        "SELECT * FROM checkout_sessions WHERE provider = ? AND provider_session_id = ?";
    BY_KEY = "checkout_sessions.by_key":
        "SELECT * FROM checkout_sessions WHERE rate_key = ? AND idempotency_key = ?";
    BY_SUBSCRIPTION = "checkout_sessions.by_subscription":
        "SELECT * FROM checkout_sessions WHERE provider_subscription_id = ?";
    OF_BROWSER = "checkout_sessions.of_browser":
        "SELECT customer_id FROM checkout_sessions
         WHERE browser_hash = ? AND customer_id IS NOT NULL ORDER BY id LIMIT 1";
    OPEN_SUBSCRIPTIONS = "checkout_sessions.open_subscriptions":
        "SELECT * FROM checkout_sessions
         WHERE (customer_id = ? OR browser_hash = ?
                OR browser_hash IN (SELECT browser_hash FROM checkout_sessions
                                    WHERE customer_id = ? AND browser_hash IS NOT NULL))
           AND mode = 'subscription' AND status = 'open'
         ORDER BY id";
    OPEN_OF_CUSTOMER = "checkout_sessions.open_of_customer":
        "SELECT * FROM checkout_sessions
         WHERE customer_id = ? AND mode = 'subscription' AND COALESCE(status, '') = 'open'
         ORDER BY id";
    RECENT = "checkout_sessions.recent":
        "SELECT requested_at FROM checkout_sessions
         WHERE rate_key = ? AND requested_at > ? ORDER BY requested_at";
    OPENED = "checkout_sessions.opened":
        "UPDATE checkout_sessions SET status = 'open', provider_session_id = ?, url = ?,
             updated_at = ?
         WHERE id = ? AND status IN ('creating', 'open')";
    STALE = "checkout_sessions.stale":
        "SELECT * FROM checkout_sessions WHERE status = 'creating' AND updated_at < ?
         ORDER BY updated_at LIMIT ?";
    TOUCH = "checkout_sessions.touch":
        "UPDATE checkout_sessions SET updated_at = ?
         WHERE id = ? AND COALESCE(status, '') = 'creating' AND updated_at < ?";
    FORGET_KEY = "checkout_sessions.forget_key":
        "UPDATE checkout_sessions SET idempotency_key = NULL WHERE id = ?";
    FORGET = "checkout_sessions.forget":
        "DELETE FROM checkout_sessions WHERE id = ? AND COALESCE(status, '') = 'creating'";
    SETTLE = "checkout_sessions.settle":
        "UPDATE checkout_sessions SET status = ?, customer_id = ?, provider_payment_intent_id = ?,
             provider_subscription_id = ?, updated_at = ?
         WHERE id = ?";
    COMPLETE_FOLD = "checkout_sessions.complete_fold":
        "UPDATE checkout_sessions SET status = 'complete',
             provider_payment_intent_id = r.payment_intent, updated_at = r.now_at
         FROM ROWS(id VARCHAR(255), payment_intent VARCHAR(255), now_at BIGINT)
         WHERE checkout_sessions.id = r.id";
}

#[derive(Serialize)]
struct CompleteRow<'a> {
    id: &'a str,
    payment_intent: &'a str,
    now_at: i64,
}

fn session(row: &Row) -> Result<CheckoutSession, StoreError> {
    let currency = row.parsed("currency", |text| Currency::parse(text).ok())?;
    Ok(CheckoutSession {
        id: id!(row, "id", CheckoutSessionId)?,
        customer_id: opt_id!(row, "customer_id", CustomerId)?,
        mode: row.parsed("mode", Mode::parse)?,
        status: row.parsed("status", SessionStatus::parse)?,
        price_id: id!(row, "price_id", PriceId)?,
        quantity: row.small("quantity")?,
        amount: Money::new(row.int("amount")?, currency),
        trial_days: row.small("trial_days")?,
        grants: row.parsed("grants", grants_parse)?,
        email: row.opt_text("email")?,
        success_url: row.text("success_url")?,
        cancel_url: row.text("cancel_url")?,
        provider: row.text("provider")?,
        provider_session_id: row.opt_text("provider_session_id")?,
        provider_payment_intent_id: row.opt_text("provider_payment_intent_id")?,
        provider_subscription_id: row.opt_text("provider_subscription_id")?,
        url: row.opt_text("url")?,
        rate_key: row.text("rate_key")?,
        browser_hash: row.opt_text("browser_hash")?,
        idempotency_key: row.opt_text("idempotency_key")?,
        request_hash: row.opt_text("request_hash")?,
        created_at: row.time("created_at")?,
        requested_at: row.time("requested_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Tx {
    /// Writes the intent; `false` where this buyer's idempotency key is taken.
    pub async fn checkout_sessions_insert(
        &mut self,
        new: &CheckoutSession,
    ) -> Result<bool, StoreError> {
        let currency = new.amount.currency();
        let args = args![
            &new.id,
            &new.customer_id,
            new.mode.as_str(),
            new.status.as_str(),
            &new.price_id,
            new.quantity,
            new.amount.minor(),
            currency.as_str(),
            new.trial_days,
            grants_text(&new.grants),
            &new.email,
            &new.success_url,
            &new.cancel_url,
            &new.provider,
            &new.provider_session_id,
            &new.provider_payment_intent_id,
            &new.provider_subscription_id,
            &new.url,
            &new.rate_key,
            &new.browser_hash,
            &new.idempotency_key,
            &new.request_hash,
            new.created_at,
            new.requested_at,
            new.updated_at
        ];
        self.change_if(&INSERT, args).await
    }

    pub async fn checkout_sessions_get(
        &mut self,
        id: &CheckoutSessionId,
    ) -> Result<Option<CheckoutSession>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(session).transpose()
    }

    /// The session as it is now, and nobody else's until the transaction ends.
    pub async fn checkout_sessions_lock(
        &mut self,
        id: &CheckoutSessionId,
    ) -> Result<Option<CheckoutSession>, StoreError> {
        self.first(&LOCK, args![id]).await?.as_ref().map(session).transpose()
    }

    /// Those of the sessions that nobody else holds, for whom everybody in the fold would wait.
    pub async fn checkout_sessions_lock_fold(
        &mut self,
        ids: &[CheckoutSessionId],
    ) -> Result<Vec<CheckoutSession>, StoreError> {
        let ids = Arg::ids(ids.iter().map(CheckoutSessionId::as_str))?;
        let found = self.all(&LOCK_FOLD, vec![ids]).await?;
        found.iter().map(session).collect()
    }

    /// By the provider's id.
    pub async fn checkout_sessions_find(
        &mut self,
        provider: &str,
        provider_session_id: &str,
    ) -> Result<Option<CheckoutSession>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_session_id]).await?;
        row.as_ref().map(session).transpose()
    }

    pub async fn checkout_sessions_by_key(
        &mut self,
        rate_key: &str,
        idempotency_key: &str,
    ) -> Result<Option<CheckoutSession>, StoreError> {
        let row = self.first(&BY_KEY, args![rate_key, idempotency_key]).await?;
        row.as_ref().map(session).transpose()
    }

    pub async fn checkout_sessions_by_subscription(
        &mut self,
        provider_subscription_id: &str,
    ) -> Result<Option<CheckoutSession>, StoreError> {
        let row = self.first(&BY_SUBSCRIPTION, args![provider_subscription_id]).await?;
        row.as_ref().map(session).transpose()
    }

    /// Whom a browser's earlier guest sessions belong to.
    pub async fn checkout_sessions_customer_of_browser(
        &mut self,
        browser_hash: &str,
    ) -> Result<Option<CustomerId>, StoreError> {
        let row = self.first(&OF_BROWSER, args![browser_hash]).await?;
        Ok(row.map(|row| opt_id!(row, "customer_id", CustomerId)).transpose()?.flatten())
    }

    /// Sessions that could still become a subscription of the same buyer, oldest first.
    pub async fn checkout_sessions_open_subscriptions(
        &mut self,
        of: &CheckoutSession,
    ) -> Result<Vec<CheckoutSession>, StoreError> {
        let args = args![&of.customer_id, &of.browser_hash, &of.customer_id];
        self.all(&OPEN_SUBSCRIPTIONS, args).await?.iter().map(session).collect()
    }

    /// Pages at which the customer could still buy a subscription, oldest first.
    pub async fn checkout_sessions_open_of_customer(
        &mut self,
        customer: &CustomerId,
    ) -> Result<Vec<CheckoutSession>, StoreError> {
        self.all(&OPEN_OF_CUSTOMER, args![customer]).await?.iter().map(session).collect()
    }

    /// When this buyer's attempts after `since` were made, oldest first.
    pub async fn checkout_sessions_recent(
        &mut self,
        rate_key: &str,
        since: Timestamp,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let rows = self.all(&RECENT, args![rate_key, since]).await?;
        rows.iter().map(|row| row.time("requested_at")).collect()
    }

    /// The provider has answered.
    pub async fn checkout_sessions_opened(
        &mut self,
        id: &CheckoutSessionId,
        provider_session_id: &str,
        url: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&OPENED, args![provider_session_id, url, now, id]).await
    }

    /// Intents whose outcome nobody knows since before an instant.
    pub async fn checkout_sessions_stale(
        &mut self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<CheckoutSession>, StoreError> {
        self.all(&STALE, args![before, limit]).await?.iter().map(session).collect()
    }

    /// Marks an intent as looked after now; `false` where somebody else was quicker.
    pub async fn checkout_sessions_touch(
        &mut self,
        id: &CheckoutSessionId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&TOUCH, args![now, id, before]).await
    }

    /// Frees the idempotency key of an attempt that is over.
    pub async fn checkout_sessions_forget_key(
        &mut self,
        id: &CheckoutSessionId,
    ) -> Result<(), StoreError> {
        self.change_one(&FORGET_KEY, args![id]).await
    }

    /// The provider has refused: nothing half-created stays.
    pub async fn checkout_sessions_forget(
        &mut self,
        id: &CheckoutSessionId,
    ) -> Result<bool, StoreError> {
        self.change_if(&FORGET, args![id]).await
    }

    /// Writes of paid pages that they are complete, and with which payment intent.
    pub async fn checkout_sessions_complete_fold(
        &mut self,
        sessions: &[&CheckoutSession],
    ) -> Result<(), StoreError> {
        let rows: Vec<_> = sessions
            .iter()
            .map(|session| CompleteRow {
                id: session.id.as_str(),
                payment_intent: session.provider_payment_intent_id.as_deref().unwrap_or_default(),
                now_at: session.updated_at.micros(),
            })
            .collect();
        self.change_all(&COMPLETE_FOLD, vec![Arg::rows(&rows)?], rows.len()).await
    }

    /// Writes what an event has told of the session.
    pub async fn checkout_sessions_settle(
        &mut self,
        session: &CheckoutSession,
    ) -> Result<(), StoreError> {
        let args = args![
            session.status.as_str(),
            &session.customer_id,
            &session.provider_payment_intent_id,
            &session.provider_subscription_id,
            session.updated_at,
            &session.id
        ];
        self.change_one(&SETTLE, args).await
    }
}
