//! Recorded exchanges: what the provider really answered, through the client and the parser.

use std::collections::BTreeMap;

use providers::errors::ProviderError;
use providers::facts::Fact;
use providers::stripe::Client;
use providers::stripe::events::parse;
use serde_json::Value;

use crate::double::{Double, status};
use crate::samples::{files, recorded_objects};

/// Asks for the object of a recorded answer as the engine would; `None` where it never asks for
/// that kind of object.
async fn ask(client: &Client, kind: &str, id: &str) -> Option<Result<(), ProviderError>> {
    Some(match kind {
        "customer" => client.customer_exists(id).await.map(drop),
        "subscription" => client.subscription(id).await.map(|subscription| {
            assert_eq!(subscription.id, id);
            assert!(subscription.status.is_some() && subscription.customer.is_some(), "{id}");
            assert!(subscription.items_complete && !subscription.items.is_empty(), "{id}");
        }),
        "invoice" => client.invoice(id).await.map(|invoice| {
            assert_eq!(invoice.id, id);
            assert!(invoice.lines_complete, "{id}");
            assert!(invoice.currency.is_some() && invoice.customer.is_some(), "{id}");
        }),
        "charge" => client.charge(id).await.map(|charge| {
            assert_eq!(charge.id, id);
            assert!(0 < charge.amount && charge.currency.is_some(), "{id}");
        }),
        _ => return None,
    })
}

/// The kind of refusal that a recorded status is.
fn fits(status: u64, body: &Value, error: &ProviderError) -> bool {
    match error {
        ProviderError::Unauthorized => status == 401,
        ProviderError::NotFound { object, .. } => {
            status == 404 || body["error"]["param"].as_str() == Some(object)
        }
        ProviderError::Refused { status: told, .. } => status == u64::from(*told),
        ProviderError::Declined { .. } => status == 402,
        _ => false,
    }
}

#[tokio::test]
async fn every_recorded_exchange_is_read_by_the_client() {
    let (mut read, mut refused, mut others) = (0, 0, 0);
    for (path, file) in files("stripe/fixtures/pay-rails-pay/api_exchanges") {
        for exchange in file["exchanges"].as_array().expect("a recording lists exchanges") {
            let recorded = exchange["response"]["status"].as_u64().expect("a status");
            let body = &exchange["response"]["body"];
            let code = u16::try_from(recorded).expect("a status is small");
            let double = Double::start([status(code, body.clone())]).await;
            let client = double.client(0);
            if recorded == 200 {
                let kind = body["object"].as_str().unwrap_or_default();
                let id = body["id"].as_str().unwrap_or_default();
                match ask(&client, kind, id).await {
                    None => others += 1,
                    Some(answer) => {
                        assert_eq!(answer, Ok(()), "{path}");
                        read += 1;
                    }
                }
            } else {
                let error = client.charge("ch_1").await.expect_err("a refusal was recorded");
                assert!(fits(recorded, body, &error), "{path}: {recorded} is not {error:?}");
                refused += 1;
            }
        }
    }
    println!("{read} answers read, {refused} refusals understood, {others} that nobody asks for");
    let total = read + refused + others;
    assert!(total == 0 || (200 < read && 10 < refused && 380 < total), "{read} of {total}");
}

#[test]
fn every_recorded_object_is_read_in_an_event() {
    let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (name, event) in recorded_objects() {
        let object = &event["data"]["object"];
        let kind = object["object"].as_str().expect("it has a kind").to_owned();
        let read = parse(event.to_string().as_bytes());
        // Recordings leave out the id only where a list is cut down; those objects are no events.
        let fact = match (object["id"].as_str(), read) {
            (None, read) => read.map_or(Fact::Unhandled, |event| event.fact),
            (Some(id), Ok(read)) => {
                assert_eq!(read.object_id.as_deref(), Some(id), "{name}");
                read.fact
            }
            (Some(_), Err(error)) => panic!("{name}: {error}"),
        };
        check_amounts(&name, object, &fact);
        counts.entry(kind).or_default()[usize::from(fact != Fact::Unhandled)] += 1;
    }
    println!("kind: [only stored, acted on] {counts:?}");
    let acted: usize = counts.values().map(|[_, acted]| acted).sum();
    assert!(counts.is_empty() || 100 < acted, "{acted}");
}

/// Money is taken as it stands there, in every version.
fn check_amounts(name: &str, object: &Value, fact: &Fact) {
    let amount = |key: &str| object[key].as_i64().unwrap_or(0);
    match fact {
        Fact::Invoice(invoice) => {
            assert_eq!(invoice.amount_paid, amount("amount_paid"), "{name}");
            assert_eq!(invoice.total, amount("total"), "{name}");
            assert_eq!(Some(invoice.status.as_str()), object["status"].as_str(), "{name}");
        }
        Fact::Charge(charge) => {
            assert_eq!(charge.amount, amount("amount"), "{name}");
            assert_eq!(charge.amount_refunded, amount("amount_refunded"), "{name}");
        }
        Fact::Subscription(subscription) => {
            let status = subscription.status.as_ref().map(domain::subscriptions::Status::as_str);
            assert_eq!(status, object["status"].as_str(), "{name}");
        }
        _ => {}
    }
}
