//! Nothing inside an object can make reading its event fail or panic (pitfall 46).

use crate::samples::{changed, one_of_each, optional, recorded_objects, samples};
use proptest::prelude::*;
use providers::facts::Fact;
use providers::stripe::events::parse;
use serde_json::{Value, json};

#[test]
fn pitfall_046_any_part_may_be_null_absent_or_of_another_type() {
    let long = std::env::var_os("TOLLGATE_LONG").is_some();
    let mut variants = 0;
    let recorded = samples().into_iter().chain(recorded_objects()).collect();
    let shapes = one_of_each(recorded);
    for (name, event) in &shapes {
        let fact = parse(event.to_string().as_bytes()).expect("it was recorded").fact;
        // What is only stored is not looked into, and takes its time.
        if !long && matches!(fact, Fact::Unhandled) {
            continue;
        }
        for (index, pointer) in optional(event).into_iter().enumerate() {
            let other = if index % 2 == 0 { json!(7) } else { json!("x") };
            let values = [None, Some(Value::Null), Some(other)];
            // The short run takes the three in turns.
            let chosen = if long { &values[..] } else { &values[index % 3..=index % 3] };
            for replacement in chosen {
                let variant = changed(event, &pointer, replacement.clone());
                let read = parse(variant.to_string().as_bytes());
                assert!(read.is_ok(), "{name} {pointer} {replacement:?}: {read:?}");
                variants += 1;
            }
        }
    }
    println!("{variants} variants, {} kinds of events in their versions", shapes.len());
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
