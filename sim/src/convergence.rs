//! What must be true when everything was told and every timer has run: the database says what the
//! auditor's books say, no more and no less.

use crate::books::{self, Books, DAY_MICROS, MICROS, Purchase, string, whole};
use crate::people::Ending;
use crate::tables::{Record, count, number, rows, some_number, text};
use crate::years::Year;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

pub async fn converged(year: &mut Year) -> Result<()> {
    nothing_waits(year).await?;
    for who in 0..year.people.len() {
        let books = books::of(year, who).await?;
        let Some(customer) = customer_of(year, who).await? else {
            ensure!(books.purchases.is_empty(), "INV-DURABLE: a buyer has no customer here");
            continue;
        };
        payments(year, &customer, &books).await?;
        plans(year, &customer, &books).await?;
        invoices(year, &customer, &books).await?;
        packs(year, &customer, &books).await?;
        allowances(year, &customer, &books).await?;
        spending(year, who, &customer).await?;
        access(year, &customer, &books).await?;
    }
    returns(year).await?;
    counterparts(year).await
}

async fn nothing_waits(year: &mut Year) -> Result<()> {
    let books = &mut year.world.books;
    let waiting = "SELECT kind, state, reason FROM inbox_events
         WHERE state IN ('pending', 'parked') LIMIT 5";
    let waiting = rows(books, waiting).await?;
    ensure!(waiting.is_empty(), "INV-DURABLE: events that were not applied: {waiting:?}");
    let calls = "SELECT kind, state, outcome FROM provider_calls
         WHERE state IN ('intended', 'unknown') LIMIT 5";
    let calls = rows(books, calls).await?;
    ensure!(calls.is_empty(), "INV-DURABLE: calls whose outcome nobody knows: {calls:?}");
    Ok(())
}

async fn customer_of(year: &mut Year, who: usize) -> Result<Option<String>> {
    let name = &year.people[who].name;
    let query = format!("SELECT id FROM customers WHERE external_id = '{name}'");
    let found = rows(&mut year.world.books, &query).await?;
    Ok(found.first().map(|row| text(row, "id").to_owned()))
}

async fn payments(year: &mut Year, customer: &str, books: &Books) -> Result<()> {
    let query = format!("SELECT * FROM payments WHERE customer_id = '{customer}'");
    let mut held: BTreeMap<String, Record> = BTreeMap::new();
    for row in rows(&mut year.world.books, &query).await? {
        let invoice = text(&row, "provider_invoice_id");
        let intent = text(&row, "provider_payment_intent_id");
        let fact = if invoice.is_empty() { intent } else { invoice };
        held.insert(fact.to_owned(), row);
    }
    for (fact, purchase) in &books.purchases {
        let row = held.remove(fact);
        let row = row.with_context(|| format!("INV-DURABLE: {fact} was paid and is missing"))?;
        let status = match purchase.refunded {
            0 => "paid",
            refunded if purchase.amount <= refunded => "refunded",
            _ => "partially_refunded",
        };
        let same = number(&row, "amount") == purchase.amount
            && number(&row, "amount_refunded") == purchase.refunded
            && text(&row, "status") == status;
        ensure!(same, "INV-ORDER: the payment of {fact} is {row:?}, not {status} {purchase:?}");
    }
    for (fact, row) in held {
        let paid = ["paid", "refunded", "partially_refunded"].contains(&text(&row, "status"));
        ensure!(!paid, "INV-MONEY: {fact} was never paid: {row:?}");
    }
    Ok(())
}

async fn plans(year: &mut Year, customer: &str, books: &Books) -> Result<()> {
    let query = format!("SELECT * FROM subscriptions WHERE customer_id = '{customer}'");
    let mut held: BTreeMap<String, Record> = BTreeMap::new();
    for row in rows(&mut year.world.books, &query).await? {
        held.insert(text(&row, "provider_subscription_id").to_owned(), row);
    }
    for (id, plan) in &books.plans {
        let row = held.remove(id);
        let row = row.with_context(|| format!("INV-DURABLE: {id} is missing"))?;
        let item = "/items/data/0";
        let seconds = |pointer: String| plan.object.pointer(&pointer).and_then(|at| at.as_i64());
        let micros = |pointer: &str| seconds(pointer.to_owned()).map(|at| at * MICROS);
        let product = &books::sold(year, &plan.price)?.id;
        let same = text(&row, "status") == plan.status
            && text(&row, "price_id") == product
            && some_number(&row, "period_end") == micros(&format!("{item}/current_period_end"))
            && some_number(&row, "period_start") == micros(&format!("{item}/current_period_start"))
            && some_number(&row, "cancel_at") == micros("/cancel_at")
            && some_number(&row, "trial_end") == micros("/trial_end")
            && some_number(&row, "ended_at") == plan.ended
            && number(&row, "quantity") == books::whole(&plan.object, &format!("{item}/quantity"))
            && (number(&row, "cancel_at_period_end") == 1)
                == (plan.object["cancel_at_period_end"] == true);
        ensure!(same, "INV-ORDER: the subscription is {row:?}, not {}", plan.object);
    }
    ensure!(held.is_empty(), "INV-MONEY: subscriptions that nobody has: {held:?}");
    Ok(())
}

