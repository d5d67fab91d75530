//! Everything about a purchase that is decided without the provider, in one transaction.

use super::expiring::already_subscribed;
use super::{Buyer, CheckoutRequest, Pace, TrialRule, Wanted};
use crate::clock::{random, random_secret};
use crate::failures::Failure;
use crate::lists::NEWEST;
use crate::portal_sessions::digest;
use crate::subscriptions::SUBSCRIPTIONS_MAX;
use crate::{Engine, PROVIDER, prices, products};
use domain::catalogue::Billing;
use domain::codes::Code;
use domain::ids::{CheckoutSessionId, CustomerId};
use domain::money::{Money, MoneyError};
use secrecy::{ExposeSecret as _, SecretString};
use store::Tx;
use store::checkout_sessions::{CheckoutSession, Mode, SessionStatus};
use store::customers::Customer;
use store::idempotency::request_hash;
use store::prices::Price;

const RATE_WINDOW_SECONDS: i64 = 60;

/// An intent with all that is needed to open its page.
pub(super) struct Intended {
    pub session: CheckoutSession,
    pub customer: Option<Customer>,
    pub price: Price,
    pub browser: Option<SecretString>,
    pub origin: Origin,
}

/// Whether the intent was written for this very request, or is that of a repeated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    New,
    Earlier,
}

/// What an earlier intent is worth now.
enum Again {
    Same,
    /// The attempt that its key stood for is over.
    Over,
    Refused(Failure),
}

impl Engine {
    /// Everything that can be decided without the provider, and the intent, in one transaction.
    pub(super) async fn checkout_intend(
        &self,
        request: &CheckoutRequest,
        (success_url, cancel_url): (String, String),
    ) -> Result<Intended, Failure> {
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
            if earlier.request_hash.as_deref() != Some(hash.as_str()) {
                return Err(Failure::key_conflict());
            }
            match self.judged_again(&mut tx, request, customer.as_ref(), &price, &earlier).await? {
                Again::Same => {
                    // The sweeper leaves alone what somebody is at.
                    let now = self.clock().now();
                    tx.checkout_sessions_touch(&earlier.id, now.plus_seconds(1), now).await?;
                    tx.commit().await?;
                    let (browser, origin) = (None, Origin::Earlier);
                    return Ok(Intended { session: earlier, customer, price, browser, origin });
                }
                Again::Refused(refusal) => {
                    drop(tx);
                    self.checkout_close(&earlier).await;
                    return Err(refusal);
                }
                // The same wish may be had again.
                Again::Over => tx.checkout_sessions_forget_key(&earlier.id).await?,
            }
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
            return Err(Failure::key_conflict());
        }
        tx.commit().await?;
        Ok(Intended { session: intent, customer, price, browser, origin: Origin::New })
    }

    /// What became of an earlier intent since: somebody may have subscribed on another page, or
    /// have had the trial that it promised.
    async fn judged_again(
        &self,
        tx: &mut Tx,
        request: &CheckoutRequest,
        customer: Option<&Customer>,
        price: &Price,
        earlier: &CheckoutSession,
    ) -> Result<Again, Failure> {
        match earlier.status {
            SessionStatus::Expired | SessionStatus::Failed => return Ok(Again::Over),
            SessionStatus::Processing | SessionStatus::Complete => return Ok(Again::Same),
            SessionStatus::Creating | SessionStatus::Open => {}
        }
        let Some(customer) = customer.filter(|_| earlier.mode == Mode::Subscription) else {
            return Ok(Again::Same);
        };
        match check_not_subscribed(tx, &customer.id, price).await {
            Err(refusal @ Failure::Refused { .. }) => return Ok(Again::Refused(refusal)),
            outcome => outcome?,
        }
        let trial_days = self.trial_days(tx, request, Some(customer), price).await?;
        Ok(if trial_days < earlier.trial_days { Again::Over } else { Again::Same })
    }

    /// Who buys, locked: for a guest, whom this browser's earlier purchases belong to.
    pub(super) async fn buying_customer(
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
    pub(super) fn intent(
        &self,
        request: &CheckoutRequest,
        price: &Price,
    ) -> Result<CheckoutSession, Failure> {
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

    pub(super) async fn check_pace(&self, tx: &mut Tx, rate_key: &str) -> Result<(), Failure> {
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
    pub(super) async fn trial_days(
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
        let had = tx.subscriptions_had_trial(&customer.id, &price.product_id).await?;
        Ok(if had { 0 } else { days })
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

fn total(price: &Price, quantity: u32) -> Result<Money, Failure> {
    let minor = price.amount.minor().checked_mul(i64::from(quantity));
    let minor = minor.ok_or(MoneyError::Overflow)?;
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
pub(super) async fn check_not_subscribed(
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
