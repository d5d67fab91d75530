//! Every object of the provider, list by list, and every unsettled row of ours that no list told
//! of.

use super::comparing::Subject;
use super::reports::Resource;
use super::running::Run;
use super::{Loop, SyncRequest};
use crate::failures::Failure;
use crate::{Engine, PROVIDER, Subject as Person};
use domain::ids::CustomerId;
use providers::errors::ProviderError;
use providers::facts::Fact;
use providers::stripe::lists::{Filter, Page};
use std::collections::HashSet;
use std::time::Duration;
use store::Tx;
use store::unsettled::Unsettled;

const SECONDS_PER_DAY: i64 = 86_400;
const ROWS_PER_ROUND: u32 = 100;
/// How often a list is asked for again after the provider said that we ask too much.
const PATIENCE: u32 = 4;
const LIMITED_PAUSE: Duration = Duration::from_secs(3);

/// The one customer a run is about, here and at the provider.
#[derive(Debug, Clone)]
pub(super) struct Whom {
    pub id: CustomerId,
    pub counterparts: Vec<String>,
}

/// One page of objects of any kind.
struct Found {
    subjects: Vec<Subject>,
    unreadable: usize,
    next: Option<String>,
}

fn found<T>(page: Page<T>, subject: impl Fn(T) -> Option<Subject>) -> Found {
    let Page { rows, unreadable, next } = page;
    let whole = rows.len();
    let subjects: Vec<Subject> = rows.into_iter().filter_map(subject).collect();
    Found { unreadable: unreadable + whole - subjects.len(), subjects, next }
}

impl Engine {
    /// Whom a request is about, if about one customer: our id, the external one, or the provider's.
    pub(super) async fn sync_whom(
        &self,
        tx: &mut Tx,
        request: &SyncRequest,
    ) -> Result<Option<Whom>, Failure> {
        let Some(name) = &request.customer else {
            return Ok(None);
        };
        let customer = match tx.customers_owner(PROVIDER, name).await? {
            Some(customer) => Some(customer),
            None => self.customer(tx, &Person::Named(name.clone())).await?,
        };
        let id = customer.ok_or_else(crate::customers::not_found)?.id;
        let counterparts = tx.customers_counterparts(PROVIDER, &id).await?;
        Ok(Some(Whom { id, counterparts }))
    }

    async fn sync_page(
        &self,
        resource: Resource,
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<Found, ProviderError> {
        let Some(client) = &self.inner.provider else {
            return Err(ProviderError::Unauthorized);
        };
        let boxed = |fact: Fact| Subject::new(fact, None);
        Ok(match resource {
            Resource::CheckoutSessions => {
                let page = client.checkout_sessions_page(filter, after).await?;
                found(page, |row| boxed(Fact::CheckoutSession(Box::new(row))))
            }
            Resource::Subscriptions => {
                let page = client.subscriptions_page(filter, after).await?;
                found(page, |row| boxed(Fact::Subscription(Box::new(row))))
            }
            Resource::Invoices => {
                let page = client.invoices_page(filter, after).await?;
                found(page, |row| boxed(Fact::Invoice(Box::new(row))))
            }
            Resource::Charges => {
                let page = client.charges_page(filter, after).await?;
                found(page, |row| boxed(Fact::Charge(Box::new(row))))
            }
            Resource::Refunds => {
                let page = client.refunds_page(filter, after).await?;
                found(page, |(row, whose)| Subject::new(Fact::Refund(Box::new(row)), whose))
            }
            Resource::Disputes => {
                let page = client.disputes_page(filter, after).await?;
                found(page, |(row, whose)| Subject::new(Fact::Dispute(Box::new(row)), whose))
            }
            Resource::CreditNotes => {
                let page = client.credit_notes_page(filter, after).await?;
                found(page, |row| boxed(Fact::CreditNote(Box::new(row))))
            }
            Resource::Products | Resource::Prices | Resource::Events => {
                Found { subjects: Vec::new(), unreadable: 0, next: None }
            }
        })
    }
}

impl Run<'_> {
    /// Compares everything that was asked for, both ways.
    pub(super) async fn objects(&mut self, kind: Loop) -> Result<(), Failure> {
        if kind == Loop::Objects {
            let days = i64::from(self.engine.settings().sync.window_days);
            let from = self.engine.clock().now().plus_seconds(-days * SECONDS_PER_DAY);
            self.request.since = Some(from.seconds());
        }
        let mut tx = self.engine.store().read("sync_runs.whom").await?;
        let whom = self.engine.sync_whom(&mut tx, &self.request).await?;
        drop(tx);
        let mut chosen = self.request.resources.clone();
        if chosen.is_empty() {
            chosen = Resource::USUAL.to_vec();
        }
        chosen.sort_unstable();
        chosen.dedup();
        for resource in chosen {
            if self.is_lost() {
                break;
            }
            self.report.counts(resource);
            match resource {
                Resource::Products => self.products().await,
                Resource::Prices => self.prices().await,
                Resource::Events => self.events().await?,
                _ => self.compare_both_ways(resource, whom.as_ref()).await?,
            }
            self.save().await;
        }
        if kind == Loop::Objects && !self.is_lost() {
            self.catalogue_known().await;
        }
        Ok(())
    }

