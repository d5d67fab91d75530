//! The test bank accounts: debits that take their time, and what they end in. A name stands for
//! `pm_NAME`.

use crate::cards::Decline;

/// "At once" is after the answer to the request, but soon.
const SOON_SECONDS: i64 = 1;
const LATER_SECONDS: i64 = 180;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Succeeds,
    SucceedsLater,
    Disputed,
    Fails(Decline),
    FailsLater(Decline),
    NeverEnds,
    /// The deposits that should verify the account never arrive.
    CannotBeVerified,
}

use Behaviour::{
    CannotBeVerified, Disputed, Fails, FailsLater, NeverEnds, Succeeds, SucceedsLater,
};

/// How a debit ends, and after how long.
pub enum Settlement {
    Succeeds { after_seconds: i64, disputed: bool },
    Fails { after_seconds: i64, decline: Decline },
    Never,
}

const fn failure(code: &'static str, message: &'static str) -> Decline {
    Decline { code, decline_code: None, message }
}

const DECLINED: Decline = failure(
    "payment_method_provider_decline",
    "The payment was declined by the customer's bank. Please try again or use another payment \
     method.",
);
const FUNDS: Decline =
    failure("insufficient_funds", "The customer's account has insufficient funds.");
const CLOSED: Decline = failure("account_closed", "The customer's bank account has been closed.");
const MISSING: Decline = failure("no_account", "The customer's bank account could not be located.");
const FORBIDDEN: Decline = failure(
    "debit_not_authorized",
    "The customer has notified their bank that this payment was unauthorized.",
);
const CURRENCY: Decline =
    failure("invalid_currency", "The customer's bank does not process this currency.");
const VOLUME: Decline = failure(
    "charge_exceeds_source_limit",
    "The payment exceeds the amount this account may be charged in a week.",
);
const COUNT: Decline = failure(
    "charge_exceeds_weekly_limit",
    "The payment exceeds what this account may be charged in a week.",
);
pub const CANCELED: Decline =
    failure("payment_intent_payment_attempt_failed", "The payment was canceled.");
pub const UNVERIFIABLE: Decline = failure(
    "payment_method_microdeposit_failed",
    "Microdeposit transfers failed. Please check the account and institution numbers provided.",
);

/// IBAN, name, behaviour.
const IBANS: &[(&str, &str, Behaviour)] = &[
    ("AT611904300234573201", "success_at", Succeeds),
    ("AT321904300235473204", "successDelayed_at", SucceedsLater),
    ("AT861904300235473202", "failed_at", Fails(DECLINED)),
    ("AT051904300235473205", "failedDelayed_at", FailsLater(DECLINED)),
    ("AT591904300235473203", "disputed_at", Disputed),
    ("AT981904300000343434", "exceedsWeeklyVolumeLimit_at", Fails(VOLUME)),
    ("AT601904300000121212", "exceedsWeeklyTransactionLimit_at", Fails(COUNT)),
    ("AT981904300002222227", "insufficientFunds_at", Fails(FUNDS)),
    ("BE62510007547061", "success_be", Succeeds),
    ("BE78510007547064", "successDelayed_be", SucceedsLater),
    ("BE68539007547034", "failed_be", Fails(DECLINED)),
    ("BE51510007547065", "failedDelayed_be", FailsLater(DECLINED)),
    ("BE08510007547063", "disputed_be", Disputed),
    ("DE89370400440532013000", "success_de", Succeeds),
    ("DE08370400440532013003", "successDelayed_de", SucceedsLater),
    ("DE62370400440532013001", "failed_de", Fails(DECLINED)),
    ("DE78370400440532013004", "failedDelayed_de", FailsLater(DECLINED)),
    ("DE35370400440532013002", "disputed_de", Disputed),
    ("DE65370400440000343434", "exceedsWeeklyVolumeLimit_de", Fails(VOLUME)),
    ("DE27370400440000121212", "exceedsWeeklyTransactionLimit_de", Fails(COUNT)),
    ("DE65370400440002222227", "insufficientFunds_de", Fails(FUNDS)),
    ("FI2112345600000785", "success_fi", Succeeds),
    ("FI3712345600000788", "successDelayed_fi", SucceedsLater),
    ("FI9112345600000786", "failed_fi", Fails(DECLINED)),
    ("FI1012345600000789", "failedDelayed_fi", FailsLater(DECLINED)),
    ("FI6412345600000787", "disputed_fi", Disputed),
    ("FR1420041010050500013M02606", "success_fr", Succeeds),
    ("FR3020041010050500013M02609", "successDelayed_fr", SucceedsLater),
    ("FR8420041010050500013M02607", "failed_fr", Fails(DECLINED)),
    ("FR7920041010050500013M02600", "failedDelayed_fr", FailsLater(DECLINED)),
    ("FR5720041010050500013M02608", "disputed_fr", Disputed),
    ("FR9720041010050000002222227", "insufficientFunds_fr", Fails(FUNDS)),
    ("IT60X0542811101000000123456", "failed_it", Fails(DECLINED)),
    ("NL39RABO0300065264", "success_nl", Succeeds),
    ("NL55RABO0300065267", "successDelayed_nl", SucceedsLater),
    ("NL91ABNA0417164300", "failed_nl", Fails(DECLINED)),
    ("NL28RABO0300065268", "failedDelayed_nl", FailsLater(DECLINED)),
    ("NL82RABO0300065266", "disputed_nl", Disputed),
];

