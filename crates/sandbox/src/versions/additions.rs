//! Properties that a version added without changing others. They are left out of what older
//! versions show, so that code cannot lean on what its version does not describe.

use serde_json::{Map, Value};

/// The version, the object, and the paths of what was new on it. A path goes through lists.
type Addition = (&'static str, &'static str, &'static [&'static str]);

const ADDITIONS: &[Addition] = &[
    ("2024-09-30.acacia", "charge", &["payment_method_details.card.authorization_code"]),
    ("2024-09-30.acacia", "checkout.session", &["tax_id_collection.required"]),
    ("2024-09-30.acacia", "credit_note", &["pretax_credit_amounts"]),
    ("2024-09-30.acacia", "credit_note_line_item", &["pretax_credit_amounts"]),
    ("2024-09-30.acacia", "customer", &["invoice_settings.rendering_options.template"]),
    ("2024-09-30.acacia", "dispute", &["payment_method_details.card.case_type"]),
    (
        "2024-09-30.acacia",
        "invoice",
        &["rendering.template", "rendering.template_version", "total_pretax_credit_amounts"],
    ),
    ("2024-09-30.acacia", "line_item", &["pretax_credit_amounts"]),
    ("2024-09-30.acacia", "test_helpers.test_clock", &["status_details"]),
    (
        "2024-10-28.acacia",
        "billing_portal.configuration",
        &["features.subscription_update.schedule_at_period_end"],
    ),
    (
        "2024-10-28.acacia",
        "dispute",
        &[
            "enhanced_eligibility_types",
            "evidence.enhanced_evidence",
            "evidence_details.enhanced_eligibility",
        ],
    ),
    (
        "2024-10-28.acacia",
        "tax.calculation",
        &["tax_breakdown.tax_rate_details.flat_amount", "tax_breakdown.tax_rate_details.rate_type"],
    ),
    ("2024-10-28.acacia", "tax_rate", &["flat_amount", "rate_type"]),
    ("2024-11-20.acacia", "checkout.session", &["adaptive_pricing"]),
    (
        "2024-12-18.acacia",
        "charge",
        &[
            "outcome.network_advice_code",
            "outcome.network_decline_code",
            "payment_method_details.card.network_transaction_id",
            "payment_method_details.card.regulated_status",
        ],
    ),
    // Acacia showed basil's new places beside the old ones.
    (
        "2024-12-18.acacia",
        "invoice",
        &["amount_overpaid", "automatic_tax.disabled_reason", "parent", "total_taxes"],
    ),
    ("2024-12-18.acacia", "invoiceitem", &["parent", "pricing"]),
    ("2024-12-18.acacia", "line_item", &["parent", "pricing", "taxes"]),
    ("2024-12-18.acacia", "payment_method", &["card.regulated_status"]),
    ("2024-12-18.acacia", "subscription", &["automatic_tax.disabled_reason"]),
    (
        "2024-12-18.acacia",
        "subscription_schedule",
        &["default_settings.automatic_tax.disabled_reason", "phases.automatic_tax.disabled_reason"],
    ),
    ("2025-01-27.acacia", "charge", &["outcome.advice_code"]),
    ("2025-01-27.acacia", "checkout.session", &["discounts"]),
    ("2025-01-27.acacia", "payment_intent", &["last_payment_error.advice_code"]),
    ("2025-02-24.acacia", "checkout.session", &["collected_information"]),
    (
        "2025-03-31.basil",
        "checkout.session",
        &["optional_items", "permissions", "presentment_details"],
    ),
    ("2025-03-31.basil", "charge", &["presentment_details"]),
    ("2025-03-31.basil", "credit_note", &["refunds", "total_taxes"]),
    ("2025-03-31.basil", "credit_note_line_item", &["taxes"]),
    ("2025-03-31.basil", "customer_balance_transaction", &["checkout_session"]),
    ("2025-03-31.basil", "payment_intent", &["presentment_details"]),
    ("2025-03-31.basil", "refund", &["presentment_details"]),
    ("2025-03-31.basil", "subscription_item", &["current_period_end", "current_period_start"]),
    ("2025-04-30.basil", "charge", &["billing_details.tax_id"]),
    ("2025-04-30.basil", "checkout.session", &["automatic_tax.provider", "wallet_options"]),
    ("2025-04-30.basil", "invoice", &["automatic_tax.provider"]),
    ("2025-04-30.basil", "payment_method", &["billing_details.tax_id"]),
    ("2025-04-30.basil", "refund", &["pending_reason"]),
    ("2025-05-28.basil", "balance_transaction", &["balance_type"]),
    ("2025-05-28.basil", "credit_note", &["post_payment_amount", "pre_payment_amount"]),
    // Basil had removed the thresholds two months before.
    ("2025-05-28.basil", "subscription", &["billing_thresholds"]),
    ("2025-05-28.basil", "subscription_item", &["billing_thresholds"]),
    (
        "2025-05-28.basil",
        "subscription_schedule",
        &[
            "default_settings.billing_thresholds",
            "phases.billing_thresholds",
            "phases.items.billing_thresholds",
        ],
    ),
    ("2025-05-28.basil", "tax.calculation_line_item", &["metadata"]),
    ("2025-06-30.basil", "subscription", &["billing_mode"]),
    ("2025-06-30.basil", "subscription_schedule", &["billing_mode"]),
    (
        "2025-07-30.basil",
        "billing_portal.configuration",
        &["features.subscription_update.products.adjustable_quantity"],
    ),
    (
        "2025-07-30.basil",
        "checkout.session",
        &["invoice_creation.invoice_data.rendering_options.template", "origin_context"],
    ),
    ("2025-08-27.basil", "billing_portal.configuration", &["name"]),
    ("2025-08-27.basil", "payment_intent", &["excluded_payment_method_types"]),
    (
        "2025-08-27.basil",
        "subscription_schedule",
        &["phases.add_invoice_items.metadata", "phases.add_invoice_items.period"],
    ),
    (
        "2025-09-30.clover",
        "billing_portal.configuration",
        &["features.subscription_update.trial_update_behavior"],
    ),
    (
        "2025-09-30.clover",
        "checkout.session",
        &[
            "branding_settings",
            "collected_information.business_name",
            "collected_information.individual_name",
            "customer_details.business_name",
            "customer_details.individual_name",
            "excluded_payment_method_types",
            "name_collection",
        ],
    ),
    ("2025-09-30.clover", "customer", &["business_name", "individual_name"]),
    ("2025-09-30.clover", "invoiceitem", &["net_amount", "proration_details"]),
    ("2025-09-30.clover", "subscription", &["billing_mode.flexible"]),
    ("2025-09-30.clover", "subscription_schedule", &["billing_mode.flexible"]),
    ("2025-10-29.clover", "credit_note", &["refunds.payment_record_refund", "refunds.type"]),
    (
        "2025-10-29.clover",
        "payment_intent",
        &[
            "amount_details.discount_amount",
            "amount_details.error",
            "amount_details.line_items",
            "amount_details.shipping",
            "amount_details.tax",
            "payment_details",
        ],
    ),
    ("2025-10-29.clover", "setup_intent", &["excluded_payment_method_types"]),
    (
        "2025-11-17.clover",
        "billing_portal.configuration",
        &["features.payment_method_update.payment_method_configuration"],
    ),
    ("2025-11-17.clover", "payment_intent", &["hooks"]),
    (
        "2025-12-15.clover",
        "billing_portal.configuration",
        &["features.subscription_update.billing_cycle_anchor"],
    ),
    ("2025-12-15.clover", "*", &["customer_account"]),
    ("2025-12-15.clover", "invoice", &["payment_settings.payment_method_options.payto"]),
    ("2025-12-15.clover", "item", &["metadata"]),
    ("2025-12-15.clover", "line_item", &["subtotal"]),
    ("2025-12-15.clover", "subscription", &["payment_settings.payment_method_options.payto"]),
    ("2025-12-15.clover", "tax_id", &["owner.customer_account"]),
    ("2026-01-28.clover", "item", &["adjustable_quantity"]),
    ("2026-03-25.dahlia", "checkout.session", &["integration_identifier"]),
    ("2026-03-25.dahlia", "credit_note_line_item", &["metadata"]),
    ("2026-03-25.dahlia", "invoiceitem", &["quantity_decimal"]),
    ("2026-03-25.dahlia", "line_item", &["quantity_decimal"]),
    ("2026-03-25.dahlia", "subscription", &["presentment_details"]),
    ("2026-04-22.dahlia", "*", &["managed_payments"]),
    (
        "2026-04-22.dahlia",
        "invoice",
        &[
            "payment_settings.payment_method_options.pix",
            "payment_settings.payment_method_options.upi",
        ],
    ),
    (
        "2026-04-22.dahlia",
        "subscription",
        &[
            "payment_settings.payment_method_options.pix",
            "payment_settings.payment_method_options.upi",
        ],
    ),
    ("2026-05-27.dahlia", "invoice", &["amount_paid_off_stripe"]),
    ("2026-05-27.dahlia", "invoiceitem", &["proration_details.credited_items"]),
    (
        "2026-05-27.dahlia",
        "subscription",
        &[
            "billing_schedules",
            "pending_update.discount",
            "pending_update.discounts",
            "pending_update.metadata",
        ],
    ),
    ("2026-05-27.dahlia", "subscription_item", &["billed_until"]),
    ("2026-05-27.dahlia", "subscription_schedule", &["phases.add_invoice_items.discountable"]),
    ("2026-06-24.dahlia", "charge", &["payment_method_details.card.transaction_link_id"]),
    (
        "2026-06-24.dahlia",
        "subscription",
        &[
            "invoice_settings.custom_fields",
            "invoice_settings.description",
            "invoice_settings.footer",
        ],
    ),
    ("2026-07-29.dahlia", "dispute", &["payment_method_details.card.network"]),
    ("2026-07-29.dahlia", "payment_intent", &["allowed_payment_method_types"]),
    ("2026-07-29.dahlia", "refund", &["customer", "customer_account", "payment_method"]),
    ("2026-07-29.dahlia", "setup_intent", &["allowed_payment_method_types"]),
    (
        "2026-07-29.dahlia",
        "subscription_schedule",
        &[
            "default_settings.invoice_settings.custom_fields",
            "default_settings.invoice_settings.description",
            "default_settings.invoice_settings.footer",
            "phases.invoice_settings.custom_fields",
            "phases.invoice_settings.description",
            "phases.invoice_settings.footer",
        ],
    ),
    (
        "2026-08-26.dahlia",
        "billing_portal.configuration",
        &["features.subscription_cancel.cancellation_reason.feedback_options"],
    ),
    ("2026-08-26.dahlia", "billing_portal.session", &["flow.customer_update"]),
    ("2026-08-26.dahlia", "invoiceitem", &["frozen_fields"]),
    ("2026-08-26.dahlia", "subscription", &["cancellation_details.feedback_option"]),
    (
        "2026-09-30.endive",
        "charge",
        &[
            "payment_method_details.card.electronic_commerce_indicator",
            "payment_method_details.card.setup_credential_usage",
            "payment_method_details.card.stored_credential_usage",
        ],
    ),
    ("2026-09-30.endive", "checkout.session", &["allowed_payment_method_types"]),
    ("2026-09-30.endive", "invoice", &["status_details"]),
    ("2026-09-30.endive", "invoiceitem", &["invoicing_rules"]),
    ("2026-09-30.endive", "payment_intent", &["payment_record"]),
    ("2026-09-30.endive", "product", &["tax_details"]),
    (
        "2026-09-30.endive",
        "subscription",
        &[
            "pending_update.cancel_at_period_end",
            "status_details",
            "trial_settings.end_behavior.billing_cycle_anchor",
        ],
    ),
    ("2026-09-30.endive", "subscription_item", &["current_trial"]),
    ("2026-09-30.endive", "subscription_schedule", &["pause_schedules"]),
    ("2026-09-30.endive", "tax.calculation_line_item", &["performance_location"]),
    ("2026-10-28.endive", "billing_portal.configuration", &["features.subscription_pause"]),
    (
        "2026-10-28.endive",
        "billing_portal.session",
        &["after_expiration", "flow.subscription_pause"],
    ),
    (
        "2026-10-28.endive",
        "dispute",
        &["evidence_details.submission_method", "intended_submission_method"],
    ),
];

