//! The simulated cards, one row each. A name stands for `pm_card_NAME` and for `tok_NAME`.

use crate::cards::{Behaviour, Card, Checks, Decline, Sequel};

use Behaviour::{
    Approves, Authenticates, AuthenticatesOnSession, AuthenticatesOnce, AuthenticatesThenDeclines,
    Declines, DeclinesWhenSaved,
};

const fn declined(decline_code: &'static str, message: &'static str) -> Decline {
    Decline { code: "card_declined", decline_code: Some(decline_code), message }
}

const fn refused(code: &'static str, message: &'static str) -> Decline {
    Decline { code, decline_code: None, message }
}

const DECLINED: &str = "Your card was declined.";
const GENERIC: Decline = declined("generic_decline", DECLINED);
const FUNDS: Decline = declined("insufficient_funds", "Your card has insufficient funds.");
const LOST: Decline = declined("lost_card", DECLINED);
const STOLEN: Decline = declined("stolen_card", DECLINED);
const FRAUDULENT: Decline = declined("fraudulent", DECLINED);
const VELOCITY: Decline = declined(
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount \
     limit.",
);
const EXPIRED: Decline = refused("expired_card", "Your card has expired.");
const CVC: Decline = refused("incorrect_cvc", "Your card's security code is incorrect.");
const PROCESSING: Decline = refused(
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
);

const fn visa(number: &'static str, behaviour: Behaviour, names: &'static [&'static str]) -> Card {
    brand("visa", number, behaviour, names)
}

const fn brand(
    brand: &'static str,
    number: &'static str,
    behaviour: Behaviour,
    names: &'static [&'static str],
) -> Card {
    Card {
        number,
        brand,
        funding: "credit",
        country: "US",
        behaviour,
        sequel: Sequel::None,
        checks: Checks { cvc: "pass", line1: "pass", postal_code: "pass" },
        names,
    }
}

impl Card {
    const fn funding(self, funding: &'static str) -> Card {
        Card { funding, ..self }
    }

    const fn from(self, country: &'static str) -> Card {
        Card { country, ..self }
    }

    const fn then(self, sequel: Sequel) -> Card {
        Card { sequel, ..self }
    }

    const fn checked(
        self,
        cvc: &'static str,
        line1: &'static str,
        postal_code: &'static str,
    ) -> Card {
        Card { checks: Checks { cvc, line1, postal_code }, ..self }
    }
}

