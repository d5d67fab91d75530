//! Six stories that a shop lives through, really played against the sandbox.

use crate::worlds::World;
use anyhow::{Context as _, Result, ensure};
use engine::Subject;
use engine::checkout_sessions::{Buyer, CheckoutRequest, Pace, TrialRule, Wanted};
use engine::credits::ConsumeRequest;
use serde_json::Value;

pub const BUYER: &str = "ada";
const DAY: i64 = 86_400;
const LAST_DAY_OF_MONTH: i64 = 31 * DAY;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    FirstPurchase,
    Renewal,
    FailedRenewal,
    Upgrade,
    Refund,
    DisputeWon,
}

impl Story {
    pub const ALL: [Story; 6] = [
        Story::FirstPurchase,
        Story::Renewal,
        Story::FailedRenewal,
        Story::Upgrade,
        Story::Refund,
        Story::DisputeWon,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Story::FirstPurchase => "first purchase",
            Story::Renewal => "renewal",
            Story::FailedRenewal => "failed renewal and recovery",
            Story::Upgrade => "upgrade",
            Story::Refund => "refund",
            Story::DisputeWon => "dispute won",
        }
    }

    /// The kinds of events that carry the story, up to five; all their orders are tried.
    pub const fn essential(self) -> &'static [&'static str] {
        match self {
            Story::FirstPurchase => &[
                "checkout.session.completed",
                "customer.subscription.created",
                "invoice.paid",
                "payment_intent.succeeded",
                "charge.succeeded",
            ],
            Story::Renewal => &[
                "customer.subscription.updated",
                "invoice.created",
                "invoice.finalized",
                "invoice.paid",
                "charge.succeeded",
            ],
            Story::FailedRenewal => {
                &["customer.subscription.updated", "invoice.payment_failed", "invoice.paid"]
            }
            Story::Upgrade => {
                &["customer.subscription.updated", "invoice.paid", "payment_intent.succeeded"]
            }
            Story::Refund => {
                &["checkout.session.completed", "payment_intent.succeeded", "charge.refunded"]
            }
            Story::DisputeWon => &[
                "checkout.session.completed",
                "charge.dispute.created",
                "charge.dispute.funds_reinstated",
                "charge.dispute.closed",
            ],
        }
    }

    /// What was before the story, told in full.
    pub async fn prepare(self, world: &mut World) -> Result<()> {
        match self {
            Story::Renewal | Story::FailedRenewal => buy(world, "pro-monthly", CARD).await,
            Story::Upgrade => buy(world, "basic-monthly", CARD).await,
            Story::FirstPurchase | Story::Refund | Story::DisputeWon => Ok(()),
        }
    }

    /// What the provider has to tell of.
    pub async fn happen(self, world: &mut World) -> Result<()> {
        match self {
            Story::FirstPurchase => buy(world, "pro-monthly", CARD).await,
            Story::Renewal => world.advance(LAST_DAY_OF_MONTH).await,
            Story::FailedRenewal => {
                give_card(world, "pm_card_chargeCustomerFail").await?;
                world.advance(LAST_DAY_OF_MONTH + 2 * DAY).await?;
                give_card(world, CARD).await?;
                pay_what_is_open(world).await
            }
            Story::Upgrade => {
                world.advance(10 * DAY).await?;
                change_plan(world, "pro-monthly").await
            }
            Story::Refund => {
                buy(world, "pack", CARD).await?;
                world.advance(DAY).await?;
                refund(world, Some("700")).await?;
                world.advance(DAY).await?;
                refund(world, None).await
            }
            Story::DisputeWon => {
                buy(world, "pack", "pm_card_createDispute").await?;
                world.advance(DAY).await?;
                win_dispute(world).await?;
                world.advance(DAY).await
            }
        }
    }
}

const CARD: &str = "pm_card_visa";

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn must(world: &World, path: &str, form: &[(&str, &str)]) -> Result<Value> {
    let (status, body) = world.post(path, form).await?;
    ensure!(status == 200, "POST {path}: {status} {body}");
    Ok(body)
}

