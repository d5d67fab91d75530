//! Bills over time: the shapes they come in, and what each of their ends means.

use crate::stories::{DECLINING, Story, WORKING, count, seen};
use crate::worlds::{deliver, drain};
use serde_json::{Value, json};

const DAY: i64 = 86_400;
const VERSIONS: [&str; 5] =
    ["2024-04-10", "2024-06-20", "2025-03-31.basil", "2025-09-30.clover", "2026-10-28.endive"];

fn status(state: &Value) -> &str {
    state["subscriptions"][0][0].as_str().unwrap()
}

fn access(state: &Value) -> &str {
    state["features"]["api_access"].as_str().unwrap()
}

/// An event of our making, a little later than everything so far.
fn made(story: &Story, id: &str, kind: &str, seconds: i64, object: &Value) -> Value {
    json!({
        "id": id, "object": "event", "livemode": false, "type": kind,
        "created": story.live.clock().now().seconds() + seconds, "data": { "object": object },
    })
}

async fn hear(story: &Story, event: &Value) -> Value {
    deliver(&story.live, event).await;
    drain(&story.live).await;
    deliver(&story.live, event).await;
    drain(&story.live).await;
    seen(&story.live, "buyer").await
}

#[tokio::test]
async fn pitfall_036_a_period_is_read_wherever_it_stands_and_never_lost() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    let before = story.tell().await;
    let held = story.subscription().await;
    let start = held["items"]["data"][0]["current_period_start"].as_i64().unwrap();
    let end = held["items"]["data"][0]["current_period_end"].as_i64().unwrap();
    let kind = "customer.subscription.updated";
    let cases = [
        (Some(end + DAY), None, end + DAY),
        (None, Some(end + 2 * DAY), end + 2 * DAY),
        (Some(end + 9 * DAY), Some(end + 3 * DAY), end + 3 * DAY),
        // Nowhere: the provider is asked, and says what is true.
        (None, None, end),
    ];
    for (at, (top, item, expected)) in (1_i64..).zip(cases) {
        let mut object = held.clone();
        let place = |object: &mut Value, end: Option<i64>| {
            let fields = object.as_object_mut().unwrap();
            fields.remove("current_period_start");
            fields.remove("current_period_end");
            if let Some(end) = end {
                fields.insert("current_period_start".to_owned(), json!(start));
                fields.insert("current_period_end".to_owned(), json!(end));
            }
        };
        place(&mut object, top);
        place(&mut object["items"]["data"][0], item);
        let event = made(&story, &format!("evt_period_{at}"), kind, at * 60, &object);
        let now = hear(&story, &event).await;
        assert_eq!(now["subscriptions"][0][1], json!(expected), "{top:?} {item:?}");
        assert_eq!(now["balance"], before["balance"]);
        assert_eq!(now["parked"], json!([]));
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_036_a_provider_that_tells_no_period_leaves_the_known_one() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    let before = story.tell().await;
    let mut object = story.subscription().await;
    for key in ["current_period_start", "current_period_end"] {
        object["items"]["data"][0].as_object_mut().unwrap().remove(key);
    }
    let event = made(&story, "evt_bare", "customer.subscription.updated", 60, &object);
    story.live.store().close().await;
    let forgotten = crate::worlds::World::oblivious().await?;
    let engine = story.world.copy(Some(&forgotten)).await?;
    for told in story.world.events().await {
        deliver(&engine, &told).await;
        drain(&engine).await;
    }
    deliver(&engine, &event).await;
    drain(&engine).await;
    let after = seen(&engine, "buyer").await;
    assert_eq!(after["subscriptions"], before["subscriptions"]);
    Ok(())
}

