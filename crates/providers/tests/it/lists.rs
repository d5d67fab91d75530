//! Lists are followed to their end, or the caller hears that they were not.

use domain::time::Timestamp;
use providers::errors::ProviderError;
use providers::stripe::lists::{Deliveries, Filter};
use serde_json::{Value, json};

use crate::double::{Double, ok};

fn page(objects: &[Value], has_more: bool) -> Value {
    json!({"object": "list", "data": objects, "has_more": has_more})
}

#[tokio::test]
async fn pitfall_048_pages_follow_each_other_and_keep_their_filter() {
    let first = [json!({"id": "sub_2", "status": "active"}), json!({"status": "no id"})];
    let second = [json!({"id": "sub_1", "status": "canceled"})];
    let last = json!({"id": "sub_0", "status": "active"});
    let double = Double::start([
        ok(page(&[first[1].clone(), first[0].clone()], true)),
        ok(page(&second, true)),
        ok(page(&[last], false)),
    ])
    .await;
    let client = double.client(0);
    let from = Timestamp::from_seconds(1_700_000_000);
    let filter =
        Filter { customer: Some("cus_1".into()), created_from: Some(from), ..Filter::default() };
    let (mut seen, mut unreadable, mut after) = (Vec::new(), 0, None);
    loop {
        let page = client.subscriptions_page(&filter, after.as_deref()).await.unwrap();
        seen.extend(page.rows.into_iter().map(|subscription| subscription.id));
        unreadable += page.unreadable;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen, unreadable), (vec!["sub_2".into(), "sub_1".into(), "sub_0".into()], 1));
    let asked = double.asked();
    let cursors: Vec<_> = asked.iter().map(|request| request.field("starting_after")).collect();
    assert_eq!(cursors, [None, Some("sub_2"), Some("sub_1")]);
    for request in &asked {
        assert_eq!(request.field("status"), Some("all"), "canceled ones are objects, too");
        assert_eq!(request.field("customer"), Some("cus_1"));
        assert_eq!(request.field("created[gte]"), Some("1700000000"));
        assert_eq!(request.field("limit"), Some("100"));
    }
}

#[tokio::test]
async fn a_list_that_stops_in_its_middle_is_an_error_and_not_an_end() {
    let stuck = [
        page(&[], true),
        page(&[json!({"name": "without id"})], true),
        json!({"object": "list"}),
        json!({"object": "list", "data": null, "has_more": false}),
    ];
    for answer in stuck {
        let double = Double::start([ok(answer.clone())]).await;
        let got = double.client(0).products_page(None).await;
        assert!(matches!(got, Err(ProviderError::Malformed(_))), "{answer}");
    }
}

#[tokio::test]
async fn events_come_whole_and_undelivered_ones_can_be_asked_for() {
    let event = json!({"id": "evt_1", "object": "event", "type": "x.y", "created": 5, "data": {}});
    let double =
        Double::start([ok(page(std::slice::from_ref(&event), false)), ok(page(&[], false))]).await;
    let client = double.client(0);
    let from = Timestamp::from_seconds(4);
    let page = client.events_page(Deliveries::Undelivered, from, None).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&page.rows[0]).unwrap(), event);
    assert!(client.events_page(Deliveries::All, from, None).await.unwrap().rows.is_empty());
    let asked = double.asked();
    assert_eq!(asked[0].field("delivery_success"), Some("false"));
    assert_eq!(asked[1].field("delivery_success"), None);
    assert_eq!(asked[0].field("created[gte]"), Some("4"));
}

#[tokio::test]
async fn refunds_and_disputes_bring_the_customer_of_their_charge() {
    let charge = json!({"id": "ch_1", "customer": "cus_1"});
    let refund = json!({"id": "re_1", "amount": 5, "status": "succeeded", "charge": charge});
    let dispute = json!({"id": "du_1", "amount": 5, "status": "lost", "charge": "ch_1"});
    let double = Double::start([ok(page(&[refund], false)), ok(page(&[dispute], false))]).await;
    let client = double.client(0);
    let filter = Filter { charge: Some("ch_1".into()), ..Filter::default() };
    let (refund, customer) = client.refunds_page(&filter, None).await.unwrap().rows.remove(0);
    assert_eq!((refund.charge.as_deref(), customer.as_deref()), (Some("ch_1"), Some("cus_1")));
    let (dispute, customer) = client.disputes_page(&filter, None).await.unwrap().rows.remove(0);
    assert_eq!((dispute.charge.as_deref(), customer), (Some("ch_1"), None));
    assert!(double.asked().iter().all(|asked| asked.field("charge") == Some("ch_1")));
}

#[tokio::test]
async fn products_and_prices_are_read_and_deleted_ones_are_gone() {
    let product = json!({"id": "prod_1", "name": "Pro", "active": true, "metadata": {"a": "b"}});
    let price = json!({
        "id": "gold", "product": {"id": "prod_1"}, "unit_amount": null, "currency": "jpy",
        "recurring": {"interval": "month", "interval_count": 3, "usage_type": "metered"},
        "active": false, "nickname": null,
    });
    let double = Double::start([
        ok(product),
        ok(json!({"id": "prod_2", "deleted": true})),
        ok(page(&[price], false)),
    ])
    .await;
    let client = double.client(0);
    let read = client.product("prod_1").await.unwrap().unwrap();
    assert_eq!((read.name.as_str(), read.active, read.metadata["a"].as_str()), ("Pro", true, "b"));
    assert_eq!(client.product("prod_2").await.unwrap(), None);
    let read = client.prices_page(None).await.unwrap().rows.remove(0);
    assert_eq!((read.product.as_deref(), read.unit_amount), (Some("prod_1"), None));
    assert_eq!((read.interval, read.metered), (Some(("month".into(), 3)), true));
    assert!(!read.active);
}
