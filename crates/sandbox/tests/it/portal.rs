//! The hosted portal and invoice pages.

use crate::world::{World, id, text};

async fn html(world: &World, url: &str) -> (u16, String) {
    let response = world.client.get(url).send().await.expect("a page");
    (response.status().as_u16(), response.text().await.expect("a page"))
}

#[tokio::test]
async fn a_customer_cancels_resumes_and_reads_invoices() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    let subscription = world.make("/v1/subscriptions", &form).await;
    let form = [("customer", customer.as_str()), ("return_url", "http://shop.test/account")];
    let session = world.make("/v1/billing_portal/sessions", &form).await;
    let url = text(&session["url"]);
    let (status, page) = html(&world, &url).await;
    assert_eq!(status, 200);
    for part in ["Cancel at period end", "Pro — 29.99 USD", "http://shop.test/account", "Paid"] {
        assert!(page.contains(part), "{part}");
    }
    let choice = [("subscription", id(&subscription))];
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let answer = world.client.post(format!("{url}/cancel")).form(&choice).send().await;
    assert_eq!(answer.expect("an answer").status(), 303);
    assert_eq!(world.look(&path).await["cancel_at_period_end"], true);
    assert!(html(&world, &url).await.1.contains("Resume"));
    let answer = world.client.post(format!("{url}/resume")).form(&choice).send().await;
    assert_eq!(answer.expect("an answer").status(), 303);
    assert_eq!(world.look(&path).await["cancel_at_period_end"], false);
    let invoice =
        world.look(&format!("/v1/invoices/{}", text(&subscription["latest_invoice"]))).await;
    let (status, page) = html(&world, &text(&invoice["hosted_invoice_url"])).await;
    assert_eq!(status, 200);
    assert!(page.contains(&text(&invoice["number"])) && page.contains("29.99 USD"));
}

#[tokio::test]
async fn nobody_cancels_for_others() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let victim = world.payer("pm_card_visa").await;
    let form = [("customer", victim.as_str()), ("items[0][price]", price.as_str())];
    let subscription = id(&world.make("/v1/subscriptions", &form).await);
    let other = id(&world.make("/v1/customers", &[]).await);
    let session = world.make("/v1/billing_portal/sessions", &[("customer", &other)]).await;
    let url = text(&session["url"]);
    for target in [format!("{url}/cancel"), format!("{}/p/session/none/cancel", world.base)] {
        let choice = [("subscription", subscription.as_str())];
        let answer = world.client.post(target).form(&choice).send().await.expect("an answer");
        assert_eq!(answer.status(), 404);
    }
    let row = world.look(&format!("/v1/subscriptions/{subscription}")).await;
    assert_eq!(row["cancel_at_period_end"], false);
    assert_eq!(html(&world, &format!("{}/p/session/none", world.base)).await.0, 404);
    assert_eq!(html(&world, &format!("{}/i/in_none", world.base)).await.0, 404);
    world.advance("25h").await;
    assert_eq!(html(&world, &url).await.0, 410, "links expire");
}

#[tokio::test]
async fn the_status_page_counts() {
    let world = World::start().await;
    world.make("/v1/customers", &[]).await;
    let (status, page) = html(&world, &format!("{}/_sandbox", world.base)).await;
    assert_eq!(status, 200);
    assert!(page.contains("Customers") && page.contains("not for production"));
}