    async fn compare_both_ways(
        &mut self,
        resource: Resource,
        whom: Option<&Whom>,
    ) -> Result<(), Failure> {
        let mut told = HashSet::new();
        for filter in self.filters(resource, whom).await {
            self.list(resource, &filter, &mut told).await;
        }
        let unsettled = match resource {
            Resource::CheckoutSessions => Unsettled::CheckoutSessions,
            Resource::Subscriptions => Unsettled::Subscriptions,
            Resource::Invoices => Unsettled::Invoices,
            Resource::Refunds => Unsettled::Refunds,
            Resource::Disputes => Unsettled::Disputes,
            _ => return Ok(()),
        };
        self.check_unsettled(resource, unsettled, whom, &told).await
    }

    /// Which lists hold all of a resource that the run is about.
    async fn filters(&mut self, resource: Resource, whom: Option<&Whom>) -> Vec<Filter> {
        // A subscription made years ago can change today, and its list is not long.
        let created_from = match resource {
            Resource::Subscriptions => None,
            _ => self.request.created_from(),
        };
        let all = Filter { created_from, ..Filter::default() };
        let Some(whom) = whom else {
            return vec![all];
        };
        let of_one = |customer: &String| Filter { customer: Some(customer.clone()), ..all.clone() };
        let filters: Vec<Filter> = whom.counterparts.iter().map(of_one).collect();
        if !matches!(resource, Resource::Refunds | Resource::Disputes) {
            return filters;
        }
        // These two are listed by charge, and a charge of any age may have a new one.
        let mut charges = Vec::new();
        for filter in filters {
            let filter = Filter { created_from: None, ..filter };
            let mut after: Option<String> = None;
            while let Some(page) = self.page(Resource::Charges, &filter, after.as_deref()).await {
                charges.extend(page.subjects.into_iter().map(|subject| subject.id));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        let of_charge = |charge| Filter { charge: Some(charge), ..all.clone() };
        charges.into_iter().map(of_charge).collect()
    }

    /// Follows a list to its end and compares each object; remembers which of ours it told of.
    async fn list(&mut self, resource: Resource, filter: &Filter, told: &mut HashSet<String>) {
        let mut after: Option<String> = None;
        loop {
            let Some(page) = self.page(resource, filter, after.as_deref()).await else {
                return;
            };
            for subject in page.subjects {
                if self.is_lost() {
                    return;
                }
                told.insert(subject.id.clone());
                self.check_listed(subject).await;
            }
            for _ in 0..page.unreadable {
                self.report.counts(resource).seen += 1;
                self.report.fail(resource, "unknown", "the object has no id".to_owned());
            }
            after = page.next;
            if after.is_none() {
                return;
            }
        }
    }

    /// One page; a provider that wants less of us gets time. None where the list broke off.
    async fn page(
        &mut self,
        resource: Resource,
        filter: &Filter,
        after: Option<&str>,
    ) -> Option<Found> {
        let mut attempt = 0;
        loop {
            self.engine.sync_pace(1).await;
            match self.engine.sync_page(resource, filter, after).await {
                Ok(page) => return Some(page),
                Err(ProviderError::RateLimited) if attempt < PATIENCE => {
                    attempt += 1;
                    self.engine.clock().pause(LIMITED_PAUSE * attempt).await;
                    self.save().await;
                }
                Err(error) => {
                    self.report.broke_off(resource, error.to_string());
                    return None;
                }
            }
        }
    }

    /// Asks for every row of ours that is not over and that no list has told of.
    pub(super) async fn check_unsettled(
        &mut self,
        resource: Resource,
        what: Unsettled,
        whom: Option<&Whom>,
        told: &HashSet<String>,
    ) -> Result<(), Failure> {
        let mut after = String::new();
        loop {
            let mut tx = self.engine.store().read("sync_runs.unsettled").await?;
            let whose = whom.map(|whom| &whom.id);
            let rows = tx.unsettled(what, PROVIDER, whose, &after, ROWS_PER_ROUND).await?;
            drop(tx);
            for row in &rows {
                if self.is_lost() {
                    return Ok(());
                }
                if !told.contains(&row.provider_id) {
                    self.report.counts(resource).seen += 1;
                    self.check_fresh(Subject::row(resource, row)).await;
                }
            }
            match rows.last() {
                Some(last) if rows.len() == ROWS_PER_ROUND as usize => after = last.id.clone(),
                _ => return Ok(()),
            }
        }
    }
}
