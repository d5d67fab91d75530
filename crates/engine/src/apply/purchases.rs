//! Purchases that are told of at the same moment are written together: a statement for all of them.
//!
//! Most pages are plain: the session is ours and open, its customer is known, the page says that it
//! was paid a moment ago, and of that payment nobody has heard. What follows from these stands in
//! the event and in our rows. Every other page goes its own way, through `session_told`; whichever
//! way a plain one goes, the rows are the same.

use super::checkout_sessions::describe;
use crate::clock::random;
use crate::failures::Failure;
use crate::notices::{checkout_completed, credits_granted};
use crate::{Engine, PROVIDER};
use domain::ids::{CheckoutSessionId, CustomerId, EntitlementId, InboxEventId, PriceId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;
use providers::facts::{self, Fact, SessionPayment};
use providers::stripe::events::{self, PAGE_COMPLETED};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use store::Tx;
use store::checkout_sessions::{CheckoutSession, Mode, SessionStatus};
use store::credits::folds::AccountFold;
use store::credits::{Account, Grant};
use store::inbox::InboxEvent;
use store::payments::{Payment, PaymentStatus};

/// How many purchases one transaction takes at most.
pub(crate) const TOGETHER_MAX: u32 = 64;

/// Of how many features and units a purchase may be to be plain: a statement has only so many
/// parameters.
const GRANTS_MAX: usize = 16;

/// A page that may be plain.
struct Page<'a> {
    row: &'a InboxEvent,
    told: facts::CheckoutSession,
    reference: CheckoutSessionId,
    intent: String,
    paid_at: Timestamp,
}

/// What was bought on a plain page, as it will be written.
struct Purchase<'a> {
    row: &'a InboxEvent,
    session: CheckoutSession,
    payment: Payment,
    lots: Vec<Grant>,
}

impl Purchase<'_> {
    fn accounts(&self) -> impl Iterator<Item = (CustomerId, String)> {
        self.lots.iter().map(|lot| (lot.customer_id.clone(), lot.unit.clone()))
    }
}

impl Engine {
    /// Applies those of the locked events that tell of plain purchases: which these are.
    pub(crate) async fn purchases_told(
        &self,
        tx: &mut Tx,
        rows: &[&InboxEvent],
    ) -> Result<HashSet<InboxEventId>, Failure> {
        let pages: Vec<_> = rows.iter().filter_map(|row| self.plain_page(row)).collect();
        if pages.is_empty() {
            return Ok(HashSet::new());
        }
        let found = self.purchases_found(tx, pages).await?;
        let (purchases, accounts) = self.purchases_open(tx, found).await?;
        if !purchases.is_empty() {
            self.purchases_write(tx, &purchases, accounts).await?;
        }
        Ok(purchases.iter().map(|purchase| purchase.row.id.clone()).collect())
    }

