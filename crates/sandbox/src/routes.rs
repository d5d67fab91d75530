//! Every route of the API, in reading order.

use crate::accounts;
use crate::balance_transactions;
use crate::billing_portal;
use crate::charges;
use crate::checkout_sessions;
use crate::coupons;
use crate::credit_notes;
use crate::customer_balance_transactions as balances;
use crate::customers;
use crate::discounts;
use crate::disputes;
use crate::entitlements;
use crate::events;
use crate::features;
use crate::invoice_items;
use crate::invoice_payments;
use crate::invoices;
use crate::meter_event_summaries;
use crate::meter_events;
use crate::meters;
use crate::payment_intents;
use crate::payment_methods;
use crate::portal_configurations;
use crate::prices;
use crate::product_features;
use crate::products;
use crate::promotion_codes;
use crate::refunds;
use crate::requests::{Call, Handler, Verb};
use crate::search;
use crate::setup_attempts;
use crate::setup_intents;
use crate::subscription_items;
use crate::subscription_schedules;
use crate::subscriptions;
use crate::tax_calculations;
use crate::tax_codes;
use crate::tax_ids;
use crate::tax_rates;
use crate::tax_settings;
use crate::tax_transactions;
use crate::test_clocks;
use crate::tokens;
use crate::webhook_endpoints;

use Verb::{Delete, Get, Post};

