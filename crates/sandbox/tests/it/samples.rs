//! What each version shows, held against the provider's own sample objects and recorded answers of
//! that version: no property that neither of them has, and all that every one of them has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{World, id, text};

/// The version asked for, the folder of its samples, and the one of answers recorded then.
const VERSIONS: [(&str, &str, &str); 6] = [
    ("2024-06-20", "2024-06-20", "2024-06-20"),
    ("2024-09-30.acacia", "2024-09-30.acacia", "2024-12-18.acacia"),
    ("2025-03-31.basil", "2025-03-31.basil", "2025-03-31.basil"),
    ("2025-10-29.clover", "2025-09-30.clover", "2025-10-29.clover"),
    ("2026-03-25.dahlia", "2026-03-25.dahlia", "2026-03-25.dahlia"),
    ("2026-07-29.dahlia", "2026-07-29.dahlia", "2026-03-25.dahlia"),
];

/// Properties that are shown although no sample has them: described, but not always there.
const NOT_IN_SAMPLES: [(&str, &str); 17] = [
    ("charge", "outcome.risk_level"),
    ("charge", "outcome.risk_score"),
    ("credit_note", "pretax_credit_amounts"),
    ("credit_note_line_item", "pretax_credit_amounts"),
    ("invoice", "amount_paid_off_stripe"),
    ("invoice", "automatically_finalizes_at"),
    ("invoiceitem", "parent.subscription_details.subscription_item"),
    ("invoiceitem", "subscription_item"),
    ("line_item", "subscription_item"),
    ("list", "total_count"),
    ("payment_intent", "allowed_payment_method_types"),
    ("promotion_code", "restrictions.currency_options"),
    ("setup_intent", "allowed_payment_method_types"),
    ("setup_intent", "customer_account"),
    ("setup_intent", "managed_payments"),
    ("subscription", "plan"),
    ("subscription", "quantity"),
];

/// Properties of samples that belong to an expanded object, to one kind of line, or were left over.
const ONLY_IN_SAMPLES: [(&str, &str); 3] =
    [("charge", "refunds"), ("invoice", "subscription"), ("line_item", "invoice_item")];

type Objects = BTreeMap<String, Vec<Value>>;

fn fixtures() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let folder = std::env::var("TOLLGATE_SHARED").unwrap_or_else(|_| beside.to_owned());
    let folder = Path::new(&folder).join("stripe/fixtures");
    if !folder.exists() {
        eprintln!("versions are not held against samples: there is no {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Every object in a value, by kind. Events are left out: they keep their own version.
fn collect(value: &Value, objects: &mut Objects) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, objects)),
        Value::Object(fields) => {
            match fields.get("object").and_then(Value::as_str) {
                Some("event") => return,
                Some(kind) if !fields.contains_key("deleted") => {
                    objects.entry(kind.to_owned()).or_default().push(value.clone());
                }
                _ => {}
            }
            for (key, part) in fields {
                if key != "metadata" {
                    collect(part, objects);
                }
            }
        }
        _ => {}
    }
}

fn read_folder(folder: &Path, objects: &mut Objects) {
    for entry in std::fs::read_dir(folder).expect("a folder of samples") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a sample");
        collect(&serde_json::from_str(&text).expect("a sample is JSON"), objects);
    }
}

/// The paths of all properties of an object, not of the objects in it. A hash with a single
/// property says too little about its others to be compared.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(elements) => {
            elements.iter().for_each(|element| paths(element, prefix, found));
        }
        Value::Object(fields) => {
            if !prefix.is_empty() && fields.get("object").is_some_and(Value::is_string) {
                return;
            }
            for (key, part) in fields {
                found.insert(format!("{prefix}{key}"));
                if key != "metadata" {
                    paths(part, &format!("{prefix}{key}."), found);
                }
            }
        }
        _ => {}
    }
}

fn all_paths(objects: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    objects.iter().for_each(|object| paths(object, "", &mut found));
    found
}

/// Whether the samples show what else stands beside this property.
fn is_comparable(path: &str, known: &BTreeSet<String>) -> bool {
    let Some((parent, _)) = path.rsplit_once('.') else {
        return true;
    };
    let prefix = format!("{parent}.");
    let siblings = known.iter().filter(|other| other.starts_with(&prefix)).count();
    1 < siblings && is_comparable(parent, known)
}