pub const CARDS: &[Card] = &[
    // By brand.
    visa("4242424242424242", Approves, &["visa"]),
    visa("4000056655665556", Approves, &["visa_debit"]).funding("debit"),
    brand("mastercard", "5555555555554444", Approves, &["mastercard"]),
    brand("mastercard", "2223003122003222", Approves, &[]),
    brand("mastercard", "5200828282828210", Approves, &["mastercard_debit"]).funding("debit"),
    brand("mastercard", "5105105105105100", Approves, &["mastercard_prepaid"]).funding("prepaid"),
    brand("amex", "378282246310005", Approves, &["amex", "amex_threeDSecureNotSupported"]),
    brand("amex", "371449635398431", Approves, &[]),
    brand("discover", "6011111111111117", Approves, &["discover"]),
    brand("discover", "6011000990139424", Approves, &[]),
    brand("discover", "6011981111111113", Approves, &[]).funding("debit"),
    brand("diners", "3056930009020004", Approves, &["diners"]),
    brand("diners", "36227206271667", Approves, &[]),
    brand("jcb", "3566002020360505", Approves, &["jcb"]).from("JP"),
    brand("unionpay", "6200000000000005", Approves, &["unionpay"]).from("CN"),
    brand("unionpay", "6200000000000047", Approves, &[]).from("CN").funding("debit"),
    // By country.
    visa("4000002760000016", Approves, &["de"]).from("DE"),
    visa("4000002500000003", Approves, &["fr"]).from("FR"),
    visa("4000008260000000", Approves, &["gb"]).from("GB"),
    visa("4000000400000008", Approves, &["at"]).from("AT"),
    visa("4000001240000000", Approves, &["ca"]).from("CA"),
    visa("4000000760000002", Approves, &["br"]).from("BR"),
    visa("4000000360000006", Approves, &["au"]).from("AU"),
    visa("4000003560000008", Approves, &["in"]).from("IN"),
    // Declined.
    visa("4000000000000002", Declines(GENERIC), &["chargeDeclined", "visa_chargeDeclined"]),
    visa(
        "4000000000009995",
        Declines(FUNDS),
        &["chargeDeclinedInsufficientFunds", "visa_chargeDeclinedInsufficientFunds"],
    ),
    visa(
        "4000000000009987",
        Declines(LOST),
        &["chargeDeclinedLostCard", "visa_chargeDeclinedLostCard"],
    ),
    visa(
        "4000000000009979",
        Declines(STOLEN),
        &["chargeDeclinedStolenCard", "visa_chargeDeclinedStolenCard"],
    ),
    visa(
        "4000000000000069",
        Declines(EXPIRED),
        &["chargeDeclinedExpiredCard", "visa_chargeDeclinedExpiredCard"],
    ),
    visa(
        "4000000000000127",
        Declines(CVC),
        &["chargeDeclinedIncorrectCvc", "visa_chargeDeclinedIncorrectCvc"],
    )
    .checked("fail", "pass", "pass"),
    visa(
        "4000000000000119",
        Declines(PROCESSING),
        &["chargeDeclinedProcessingError", "visa_chargeDeclinedProcessingError"],
    ),
    visa("4000000000006975", Declines(VELOCITY), &["visa_chargeDeclinedVelocityLimitExceeded"]),
    visa(
        "4000000000000341",
        DeclinesWhenSaved(GENERIC),
        &["chargeCustomerFail", "visa_chargeCustomerFail"],
    ),
    // Fraud.
    visa("4100000000000019", DeclinesWhenSaved(FRAUDULENT), &["radarBlock"]),
    visa("4000000000004954", DeclinesWhenSaved(FRAUDULENT), &["riskLevelHighest"]),
    visa("4000000000009235", Approves, &["riskLevelElevated"]).then(Sequel::ElevatedRisk),
    visa("4000000000000101", Approves, &["cvcCheckFail"]).checked("fail", "pass", "pass"),
    visa("4000000000000010", Approves, &["avsFail"]).checked("pass", "fail", "fail"),
    visa("4000000000000028", Approves, &["avsLine1Fail"]).checked("pass", "fail", "pass"),
    visa("4000000000000036", Approves, &["avsZipFail"]).checked("pass", "pass", "fail"),
    visa("4000000000000044", Approves, &["avsUnchecked"]).checked(
        "pass",
        "unavailable",
        "unavailable",
    ),
    // Disputed.
    visa("4000000000000259", Approves, &["createDispute"]).then(Sequel::Disputed("fraudulent")),
    visa("4000000000002685", Approves, &["createDisputeProductNotReceived"])
        .then(Sequel::Disputed("product_not_received")),
    visa("4000000000001976", Approves, &["createDisputeInquiry"]).then(Sequel::Inquiry),
    visa("4000000404000079", Approves, &["createMultipleDisputes"]).then(Sequel::DisputedTwice),
    visa("4000000000005423", Approves, &["createIssuerFraudRecord"]),
    // Refunds that take their time.
    visa("4000000000007726", Approves, &["pendingRefund"]).then(Sequel::RefundPends),
    visa("4000000000005126", Approves, &["refundFail"]).then(Sequel::RefundFails),
    // Available in the balance at once.
    visa("4000000000000077", Approves, &["bypassPending"]).then(Sequel::BypassesPending),
    visa("4000003720000278", Approves, &["bypassPendingInternational"])
        .from("IE")
        .then(Sequel::BypassesPending),
    // 3-D Secure.
    visa("4000002500003155", AuthenticatesOnce, &["authenticationRequiredOnSetup"]).from("FR"),
    visa("4000002760003184", Authenticates, &["authenticationRequired"]).from("DE"),
    visa("4000003800000446", AuthenticatesOnSession, &["authenticationRequiredSetupForOffSession"])
        .from("IT"),
    visa(
        "4000008260003178",
        AuthenticatesThenDeclines(FUNDS),
        &["authenticationRequiredChargeDeclinedInsufficientFunds"],
    )
    .from("GB"),
    visa("4000000000003220", Authenticates, &["threeDSecure2Required"]).from("IE"),
    visa("4000008400000027", Authenticates, &[]),
    visa("4000000000003063", Authenticates, &["threeDSecureRequired", "threeDSecure"]),
    visa(
        "4000008400001629",
        AuthenticatesThenDeclines(GENERIC),
        &["threeDSecureRequiredChargeDeclined"],
    ),
    visa("4000008400001280", Declines(GENERIC), &["threeDSecureRequiredProcessingError"]),
    visa("4000000000003055", Approves, &["threeDSecureOptional"]),
    visa("4000000000003097", Approves, &["threeDSecureOptionalProcessingError"]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::CARDS;

    /// The last digit of a card number follows from the others.
    fn is_plausible(number: &str) -> bool {
        let digits = number.bytes().rev().map(|digit| u32::from(digit - b'0'));
        let sum: u32 = digits
            .enumerate()
            .map(|(place, digit)| match place % 2 {
                0 => digit,
                _ => digit * 2 % 10 + digit / 5,
            })
            .sum();
        sum.is_multiple_of(10)
    }

    #[test]
    fn numbers_are_plausible_and_nothing_is_listed_twice() {
        let mut seen = BTreeSet::new();
        for card in CARDS {
            assert!(is_plausible(card.number), "{}", card.number);
            assert!(seen.insert(card.number), "{}", card.number);
            for name in card.names {
                assert!(seen.insert(name), "{name}");
            }
        }
    }
}