#[tokio::test]
async fn pitfall_038_039_042_a_renewal_is_one_in_every_shape() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    let events = story.world.events().await;
    story.world.advance("1mo").await;
    story.world.advance("2h").await;
    let invoice = story.invoice().await;
    assert_eq!(invoice["billing_reason"], "subscription_cycle");
    let path = format!("/v1/invoices/{}", invoice["id"].as_str().unwrap());
    let mut first = None;
    for version in VERSIONS {
        let mut object = story.world.get_in(version, &path).await;
        for gone in ["payment_intent", "charge", "paid", "attempted"] {
            object.as_object_mut().unwrap().remove(gone);
        }
        let engine = story.world.copy(None).await?;
        for event in &events {
            deliver(&engine, event).await;
        }
        drain(&engine).await;
        for kind in ["invoice.payment_succeeded", "invoice.paid"] {
            let mut event = made(&story, &format!("evt_{kind}"), kind, 0, &object);
            event["api_version"] = json!(version);
            deliver(&engine, &event).await;
            drain(&engine).await;
        }
        let end = seen(&engine, "buyer").await;
        assert_eq!(end["balance"], json!([100, 0, 0]), "{version} {end}");
        assert_eq!((count(&end, "grants"), count(&end, "payments")), (2, 2), "{version}");
        assert_eq!(end["details"][0]["paid_until"], invoice["lines"]["data"][0]["period"]["end"]);
        assert_eq!(*first.get_or_insert_with(|| end.clone()), end, "{version}");
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_038_an_invoice_without_a_subscription_is_one() -> anyhow::Result<()> {
    for version in VERSIONS {
        let story = Story::begin(0).await?;
        let customer = story.customer.as_str();
        let made_one = story.post("/v1/invoices", &[("customer", customer)]).await;
        let id = made_one["id"].as_str().unwrap().to_owned();
        let item = [
            ("customer", customer),
            ("invoice", id.as_str()),
            ("amount", "700"),
            ("currency", "usd"),
        ];
        story.post("/v1/invoiceitems", &item).await;
        story.post(&format!("/v1/invoices/{id}/finalize"), &[]).await;
        story.post(&format!("/v1/invoices/{id}/pay"), &[]).await;
        let object = story.world.get_in(version, &format!("/v1/invoices/{id}")).await;
        let end = hear(&story, &made(&story, "evt_one", "invoice.paid", 0, &object)).await;
        assert_eq!(end["payments"], json!([[700, "paid", 0]]), "{version} {end}");
        assert_eq!((count(&end, "subscriptions"), count(&end, "grants")), (0, 0), "{version}");
        assert_eq!(end["parked"], json!([]), "{version}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_040_041_a_refund_finds_the_period_it_gives_back() -> anyhow::Result<()> {
    for version in VERSIONS {
        let story = Story::bought("Pro monthly", 0).await?;
        story.tell().await;
        let charges = story.world.get("/v1/charges?limit=1").await;
        let charge = charges["data"][0]["id"].as_str().unwrap().to_owned();
        story.post("/v1/refunds", &[("charge", charge.as_str())]).await;
        let mut object = story.world.get_in(version, &format!("/v1/charges/{charge}")).await;
        object.as_object_mut().unwrap().remove("refunds");
        let end = hear(&story, &made(&story, "evt_back", "charge.refunded", 60, &object)).await;
        assert_eq!(end["payments"], json!([[2999, "refunded", 2999]]), "{version} {end}");
        assert_eq!(end["balance"], json!([0, 0, 0]), "{version}");
        assert_ne!(access(&end), "entitled", "{version}");
        assert_eq!(end["details"][0]["paid_until"], json!(null), "{version}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_073_a_sent_invoice_gives_nothing_before_it_is_paid() -> anyhow::Result<()> {
    let story = Story::begin(3 * DAY).await?;
    let price = story.price("Pro monthly").await;
    let form = [("collection_method", "send_invoice"), ("days_until_due", "7")];
    let subscription = story.subscribe(&price, &form).await;
    assert_eq!(subscription["status"], "active");
    story.tell().await;
    let sent = story.after("2h").await;
    assert_eq!((status(&sent), sent["balance"][0].as_i64()), ("active", Some(0)), "{sent}");
    assert_ne!(access(&sent), "entitled", "{sent}");
    let invoice = story.invoice().await["id"].as_str().unwrap().to_owned();
    story.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
    let paid = story.end().await;
    assert_eq!((access(&paid), paid["balance"][0].as_i64()), ("entitled", Some(100)), "{paid}");
    story.world.advance("1mo").await;
    let open = story.after("2h").await;
    assert_eq!((access(&open), open["balance"][0].as_i64()), ("entitled", Some(0)), "not yet due");
    let due = story.after("8d").await;
    assert_eq!((status(&due), access(&due)), ("past_due", "entitled"), "grace {due}");
    let over = story.after("3d").await;
    assert_eq!((status(&over), access(&over)), ("past_due", "ended"), "{over}");
    story.end().await;
    Ok(())
}

#[tokio::test]
async fn pitfall_074_a_period_that_moves_before_its_money_brings_nothing() -> anyhow::Result<()> {
    for card in [WORKING, DECLINING] {
        let story = Story::bought("Pro monthly", 0).await?;
        story.card(card).await;
        let before = story.tell().await;
        // The sandbox collects at once; elsewhere an hour lies between the period and its money.
        let mut object = story.subscription().await;
        let item = &mut object["items"]["data"][0];
        let ends = item["current_period_end"].as_i64().unwrap();
        item["current_period_start"] = json!(ends);
        item["current_period_end"] = json!(ends + 30 * DAY);
        let kind = "customer.subscription.updated";
        let moved = hear(&story, &made(&story, "evt_moved", kind, 60, &object)).await;
        assert_eq!(moved["subscriptions"][0][1], json!(ends + 30 * DAY));
        assert_eq!(moved["details"][0]["paid_until"], json!(ends), "{moved}");
        assert_eq!((&moved["balance"], &moved["grants"]), (&before["balance"], &before["grants"]));
        story.world.advance("1mo").await;
        story.world.advance("2h").await;
        let end = story.end().await;
        let refilled = if card == WORKING { 100 } else { 0 };
        assert_eq!(end["balance"], json!([refilled, 0, 0]), "{end}");
        let same = end["details"][0]["paid_until"] == before["details"][0]["paid_until"];
        assert_eq!(same, card == DECLINING, "{end}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_080_void_brings_nothing_and_uncollectible_may_still_be_paid() -> anyhow::Result<()>
{
    for ending in ["void", "mark_uncollectible"] {
        let story = Story::bought("Pro monthly", 0).await?;
        story.card(DECLINING).await;
        story.world.advance("1mo").await;
        story.world.advance("2h").await;
        let invoice = story.invoice().await["id"].as_str().unwrap().to_owned();
        story.post(&format!("/v1/invoices/{invoice}/{ending}"), &[]).await;
        let ended = story.end().await;
        assert_eq!((ended["balance"][0].as_i64(), count(&ended, "payments")), (Some(0), 1));
        assert_eq!(count(&ended, "grants"), 1, "{ending} {ended}");
        if ending == "void" {
            continue;
        }
        story.card(WORKING).await;
        story.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
        let paid = story.end().await;
        assert_eq!((paid["balance"][0].as_i64(), count(&paid, "payments")), (Some(100), 2));
        assert_eq!((status(&paid), access(&paid)), ("active", "entitled"), "{paid}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_081_an_invoice_that_cannot_be_finalised_brings_nothing() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    let before = story.tell().await;
    let mut draft = story.invoice().await;
    draft["id"] = json!("in_stuck");
    draft["status"] = json!("draft");
    draft["billing_reason"] = json!("subscription_cycle");
    draft["amount_paid"] = json!(0);
    draft["payments"]["data"] = json!([]);
    let ends = draft["lines"]["data"][0]["period"]["end"].as_i64().unwrap();
    draft["lines"]["data"][0]["period"] = json!({ "start": ends, "end": ends + 30 * DAY });
    let event = made(&story, "evt_stuck", "invoice.finalization_failed", 60, &draft);
    let stuck = hear(&story, &event).await;
    assert_eq!(stuck["details"][0]["paid_until"], before["details"][0]["paid_until"]);
    assert_eq!((&stuck["balance"], count(&stuck, "payments")), (&before["balance"], 1));
    assert_eq!((status(&stuck), count(&stuck, "grants")), ("active", 1), "nobody was charged");
    Ok(())
}

#[tokio::test]
async fn pitfall_084_the_end_of_an_old_page_leaves_the_newer_one_alone() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let request = story.world.request("buyer", "Pro monthly").await;
    let old = story.live.checkout_create(request.clone()).await?.session;
    let id = old.provider_session_id.clone().unwrap();
    let paid = story.world.pay(request).await?;
    assert_ne!(id, paid);
    story.tell().await;
    let mut object = story.world.get(&format!("/v1/checkout/sessions/{id}")).await;
    assert_eq!(object["status"], "expired");
    object["status"] = json!("expired");
    let event = made(&story, "evt_old", "checkout.session.expired", 3_600, &object);
    let end = hear(&story, &event).await;
    assert_eq!((status(&end), access(&end)), ("active", "entitled"), "{end}");
    let pack = story.world.request("buyer", "100 Credits").await;
    let open = story.live.checkout_create(pack.clone()).await?.session;
    let open = open.provider_session_id.unwrap();
    story.after("25h").await;
    let object = story.world.get(&format!("/v1/checkout/sessions/{open}")).await;
    assert_eq!(object["status"], "expired");
    story.world.pay(pack).await?;
    let bought = story.tell().await;
    assert_eq!(bought["balance"][1], 100, "a new page opens and is paid: {bought}");
    Ok(())
}

#[tokio::test]
async fn pitfall_085_pages_that_we_did_not_make_bring_nothing() -> anyhow::Result<()> {
    let story = Story::begin(0).await?;
    let request = story.world.request("buyer", "100 Credits").await;
    let id = story.world.pay(request).await?;
    let sold = story.world.get(&format!("/v1/checkout/sessions/{id}")).await;
    for (at, mode) in ["setup", "payment", "subscription"].iter().enumerate() {
        let mut object = sold.clone();
        object["id"] = json!(format!("cs_foreign_{at}"));
        object["mode"] = json!(mode);
        object["client_reference_id"] = json!(null);
        object["metadata"] = json!({});
        object["payment_intent"] = json!(null);
        object["payment_status"] =
            json!(if *mode == "setup" { "no_payment_required" } else { "paid" });
        let event = made(&story, &format!("evt_{mode}"), "checkout.session.completed", 0, &object);
        let end = hear(&story, &event).await;
        assert_eq!(end["balance"], json!([0, 0, 0]), "{mode} {end}");
        assert_eq!((count(&end, "payments"), count(&end, "parked")), (0, 0), "{mode} {end}");
    }
    let end = story.tell().await;
    assert_eq!(end["balance"], json!([0, 100, 0]), "and what we sold is there");
    Ok(())
}

#[tokio::test]
async fn row_63_a_pack_adds_its_credits_and_leaves_the_allowance() -> anyhow::Result<()> {
    let story = Story::bought("Pro monthly", 0).await?;
    let before = story.tell().await;
    assert_eq!(before["balance"], json!([100, 0, 0]));
    let mut pack = story.world.request("buyer", "100 Credits").await;
    pack.quantity = 2;
    story.world.pay(pack).await?;
    let after = story.tell().await;
    assert_eq!(after["balance"], json!([100, 200, 0]));
    assert_eq!(after["details"], before["details"]);
    Ok(())
}