/// Account number in the United States, name, behaviour.
const ACCOUNTS: &[(&str, &str, Behaviour)] = &[
    ("000123456789", "usBankAccount_success", Succeeds),
    ("000111111113", "usBankAccount_accountClosed", Fails(CLOSED)),
    ("000111111116", "usBankAccount_noAccount", Fails(MISSING)),
    ("000222222227", "usBankAccount_insufficientFunds", Fails(FUNDS)),
    ("000333333335", "usBankAccount_debitNotAuthorized", Fails(FORBIDDEN)),
    ("000444444440", "usBankAccount_invalidCurrency", Fails(CURRENCY)),
    ("000555555559", "usBankAccount_dispute", Disputed),
    ("000666666661", "usBankAccount_failMicrodeposits", CannotBeVerified),
    ("000000000009", "usBankAccount_processing", NeverEnds),
];

pub const ROUTING_NUMBER: &str = "110000000";

fn find(table: &'static [(&str, &str, Behaviour)], number: &str) -> Option<Behaviour> {
    table.iter().find(|(known, _, _)| *known == number).map(|(_, _, behaviour)| *behaviour)
}

fn named(table: &'static [(&str, &str, Behaviour)], id: &str) -> Option<&'static str> {
    let name = id.strip_prefix("pm_")?;
    table.iter().find(|(_, known, _)| *known == name).map(|(number, _, _)| *number)
}

pub fn iban_named(id: &str) -> Option<&'static str> {
    named(IBANS, id)
}

pub fn account_named(id: &str) -> Option<&'static str> {
    named(ACCOUNTS, id)
}

/// Any IBAN with right check digits can be debited.
pub fn of_iban(iban: &str) -> Behaviour {
    find(IBANS, iban).unwrap_or(Succeeds)
}

/// Only the test accounts exist.
pub fn of_account(number: &str) -> Option<Behaviour> {
    find(ACCOUNTS, number)
}

impl Behaviour {
    pub fn settlement(self) -> Settlement {
        match self {
            Succeeds => Settlement::Succeeds { after_seconds: SOON_SECONDS, disputed: false },
            SucceedsLater => Settlement::Succeeds { after_seconds: LATER_SECONDS, disputed: false },
            Disputed => Settlement::Succeeds { after_seconds: SOON_SECONDS, disputed: true },
            Fails(decline) => Settlement::Fails { after_seconds: SOON_SECONDS, decline },
            FailsLater(decline) => Settlement::Fails { after_seconds: LATER_SECONDS, decline },
            CannotBeVerified => {
                Settlement::Fails { after_seconds: SOON_SECONDS, decline: UNVERIFIABLE }
            }
            NeverEnds => Settlement::Never,
        }
    }
}

/// What an e-mail address says about the voucher sent to it.
pub fn voucher(email: &str) -> Settlement {
    const UNPAID: Decline = failure(
        "payment_intent_payment_attempt_expired",
        "The voucher has expired without a payment.",
    );
    let local = email.split('@').next().unwrap_or_default();
    let ends = |end: &str| local.ends_with(end);
    if ends("succeed_immediately") {
        Settlement::Succeeds { after_seconds: SOON_SECONDS, disputed: false }
    } else if ends("expire_immediately") {
        Settlement::Fails { after_seconds: SOON_SECONDS, decline: UNPAID }
    } else if ends("expire_with_delay") {
        Settlement::Fails { after_seconds: LATER_SECONDS, decline: UNPAID }
    } else if ends("fill_never") {
        Settlement::Never
    } else {
        Settlement::Succeeds { after_seconds: LATER_SECONDS, disputed: false }
    }
}

/// Letters and digits of an IBAN whose check digits are right.
pub fn read_iban(text: &str) -> Option<String> {
    let iban: String = text.chars().filter(|sign| *sign != ' ').collect();
    let iban = iban.to_ascii_uppercase();
    let plausible = (15..=34).contains(&iban.len())
        && iban.bytes().all(|sign| sign.is_ascii_alphanumeric())
        && iban.bytes().take(2).all(|sign| sign.is_ascii_uppercase())
        && iban.bytes().skip(2).take(2).all(|sign| sign.is_ascii_digit());
    (plausible && remainder(&iban) == 1).then_some(iban)
}

/// The first four signs go to the end, letters count from ten, and the number is divided by 97.
fn remainder(iban: &str) -> u32 {
    let (head, tail) = iban.split_at(4);
    let signs = tail.chars().chain(head.chars()).filter_map(|sign| sign.to_digit(36));
    signs.fold(0, |left, value| match value {
        0..=9 => (left * 10 + value) % 97,
        _ => (left * 100 + value) % 97,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_iban_has_right_check_digits() {
        for (iban, name, _) in IBANS {
            assert_eq!(read_iban(iban).as_deref(), Some(*iban), "{name}");
        }
        assert_eq!(read_iban("at61 1904 3002 3457 3201"), Some("AT611904300234573201".to_owned()));
        for wrong in
            ["", "AT", "AT611904300234573202", "6111904300234573201", "AT61190430é34573201"]
        {
            assert_eq!(read_iban(wrong), None, "{wrong}");
        }
    }
}
