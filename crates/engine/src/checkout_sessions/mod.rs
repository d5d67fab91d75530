//! Checkout sessions: from a price to the provider's payment page.
//!
//! The intent is written before the provider is asked, and the provider's idempotency key comes
//! from it: whatever dies in between, repeating the request finds the same session.

mod creating;
mod expiring;
mod intents;
mod refreshing;
mod sweeping;

pub(crate) use refreshing::returned;

use crate::failures::Failure;
use crate::portal_sessions::{WebSession, digest};
use crate::{Engine, PROVIDER, Subject};
use domain::codes::Code;
use domain::ids::CheckoutSessionId;
use secrecy::SecretString;
use store::checkout_sessions::{CheckoutSession, SessionStatus};

/// What the provider keeps for us on everything that comes of a session.
pub(crate) const SESSION_KEY: &str = "tollgate_checkout";
pub(crate) const CUSTOMER_KEY: &str = "tollgate_customer";

/// Who buys.
#[derive(Debug, Clone)]
pub enum Buyer {
    Subject(Subject),
    /// Nobody we know: the customer comes from the completed session. Attempts are counted by
    /// address; a secret that the browser kept from an earlier one is used again.
    Guest {
        address: String,
        browser: Option<String>,
    },
}

/// What kind of price the caller's route sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Any,
    Recurring,
    OneTime,
}

impl Wanted {
    const fn as_str(self) -> &'static str {
        match self {
            Wanted::Any => "any",
            Wanted::Recurring => "recurring",
            Wanted::OneTime => "one_time",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialRule {
    /// The price decides.
    ByPrice,
    /// The price decides, and the deployment's own length where it says nothing.
    Automatic,
}

impl TrialRule {
    const fn as_str(self) -> &'static str {
        match self {
            TrialRule::ByPrice => "by_price",
            TrialRule::Automatic => "automatic",
        }
    }
}

/// Whether attempts are counted: those of end users are, a merchant's own server is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Limited,
    Unlimited,
}

#[derive(Debug, Clone)]
pub struct CheckoutRequest {
    pub buyer: Buyer,
    /// Our id or the provider's.
    pub price: String,
    /// Where the caller names the product too, it must be the price's.
    pub product: Option<String>,
    pub wanted: Wanted,
    pub trial: TrialRule,
    pub quantity: u32,
    pub success_url: Option<String>,
    pub cancel_url: Option<String>,
    /// Information for the payment page, never a key.
    pub email: Option<String>,
    pub idempotency_key: Option<String>,
    pub pace: Pace,
}

/// A session, and for guests the secret that their browser keeps.
#[derive(Debug, Clone)]
pub struct Checkout {
    pub session: CheckoutSession,
    pub browser: Option<SecretString>,
}

/// How far a session has come, without a word about whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Open,
    Processing,
    Complete,
    Expired,
    Failed,
}

impl Progress {
    pub const fn as_str(self) -> &'static str {
        match self {
            Progress::Open => "open",
            Progress::Processing => "processing",
            Progress::Complete => "complete",
            Progress::Expired => "expired",
            Progress::Failed => "failed",
        }
    }
}

impl Engine {
    /// One of the subject's own sessions, by our id or the provider's.
    pub async fn checkout_get(
        &self,
        subject: &Subject,
        id: &str,
    ) -> Result<CheckoutSession, Failure> {
        let missing = || Failure::refused(Code::NotFound, "no such checkout session");
        let mut tx = self.store().read("checkout.get").await?;
        let customer = self.customer(&mut tx, subject).await?.ok_or_else(missing)?;
        let session = match CheckoutSessionId::parse(id) {
            Ok(ours) => tx.checkout_sessions_get(&ours).await?,
            Err(_) => tx.checkout_sessions_find(PROVIDER, id).await?,
        };
        session.filter(|row| row.customer_id.as_ref() == Some(&customer.id)).ok_or_else(missing)
    }

    /// For the return page, which grants nothing and shows nobody's data.
    pub async fn checkout_progress(
        &self,
        provider_session_id: &str,
    ) -> Result<Option<Progress>, Failure> {
        let mut tx = self.store().read("checkout.progress").await?;
        let session = tx.checkout_sessions_find(PROVIDER, provider_session_id).await?;
        Ok(session.map(|session| match session.status {
            SessionStatus::Creating | SessionStatus::Open => Progress::Open,
            SessionStatus::Processing => Progress::Processing,
            SessionStatus::Complete => Progress::Complete,
            SessionStatus::Expired => Progress::Expired,
            SessionStatus::Failed => Progress::Failed,
        }))
    }

    /// Signs a guest in, in the browser that began the session, once the session is complete. The
    /// session's id alone opens nothing: it stands in addresses and logs.
    pub async fn checkout_claim(
        &self,
        provider_session_id: &str,
        browser: &str,
    ) -> Result<Option<WebSession>, Failure> {
        let mut tx = self.store().begin("checkout.claim").await?;
        let Some(session) = tx.checkout_sessions_find(PROVIDER, provider_session_id).await? else {
            return Ok(None);
        };
        let proven = session.browser_hash.as_deref() == Some(digest(browser).as_str());
        match session.customer_id {
            Some(customer) if proven && session.status == SessionStatus::Complete => {
                let web = self.web_session_start(&mut tx, &customer).await?;
                tx.commit().await?;
                Ok(Some(web))
            }
            _ => Ok(None),
        }
    }
}

/// What an event says of a session never takes it back to an earlier state.
pub(crate) fn settled(held: SessionStatus, told: SessionStatus) -> SessionStatus {
    let rank = |status: SessionStatus| match status {
        SessionStatus::Creating => 0,
        SessionStatus::Open => 1,
        SessionStatus::Processing => 2,
        SessionStatus::Expired => 3,
        SessionStatus::Failed => 4,
        SessionStatus::Complete => 5,
    };
    if rank(held) < rank(told) { told } else { held }
}
