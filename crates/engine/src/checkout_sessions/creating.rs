//! From a request to a page at the provider: the intent first, then the call under its key.

use super::intents::{Intended, Origin};
use super::{CUSTOMER_KEY, Checkout, CheckoutRequest, SESSION_KEY};
use crate::Engine;
use crate::customers::check_email;
use crate::failures::Failure;
use domain::catalogue::Billing;
use domain::codes::Code;
use domain::money::{Currency, Money};
use providers::errors::ProviderError;
use providers::facts::SessionMode;
use providers::stripe::checkout_sessions::CheckoutNew;
use std::collections::BTreeMap;
use std::time::Duration;
use store::checkout_sessions::{CheckoutSession, Mode, SessionStatus};
use store::customers::Customer;
use store::prices::Price;
use url::Url;

const QUANTITY_MAX: u32 = 1_000;
const KEY_LENGTH_MAX: usize = 255;
/// How long a repeated request waits for the one that is opening the page.
const AWAITED_PAUSE: Duration = Duration::from_millis(50);
const AWAITED_MAX: u32 = 40;
const SESSION_PLACEHOLDER: &str = "{CHECKOUT_SESSION_ID}";

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
        let Intended { mut session, customer, price, browser, origin } =
            self.checkout_intend(&request, urls).await?;
        if origin == Origin::Earlier {
            session = self.checkout_awaited(session).await?;
        }
        if session.status == SessionStatus::Creating {
            session = self.checkout_open(session, customer.as_ref(), &price).await?;
        }
        self.expire_all_but_newest(&session).await?;
        // An old key may have named a page that has just been closed: say what it is now.
        let mut tx = self.store().read("checkout.created").await?;
        let session = tx.checkout_sessions_get(&session.id).await?.unwrap_or(session);
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

    /// An intent that another request has written is opened by that one, unless it died.
    async fn checkout_awaited(&self, intent: CheckoutSession) -> Result<CheckoutSession, Failure> {
        for _ in 0..AWAITED_MAX {
            let mut tx = self.store().read("checkout.awaited").await?;
            match tx.checkout_sessions_get(&intent.id).await? {
                Some(found) if found.status == SessionStatus::Creating => {}
                Some(found) => return Ok(found),
                None => break,
            }
            drop(tx);
            self.clock().pause(AWAITED_PAUSE).await;
        }
        Ok(intent)
    }

    /// Asks the provider, under a key that the intent decides.
    pub(super) async fn checkout_open(
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
        let mut answer = self.checkout_ask(&intent, provider_price, counterpart.as_deref()).await;
        if let (Err(ProviderError::NotFound { object, .. }), Some(customer), Some(gone)) =
            (&answer, customer, &counterpart)
            && object.contains("customer")
        {
            counterpart = Some(self.provider_customer_again(customer, gone).await?);
            answer = self.checkout_ask(&intent, provider_price, counterpart.as_deref()).await;
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

    async fn checkout_ask(
        &self,
        intent: &CheckoutSession,
        price: &str,
        customer: Option<&str>,
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
        // The parameters are the intent's, but for the counterpart: another one, another key.
        let key = format!("tollgate-checkout-{}-{}", intent.id, customer.unwrap_or("guest"));
        match &self.inner.provider {
            Some(provider) => provider.checkout_session_create(&new, &key).await,
            None => Err(ProviderError::Unauthorized),
        }
    }
}