fn problems(version: &str, shown: &Objects, samples: &Objects) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, objects) in shown {
        let Some(known_objects) = samples.get(kind) else {
            continue;
        };
        let known = all_paths(known_objects);
        for path in all_paths(objects) {
            let tolerated = NOT_IN_SAMPLES.contains(&(kind, &path));
            if !known.contains(&path) && is_comparable(&path, &known) && !tolerated {
                found.push(format!("{version}: {kind} shows {path}"));
            }
        }
        let is_everywhere = |key: &&String| known_objects.iter().all(|one| one.get(*key).is_some());
        for key in known.iter().filter(is_everywhere) {
            let tolerated = ONLY_IN_SAMPLES.contains(&(kind, key));
            if !tolerated && objects.iter().any(|object| object.get(key).is_none()) {
                found.push(format!("{version}: {kind} does not show {key}"));
            }
        }
    }
    found
}

/// One of everything; answers where to look at it.
async fn furnish(world: &World) -> Vec<String> {
    let customer = world.payer("pm_card_visa").await;
    let (month, more) =
        (world.price("1000", Some("month")).await, world.price("3000", Some("month")).await);
    let coupon = world.make("/v1/coupons", &[("percent_off", "25"), ("duration", "once")]).await;
    let promotion = [("promotion[type]", "coupon"), ("promotion[coupon]", &id(&coupon))];
    world.make("/v1/promotion_codes", &promotion).await;
    let form = [("customer", customer.as_str()), ("items[0][price]", &month)];
    let subscription = world.make("/v1/subscriptions", &form).await;
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let item = text(&subscription["items"]["data"][0]["id"]);
    world.make(&path, &[("items[0][id]", &item), ("items[0][price]", &more)]).await;
    let item = [("customer", customer.as_str()), ("amount", "700"), ("currency", "usd")];
    world.make("/v1/invoiceitems", &item).await;
    let invoice = [("customer", customer.as_str()), ("pending_invoice_items_behavior", "include")];
    let invoice = id(&world.make("/v1/invoices", &invoice).await);
    world.make(&format!("/v1/invoices/{invoice}/finalize"), &[]).await;
    let intent = [
        ("amount", "2000"),
        ("currency", "usd"),
        ("confirm", "true"),
        ("payment_method", "pm_card_visa"),
        ("return_url", "http://shop.test/"),
    ];
    let intent = id(&world.make("/v1/payment_intents", &intent).await);
    world.make("/v1/refunds", &[("payment_intent", &intent), ("amount", "500")]).await;
    world.session(&month, "subscription", &[]).await;
    world.make("/v1/setup_intents", &[("customer", &customer)]).await;
    let latest = text(&subscription["latest_invoice"]);
    let note = [("invoice", latest.as_str()), ("amount", "100"), ("credit_amount", "100")];
    world.make("/v1/credit_notes", &note).await;
    world.make("/v1/subscription_schedules", &[("from_subscription", &id(&subscription))]).await;
    world.make("/v1/test_helpers/test_clocks", &[("frozen_time", "1800000000")]).await;
    let endpoint = [("url", "http://shop.test/hook"), ("enabled_events[]", "account.updated")];
    world.make("/v1/webhook_endpoints", &endpoint).await;
    let lists = [
        "balance_transactions",
        "charges",
        "checkout/sessions",
        "coupons",
        "credit_notes",
        "customers",
        "invoice_payments",
        "invoiceitems",
        "invoices",
        "payment_intents",
        "prices",
        "products",
        "promotion_codes",
        "refunds",
        "setup_intents",
        "subscription_schedules",
        "subscriptions",
        "test_helpers/test_clocks",
        "webhook_endpoints",
    ];
    let of_customer = ["balance_transactions", "payment_methods"];
    let of_customer = of_customer.map(|list| format!("customers/{customer}/{list}"));
    lists
        .map(str::to_owned)
        .into_iter()
        .chain(of_customer)
        .map(|list| format!("/v1/{list}"))
        .collect()
}

#[tokio::test]
async fn every_version_has_the_shape_of_its_samples() {
    let Some(fixtures) = fixtures() else {
        return;
    };
    let world = World::start().await;
    let lists = furnish(&world).await;
    let mut found = Vec::new();
    for (version, sampled, recorded) in VERSIONS {
        let mut samples = Objects::new();
        read_folder(&fixtures.join("stripe-openapi").join(sampled), &mut samples);
        read_folder(&fixtures.join("pay-rails-pay/api_exchanges").join(recorded), &mut samples);
        let mut shown = Objects::new();
        for list in &lists {
            let request = world.request("GET", list).header("stripe-version", version);
            let (status, body) = world.send(request).await;
            assert_eq!(status, 200, "{list}: {body}");
            assert!(body["data"] != serde_json::json!([]), "{list} is empty");
            collect(&body, &mut shown);
        }
        found.extend(problems(version, &shown, &samples));
    }
    let advice = "new properties belong into versions/additions.rs, or into the lists above";
    assert!(found.is_empty(), "{advice}:\n{}", found.join("\n"));
}
