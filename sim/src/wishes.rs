//! What the shop asks of the provider through us: money back, other plans, more seats.

use crate::people::{Ending, Return};
use crate::spending::ending;
use crate::tables::{number, rows, text};
use crate::years::Year;
use anyhow::Result;
use engine::audits::Act;
use engine::checkout_sessions::Pace;
use engine::refunds::RefundRequest;
use engine::subscriptions::changing::{ChangeRequest, Timing};

impl Year {
    /// Some or all of one of the person's payments.
    pub(crate) async fn give_back(&mut self, who: usize) -> Result<()> {
        let name = &self.people[who].name;
        let query = format!(
            "SELECT p.id, p.amount - p.amount_refunded AS left_over FROM payments p
             JOIN customers c ON c.id = p.customer_id
             WHERE c.external_id = '{name}' AND p.status IN ('paid', 'partially_refunded')
               AND p.amount_refunded < p.amount ORDER BY p.id"
        );
        let payments = rows(&mut self.world.books, &query).await?;
        if payments.is_empty() {
            return Ok(());
        }
        let payment = self.dice.pick(&payments).clone();
        let some = self.dice.between(1, number(&payment, "left_over"));
        let amount = Some(some).filter(|_| self.dice.percent(50));
        let payment = text(&payment, "id").to_owned();
        let key = self.people[who].key();
        self.people[who].returns.push(Return { key, payment, amount, ending: Ending::Unknown });
        let index = self.people[who].returns.len() - 1;
        self.give_back_once(who, index).await
    }

    pub(crate) async fn give_back_once(&mut self, who: usize, index: usize) -> Result<()> {
        let Return { key, payment, amount, .. } = self.people[who].returns[index].clone();
        let request = RefundRequest {
            payment,
            amount,
            reason: Some("requested_by_customer".to_owned()),
            idempotency_key: key.clone(),
        };
        let act = Act::new(self.world.merchant.clone(), None)?;
        let answer =
            self.world.attempt(async |engine| engine.refunds_create(&request, &act).await).await?;
        let ending = ending(answer.as_ref());
        self.world.weather.note(format!("give back {amount:?} {key}: {ending:?}"));
        self.people[who].returns[index].ending = ending;
        Ok(())
    }

    /// Another monthly plan, or another number of seats.
    pub(crate) async fn wish_for_another_plan(&mut self, who: usize) -> Result<()> {
        if self.has_yearly_plan(who).await? {
            return Ok(());
        }
        let plan = *self.dice.pick(&[None, Some("basic-monthly"), Some("pro-monthly")]);
        let price = plan.and_then(|plan| self.world.catalogue.named(plan));
        let price = price.map(|price| price.id.clone());
        let quantity = Some(self.dice.between(1, 3)).filter(|_| plan.is_none());
        let request =
            ChangeRequest { price, quantity, timing: Timing::Automatic, pace: Pace::Unlimited };
        let subject = self.people[who].subject();
        let answer = self
            .world
            .attempt(async |engine| engine.subscriptions_change(&subject, None, &request).await)
            .await?;
        let heard = match answer {
            Some(Ok(changed)) => format!("{:?}", changed.progress),
            Some(Err(failure)) => failure.to_string(),
            None => "died".to_owned(),
        };
        self.world.weather.note(format!("wish for {plan:?} {quantity:?}: {heard}"));
        Ok(())
    }
}