    /// What the event alone says of it.
    fn plain_page<'a>(&self, row: &'a InboxEvent) -> Option<Page<'a>> {
        let event = events::parse(&row.payload).ok().filter(|it| it.kind == PAGE_COMPLETED)?;
        let ours = event.account.is_none() || self.known_account().is_some();
        if !ours || self.not_ours(&event).is_some() || !self.is_just_now(event.created_at) {
            return None;
        }
        let Fact::CheckoutSession(told) = event.fact else {
            return None;
        };
        let paid = told.status == facts::SessionStatus::Complete
            && told.payment == SessionPayment::Paid
            && told.invoice.is_none()
            && told.subscription.is_none();
        let reference = CheckoutSessionId::parse(told.client_reference.as_deref()?).ok()?;
        let intent = told.payment_intent.clone()?;
        let paid_at = event.created_at;
        paid.then_some(Page { row, told: *told, reference, intent, paid_at })
    }

    /// The purchases that nobody has heard of, with their sessions and customers locked. What
    /// somebody else holds is left to whoever is alone.
    async fn purchases_found<'a>(
        &self,
        tx: &mut Tx,
        pages: Vec<Page<'a>>,
    ) -> Result<Vec<Purchase<'a>>, Failure> {
        let ids: BTreeSet<_> = pages.iter().map(|page| page.reference.clone()).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let sessions = tx.checkout_sessions_lock_fold(&ids).await?;
        let mut sessions: HashMap<_, _> =
            sessions.into_iter().map(|session| (session.id.clone(), session)).collect();
        let counterparts: Vec<_> =
            pages.iter().filter_map(|page| page.told.customer.as_deref()).collect();
        let owners = tx.customers_owner_fold(PROVIDER, &counterparts).await?;
        let buyers: BTreeSet<_> =
            sessions.values().filter_map(|session| session.customer_id.clone()).collect();
        let buyers: Vec<_> = buyers.into_iter().collect();
        let buyers = tx.customers_lock_fold(&buyers).await?;
        let buyers: HashMap<_, _> = buyers.into_iter().map(|it| (it.id.clone(), it)).collect();
        let names = pages.iter().flat_map(|page| [page.intent.as_str(), page.told.id.as_str()]);
        let known = tx.payments_known_fold(PROVIDER, &names.collect::<Vec<_>>()).await?;
        let mut products = BTreeMap::new();
        let mut found = Vec::new();
        for page in pages {
            // Of two pages of one session the second goes its own way.
            let Some(session) = sessions.remove(&page.reference) else { continue };
            let Some(buyer) = session.customer_id.as_ref().and_then(|id| buyers.get(id)) else {
                continue;
            };
            let linked = page.told.customer.as_ref();
            let is_theirs = linked.is_none_or(|id| owners.get(id) == Some(&buyer.id));
            // Of whom the application has no id, a page may tell more than is known.
            let tells_more = buyer.external_id.is_none()
                && (page.told.email.is_some() || page.told.name.is_some());
            let is_new = !known.contains(&page.intent) && !known.contains(&page.told.id);
            if is_theirs && !tells_more && is_new && is_plain(&session, &page.told) {
                let name = self.product_name(tx, &mut products, &session.price_id).await?;
                found.extend(self.purchase(page, session, &buyer.id, name));
            }
        }
        Ok(found)
    }

    /// What was bought, in the merchant's words; most buy the same.
    async fn product_name(
        &self,
        tx: &mut Tx,
        known: &mut BTreeMap<PriceId, Option<String>>,
        price: &PriceId,
    ) -> Result<Option<String>, Failure> {
        if let Some(name) = known.get(price) {
            return Ok(name.clone());
        }
        let name = tx.prices_product_name(price).await?;
        known.insert(price.clone(), name.clone());
        Ok(name)
    }

    fn purchase<'a>(
        &self,
        page: Page<'a>,
        mut session: CheckoutSession,
        buyer: &CustomerId,
        description: Option<String>,
    ) -> Option<Purchase<'a>> {
        let Page { row, told, intent, paid_at, .. } = page;
        let currency = match told.currency.as_deref() {
            Some(text) => Currency::parse(text).ok()?,
            None => session.amount.currency(),
        };
        let minor = told.amount_total.unwrap_or(session.amount.minor()).max(0);
        let mut payment = self.payment(buyer, &intent, Money::new(minor, currency));
        describe(&mut payment, &session, &told);
        payment.description = description;
        payment.paid_at = Some(paid_at);
        payment.status = PaymentStatus::Paid;
        let lots = self.pack_lots(&payment, &session.grants, i64::from(session.quantity));
        session.status = SessionStatus::Complete;
        session.provider_payment_intent_id = Some(intent);
        session.updated_at = self.clock().now();
        Some(Purchase { row, session, payment, lots })
    }

    /// Locks the accounts that the purchases go to. Where one is held by somebody else, owes, or
    /// has something to write off first, its purchases are left to whoever is alone.
    async fn purchases_open<'a>(
        &self,
        tx: &mut Tx,
        found: Vec<Purchase<'a>>,
    ) -> Result<(Vec<Purchase<'a>>, AccountFold), Failure> {
        let wanted: BTreeSet<_> = found.iter().flat_map(Purchase::accounts).collect();
        if wanted.is_empty() {
            return Ok((found, AccountFold::default()));
        }
        let wanted: Vec<_> = wanted.into_iter().collect();
        tx.credits_ensure_fold(&wanted).await?;
        let accounts = tx.credits_open_fold(&wanted).await?;
        let owing = tx.debts_owing_fold(&wanted).await?;
        let now = self.clock().now();
        let is_over = |account: &Account| {
            account.lots().iter().any(|lot| lot.is_expired(now) && 0 < lot.available)
        };
        let is_open = |name: &(CustomerId, String)| {
            let account = accounts.get(&name.0, &name.1);
            !owing.contains(name) && account.is_some_and(|account| !is_over(account))
        };
        let kept = found.into_iter().filter(|purchase| purchase.accounts().all(|it| is_open(&it)));
        Ok((kept.collect(), accounts))
    }

    async fn purchases_write(
        &self,
        tx: &mut Tx,
        purchases: &[Purchase<'_>],
        mut accounts: AccountFold,
    ) -> Result<(), Failure> {
        let (mut sessions, mut payments, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let (mut unlocked, mut news) = (Vec::new(), Vec::new());
        for Purchase { row, session, payment, lots } in purchases {
            sessions.push(session);
            payments.push(payment);
            events.push(*row);
            news.push(self.outbox_event(&checkout_completed(session, &payment.customer_id)));
            let mut features = BTreeSet::new();
            // A price that names a feature twice unlocks it once.
            let grants = session.grants.features.iter();
            for grant in grants.filter(|grant| features.insert(grant.feature.as_str())) {
                let id = EntitlementId::new(self.clock().wall(), random());
                let new = self.unlocked(payment, grant, session.quantity);
                unlocked.push((id, &payment.customer_id, new));
            }
            for lot in lots {
                accounts.grant(lot.clone(), &self.grant_posting(lot));
                news.push(self.outbox_event(&credits_granted(lot)));
            }
        }
        tx.checkout_sessions_complete_fold(&sessions).await?;
        tx.payments_insert_all(&payments).await?;
        tx.credits_close_fold(accounts).await?;
        tx.entitlements_add_all(&unlocked, self.clock().now()).await?;
        tx.outbox_insert_all(&news).await?;
        Ok(tx.inbox_applied_fold(&events, self.clock().wall()).await?)
    }
}

/// Whether our session asks for nothing that depends on other purchases, and is the page's.
fn is_plain(session: &CheckoutSession, told: &facts::CheckoutSession) -> bool {
    session.provider_session_id.as_deref() == Some(told.id.as_str())
        && session.mode == Mode::Payment
        && session.status == SessionStatus::Open
        && session.grants.features.iter().all(|grant| grant.days.is_none())
        && session.grants.features.len() <= GRANTS_MAX
        && session.grants.credits.len() <= GRANTS_MAX
}