async fn invoices(year: &mut Year, customer: &str, books: &Books) -> Result<()> {
    let query = format!("SELECT * FROM invoices WHERE customer_id = '{customer}'");
    for row in rows(&mut year.world.books, &query).await? {
        let id = text(&row, "provider_invoice_id");
        let Some(told) = books.invoices.get(id) else {
            ensure!(text(&row, "status") == "draft", "INV-ORDER: invoice {id} is nobody's");
            continue;
        };
        let same = text(&row, "status") == string(told, "/status")
            && number(&row, "amount_paid") == whole(told, "/amount_paid")
            && number(&row, "total") == whole(told, "/total");
        ensure!(same, "INV-ORDER: the invoice is {row:?}, not {told}");
    }
    for (id, told) in &books.invoices {
        let query = format!("SELECT COUNT(*) FROM invoices WHERE provider_invoice_id = '{id}'");
        let found = count(&mut year.world.books, &query).await?;
        ensure!(found == 1, "INV-DURABLE: invoice {id} ({}) is missing", told["status"]);
    }
    Ok(())
}

async fn lots(year: &mut Year, customer: &str, class: &str) -> Result<Vec<Record>> {
    let query = format!(
        "SELECT g.*, p.provider_payment_intent_id AS intent, p.provider_invoice_id AS invoice,
                s.item, COALESCE(d.amount, 0) AS owed
         FROM credit_grants g LEFT JOIN payments p ON p.id = g.payment_id
         LEFT JOIN credit_debts d ON d.grant_id = g.id
         LEFT JOIN (SELECT DISTINCT provider_item_id AS item FROM allowance_schedules) s
           ON instr(g.fact, ':' || s.item || ':') > 0
         WHERE g.customer_id = '{customer}' AND g.class = '{class}'"
    );
    rows(&mut year.world.books, &query).await
}

/// What was taken back of a lot, given what has become of the rest of it.
fn taken_back(lot: &Record, purchase: Option<&Purchase>) -> Result<()> {
    let (granted, revoked) = (number(lot, "granted"), number(lot, "revoked"));
    let (spent, held) = (number(lot, "spent"), number(lot, "held"));
    let target = purchase.map_or(0, |purchase| purchase.taken_of(granted));
    let possible = granted - spent - held - number(lot, "expired");
    ensure!(
        revoked == target.min(possible),
        "INV-MONEY: {target} should have been taken back of {lot:?}"
    );
    owed(lot, target)
}

fn owed(lot: &Record, target: i64) -> Result<()> {
    let taken = number(lot, "spent") + number(lot, "held");
    let owed = (target - number(lot, "revoked")).clamp(0, taken);
    ensure!(number(lot, "owed") == owed, "INV-MONEY: {owed} should be owed for {lot:?}");
    Ok(())
}

async fn packs(year: &mut Year, customer: &str, books: &Books) -> Result<()> {
    let mut wanted = books.packs.clone();
    for lot in lots(year, customer, "purchased").await? {
        let intent = text(&lot, "intent");
        let bought = wanted.remove(intent);
        let bought = bought.with_context(|| format!("INV-MONEY: nobody bought {lot:?}"))?;
        ensure!(number(&lot, "granted") == bought.granted, "INV-MONEY: {lot:?} is not {bought:?}");
        taken_back(&lot, books.purchases.get(intent))?;
    }
    ensure!(wanted.is_empty(), "INV-DURABLE: packs that were paid and are missing: {wanted:?}");
    Ok(())
}

