//! Checkout sessions: from a price to the provider's payment page.
//!
//! The intent is written before the provider is asked, and the provider's idempotency key comes
//! from it: whatever dies in between, repeating the request finds the same session.

use crate::clock::{random, random_secret};
use crate::customers::check_email;
use crate::failures::Failure;
use crate::lists::NEWEST;
use crate::portal_sessions::{WebSession, digest};
use crate::subscriptions::SUBSCRIPTIONS_MAX;
use crate::{Engine, PROVIDER, Subject, prices, products};
use domain::catalogue::Billing;
use domain::codes::Code;
use domain::ids::{CheckoutSessionId, CustomerId};
use domain::money::{Currency, Money};
use providers::errors::ProviderError;
use providers::facts::SessionMode;
use providers::stripe::checkout_sessions::CheckoutNew;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use store::Tx;
use store::checkout_sessions::{CheckoutSession, Mode, SessionStatus};
use store::customers::Customer;
use store::idempotency::request_hash;
use store::prices::Price;
use url::Url;

/// What the provider keeps for us on everything that comes of a session.
pub(crate) const SESSION_KEY: &str = "tollgate_checkout";
pub(crate) const CUSTOMER_KEY: &str = "tollgate_customer";

const RATE_WINDOW_SECONDS: i64 = 60;
const QUANTITY_MAX: u32 = 1_000;
const KEY_LENGTH_MAX: usize = 255;
const SESSION_PLACEHOLDER: &str = "{CHECKOUT_SESSION_ID}";

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
    /// Opens a payment page for a price.
    pub async fn checkout_create(&self, request: CheckoutRequest) -> Result<Checkout, Failure> {
        self.provider()?;
        check_email(request.email.as_deref())?;
        if !(1..=QUANTITY_MAX).contains(&request.quantity) {
            let detail = format!("quantity must be from 1 to {QUANTITY_MAX}");
            return Err(Failure::invalid("quantity", detail));
        }
        if request.idempotency_key.as_ref().is_some_and(|key| KEY_LENGTH_MAX < key.len()) {
            return Err(Failure::invalid("Idempotency-Key", "the idempotency key is too long"));
        }
        let urls = self.return_urls(&request)?;
        let (intent, customer, price, browser) = self.checkout_intend(&request, urls).await?;
        let session = match intent.status {
            SessionStatus::Creating => {
                self.checkout_open(intent, customer.as_ref(), &price).await?
            }
            _ => intent,
        };
        self.expire_all_but_newest(&session).await?;
        Ok(Checkout { session, browser })
    }

    /// The one-time price that costs exactly this: callers name an amount, the catalogue decides.
    pub async fn checkout_for_amount(
        &self,
        minor: i64,
        request: impl FnOnce(String) -> CheckoutRequest,
    ) -> Result<Checkout, Failure> {
        let amount = Money::new(minor, Currency::USD);
        let mut tx = self.store().read("checkout.for_amount").await?;
        let prices = tx.prices_active().await?;
        drop(tx);
        let fits = |price: &&Price| price.amount == amount && price.billing == Billing::OneTime;
        match prices.iter().find(fits) {
            Some(price) if 0 < minor => self.checkout_create(request(price.id.to_string())).await,
            _ => Err(Failure::Refused {
                code: Code::AmountNotForSale,
                detail: format!("nothing is for sale once for {}", amount.decimal()),
                param: Some("amount_cents"),
            }),
        }
    }

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

    fn return_urls(&self, request: &CheckoutRequest) -> Result<(String, String), Failure> {
        let base = self.settings().frontend_url.as_str().trim_end_matches('/');
        let success = match &request.success_url {
            None => format!("{base}/pay/success?session_id={SESSION_PLACEHOLDER}"),
            Some(text) => {
                let url = self.return_url(text)?;
                if url.contains(SESSION_PLACEHOLDER) {
                    url
                } else {
                    let glue = if url.contains('?') { '&' } else { '?' };
                    format!("{url}{glue}session_id={SESSION_PLACEHOLDER}")
                }
            }
        };
        let cancel = match &request.cancel_url {
            None => format!("{base}/pricing"),
            Some(text) => self.return_url(text)?,
        };
        Ok((success, cancel))
    }

    /// Only the application's pages and our own are ever returned to, as a browser reads addresses.
    pub(crate) fn return_url(&self, text: &str) -> Result<String, Failure> {
        let settings = self.settings();
        let ours = [settings.frontend_url.origin(), settings.public_url.origin()];
        let parsed = Url::parse(text).ok().filter(|url| {
            let plain = url.username().is_empty() && url.password().is_none();
            ours.contains(&url.origin()) && plain && url.fragment().is_none()
        });
        // Whoever needs control characters or blanks in an address is up to something.
        let odd = text.chars().any(|c| c.is_control() || c.is_whitespace());
        match parsed {
            // The placeholder's braces must reach the provider as they are.
            Some(_) if !odd && text.len() <= 2_000 => Ok(text.to_owned()),
            _ => {
                let base = &self.settings().frontend_url;
                let detail = format!("return addresses must begin with {base}, without a fragment");
                Err(Failure::refused(Code::InvalidReturnUrl, detail))
            }
        }
    }

    /// Everything that can be decided without the provider, and the intent, in one transaction.
    async fn checkout_intend(
        &self,
        request: &CheckoutRequest,
        (success_url, cancel_url): (String, String),
    ) -> Result<(CheckoutSession, Option<Customer>, Price, Option<SecretString>), Failure> {
        let mut tx = self.store().begin("checkout.intend").await?;
        let price = sellable(&mut tx, request).await?;
        let browser = browser_secret(&request.buyer);
        let customer = self.buying_customer(&mut tx, request, browser.as_ref()).await?;
        let rate_key = match (&request.buyer, &customer) {
            (Buyer::Guest { address, .. }, _) => format!("guest:{address}"),
            (Buyer::Subject(_), Some(customer)) => customer.id.to_string(),
            (Buyer::Subject(_), None) => return Err(crate::customers::not_found()),
        };
        let quantity = request.quantity.to_string();
        let email = request.email.as_deref().unwrap_or_default();
        let (wanted, trial) = (request.wanted.as_str(), request.trial.as_str());
        let id = price.id.as_str();
        let asked = [id, &quantity, &success_url, &cancel_url, email, wanted, trial];
        let hash = request_hash(&asked);
        if let Some(key) = &request.idempotency_key
            && let Some(earlier) = tx.checkout_sessions_by_key(&rate_key, key).await?
        {
            return match earlier.request_hash.as_deref() == Some(hash.as_str()) {
                true => Ok((earlier, customer, price, None)),
                false => Err(conflict()),
            };
        }
        if request.pace == Pace::Limited {
            self.check_pace(&mut tx, &rate_key).await?;
        }
        let trial_days = self.trial_days(&mut tx, request, customer.as_ref(), &price).await?;
        let intent = CheckoutSession {
            trial_days,
            customer_id: customer.as_ref().map(|customer| customer.id.clone()),
            success_url,
            cancel_url,
            rate_key,
            browser_hash: browser.as_ref().map(|secret| digest(secret.expose_secret())),
            request_hash: Some(hash),
            ..self.intent(request, &price)?
        };
        if let Some(customer) = &customer
            && intent.mode == Mode::Subscription
        {
            check_not_subscribed(&mut tx, &customer.id, &price).await?;
        }
        if !tx.checkout_sessions_insert(&intent).await? {
            return Err(conflict());
        }
        tx.commit().await?;
        Ok((intent, customer, price, browser))
    }

    /// Who buys, locked: for a guest, whom this browser's earlier purchases belong to.
    async fn buying_customer(
        &self,
        tx: &mut Tx,
        request: &CheckoutRequest,
        browser: Option<&SecretString>,
    ) -> Result<Option<Customer>, Failure> {
        let customer = match (&request.buyer, browser) {
            (Buyer::Subject(subject), _) => {
                Some(self.customer_ensured(tx, subject, request.email.as_deref()).await?)
            }
            (Buyer::Guest { .. }, Some(secret)) => {
                let hash = digest(secret.expose_secret());
                match tx.checkout_sessions_customer_of_browser(&hash).await? {
                    Some(id) => tx.customers_get(&id).await?,
                    None => None,
                }
            }
            (Buyer::Guest { .. }, None) => None,
        };
        if let Some(customer) = &customer {
            tx.customers_lock(&customer.id).await?;
        }
        Ok(customer)
    }

    /// The intent as far as the price decides it.
    fn intent(&self, request: &CheckoutRequest, price: &Price) -> Result<CheckoutSession, Failure> {
        let now = self.clock().now();
        let mode = match price.billing {
            Billing::OneTime => Mode::Payment,
            Billing::Recurring(_) => Mode::Subscription,
        };
        Ok(CheckoutSession {
            id: CheckoutSessionId::new(self.clock().wall(), random()),
            customer_id: None,
            mode,
            status: SessionStatus::Creating,
            price_id: price.id.clone(),
            quantity: request.quantity,
            amount: total(price, request.quantity)?,
            trial_days: 0,
            grants: price.grants.clone(),
            email: request.email.clone(),
            success_url: String::new(),
            cancel_url: String::new(),
            provider: PROVIDER.to_owned(),
            provider_session_id: None,
            provider_payment_intent_id: None,
            provider_subscription_id: None,
            url: None,
            rate_key: String::new(),
            browser_hash: None,
            idempotency_key: request.idempotency_key.clone(),
            request_hash: None,
            created_at: now,
            requested_at: self.clock().wall(),
            updated_at: now,
        })
    }

    async fn check_pace(&self, tx: &mut Tx, rate_key: &str) -> Result<(), Failure> {
        let wall = self.clock().wall();
        let since = wall.plus_seconds(-RATE_WINDOW_SECONDS);
        let recent = tx.checkout_sessions_recent(rate_key, since).await?;
        let limit = self.settings().checkouts_per_minute as usize;
        if recent.len() < limit {
            return Ok(());
        }
        let frees_at = recent.get(recent.len() - limit).copied().unwrap_or(wall);
        let wait = frees_at.plus_seconds(RATE_WINDOW_SECONDS).seconds() - wall.seconds();
        let retry_after_seconds = u64::try_from(wait.max(1)).unwrap_or(1);
        Err(Failure::RateLimited { retry_after_seconds })
    }

    /// A trial is given once per person and product.
    async fn trial_days(
        &self,
        tx: &mut Tx,
        request: &CheckoutRequest,
        customer: Option<&Customer>,
        price: &Price,
    ) -> Result<u32, Failure> {
        let days = match request.trial {
            TrialRule::Automatic if price.trial_days == 0 => self.settings().default_trial_days,
            _ => price.trial_days,
        };
        let recurring = matches!(price.billing, Billing::Recurring(_));
        if days == 0 || !recurring || price.amount.minor() == 0 {
            return Ok(0);
        }
        let Some(customer) = customer else {
            return Ok(days);
        };
        let had = tx.checkout_sessions_had_trial(&customer.id, &price.product_id).await?;
        Ok(if had { 0 } else { days })
    }

    /// Asks the provider, under a key that the intent decides.
    async fn checkout_open(
        &self,
        intent: CheckoutSession,
        customer: Option<&Customer>,
        price: &Price,
    ) -> Result<CheckoutSession, Failure> {
        let provider_price = price.provider_price_id.as_deref().ok_or_else(|| {
            Failure::refused(Code::PriceInactive, "the price is not known to the provider yet")
        })?;
        let mut counterpart = match customer {
            None => None,
            Some(customer) => Some(self.provider_customer(customer).await?),
        };
        let mut answer =
            self.checkout_ask(&intent, provider_price, counterpart.as_deref(), 0).await;
        if let (Err(ProviderError::NotFound { object, .. }), Some(customer)) = (&answer, customer)
            && object.contains("customer")
        {
            counterpart = Some(self.provider_customer_again(customer).await?);
            answer = self.checkout_ask(&intent, provider_price, counterpart.as_deref(), 1).await;
        }
        let now = self.clock().now();
        let mut tx = self.store().begin("checkout.opened").await?;
        match answer {
            Ok(opened) => {
                let url = opened.url.as_deref();
                tx.checkout_sessions_opened(&intent.id, &opened.id, url, now).await?;
                let session = tx.checkout_sessions_get(&intent.id).await?;
                tx.commit().await?;
                session.ok_or_else(|| Failure::refused(Code::NotFound, "no such checkout session"))
            }
            // The outcome is unknown: the intent stays, and repeating the request asks again.
            Err(error) if error.is_retryable() => Err(error.into()),
            Err(error) => {
                tx.checkout_sessions_forget(&intent.id).await?;
                tx.commit().await?;
                Err(error.into())
            }
        }
    }

    /// Of several pages that could each become a subscription only the newest stays payable, so
    /// that two tabs do not become two subscriptions, or two trials.
    async fn expire_all_but_newest(&self, of: &CheckoutSession) -> Result<(), Failure> {
        if of.mode == Mode::Payment {
            return Ok(());
        }
        let mut tx = self.store().read("checkout.open").await?;
        let mut open = tx.checkout_sessions_open_subscriptions(of).await?;
        drop(tx);
        let newest = open.pop();
        for session in open {
            if self.checkout_expire(&session).await? == Expiry::PaidAlready {
                // Its event is on the way; a second subscription must not be.
                if let Some(newest) = &newest {
                    self.checkout_expire(newest).await?;
                }
                return Err(already_subscribed());
            }
        }
        Ok(())
    }

    /// Closes a payment page, unless somebody has paid there.
    async fn checkout_expire(&self, session: &CheckoutSession) -> Result<Expiry, Failure> {
        let Some(id) = &session.provider_session_id else {
            return Ok(Expiry::Closed);
        };
        let key = format!("tollgate-expire-{}", session.id);
        let provider = self.provider()?;
        match provider.checkout_session_expire(id, &key).await {
            Ok(_) | Err(ProviderError::NotFound { .. }) => {}
            Err(ProviderError::Refused { .. }) => {
                let told = provider.checkout_session(id).await?;
                if told.status == providers::facts::SessionStatus::Complete {
                    return Ok(Expiry::PaidAlready);
                }
            }
            Err(error) => return Err(error.into()),
        }
        let mut tx = self.store().begin("checkout.expire").await?;
        if let Some(mut fresh) = tx.checkout_sessions_lock(&session.id).await? {
            fresh.status = settled(fresh.status, SessionStatus::Expired);
            fresh.updated_at = self.clock().now();
            tx.checkout_sessions_settle(&fresh).await?;
        }
        tx.commit().await?;
        Ok(Expiry::Closed)
    }

    async fn checkout_ask(
        &self,
        intent: &CheckoutSession,
        price: &str,
        customer: Option<&str>,
        attempt: u32,
    ) -> Result<providers::facts::CheckoutSession, ProviderError> {
        let mut metadata = BTreeMap::from([(SESSION_KEY.to_owned(), intent.id.to_string())]);
        if let Some(id) = &intent.customer_id {
            metadata.insert(CUSTOMER_KEY.to_owned(), id.to_string());
        }
        let new = CheckoutNew {
            mode: match intent.mode {
                Mode::Payment => SessionMode::Payment,
                Mode::Subscription => SessionMode::Subscription,
            },
            price,
            quantity: intent.quantity,
            customer,
            customer_email: if customer.is_none() { intent.email.as_deref() } else { None },
            client_reference: intent.id.as_str(),
            metadata,
            success_url: &intent.success_url,
            cancel_url: &intent.cancel_url,
            trial_days: (0 < intent.trial_days).then_some(intent.trial_days),
            promotion_codes: true,
        };
        let key = format!("tollgate-checkout-{}-{attempt}", intent.id);
        match &self.inner.provider {
            Some(provider) => provider.checkout_session_create(&new, &key).await,
            None => Err(ProviderError::Unauthorized),
        }
    }
}