const ROUTES: &[(Verb, &str, Handler)] = &[
    (Get, "account", accounts::retrieve),
    (Get, "balance", balance_transactions::balance),
    (Get, "balance_transactions", balance_transactions::list),
    (Get, "balance_transactions/{}", balance_transactions::retrieve),
    (Post, "billing/meter_event_adjustments", meter_events::adjust),
    (Post, "billing/meter_events", meter_events::create),
    (Get, "billing/meters", meters::list),
    (Post, "billing/meters", meters::create),
    (Get, "billing/meters/{}", meters::retrieve),
    (Post, "billing/meters/{}", meters::update),
    (Post, "billing/meters/{}/deactivate", meters::deactivate),
    (Get, "billing/meters/{}/event_summaries", meter_event_summaries::list),
    (Post, "billing/meters/{}/reactivate", meters::reactivate),
    (Get, "billing_portal/configurations", portal_configurations::list),
    (Post, "billing_portal/configurations", portal_configurations::create),
    (Get, "billing_portal/configurations/{}", portal_configurations::retrieve),
    (Post, "billing_portal/configurations/{}", portal_configurations::update),
    (Post, "billing_portal/sessions", billing_portal::create),
    (Get, "charges", charges::list),
    (Get, "charges/search", search::charges),
    (Get, "charges/{}", charges::retrieve),
    (Post, "charges/{}", charges::update),
    (Post, "charges/{}/capture", payment_intents::captures::capture_charge),
    (Get, "checkout/sessions", checkout_sessions::list),
    (Post, "checkout/sessions", checkout_sessions::create::create),
    (Get, "checkout/sessions/{}", checkout_sessions::retrieve),
    (Post, "checkout/sessions/{}", checkout_sessions::update),
    (Post, "checkout/sessions/{}/expire", checkout_sessions::expire),
    (Get, "checkout/sessions/{}/line_items", checkout_sessions::line_items),
    (Get, "coupons", coupons::list),
    (Post, "coupons", coupons::create),
    (Get, "coupons/{}", coupons::retrieve),
    (Post, "coupons/{}", coupons::update),
    (Delete, "coupons/{}", coupons::delete),
    (Get, "credit_notes", credit_notes::list),
    (Post, "credit_notes", credit_notes::create),
    (Get, "credit_notes/preview", credit_notes::preview),
    (Get, "credit_notes/preview/lines", credit_notes::preview_lines),
    (Get, "credit_notes/{}", credit_notes::retrieve),
    (Post, "credit_notes/{}", credit_notes::update),
    (Get, "credit_notes/{}/lines", credit_notes::lines),
    (Post, "credit_notes/{}/void", credit_notes::void),
    (Get, "customers", customers::list),
    (Post, "customers", customers::create),
    (Get, "customers/search", search::customers),
    (Get, "customers/{}", customers::retrieve),
    (Post, "customers/{}", customers::update),
    (Delete, "customers/{}", customers::delete),
    (Get, "customers/{}/balance_transactions", balances::list),
    (Post, "customers/{}/balance_transactions", balances::create),
    (Get, "customers/{}/balance_transactions/{}", balances::retrieve),
    (Post, "customers/{}/balance_transactions/{}", balances::update),
    (Delete, "customers/{}/discount", discounts::delete_of_customer),
    (Get, "customers/{}/payment_methods", payment_methods::list_of_customer),
    (Get, "customers/{}/payment_methods/{}", payment_methods::retrieve_of_customer),
    (Get, "customers/{}/tax_ids", tax_ids::list_of_customer),
    (Post, "customers/{}/tax_ids", tax_ids::create_of_customer),
    (Get, "customers/{}/tax_ids/{}", tax_ids::retrieve),
    (Delete, "customers/{}/tax_ids/{}", tax_ids::delete),
    (Get, "disputes", disputes::list),
    (Get, "disputes/{}", disputes::retrieve),
    (Post, "disputes/{}", disputes::update),
    (Post, "disputes/{}/close", disputes::close),
    (Get, "entitlements/active_entitlements", entitlements::list),
    (Get, "entitlements/active_entitlements/{}", entitlements::retrieve),
    (Get, "entitlements/features", features::list),
    (Post, "entitlements/features", features::create),
    (Get, "entitlements/features/{}", features::retrieve),
    (Post, "entitlements/features/{}", features::update),
    (Get, "events", events::list),
    (Get, "events/{}", events::retrieve),
    (Get, "invoice_payments", invoice_payments::list),
    (Get, "invoice_payments/{}", invoice_payments::retrieve),
    (Get, "invoiceitems", invoice_items::list),
    (Post, "invoiceitems", invoice_items::create),
    (Get, "invoiceitems/{}", invoice_items::retrieve),
    (Post, "invoiceitems/{}", invoices::lines::update_item),
    (Delete, "invoiceitems/{}", invoice_items::delete),
    (Get, "invoices", invoices::list),
    (Post, "invoices", invoices::create),
    (Post, "invoices/create_preview", invoices::previews::create),
    (Get, "invoices/search", search::invoices),
    (Get, "invoices/{}", invoices::retrieve),
    (Post, "invoices/{}", invoices::update),
    (Delete, "invoices/{}", invoices::delete),
    (Post, "invoices/{}/add_lines", invoices::lines::add),
    (Post, "invoices/{}/attach_payment", invoices::attachments::attach),
    (Post, "invoices/{}/finalize", invoices::finalize_now),
    (Get, "invoices/{}/lines", invoices::lines),
    (Post, "invoices/{}/lines/{}", invoices::lines::update_one),
    (Post, "invoices/{}/mark_uncollectible", invoices::mark_uncollectible),
    (Post, "invoices/{}/pay", invoices::pay),
    (Post, "invoices/{}/remove_lines", invoices::lines::remove),
    (Post, "invoices/{}/send", invoices::dues::send),
    (Post, "invoices/{}/update_lines", invoices::lines::update),
    (Post, "invoices/{}/void", invoices::void),
    (Get, "payment_intents", payment_intents::list),
    (Post, "payment_intents", payment_intents::changes::create),
    (Get, "payment_intents/search", search::payment_intents),
    (Get, "payment_intents/{}", payment_intents::retrieve),
    (Post, "payment_intents/{}", payment_intents::changes::update),
    (Post, "payment_intents/{}/cancel", payment_intents::changes::cancel),
    (Post, "payment_intents/{}/capture", payment_intents::captures::capture),
    (Post, "payment_intents/{}/confirm", payment_intents::changes::confirm),
    (Post, "payment_intents/{}/increment_authorization", payment_intents::captures::increment),
    (Post, "payment_intents/{}/verify_microdeposits", payment_intents::changes::verify),
    (Get, "payment_methods", payment_methods::list),
    (Post, "payment_methods", payment_methods::create),
    (Get, "payment_methods/{}", payment_methods::retrieve),
    (Post, "payment_methods/{}", payment_methods::update),
    (Post, "payment_methods/{}/attach", payment_methods::attach),
    (Post, "payment_methods/{}/detach", payment_methods::detach),
    (Get, "prices", prices::list),
    (Post, "prices", prices::create),
    (Get, "prices/search", search::prices),
    (Get, "prices/{}", prices::retrieve),
    (Post, "prices/{}", prices::update),
    (Get, "products", products::list),
    (Post, "products", products::create),
    (Get, "products/search", search::products),
    (Get, "products/{}", products::retrieve),
    (Post, "products/{}", products::update),
    (Delete, "products/{}", products::delete),
    (Get, "products/{}/features", product_features::list),
    (Post, "products/{}/features", product_features::create),
    (Get, "products/{}/features/{}", product_features::retrieve),
    (Delete, "products/{}/features/{}", product_features::delete),
    (Get, "promotion_codes", promotion_codes::list),
    (Post, "promotion_codes", promotion_codes::create),
    (Get, "promotion_codes/{}", promotion_codes::retrieve),
    (Post, "promotion_codes/{}", promotion_codes::update),
    (Get, "refunds", refunds::list),
    (Post, "refunds", refunds::create),
    (Get, "refunds/{}", refunds::retrieve),
    (Post, "refunds/{}", refunds::update),
    (Post, "refunds/{}/cancel", refunds::cancel),
    (Get, "setup_attempts", setup_attempts::list),
    (Get, "setup_intents", setup_intents::list),
    (Post, "setup_intents", setup_intents::create),
    (Get, "setup_intents/{}", setup_intents::retrieve),
    (Post, "setup_intents/{}", setup_intents::update),
    (Post, "setup_intents/{}/cancel", setup_intents::cancel),
    (Post, "setup_intents/{}/confirm", setup_intents::confirm),
    (Post, "setup_intents/{}/verify_microdeposits", setup_intents::verify),
    (Get, "subscription_items", subscription_items::list),
    (Post, "subscription_items", subscription_items::create),
    (Get, "subscription_items/{}", subscription_items::retrieve),
    (Post, "subscription_items/{}", subscription_items::update),
    (Delete, "subscription_items/{}", subscription_items::delete),
    (Get, "subscription_schedules", subscription_schedules::list),
    (Post, "subscription_schedules", subscription_schedules::create::create),
    (Get, "subscription_schedules/{}", subscription_schedules::retrieve),
    (Post, "subscription_schedules/{}", subscription_schedules::create::update),
    (Post, "subscription_schedules/{}/cancel", subscription_schedules::cancel),
    (Post, "subscription_schedules/{}/release", subscription_schedules::release),
    (Get, "subscriptions", subscriptions::list),
    (Post, "subscriptions", subscriptions::create::create),
    (Get, "subscriptions/search", search::subscriptions),
    (Get, "subscriptions/{}", subscriptions::retrieve),
    (Post, "subscriptions/{}", subscriptions::update::update),
    (Delete, "subscriptions/{}", subscriptions::cancel),
    (Delete, "subscriptions/{}/discount", discounts::delete_of_subscription),
    (Post, "subscriptions/{}/migrate", subscriptions::migrate),
    (Post, "subscriptions/{}/pause", subscriptions::pauses::pause),
    (Post, "subscriptions/{}/resume", subscriptions::pauses::resume),
    (Post, "tax/calculations", tax_calculations::create),
    (Get, "tax/calculations/{}", tax_calculations::retrieve),
    (Get, "tax/calculations/{}/line_items", tax_calculations::line_items),
    (Get, "tax/settings", tax_settings::retrieve),
    (Post, "tax/settings", tax_settings::update),
    (Post, "tax/transactions/create_from_calculation", tax_transactions::create_from_calculation),
    (Post, "tax/transactions/create_reversal", tax_transactions::create_reversal),
    (Get, "tax/transactions/{}", tax_transactions::retrieve),
    (Get, "tax/transactions/{}/line_items", tax_transactions::line_items),
    (Get, "tax_codes", tax_codes::list),
    (Get, "tax_codes/{}", tax_codes::retrieve),
    (Get, "tax_ids", tax_ids::list),
    (Post, "tax_ids", tax_ids::create),
    (Get, "tax_ids/{}", tax_ids::retrieve),
    (Delete, "tax_ids/{}", tax_ids::delete),
    (Get, "tax_rates", tax_rates::list),
    (Post, "tax_rates", tax_rates::create),
    (Get, "tax_rates/{}", tax_rates::retrieve),
    (Post, "tax_rates/{}", tax_rates::update),
    (Get, "test_helpers/test_clocks", test_clocks::list),
    (Post, "test_helpers/test_clocks", test_clocks::create),
    (Get, "test_helpers/test_clocks/{}", test_clocks::retrieve),
    (Delete, "test_helpers/test_clocks/{}", test_clocks::delete),
    (Post, "test_helpers/test_clocks/{}/advance", test_clocks::advance),
    (Post, "tokens", tokens::create),
    (Get, "tokens/{}", tokens::retrieve),
    (Get, "webhook_endpoints", webhook_endpoints::list),
    (Post, "webhook_endpoints", webhook_endpoints::create),
    (Get, "webhook_endpoints/{}", webhook_endpoints::retrieve),
    (Post, "webhook_endpoints/{}", webhook_endpoints::update),
    (Delete, "webhook_endpoints/{}", webhook_endpoints::delete),
];

