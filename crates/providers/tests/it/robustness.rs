//! Nothing inside an object can make reading its event fail or panic (pitfall 46).

use proptest::prelude::*;
use providers::facts::Fact;
use providers::stripe::events::parse;
use serde_json::{Value, json};

/// The pointers of everything below a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(entries) => entries.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => return,
    };
    for (name, child) in children {
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        pointers(child, &pointer, found);
    }
}

/// The value with the part at a pointer replaced, or taken out of its object.
fn changed(event: &Value, pointer: &str, replacement: Option<Value>) -> Value {
    let mut event = event.clone();
    match replacement {
        Some(value) => *event.pointer_mut(pointer).expect("the pointer was found there") = value,
        None => {
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer has a slash");
            let name = name.replace("~1", "/").replace("~0", "~");
            if let Some(Value::Object(entries)) = event.pointer_mut(parent) {
                entries.remove(&name);
            }
        }
    }
    event
}

#[test]
fn pitfall_46_any_part_may_be_null_absent_or_of_another_type() {
    let required = ["/id", "/type", "/created", "/object", "/data", "/data/object"];
    let required_inside = ["/data/object/id", "/data/object/object"];
    let mut shapes = std::collections::BTreeSet::new();
    let mut variants = 0;
    for (name, event) in crate::samples() {
        let fact = parse(event.to_string().as_bytes()).unwrap().fact;
        if matches!(fact, Fact::Unhandled | Fact::Thin { .. }) {
            continue;
        }
        // One of each shape is enough.
        if !shapes.insert((event["type"].to_string(), event["api_version"].to_string())) {
            continue;
        }
        let mut all = Vec::new();
        pointers(&event, "", &mut all);
        for pointer in all {
            if required.contains(&pointer.as_str()) || required_inside.contains(&pointer.as_str()) {
                continue;
            }
            let other = if variants % 2 == 0 { json!(7) } else { json!("x") };
            let values = [None, Some(Value::Null), Some(other)];
            for replacement in values {
                let variant = changed(&event, &pointer, replacement.clone());
                let read = parse(variant.to_string().as_bytes());
                assert!(read.is_ok(), "{name} {pointer} {replacement:?}: {read:?}");
                variants += 1;
            }
        }
    }
    println!("{variants} variants of {} events", shapes.len());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        3 => proptest::sample::select(vec![
            "id", "object", "data", "type", "created", "customer", "status", "lines", "items",
            "has_more", "payments", "payment", "parent", "pricing", "price", "plan", "period",
            "metadata", "subscription", "subscription_details", "price_details", "product",
        ]).prop_map(str::to_owned),
        1 => ".{0,6}",
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_object_in_any_handled_event_is_answered(
        kind in proptest::sample::select(vec![
            "checkout.session.completed", "checkout.session.expired", "invoice.paid",
            "invoice.voided", "customer.subscription.updated", "customer.subscription.deleted",
            "charge.refunded", "foo.bar",
        ]),
        object in any_json(),
        created in any_json(),
    ) {
        for created in [created, json!(1_800_000_000)] {
            let event = json!({
                "id": "evt_1", "type": kind, "created": created, "data": {"object": object},
            });
            let _ = parse(event.to_string().as_bytes());
        }
    }

    #[test]
    fn any_json_is_answered(event in any_json()) {
        let _ = parse(event.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_are_answered(payload: Vec<u8>) {
        let _ = parse(&payload);
    }
}
