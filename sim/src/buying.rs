//! What buyers and the shop do: open pages, pay, change cards and plans, cancel, ask for money
//! back.

use crate::years::Year;
use anyhow::{Context as _, Result};
use engine::checkout_sessions::{Buyer, CheckoutRequest, Pace, TrialRule, Wanted};
use serde_json::Value;

const GOOD_CARD: &str = "pm_card_visa";
/// It can be saved, and every charge of it fails.
const BAD_CARD: &str = "pm_card_chargeCustomerFail";
const DISPUTED_CARD: &str = "pm_card_createDispute";
const PLANS: [&str; 3] = ["basic-monthly", "pro-monthly", "pro-yearly"];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Year {
    fn wish(&mut self, who: usize, nickname: &str, key: Option<String>) -> Result<CheckoutRequest> {
        let price = self.world.catalogue.named(nickname).context("no such price")?;
        let trial = match self.dice.percent(40) {
            true => TrialRule::Automatic,
            false => TrialRule::ByPrice,
        };
        Ok(CheckoutRequest {
            buyer: Buyer::Subject(self.people[who].subject()),
            price: price.id.clone(),
            product: None,
            wanted: Wanted::Any,
            trial,
            quantity: if price.every.is_none() { self.dice.between(1, 3) as u32 } else { 1 },
            success_url: None,
            cancel_url: None,
            email: None,
            idempotency_key: key,
            pace: Pace::Limited,
        })
    }

    /// Opens a payment page; what fails is tried once more under the same key.
    pub(crate) async fn open_page(&mut self, who: usize, nickname: &str) -> Result<()> {
        let key = self.people[who].key();
        let request = self.wish(who, nickname, Some(key))?;
        for _ in 0..2 {
            let asked = request.clone();
            let answer =
                self.world.attempt(async |engine| engine.checkout_create(asked).await).await?;
            self.world.weather.note(match &answer {
                Some(Ok(page)) => format!("page {nickname} {:?}", page.session.provider_session_id),
                Some(Err(failure)) => format!("page {nickname}: {failure}"),
                None => format!("page {nickname}: died"),
            });
            match answer {
                Some(Ok(page)) => return self.opened(who, page.session.provider_session_id),
                Some(Err(engine::Failure::Refused { .. })) => return Ok(()),
                Some(Err(_)) | None => {}
            }
        }
        Ok(())
    }

    fn opened(&mut self, who: usize, session: Option<String>) -> Result<()> {
        let session = session.context("an open page has no id")?;
        self.people[who].pages.push(session.clone());
        self.people[who].sessions.insert(session);
        Ok(())
    }

    /// Two browser tabs at the same time.
    pub(crate) async fn open_two_pages(&mut self, who: usize) -> Result<()> {
        let plan = *self.dice.pick(&PLANS);
        let (one, other) = (self.wish(who, plan, None)?, self.wish(who, plan, None)?);
        let mut dice = self.dice.split();
        let answers = self
            .world
            .attempt_both(
                &mut dice,
                async |engine| engine.checkout_create(one).await,
                async |engine| engine.checkout_create(other).await,
            )
            .await?;
        self.world.weather.note(format!("two pages {plan}: {}", answers.is_some()));
        let Some((first, second)) = answers else {
            return Ok(());
        };
        for page in [first, second].into_iter().flatten() {
            if page.session.provider_session_id.is_some() {
                self.opened(who, page.session.provider_session_id)?;
            }
        }
        Ok(())
    }

    /// Pays on one of the open pages, or closes it for good.
    pub(crate) async fn finish_page(&mut self, who: usize) -> Result<()> {
        let pages = self.people[who].pages.len() as u64;
        if pages == 0 {
            return Ok(());
        }
        let index = usize::try_from(self.dice.below(pages)).unwrap_or(0);
        let session = self.people[who].pages.remove(index);
        let method = self.dice.weighted(&[
            (70, Some(GOOD_CARD)),
            (6, Some(DISPUTED_CARD)),
            (6, Some("pm_usBankAccount_success")),
            (6, Some("pm_usBankAccount_accountClosed")),
            (6, Some("pm_card_chargeDeclined")),
            (6, None),
        ]);
        let Some(method) = method.flatten() else {
            self.world.weather.note(format!("page {session} is left alone"));
            return Ok(());
        };
        let path = format!("/_sandbox/checkout/{session}/complete");
        let email = format!("{}@example.com", self.people[who].name);
        let form = [("payment_method", method), ("email", email.as_str())];
        let (status, _) = self.world.post(&path, &form).await?;
        self.world.weather.note(format!("page {session} with {method}: {status}"));
        Ok(())
    }

    /// Subscriptions of a person that have not ended, as the provider has them.
    async fn live(&self, who: usize) -> Result<Vec<Value>> {
        let mut live = Vec::new();
        for customer in self.provider_customers(who).await? {
            let path = format!("/v1/subscriptions?customer={customer}&status=all");
            let all = self.world.list(&path).await?;
            live.extend(all.into_iter().filter(|subscription| {
                let status = subscription["status"].as_str().unwrap_or_default();
                !["canceled", "incomplete_expired"].contains(&status)
            }));
        }
        Ok(live)
    }

    pub(crate) async fn has_yearly_plan(&self, who: usize) -> Result<bool> {
        let live = self.live(who).await?;
        Ok(live.iter().any(|subscription| {
            let price = text(&subscription["items"]["data"][0]["price"]["id"]);
            self.world.catalogue.price(&price).is_some_and(|price| price.every == Some("year"))
        }))
    }

    /// A card that fails from now on, or one that works; then what is open may be paid at once.
    pub(crate) async fn change_card(&mut self, who: usize) -> Result<()> {
        let card = self.dice.weighted(&[(4, BAD_CARD), (5, GOOD_CARD), (1, DISPUTED_CARD)]);
        let card = card.unwrap_or(GOOD_CARD);
        for customer in self.provider_customers(who).await? {
            let path = format!("/v1/payment_methods/{card}/attach");
            let (_, method) = self.world.post(&path, &[("customer", customer.as_str())]).await?;
            let method = text(&method["id"]);
            let path = format!("/v1/customers/{customer}");
            let form = [("invoice_settings[default_payment_method]", method.as_str())];
            self.world.post(&path, &form).await?;
            for subscription in self.live(who).await? {
                let path = format!("/v1/subscriptions/{}", text(&subscription["id"]));
                let form = [("default_payment_method", method.as_str())];
                self.world.post(&path, &form).await?;
            }
            self.world.weather.note(format!("card of {customer} is {card}"));
            if card == GOOD_CARD && self.dice.percent(70) {
                let path = format!("/v1/invoices?customer={customer}&status=open");
                for invoice in self.world.list(&path).await? {
                    let path = format!("/v1/invoices/{}/pay", text(&invoice["id"]));
                    let (status, _) = self.world.post(&path, &[]).await?;
                    self.world.weather.note(format!("pay {}: {status}", text(&invoice["id"])));
                }
            }
        }
        Ok(())
    }

    /// The wish to end with the period, or to go on after all.
    pub(crate) async fn cancel_or_resume(&mut self, who: usize) -> Result<()> {
        let subject = self.people[who].subject();
        let cancel = self.dice.percent(60);
        let answer = self
            .world
            .attempt(async |engine| match cancel {
                true => engine.subscriptions_cancel(&subject, None).await,
                false => engine.subscriptions_resume(&subject, None, Pace::Unlimited).await,
            })
            .await?;
        let heard = match answer {
            Some(Ok(row)) => row.status.as_str().to_owned(),
            Some(Err(failure)) => failure.to_string(),
            None => "died".to_owned(),
        };
        self.world.weather.note(format!("ending {cancel}: {heard}"));
        Ok(())
    }

    /// In the dashboard.
    pub(crate) async fn cancel_now(&mut self, who: usize) -> Result<()> {
        let live = self.live(who).await?;
        if live.is_empty() {
            return Ok(());
        }
        let id = text(&self.dice.pick(&live)["id"]);
        let (status, _) = self.world.ask("DELETE", &format!("/v1/subscriptions/{id}"), &[]).await?;
        self.world.weather.note(format!("end {id} now: {status}"));
        Ok(())
    }

    /// Another plan for a running subscription, as the provider's portal or dashboard does it.
    pub(crate) async fn change_plan(&mut self, who: usize) -> Result<()> {
        let live = self.live(who).await?;
        if live.is_empty() {
            return Ok(());
        }
        let subscription = self.dice.pick(&live).clone();
        let from = text(&subscription["items"]["data"][0]["price"]["id"]);
        let yearly = self.world.catalogue.price(&from).is_some_and(|p| p.every == Some("year"));
        if yearly {
            return Ok(());
        }
        let plan = *self.dice.pick(&["basic-monthly", "pro-monthly"]);
        let price = self.world.catalogue.named(plan).context("no such price")?;
        let price = price.provider_id.clone();
        let item = text(&subscription["items"]["data"][0]["id"]);
        let behavior = *self.dice.pick(&["always_invoice", "create_prorations", "none"]);
        let form = [
            ("items[0][id]", item.as_str()),
            ("items[0][price]", price.as_str()),
            ("proration_behavior", behavior),
        ];
        let id = text(&subscription["id"]);
        let (status, _) = self.world.post(&format!("/v1/subscriptions/{id}"), &form).await?;
        self.world.weather.note(format!("change {id} to {plan} {behavior}: {status}"));
        Ok(())
    }

    /// Some or all of the money of one of the person's charges.
    pub(crate) async fn refund(&mut self, who: usize) -> Result<()> {
        let charges = self.charges(who).await?;
        let refundable: Vec<_> = charges
            .into_iter()
            .filter(|charge| {
                charge["paid"] == true && charge["refunded"] == false && charge["disputed"] == false
            })
            .collect();
        if refundable.is_empty() {
            return Ok(());
        }
        let charge = self.dice.pick(&refundable).clone();
        let left = charge["amount"].as_i64().unwrap_or(0)
            - charge["amount_refunded"].as_i64().unwrap_or(0);
        let amount = if self.dice.percent(50) { left } else { self.dice.between(1, left) };
        let (id, amount) = (text(&charge["id"]), amount.to_string());
        let form = [("charge", id.as_str()), ("amount", amount.as_str())];
        let (status, _) = self.world.post("/v1/refunds", &form).await?;
        self.world.weather.note(format!("refund {amount} of {id}: {status}"));
        Ok(())
    }

    /// Evidence that wins or loses an open dispute.
    pub(crate) async fn answer_dispute(&mut self) -> Result<()> {
        let disputes = self.world.list("/v1/disputes").await?;
        let open: Vec<_> =
            disputes.into_iter().filter(|one| one["status"] == "needs_response").collect();
        if open.is_empty() {
            return Ok(());
        }
        let id = text(&self.dice.pick(&open)["id"]);
        let words = *self.dice.pick(&["winning_evidence", "losing_evidence"]);
        let form = [("evidence[uncategorized_text]", words)];
        let (status, _) = self.world.post(&format!("/v1/disputes/{id}"), &form).await?;
        self.world.weather.note(format!("{words} for {id}: {status}"));
        Ok(())
    }

    /// Every charge of a person, newest last.
    pub(crate) async fn charges(&self, who: usize) -> Result<Vec<Value>> {
        let mut charges = Vec::new();
        for customer in self.provider_customers(who).await? {
            charges.extend(self.world.list(&format!("/v1/charges?customer={customer}")).await?);
        }
        Ok(charges)
    }

    /// The person's counterparts at the provider, by the pages they have opened.
    pub(crate) async fn provider_customers(&self, who: usize) -> Result<Vec<String>> {
        let mut customers = std::collections::BTreeSet::new();
        for session in &self.people[who].sessions {
            let session = self.world.get(&format!("/v1/checkout/sessions/{session}")).await?;
            customers.extend(session["customer"].as_str().map(str::to_owned));
        }
        Ok(customers.into_iter().collect())
    }
}