/// The handler of a request; the ids of its path, if the route has some, go into the call.
pub fn find(verb: Verb, call: &mut Call) -> Option<Handler> {
    let path = call.path.strip_prefix("/v1/")?;
    for (route_verb, pattern, handler) in ROUTES {
        if *route_verb == verb
            && let Some((parent, id)) = matches(pattern, path)
        {
            (call.parent, call.id) = (parent, id);
            return Some(*handler);
        }
    }
    None
}

/// The last id in a path that fits the pattern, and the one before it; empty where the pattern has
/// none.
fn matches(pattern: &str, path: &str) -> Option<(String, String)> {
    let (mut parent, mut id) = (String::new(), String::new());
    let mut parts = path.split('/');
    for expected in pattern.split('/') {
        let part = parts.next()?;
        match expected {
            "{}" if !part.is_empty() => {
                parent = std::mem::replace(&mut id, percent_decoded(part)?);
            }
            _ if expected == part => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some((parent, id))
}

/// Ids chosen by callers may hold signs that travel encoded.
fn percent_decoded(part: &str) -> Option<String> {
    let form = format!("id={}", part.replace('+', "%2B"));
    let mut pairs = url::form_urlencoded::parse(form.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn paths_match_whole() {
        let ids = |parent: &str, id: &str| Some((parent.to_owned(), id.to_owned()));
        assert_eq!(matches("prices/{}", "prices/a%2Fb"), ids("", "a/b"));
        assert_eq!(matches("prices", "prices"), ids("", ""));
        assert_eq!(matches("customers/{}/tax_ids/{}", "customers/c/tax_ids/t"), ids("c", "t"));
        assert_eq!(matches("prices/{}", "prices/"), None);
        assert_eq!(matches("prices", "prices/a"), None);
        assert_eq!(matches("prices/{}/x", "prices/a/y"), None);
    }
}