async fn buy(world: &mut World, nickname: &str, card: &str) -> Result<()> {
    let price = world.catalogue.named(nickname).context("no such price")?.id.clone();
    let request = CheckoutRequest {
        buyer: Buyer::Subject(Subject::Own(BUYER.to_owned())),
        price,
        product: None,
        wanted: Wanted::Any,
        trial: TrialRule::ByPrice,
        quantity: 1,
        success_url: None,
        cancel_url: None,
        email: None,
        idempotency_key: None,
        pace: Pace::Unlimited,
    };
    let page = world.engine.checkout_create(request).await?.session.provider_session_id;
    let path = format!("/_sandbox/checkout/{}/complete", page.context("no page")?);
    let email = format!("{BUYER}@example.com");
    must(world, &path, &[("payment_method", card), ("email", email.as_str())]).await?;
    Ok(())
}

/// The one customer that this world has at the provider.
async fn customer(world: &World) -> Result<String> {
    let all = world.list("/v1/customers").await?;
    ensure!(all.len() == 1, "{} customers", all.len());
    Ok(string(&all[0]["id"]))
}

async fn subscription(world: &World) -> Result<Value> {
    let all = world.list("/v1/subscriptions?status=all").await?;
    ensure!(all.len() == 1, "{} subscriptions", all.len());
    Ok(all[0].clone())
}

async fn give_card(world: &World, card: &str) -> Result<()> {
    let customer = customer(world).await?;
    let path = format!("/v1/payment_methods/{card}/attach");
    let method = string(&must(world, &path, &[("customer", customer.as_str())]).await?["id"]);
    let form = [("invoice_settings[default_payment_method]", method.as_str())];
    must(world, &format!("/v1/customers/{customer}"), &form).await?;
    let path = format!("/v1/subscriptions/{}", string(&subscription(world).await?["id"]));
    must(world, &path, &[("default_payment_method", method.as_str())]).await?;
    Ok(())
}

async fn pay_what_is_open(world: &World) -> Result<()> {
    let open = world.list("/v1/invoices?status=open").await?;
    ensure!(open.len() == 1, "{} open invoices", open.len());
    must(world, &format!("/v1/invoices/{}/pay", string(&open[0]["id"])), &[]).await?;
    Ok(())
}

async fn change_plan(world: &World, nickname: &str) -> Result<()> {
    let price = world.catalogue.named(nickname).context("no such price")?.provider_id.clone();
    let subscription = subscription(world).await?;
    let item = string(&subscription["items"]["data"][0]["id"]);
    let form = [
        ("items[0][id]", item.as_str()),
        ("items[0][price]", price.as_str()),
        ("proration_behavior", "always_invoice"),
        ("payment_behavior", "pending_if_incomplete"),
    ];
    must(world, &format!("/v1/subscriptions/{}", string(&subscription["id"])), &form).await?;
    Ok(())
}

async fn refund(world: &World, amount: Option<&str>) -> Result<()> {
    let charges = world.list("/v1/charges").await?;
    let charge = string(&charges.first().context("no charge")?["id"]);
    let mut form = vec![("charge", charge.as_str())];
    form.extend(amount.map(|amount| ("amount", amount)));
    must(world, "/v1/refunds", &form).await?;
    Ok(())
}

async fn win_dispute(world: &World) -> Result<()> {
    let disputes = world.list("/v1/disputes").await?;
    let dispute = string(&disputes.first().context("no dispute")?["id"]);
    let form = [("evidence[uncategorized_text]", "winning_evidence")];
    must(world, &format!("/v1/disputes/{dispute}"), &form).await?;
    Ok(())
}

/// Some credits of those that the buyer had before the story.
pub async fn spend(world: &World, amount: i64) -> Result<()> {
    let asked = ConsumeRequest {
        amount,
        unit: "credits".to_owned(),
        reference: None,
        idempotency_key: None,
    };
    world.engine.credits_consume(&Subject::Own(BUYER.to_owned()), asked).await?;
    Ok(())
}
