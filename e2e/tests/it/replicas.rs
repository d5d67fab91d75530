//! Two `tollgate serve` behind a round-robin: what is promised of one server holds of both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::answers::{Answer, Api, eventually, number_at, text_at};
use e2e::purchases::{Buyer, VISA, checkout, pay_at, sell_pack, sell_plan};
use e2e::replicas::Replicas;
use e2e::services::server_databases;
use e2e::webhooks::{events_at, set_deliveries_of};
use futures::future::{try_join, try_join_all};
use reqwest::Method;
use serde_json::{Value, json};

const FEATURE: &str = "api_access";
const BILLING: [&str; 3] = ["active", "trialing", "past_due"];

/// Checks something on every server there is, and that both replicas took part in it soundly.
async fn at_two_replicas(
    settings: &[(&'static str, &str)],
    check: impl AsyncFn(&Replicas) -> Result<()>,
) -> Result<()> {
    for database in server_databases().await? {
        let began = Instant::now();
        let replicas = Replicas::open(&database, settings).await.context(database.name)?;
        let opened_in = began.elapsed();
        check(&replicas).await.context(database.name)?;
        replicas.check_sound().await.context(database.name)?;
        let (name, taken) = (database.name, replicas.balancer.taken());
        eprintln!("{name}: open in {opened_in:.1?}, all in {:.1?}, {taken:?}", began.elapsed());
    }
    Ok(())
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

fn told(answers: &[Answer]) -> BTreeSet<String> {
    answers.iter().map(|answer| format!("{} {}", answer.status, answer.text)).collect()
}

/// A request that is known again by its key.
async fn keyed(api: &Api, path: &str, key: &str, body: &Value) -> Result<Answer> {
    let request = api.request(Method::POST, path).header("idempotency-key", key);
    api.send(request.json(body)).await
}

/// The ledger, oldest first: each line goes on where the one before it ended, and together they
/// are the balance.
async fn ledger(replicas: &Replicas, buyer: &Buyer) -> Result<Vec<i64>> {
    let entries = format!("/v1/credits/entries?customer={}", buyer.id);
    let entries = replicas.ours(&entries).await?;
    let (mut amounts, mut balance) = (Vec::new(), 0);
    for entry in entries.iter().rev() {
        ensure!(number_at(entry, "/balance_before")? == balance, "a gap before {entry}");
        amounts.push(number_at(entry, "/amount")?);
        balance += number_at(entry, "/amount")?;
        ensure!(number_at(entry, "/balance_after")? == balance, "a wrong sum in {entry}");
    }
    ensure!(buyer.total_credits().await? == balance, "the ledger sums to {balance}: {entries:?}");
    Ok(amounts)
}

#[tokio::test]
async fn row_89_ten_credits_serve_ten_of_forty_parallel_requests() -> Result<()> {
    at_two_replicas(&[], async |replicas| {
        for _ in 0..3 {
            let buyer = replicas.buyer().await?;
            replicas.grant(&buyer, 10).await?;
            let one = json!({ "amount": 1 });
            let calls = (0..40).map(|_| buyer.api.post("/v1/credits/consume", &one));
            let answers = try_join_all(calls).await?;
            let counts = (count(&answers, 200), count(&answers, 402));
            ensure!(counts == (10, 30), "{counts:?}: {:?}", told(&answers));
            let expected: Vec<i64> = std::iter::once(10).chain([-1; 10]).collect();
            let amounts = ledger(replicas, &buyer).await?;
            ensure!(amounts == expected, "{amounts:?}");
            ensure!(buyer.total_credits().await? == 0);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn row_89_forty_requests_under_one_key_are_one() -> Result<()> {
    at_two_replicas(&[], async |replicas| {
        for _ in 0..3 {
            let buyer = replicas.buyer().await?;
            replicas.grant(&buyer, 100).await?;
            let seven = json!({ "amount": 7 });
            let path = "/v1/credits/consume";
            let calls = (0..40).map(|_| keyed(&buyer.api, path, "order-1", &seven));
            let answers = try_join_all(calls).await?;
            ensure!(count(&answers, 200) == 40, "{:?}", told(&answers));
            ensure!(told(&answers).len() == 1, "{:?}", told(&answers));
            let is_new = |answer: &&Answer| !answer.headers.contains_key("idempotent-replayed");
            let new = answers.iter().filter(is_new).count();
            ensure!(new == 1, "{new} answers say that they were the first");
            let amounts = ledger(replicas, &buyer).await?;
            ensure!(amounts == [100, -7], "{amounts:?}");
            let other = keyed(&buyer.api, path, "order-1", &json!({ "amount": 8 })).await?;
            ensure!(other.status == 409, "{}: {}", other.status, other.text);
        }
        Ok(())
    })
    .await
}

/// What a customer's purchase has become: lots, payments, and the news of it by kind.
async fn effects(
    replicas: &Replicas,
    buyer: &Buyer,
) -> Result<(usize, usize, BTreeMap<String, usize>)> {
    let of = |what: &str| format!("/v1/{what}?customer={}", buyer.id);
    let grants = replicas.ours(&of("credits/grants")).await?.len();
    let payments = replicas.ours(&of("payments")).await?.len();
    let mut news = BTreeMap::new();
    for one in replicas.ours(&of("notifications")).await? {
        *news.entry(text_at(&one, "/type")).or_insert(0) += 1;
    }
    Ok((grants, payments, news))
}

fn once(kinds: &[&str]) -> BTreeMap<String, usize> {
    kinds.iter().map(|kind| ((*kind).to_owned(), 1)).collect()
}

#[tokio::test]
async fn row_51_an_event_that_comes_fifty_times_at_once_has_one_effect() -> Result<()> {
    at_two_replicas(&[], async |replicas| {
        set_deliveries_of(&replicas.sandbox, false).await?;
        let (pack, plan) =
            (sell_pack(&replicas.merchant).await?, sell_plan(&replicas.merchant, FEATURE).await?);
        let pack_news = &["checkout.completed", "credits.granted"][..];
        let plan_news =
            &["checkout.completed", "credits.granted", "invoice.paid", "subscription.started"][..];
        // One event alone, and all of a purchase among each other.
        for (price, kind, news) in [
            (&pack, "checkout.session.completed", pack_news),
            (&plan, "invoice.paid", &plan_news[1..]),
            (&pack, "", pack_news),
            (&plan, "", plan_news),
        ] {
            let buyer = replicas.buyer().await?;
            let paid = replicas.pay(&checkout(&buyer.api, price).await?).await?;
            let mut events = events_at(&replicas.sandbox, &text_at(&paid, "/customer")).await?;
            ensure!(!events.is_empty(), "a purchase without events");
            events.retain(|event| kind.is_empty() || event["type"] == kind);
            ensure!(buyer.total_credits().await? == 0, "granted before anything was told");
            let fifty = events.iter().cycle().take(50.max(10 * events.len()));
            let answers = try_join_all(fifty.map(|event| replicas.deliver(event))).await?;
            ensure!(count(&answers, 200) == answers.len(), "{:?}", told(&answers));
            buyer.await_credits(100).await.context(kind)?;
            replicas.settled().await?;
            let found = effects(replicas, &buyer).await?;
            ensure!(found == (1, 1, once(news)), "{kind:?}: {found:?}");
            ensure!(ledger(replicas, &buyer).await? == [100]);
            for event in &events {
                let about = format!("/v1/events?about={}", text_at(event, "/id"));
                ensure!(replicas.ours(&about).await?.len() == 1, "{event} is there twice");
            }
        }
        Ok(())
    })
    .await
}

/// Each page at the provider is known here, to the customer whose counterpart is to pay on it.
async fn check_pages(replicas: &Replicas, expected: usize) -> Result<()> {
    let pages = replicas.upstream("/v1/checkout/sessions").await?;
    ensure!(pages.len() == expected, "{} pages at the provider, not {expected}", pages.len());
    let checks = pages.iter().map(async |page| {
        let (id, customer) = (text_at(page, "/id"), text_at(page, "/customer"));
        let counterpart = replicas.sandbox.get(&format!("/v1/customers/{customer}")).await?;
        let ours = text_at(&counterpart.expect(200)?, "/metadata/tollgate_customer");
        let path = format!("/v1/checkout-sessions/{id}?customer={ours}");
        let row = replicas.merchant.get(&path).await?.expect(200)?;
        ensure!(row["id"] == page["metadata"]["tollgate_checkout"], "{row} is not {page}");
        ensure!(page["metadata"]["tollgate_customer"] == ours.as_str(), "{page} is not of {ours}");
        Ok(())
    });
    try_join_all(checks).await?;
    Ok(())
}

#[tokio::test]
async fn row_38_twenty_first_checkouts_make_one_customer() -> Result<()> {
    at_two_replicas(&[], async |replicas| {
        let (pack, plan) =
            (sell_pack(&replicas.merchant).await?, sell_plan(&replicas.merchant, FEATURE).await?);
        for (round, price) in [&pack, &plan, &pack].into_iter().enumerate() {
            let (name, buyer) = replicas.stranger()?;
            let body = json!({ "price": price });
            let calls = (0..20).map(|_| buyer.post("/v1/checkout-sessions", &body));
            let answers = try_join_all(calls).await?;
            ensure!(count(&answers, 201) == 20, "{:?}", told(&answers));
            let customers = replicas.ours("/v1/customers").await?;
            let is_buyer = |customer: &&Value| customer["external_id"] == name.as_str();
            ensure!(customers.iter().filter(is_buyer).count() == 1, "{customers:?}");
            ensure!(customers.len() == round + 1, "{customers:?}");
            let counterparts = replicas.upstream("/v1/customers").await?;
            ensure!(counterparts.len() == round + 1, "{counterparts:?}");
            check_pages(replicas, 20 * (round + 1)).await?;
        }
        let open = replicas.upstream("/v1/checkout/sessions?status=open").await?;
        let plans = open.iter().filter(|page| page["mode"] == "subscription").count();
        ensure!(plans == 1, "{plans} pages could each become a subscription");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn row_41_one_key_is_one_answer_and_one_page() -> Result<()> {
    at_two_replicas(&[], async |replicas| {
        let (pack, plan) =
            (sell_pack(&replicas.merchant).await?, sell_plan(&replicas.merchant, FEATURE).await?);
        replicas.slow_provider(200).await?;
        let path = "/v1/checkout-sessions";
        let mut pages = 0;
        for price in [&pack, &plan] {
            let buyer = replicas.buyer().await?;
            let body = json!({ "price": price });
            let calls = (0..20).map(|_| keyed(&buyer.api, path, "order-1", &body));
            let answers = try_join_all(calls).await?;
            ensure!(count(&answers, 201) == 20, "{:?}", told(&answers));
            ensure!(told(&answers).len() == 1, "{:?}", told(&answers));
            pages += 1;
            check_pages(replicas, pages).await?;
            let other = json!({ "price": price, "quantity": 2 });
            let refused = keyed(&buyer.api, path, "order-1", &other).await?;
            ensure!([409, 422].contains(&refused.status), "{}", refused.text);

            // Whichever of two bodies comes first has the key.
            let bodies = (0..20).map(|turn| if turn % 4 < 2 { &body } else { &other });
            let calls = bodies.map(|body| keyed(&buyer.api, path, "order-2", body));
            let (opened, refused): (Vec<_>, Vec<_>) =
                try_join_all(calls).await?.into_iter().partition(|answer| answer.status == 201);
            ensure!(opened.len() == 10 && told(&opened).len() == 1, "{:?}", told(&opened));
            let is_refusal = |answer: &Answer| [409, 422].contains(&answer.status);
            ensure!(refused.iter().all(is_refusal), "{:?}", told(&refused));
            pages += 1;
            check_pages(replicas, pages).await?;
        }
        Ok(())
    })
    .await
}

/// One of two tabs: the page that it was given, if any.
async fn tab(buyer: &Api, plan: &str) -> Result<Option<String>> {
    let answer = buyer.post("/v1/checkout-sessions", &json!({ "price": plan })).await?;
    ensure!([201, 409].contains(&answer.status), "{}: {}", answer.status, answer.text);
    let page = text_at(&answer.json(), "/provider_session_id");
    Ok((answer.status == 201).then_some(page))
}

/// Whether the provider took the money: a page may be closed by now.
async fn paid(replicas: &Replicas, page: Option<String>) -> Result<bool> {
    let Some(page) = page else { return Ok(false) };
    let answer = pay_at(&replicas.sandbox, &page, VISA).await?;
    ensure!(answer.status < 500, "{}: {}", answer.status, answer.text);
    Ok(answer.status == 200)
}

/// Two tabs at once; either each pays as soon as it can, or both pay when both have a page.
async fn two_tabs(replicas: &Replicas, number: usize, plan: &str) -> Result<Buyer> {
    let buyer = replicas.buyer().await?;
    let (one, two) = match number % 2 {
        0 => {
            let whole = async || paid(replicas, tab(&buyer.api, plan).await?).await;
            try_join(whole(), whole()).await?
        }
        _ => {
            let pages = try_join(tab(&buyer.api, plan), tab(&buyer.api, plan)).await?;
            try_join(paid(replicas, pages.0), paid(replicas, pages.1)).await?
        }
    };
    ensure!(one || two, "nobody could pay for {}", buyer.external_id);
    Ok(buyer)
}

fn is_billing(subscription: &Value) -> bool {
    BILLING.contains(&subscription["status"].as_str().unwrap_or_default())
}

/// At the provider and here everybody has one subscription that is charged.
async fn check_one_each(replicas: &Replicas, buyers: &[Buyer]) -> Result<usize> {
    replicas.settled().await?;
    let made = replicas.upstream("/v1/subscriptions?status=all").await?;
    let mut charged: BTreeMap<String, usize> = BTreeMap::new();
    for subscription in made.iter().filter(|subscription| is_billing(subscription)) {
        *charged.entry(text_at(subscription, "/customer")).or_default() += 1;
    }
    ensure!(charged.len() == buyers.len(), "{charged:?}");
    ensure!(charged.values().all(|count| *count == 1), "{charged:?}");
    for buyer in buyers {
        let held = replicas.ours(&format!("/v1/subscriptions?customer={}", buyer.id)).await?;
        let count = held.iter().filter(|subscription| is_billing(subscription)).count();
        ensure!(count == 1, "{held:?}");
        ensure!(buyer.may_use(FEATURE).await?, "{held:?}");
        ensure!(buyer.total_credits().await? == 100, "{held:?}");
    }
    Ok(made.len())
}

#[tokio::test]
async fn row_39_two_tabs_never_leave_two_subscriptions() -> Result<()> {
    at_two_replicas(&[("SECOND_SUBSCRIPTION", "cancel_newest")], async |replicas| {
        let plan = sell_plan(&replicas.merchant, FEATURE).await?;
        let tabs = (0..12).map(|number| two_tabs(replicas, number, &plan));
        let buyers = try_join_all(tabs).await?;
        let made = check_one_each(replicas, &buyers).await?;
        println!("{made} subscriptions were ever paid by {} buyers", buyers.len());

        // The provider's own pages do not ask us. What is younger by a second is the surplus.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let before = replicas.upstream("/v1/refunds").await?.len();
        for held in replicas.upstream("/v1/subscriptions").await?.iter().take(4) {
            let form = [
                ("customer", text_at(held, "/customer")),
                ("items[0][price]", text_at(held, "/items/data/0/price/id")),
                ("default_payment_method", text_at(held, "/default_payment_method")),
            ];
            let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
            replicas.sandbox.post_form("/v1/subscriptions", &form).await?.expect(200)?;
        }
        eventually("the surplus is given back", async || {
            let refunds = replicas.upstream("/v1/refunds").await?.len() - before;
            Ok((4 <= refunds).then_some(()))
        })
        .await?;
        ensure!(check_one_each(replicas, &buyers).await? == made + 4);
        let refunds = replicas.upstream("/v1/refunds").await?.len() - before;
        ensure!(refunds == 4, "{refunds} refunds for four subscriptions");
        Ok(())
    })
    .await
}

/// The refunds of a payment there and here, and what is left of it.
async fn check_refunded_once(replicas: &Replicas, buyer: &Buyer, intent: &str) -> Result<()> {
    replicas.settled().await?;
    let made = replicas.upstream(&format!("/v1/refunds?payment_intent={intent}")).await?;
    ensure!(made.len() == 1 && made[0]["amount"] == 1999, "{made:?}");
    let ours = replicas.ours(&format!("/v1/refunds?customer={}", buyer.id)).await?;
    ensure!(ours.len() == 1 && ours[0]["amount"] == 1999, "{ours:?}");
    ensure!(ours[0]["provider_refund_id"] == made[0]["id"], "{ours:?} is not {made:?}");
    let payments = replicas.ours(&format!("/v1/payments?customer={}", buyer.id)).await?;
    ensure!(payments.len() == 1 && payments[0]["amount_refunded"] == 1999, "{payments:?}");
    ensure!(ledger(replicas, buyer).await? == [100, -100]);
    Ok(())
}

#[tokio::test]
async fn row_112_two_full_refunds_at_once_are_one() -> Result<()> {
    at_two_replicas(&[], async |replicas| {
        let pack = sell_pack(&replicas.merchant).await?;
        let mut bought = Vec::new();
        for _ in 0..6 {
            let buyer = replicas.buyer().await?;
            let session = replicas.pay(&checkout(&buyer.api, &pack).await?).await?;
            buyer.await_credits(100).await?;
            let payments = replicas.ours(&format!("/v1/payments?customer={}", buyer.id)).await?;
            bought.push((buyer, text_at(&session, "/payment_intent"), payments[0]["id"].clone()));
        }
        replicas.slow_provider(200).await?;
        let refunds = bought.iter().enumerate().map(async |(number, (_, _, payment))| {
            let body = json!({ "payment": payment });
            // Every other payment is given back under one key, the others under two.
            let keys = [format!("{number}-a"), format!("{number}-{}", ["a", "b"][number % 2])];
            let calls =
                keys.each_ref().map(|key| keyed(&replicas.merchant, "/v1/refunds", key, &body));
            try_join_all(calls).await
        });
        for (number, answers) in try_join_all(refunds).await?.iter().enumerate() {
            let made = count(answers, 201);
            let is_refusal = |answer: &&Answer| (400..500).contains(&answer.status);
            let refused = answers.iter().filter(is_refusal).count();
            let expected = [(2, 0), (1, 1)][number % 2];
            ensure!((made, refused) == expected, "{:?}", told(answers));
            ensure!(made == 1 || told(answers).len() == 1, "{:?}", told(answers));
        }
        for (buyer, intent, _) in &bought {
            check_refunded_once(replicas, buyer, intent).await?;
        }
        Ok(())
    })
    .await
}

/// Five requests of one buyer at once; each answer must be about that buyer.
async fn five_at_once(replicas: &Replicas, pack: &str, plan: &str) -> Result<(Buyer, String)> {
    let buyer = replicas.buyer().await?;
    let pack = json!({ "price": pack });
    let plan = json!({ "price": plan });
    let one = json!({ "amount": 1 });
    let api = &buyer.api;
    let check = format!("/v1/check?feature={FEATURE}");
    let (bought, subscribed, state, checked, spent) = futures::try_join!(
        api.post("/v1/checkout-sessions", &pack),
        api.post("/v1/checkout-sessions", &plan),
        api.get("/v1/customers/state"),
        api.get(&check),
        api.post("/v1/credits/consume", &one),
    )?;
    let (bought, subscribed) = (bought.expect(201)?, subscribed.expect(201)?);
    ensure!(bought["price"] == pack["price"] && bought["mode"] == "payment", "{bought}");
    ensure!(subscribed["price"] == plan["price"], "{subscribed}");
    ensure!(subscribed["mode"] == "subscription", "{subscribed}");
    let state = state.expect(200)?;
    ensure!(state["customer"]["external_id"] == buyer.external_id.as_str(), "{state}");
    ensure!(state["customer"]["id"] == buyer.id.as_str(), "{state}");
    ensure!(checked.expect(200)?["allowed"] == false);
    ensure!(spent.status == 402, "{}: {}", spent.status, spent.text);
    for page in [&bought, &subscribed] {
        let own = api.get(&format!("/v1/checkout-sessions/{}", text_at(page, "/id"))).await?;
        ensure!(own.expect(200)?["id"] == page["id"]);
    }
    Ok((buyer, text_at(&bought, "/provider_session_id")))
}

#[tokio::test]
async fn row_116_two_hundred_mixed_requests_do_not_mix() -> Result<()> {
    const BUYERS: usize = 40;
    at_two_replicas(&[], async |replicas| {
        let (pack, plan) =
            (sell_pack(&replicas.merchant).await?, sell_plan(&replicas.merchant, FEATURE).await?);
        replicas.slow_provider(300).await?;
        let buyers = (0..BUYERS).map(|_| five_at_once(replicas, &pack, &plan));
        let buyers = try_join_all(buyers).await?;
        replicas.slow_provider(0).await?;
        check_pages(replicas, 2 * BUYERS).await?;
        let counterparts = replicas.upstream("/v1/customers").await?;
        let known = |customer: &Value| text_at(customer, "/metadata/tollgate_customer");
        let found: BTreeSet<String> = counterparts.iter().map(known).collect();
        let expected: BTreeSet<String> = buyers.iter().map(|(buyer, _)| buyer.id.clone()).collect();
        ensure!(counterparts.len() == BUYERS && found == expected, "{counterparts:?}");

        // Everybody's money at once, and everybody's own credits for it.
        replicas.slow_provider(300).await?;
        let pays = buyers.iter().zip(buyers.iter().cycle().skip(1));
        let pays = pays.map(async |((buyer, page), (neighbour, _))| {
            replicas.pay(page).await?;
            let foreign = neighbour.api.get(&format!("/v1/checkout-sessions/{page}")).await?;
            ensure!(foreign.status == 404, "{}: {}", foreign.status, foreign.text);
            buyer.await_credits(100).await
        });
        try_join_all(pays).await?;
        replicas.slow_provider(0).await?;
        replicas.settled().await?;
        for (buyer, page) in &buyers {
            let own = buyer.api.get(&format!("/v1/checkout-sessions/{page}")).await?.expect(200)?;
            ensure!(own["status"] == "complete", "{own}");
            let payments = replicas.ours(&format!("/v1/payments?customer={}", buyer.id)).await?;
            ensure!(payments.len() == 1 && payments[0]["amount"] == 1999, "{payments:?}");
            ensure!(ledger(replicas, buyer).await? == [100]);
        }
        let money = replicas.upstream("/v1/payment_intents").await?;
        ensure!(money.len() == BUYERS, "{} payments at the provider", money.len());
        Ok(())
    })
    .await
}