/// Takes away what `version` added to this kind of object.
pub fn remove(version: &str, kind: &str, object: &mut Map<String, Value>) {
    for (since, owner, paths) in ADDITIONS {
        if *since == version && (*owner == kind || *owner == "*") {
            for path in *paths {
                remove_path(object, path);
            }
        }
    }
}

fn remove_path(object: &mut Map<String, Value>, path: &str) {
    let Some((field, rest)) = path.split_once('.') else {
        object.remove(path);
        return;
    };
    match object.get_mut(field) {
        Some(Value::Object(part)) => remove_path(part, rest),
        Some(Value::Array(elements)) => {
            for element in elements.iter_mut().filter_map(Value::as_object_mut) {
                remove_path(element, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::versions::Version;

    #[test]
    fn additions_are_listed_in_order_of_known_versions() {
        assert!(ADDITIONS.is_sorted_by_key(|(version, _, _)| version));
        for (version, _, _) in ADDITIONS {
            assert!(Version::named(version).is_ok(), "{version}");
        }
    }

    #[test]
    fn paths_lead_through_lists_and_stop_at_nothing() {
        let mut value = json!({"a": [{"b": 1, "c": 2}, null], "d": null});
        let object = value.as_object_mut().expect("an object");
        remove_path(object, "a.b");
        remove_path(object, "d.e");
        assert_eq!(value, json!({"a": [{"c": 2}, null], "d": null}));
    }
}
