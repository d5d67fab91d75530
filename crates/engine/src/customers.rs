//! Customers: found by our id or the application's own, never by e-mail.

use crate::clock::random;
use crate::credits::Balance;
use crate::failures::Failure;
use crate::limits::check_text;
use crate::lists::{Listed, Page};
use crate::provider_calls::{Outcome, Wish, unsettled};
use crate::{Engine, PROVIDER, Subject};
use domain::codes::Code;
use domain::entitlements::Entitlement;
use domain::ids::CustomerId;
use std::collections::BTreeMap;
use store::Tx;
use store::customers::Customer;
use store::subscriptions::Subscription;

const METADATA_KEYS_MAX: usize = 50;
const METADATA_VALUE_MAX: usize = 500;

/// A customer to create.
#[derive(Debug, Clone, Default)]
pub struct NewCustomer {
    /// The application's own id for the person, as end-user tokens carry it.
    pub external_id: Option<String>,
    pub email: Option<String>,
    pub name: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// All that is true of a customer now.
#[derive(Debug, Clone)]
pub struct CustomerState {
    pub customer: Option<Customer>,
    pub subscriptions: Vec<Subscription>,
    pub entitlements: Vec<Entitlement>,
    pub balances: Vec<Balance>,
}

pub(crate) fn not_found() -> Failure {
    Failure::refused(Code::CustomerNotFound, "no such customer")
}

/// An address is only checked for what would break a page or a mail; the owner proves the rest.
pub(crate) fn check_email(email: Option<&str>) -> Result<(), Failure> {
    check_text("email", email)?;
    match email {
        Some(email) if !email.contains('@') || email.contains(char::is_whitespace) => {
            Err(Failure::invalid("email", "email must look like name@example.com"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Failure> {
    let fits = metadata.len() <= METADATA_KEYS_MAX
        && metadata.iter().all(|(key, value)| key.len() <= 40 && value.len() <= METADATA_VALUE_MAX);
    if fits { Ok(()) } else { Err(Failure::invalid("metadata", "metadata is too large")) }
}

impl NewCustomer {
    fn check(&self) -> Result<(), Failure> {
        check_text("external_id", self.external_id.as_deref())?;
        check_text("name", self.name.as_deref())?;
        check_email(self.email.as_deref())?;
        check_metadata(&self.metadata)?;
        match &self.external_id {
            // Else a token of one person could name another one's internal id.
            Some(id) if id.starts_with("cus_") => {
                Err(Failure::invalid("external_id", "external_id must not start with cus_"))
            }
            _ => Ok(()),
        }
    }
}

impl Engine {
    pub async fn customers_create(&self, new: NewCustomer) -> Result<Customer, Failure> {
        new.check()?;
        let mut tx = self.store().begin("customers.create").await?;
        let customer = self.customer_row(new);
        if !tx.customers_insert(&customer).await? {
            let detail = "a customer with this external_id exists";
            return Err(Failure::refused(Code::AlreadyExists, detail));
        }
        tx.commit().await?;
        Ok(customer)
    }

    pub async fn customers_get(&self, subject: &Subject) -> Result<Customer, Failure> {
        let mut tx = self.store().read("customers.get").await?;
        self.customer(&mut tx, subject).await?.ok_or_else(not_found)
    }

    pub async fn customers_list(&self, page: Page) -> Result<Listed<Customer>, Failure> {
        let mut tx = self.store().read("customers.list").await?;
        let rows = tx.customers_list(page.cursor(), page.fetch()).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    pub async fn customers_state(&self, subject: &Subject) -> Result<CustomerState, Failure> {
        let now = self.clock().now();
        let mut tx = self.store().read("customers.state").await?;
        let Some(customer) = self.customer(&mut tx, subject).await? else {
            return Ok(CustomerState {
                customer: None,
                subscriptions: Vec::new(),
                entitlements: Vec::new(),
                balances: Vec::new(),
            });
        };
        let page = Page::first();
        let subscriptions = tx.subscriptions_list(&customer.id, page.cursor(), page.limit).await?;
        let mut entitlements = tx.entitlements_of_customer(&customer.id).await?;
        entitlements
            .retain(|one| domain::entitlements::decide(std::slice::from_ref(one), now).allowed);
        let mut balances = Vec::new();
        for unit in tx.credits_units(&customer.id).await? {
            balances.push(Balance::read(&mut tx, &customer.id, &unit, now).await?);
        }
        Ok(CustomerState { customer: Some(customer), subscriptions, entitlements, balances })
    }

    fn customer_row(&self, new: NewCustomer) -> Customer {
        let now = self.clock().now();
        Customer {
            id: CustomerId::new(self.clock().wall(), random()),
            external_id: new.external_id,
            email: new.email,
            name: new.name,
            metadata: new.metadata,
            created_at: now,
            updated_at: now,
        }
    }

    /// The customer a request is about. Only an end user's own may not exist yet.
    pub(crate) async fn customer(
        &self,
        tx: &mut Tx,
        subject: &Subject,
    ) -> Result<Option<Customer>, Failure> {
        let by_name = async |tx: &mut Tx, name: &str| match CustomerId::parse(name) {
            Ok(id) => tx.customers_get(&id).await,
            Err(_) => tx.customers_find(name).await,
        };
        match subject {
            Subject::Named(name) => Ok(Some(by_name(tx, name).await?.ok_or_else(not_found)?)),
            // A token may carry our id only of a customer whom the application has not named, so
            // that nobody reaches somebody else by choosing a name that looks like an id.
            Subject::Own(name) => Ok(by_name(tx, name).await?.filter(|customer| {
                customer.external_id.as_deref().is_none_or(|external| external == name)
            })),
            Subject::Known(id) => Ok(Some(tx.customers_get(id).await?.ok_or_else(not_found)?)),
        }
    }

    /// The same, for use cases that need somebody: an end user becomes a customer here.
    pub(crate) async fn customer_ensured(
        &self,
        tx: &mut Tx,
        subject: &Subject,
        email: Option<&str>,
    ) -> Result<Customer, Failure> {
        if let Some(customer) = self.customer(tx, subject).await? {
            return Ok(customer);
        }
        let Subject::Own(name) = subject else {
            return Err(not_found());
        };
        let email = email.map(str::to_owned);
        let new = NewCustomer { external_id: Some(name.clone()), email, ..Default::default() };
        new.check()?;
        let customer = self.customer_row(new);
        if tx.customers_insert(&customer).await? {
            return Ok(customer);
        }
        // Somebody else was quicker.
        tx.customers_find(name).await?.ok_or_else(not_found)
    }

    /// A customer for whoever paid as a guest: known by the purchase, not by the address typed.
    pub(crate) async fn customer_for_guest(
        &self,
        tx: &mut Tx,
        email: Option<&str>,
        name: Option<&str>,
    ) -> Result<Customer, Failure> {
        let email = email.filter(|text| check_email(Some(text)).is_ok()).map(str::to_owned);
        let name = name.filter(|text| check_text("name", Some(text)).is_ok()).map(str::to_owned);
        let customer = self.customer_row(NewCustomer { email, name, ..Default::default() });
        tx.customers_insert(&customer).await?;
        Ok(customer)
    }

    /// The customer's counterpart at the provider, created once however many ask at the same time:
    /// they all find one intent, and one of them makes the call.
    pub(crate) async fn provider_customer(&self, customer: &Customer) -> Result<String, Failure> {
        self.provider_customer_but(customer, None).await
    }

    /// Replaces a counterpart that the provider no longer knows.
    pub(crate) async fn provider_customer_again(
        &self,
        customer: &Customer,
        gone: &str,
    ) -> Result<String, Failure> {
        self.provider_customer_but(customer, Some(gone)).await
    }

    async fn provider_customer_but(
        &self,
        customer: &Customer,
        gone: Option<&str>,
    ) -> Result<String, Failure> {
        let usable = |linked: Option<(String, i64)>| {
            linked.map(|(id, _)| id).filter(|id| Some(id.as_str()) != gone)
        };
        let mut tx = self.store().read("customers.linked").await?;
        if let Some(id) = usable(tx.customers_linked(PROVIDER, &customer.id).await?) {
            return Ok(id);
        }
        drop(tx);
        let mut tx = self.store().begin("customers.intend").await?;
        tx.customers_lock(&customer.id).await?;
        if let Some(id) = usable(tx.customers_linked(PROVIDER, &customer.id).await?) {
            return Ok(id);
        }
        let wish = Wish::CustomerCreate {
            customer: customer.id.to_string(),
            email: customer.email.clone(),
            name: customer.name.clone(),
        };
        let object = customer.id.as_str();
        let call = self.call_intend(&mut tx, &wish, &customer.id, object).await?;
        tx.commit().await?;
        let done = self.call_finish(&call.id).await?;
        Outcome::read(&done).object.ok_or_else(unsettled)
    }
}