async fn allowances(year: &mut Year, customer: &str, books: &Books) -> Result<()> {
    let now = year.world.now();
    let mut wanted = books.allowances.clone();
    for lot in lots(year, customer, "allowance").await? {
        let subscription = text(&lot, "provider_subscription_id").to_owned();
        let key = (subscription.clone(), text(&lot, "item").to_owned(), number(&lot, "starts_at"));
        let paid = wanted.remove(&key);
        let paid = paid.with_context(|| format!("INV-MONEY: nobody paid for {lot:?}"))?;
        ensure!(
            number(&lot, "granted") == paid.granted && some_number(&lot, "expires_at") == paid.ends,
            "INV-MONEY: {lot:?} is not {paid:?}"
        );
        let purchase = paid.purchase.as_ref().and_then(|id| books.purchases.get(id));
        let plan = books.plans.get(&subscription).context("a lot of no plan")?;
        let over = plan.ended.is_some() || paid.ends.is_some_and(|end| end <= now);
        if over {
            let rest = number(&lot, "granted")
                - number(&lot, "spent")
                - number(&lot, "held")
                - number(&lot, "expired")
                - number(&lot, "revoked");
            ensure!(rest == 0, "INV-MONEY: {rest} are left of {lot:?}");
            owed(&lot, purchase.map_or(0, |one| one.taken_of(paid.granted)))?;
        } else {
            taken_back(&lot, purchase)?;
        }
    }
    // Refills that a refunded payment would still have brought are not missed.
    wanted.retain(|_, lot| {
        let purchase = lot.purchase.as_ref().and_then(|id| books.purchases.get(id));
        !lot.optional && !purchase.is_some_and(Purchase::is_gone)
    });
    let schedules = format!("SELECT * FROM allowance_schedules WHERE customer_id = '{customer}'");
    let schedules = rows(&mut year.world.books, &schedules).await?;
    ensure!(
        wanted.is_empty(),
        "INV-DURABLE: refills that were paid and are missing: {wanted:?}, of {schedules:?}"
    );
    Ok(())
}

async fn spending(year: &mut Year, who: usize, customer: &str) -> Result<()> {
    let (certain, possible) = year.people[who].spent();
    let query = format!(
        "SELECT COALESCE(SUM(CASE e.kind WHEN 'consume' THEN -e.amount ELSE 0 END), 0)
              + COALESCE(SUM(CASE e.kind WHEN 'capture' THEN -e.held_amount ELSE 0 END), 0)
         FROM credit_entries e WHERE e.customer_id = '{customer}'
           AND (e.reference IS NULL OR e.reference NOT LIKE 'debt:%')"
    );
    let spent = count(&mut year.world.books, &query).await?;
    ensure!(
        certain <= spent && spent <= possible,
        "INV-ONCE: {spent} credits were spent, and {certain} to {possible} were asked for"
    );
    Ok(())
}

/// Nobody who paid lacks access, and nobody has it who did not.
async fn access(year: &mut Year, customer: &str, books: &Books) -> Result<()> {
    let now = year.world.now();
    let grace = year.world.grace_seconds() * MICROS;
    for feature in ["api_access", "knowledge_base"] {
        let mut wanted = Some(books.has_days(feature, now));
        for (id, plan) in &books.plans {
            let price = books::sold(year, &plan.price)?;
            if price.features.iter().any(|(name, _)| *name == feature) {
                wanted = match (wanted, books.plan_gives(id, now, grace)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                };
            }
        }
        let near = books.days.iter().any(|days| (now - days.bought) % DAY_MICROS < DAY_MICROS / 24);
        let query = format!(
            "SELECT COUNT(*) FROM entitlements WHERE customer_id = '{customer}'
               AND feature = '{feature}' AND revoked_at IS NULL AND starts_at <= {now}
               AND (ends_at IS NULL OR {now} < ends_at)"
        );
        let has = 0 < count(&mut year.world.books, &query).await?;
        let Some(wanted) = wanted.filter(|_| !near) else {
            continue;
        };
        let plans: Vec<_> = books.plans.iter().map(|(id, plan)| (id, &plan.status)).collect();
        ensure!(
            has == wanted,
            "INV-MONEY: {customer} has {feature}: {has}, must: {wanted}; {plans:?} {:?}",
            books.days
        );
    }
    Ok(())
}

/// Each wish to give money back was carried out once, or refused.
async fn returns(year: &mut Year) -> Result<()> {
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for refund in year.world.list("/v1/refunds").await? {
        let call = string(&refund, "/metadata/tollgate_call");
        if !call.is_empty() {
            *made.entry(call).or_default() += 1;
        }
    }
    ensure!(made.values().all(|count| *count == 1), "INV-ONCE: refunds made twice: {made:?}");
    let wished = year.people.iter().flat_map(|person| &person.returns);
    let granted: Vec<_> = wished.filter(|one| one.ending == Ending::Taken).collect();
    ensure!(made.len() == granted.len(), "INV-DURABLE: {granted:?} should have made {made:?}");
    Ok(())
}

/// One customer here is one customer there.
async fn counterparts(year: &mut Year) -> Result<()> {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for customer in year.world.list("/v1/customers").await? {
        let ours = string(&customer, "/metadata/tollgate_customer");
        if !ours.is_empty() {
            seen.entry(ours).or_default().push(string(&customer, "/id"));
        }
    }
    for (ours, theirs) in seen {
        ensure!(theirs.len() == 1, "INV-ONCE: {ours} is {theirs:?} at the provider");
    }
    Ok(())
}