/// One browser keeps one secret, so that whatever is bought in it comes to one customer.
fn browser_secret(buyer: &Buyer) -> Option<SecretString> {
    let Buyer::Guest { browser, .. } = buyer else {
        return None;
    };
    let ours = |text: &&String| {
        text.len() == 2 * random_secret().len() && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let kept = browser.as_ref().filter(ours).cloned();
    Some(SecretString::from(kept.unwrap_or_else(|| hex::encode(random_secret()))))
}

/// What became of a page that should be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Closed,
    PaidAlready,
}

fn already_subscribed() -> Failure {
    let detail = "there is a subscription already; change or cancel it instead";
    Failure::refused(Code::AlreadySubscribed, detail)
}

fn conflict() -> Failure {
    let detail = "this idempotency key was used for another request";
    Failure::refused(Code::IdempotencyConflict, detail)
}

fn total(price: &Price, quantity: u32) -> Result<Money, Failure> {
    let minor = price.amount.minor().checked_mul(i64::from(quantity));
    let minor = minor.ok_or(domain::money::MoneyError::Overflow)?;
    Ok(Money::new(minor, price.amount.currency()))
}

/// The price, if it may be sold by this route.
async fn sellable(tx: &mut Tx, request: &CheckoutRequest) -> Result<Price, Failure> {
    let price = prices::find(tx, &request.price).await?;
    if let Some(named) = &request.product
        && products::find(tx, named).await?.id != price.product_id
    {
        let detail = "the price belongs to another product";
        return Err(Failure::refused(Code::PriceMismatch, detail));
    }
    let product = tx.products_get(&price.product_id).await?;
    if !price.active || !product.is_some_and(|product| product.active) {
        return Err(Failure::refused(Code::PriceInactive, "the price is not for sale"));
    }
    match (request.wanted, price.billing) {
        (Wanted::Recurring, Billing::OneTime) => {
            Err(Failure::refused(Code::PriceNotRecurring, "the price is paid once"))
        }
        (Wanted::OneTime, Billing::Recurring(_)) => {
            Err(Failure::refused(Code::PriceNotOneTime, "the price is a subscription"))
        }
        _ => {
            for grant in &price.grants.credits {
                grant.amount.times(i64::from(request.quantity))?;
            }
            Ok(price)
        }
    }
}

/// One person has one subscription; only a free one may be left for a paid one.
async fn check_not_subscribed(
    tx: &mut Tx,
    customer: &CustomerId,
    wanted: &Price,
) -> Result<(), Failure> {
    for held in tx.subscriptions_list(customer, NEWEST, SUBSCRIPTIONS_MAX).await? {
        let price = match &held.price_id {
            Some(id) => tx.prices_get(id).await?,
            None => None,
        };
        let free = price.is_some_and(|price| price.amount.minor() == 0);
        let upgrade = free && 0 < wanted.amount.minor();
        if held.status.is_live() && !upgrade {
            return Err(already_subscribed());
        }
    }
    Ok(())
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
