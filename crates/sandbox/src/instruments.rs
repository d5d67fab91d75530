//! What a payment method pays with: a card, a bank account, a voucher.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::bank_accounts::{self, Settlement};
use crate::cards::{self, Card, Presence, Verdict};
use crate::errors::ApiError;
use crate::params::Params;
use crate::tokens;
use crate::transactions::Tx;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instrument {
    /// Always one of the test cards.
    Card {
        number: String,
        exp_month: i64,
        exp_year: i64,
    },
    SepaDebit {
        iban: String,
    },
    UsBankAccount(BankAccount),
    Boleto {
        tax_id: String,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BankAccount {
    pub number: String,
    pub holder_type: String,
    pub account_type: String,
    pub verified: bool,
}

/// Every type the sandbox simulates.
pub const TYPES: [&str; 4] = ["boleto", "card", "sepa_debit", "us_bank_account"];

const MAX_TAX_ID: usize = 22;

impl Instrument {
    pub fn of_card(card: &Card) -> Instrument {
        Instrument::Card { number: card.number.to_owned(), exp_month: 12, exp_year: 2034 }
    }

    /// What a template id such as `pm_card_visa` or `pm_success_at` stands for.
    pub fn named(id: &str) -> Option<Instrument> {
        if let Some(card) = cards::by_payment_method(id) {
            return Some(Instrument::of_card(card));
        }
        if let Some(iban) = bank_accounts::iban_named(id) {
            return Some(Instrument::SepaDebit { iban: iban.to_owned() });
        }
        let number = bank_accounts::account_named(id)?;
        Some(Instrument::UsBankAccount(BankAccount::new(number, true)))
    }

    /// What a buyer typed where an id or a number may stand.
    pub fn typed(text: &str) -> Option<Instrument> {
        if let Some(card) = cards::by_number(text) {
            return Some(Instrument::of_card(card));
        }
        if let Some(iban) = bank_accounts::read_iban(text) {
            return Some(Instrument::SepaDebit { iban });
        }
        let number = text.trim();
        bank_accounts::of_account(number)?;
        Some(Instrument::UsBankAccount(BankAccount::new(number, true)))
    }

    /// A voucher is made out to somebody's tax number.
    pub fn boleto(tax_id: &str) -> Option<Instrument> {
        let digits = tax_id.chars().filter(char::is_ascii_digit).count();
        let plausible = tax_id.len() <= MAX_TAX_ID && matches!(digits, 11 | 14);
        plausible.then(|| Instrument::Boleto { tax_id: tax_id.to_owned() })
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Instrument::Card { .. } => "card",
            Instrument::SepaDebit { .. } => "sepa_debit",
            Instrument::UsBankAccount(_) => "us_bank_account",
            Instrument::Boleto { .. } => "boleto",
        }
    }

    pub fn card(&self) -> Option<&'static Card> {
        match self {
            Instrument::Card { number, .. } => cards::by_number(number),
            _ => None,
        }
    }

    /// A debit needs the account holder's consent on record.
    pub fn needs_mandate(&self) -> bool {
        matches!(self, Instrument::SepaDebit { .. } | Instrument::UsBankAccount(_))
    }

    /// What the bank answers. `authenticated`: it was saved with the holder's consent.
    pub fn charge(&self, presence: Presence, authenticated: bool) -> Verdict {
        match self {
            Instrument::Card { .. } => match self.card() {
                Some(card) => card.charge(presence, authenticated),
                None => Verdict::Declined(cards::AUTHENTICATION_FAILED),
            },
            Instrument::UsBankAccount(account) if !account.verified => Verdict::NeedsVerification,
            Instrument::SepaDebit { .. } | Instrument::UsBankAccount(_) => Verdict::Pending,
            Instrument::Boleto { .. } => Verdict::NeedsVoucher,
        }
    }

    /// What the bank answers when this is saved without a payment.
    pub fn save(&self, presence: Presence) -> Verdict {
        match self {
            Instrument::Card { .. } => match self.card() {
                Some(card) => card.save(presence),
                None => Verdict::Declined(cards::AUTHENTICATION_FAILED),
            },
            Instrument::UsBankAccount(account) if !account.verified => Verdict::NeedsVerification,
            _ => Verdict::Approved,
        }
    }

    /// How a payment that is under way ends.
    pub fn settlement(&self, email: &str) -> Settlement {
        match self {
            Instrument::Card { .. } => Settlement::Never,
            Instrument::SepaDebit { iban } => bank_accounts::of_iban(iban).settlement(),
            Instrument::UsBankAccount(account) => {
                let behaviour = bank_accounts::of_account(&account.number);
                behaviour.map_or(Settlement::Never, bank_accounts::Behaviour::settlement)
            }
            Instrument::Boleto { .. } => bank_accounts::voucher(email),
        }
    }

    /// `payment_method[TYPE]`.
    pub fn view(&self) -> Value {
        match self {
            Instrument::Card { exp_month, exp_year, .. } => {
                json!(self.card().map(|card| card.view(*exp_month, *exp_year)))
            }
            Instrument::SepaDebit { iban } => {
                let mut shown = sepa(iban);
                shown["generated_from"] = json!({"charge": null, "setup_attempt": null});
                shown
            }
            Instrument::UsBankAccount(account) => {
                let mut shown = account.view();
                shown["financial_connections_account"] = Value::Null;
                shown["networks"] = json!({"preferred": "ach", "supported": ["ach"]});
                shown["status_details"] = json!({});
                shown
            }
            Instrument::Boleto { tax_id } => json!({"tax_id": tax_id}),
        }
    }

    /// `charge.payment_method_details[TYPE]`.
    pub fn charge_view(&self, amount: i64) -> Value {
        match self {
            Instrument::Card { exp_month, exp_year, .. } => {
                json!(self.card().map(|card| card.charge_view(*exp_month, *exp_year, amount)))
            }
            Instrument::SepaDebit { iban } => {
                let mut shown = sepa(iban);
                shown["mandate"] = Value::Null;
                shown
            }
            Instrument::UsBankAccount(account) => {
                let mut shown = account.view();
                shown["payment_reference"] = Value::Null;
                shown
            }
            Instrument::Boleto { tax_id } => json!({"tax_id": tax_id}),
        }
    }
}

fn sepa(iban: &str) -> Value {
    json!({
        "bank_code": iban.get(4..9),
        "branch_code": "",
        "country": iban.get(..2),
        "fingerprint": fingerprint(iban),
        "last4": last4(iban),
    })
}

/// Stable per account, so that the same one is recognised on two customers.
fn fingerprint(number: &str) -> String {
    hex::encode(Sha256::digest(number.as_bytes()))[..16].to_owned()
}

fn last4(number: &str) -> Option<&str> {
    number.get(number.len().saturating_sub(4)..)
}

impl BankAccount {
    pub fn new(number: &str, verified: bool) -> BankAccount {
        BankAccount {
            number: number.to_owned(),
            holder_type: "individual".to_owned(),
            account_type: "checking".to_owned(),
            verified,
        }
    }

    fn view(&self) -> Value {
        json!({
            "account_holder_type": self.holder_type,
            "account_type": self.account_type,
            "bank_name": "STRIPE TEST BANK",
            "fingerprint": fingerprint(&self.number),
            "last4": last4(&self.number),
            "routing_number": bank_accounts::ROUTING_NUMBER,
        })
    }
}

/// What describes an instrument, as `POST /v1/payment_methods` and `payment_method_data` have it.
pub fn read(tx: &mut Tx<'_>, params: &mut Params) -> Result<Instrument, ApiError> {
    let kind = params.word("type", &TYPES)?;
    let Some(kind) = kind else {
        return Err(ApiError::missing_parameter(&params.name("type")));
    };
    let missing = ApiError::missing_parameter(&params.name(kind));
    let mut hash = params.hash(kind)?.ok_or(missing)?;
    let instrument = match kind {
        "card" => read_card(tx, &mut hash)?,
        "sepa_debit" => read_sepa(&mut hash)?,
        "us_bank_account" => read_account(&mut hash)?,
        _ => read_boleto(&mut hash)?,
    };
    hash.finish()?;
    Ok(instrument)
}

/// `card[token]` or `card[number]`.
fn read_card(tx: &mut Tx<'_>, hash: &mut Params) -> Result<Instrument, ApiError> {
    let param = hash.name("token");
    match hash.text("token")? {
        Some(token) => tokens::redeem(tx, &token, &param),
        None => read_number(hash),
    }
}

/// A number with its expiry: only the test cards exist here.
pub fn read_number(hash: &mut Params) -> Result<Instrument, ApiError> {
    let number = hash.required("number")?;
    let card = cards::by_number(&number).ok_or_else(|| {
        let error = ApiError::card("incorrect_number", None, "Your card number is incorrect.");
        error.param(&hash.name("number"))
    })?;
    let exp_month = hash.within("exp_month", 1, 12)?.unwrap_or(12);
    let exp_year = hash.within("exp_year", 2_000, 2_199)?.unwrap_or(2_034);
    hash.ignore(&["cvc", "networks"]);
    Ok(Instrument::Card { number: card.number.to_owned(), exp_month, exp_year })
}

fn read_sepa(hash: &mut Params) -> Result<Instrument, ApiError> {
    let text = hash.required("iban")?;
    let iban = bank_accounts::read_iban(&text).ok_or_else(|| {
        let message = "The IBAN you provided is invalid.";
        ApiError::invalid(message).code("invalid_bank_account_iban").param(&hash.name("iban"))
    })?;
    Ok(Instrument::SepaDebit { iban })
}

/// An account that was typed in has to be verified before it is charged.
fn read_account(hash: &mut Params) -> Result<Instrument, ApiError> {
    let number = hash.required("account_number")?;
    let routing = hash.required("routing_number")?;
    if routing != bank_accounts::ROUTING_NUMBER {
        let message = "You must use a test bank account number in test mode.";
        let error = ApiError::invalid(message).code("routing_number_invalid");
        return Err(error.param(&hash.name("routing_number")));
    }
    if bank_accounts::of_account(&number).is_none() {
        let message = "You must use a test bank account number in test mode.";
        let error = ApiError::invalid(message).code("account_number_invalid");
        return Err(error.param(&hash.name("account_number")));
    }
    let mut account = BankAccount::new(&number, false);
    if let Some(holder) = hash.word("account_holder_type", &["company", "individual"])? {
        account.holder_type = holder.to_owned();
    }
    if let Some(kind) = hash.word("account_type", &["checking", "savings"])? {
        account.account_type = kind.to_owned();
    }
    hash.refuse(&["financial_connections_account"])?;
    Ok(Instrument::UsBankAccount(account))
}

fn read_boleto(hash: &mut Params) -> Result<Instrument, ApiError> {
    let tax_id = hash.required("tax_id")?;
    let boleto = Instrument::boleto(&tax_id);
    boleto.ok_or_else(|| hash.invalid("tax_id", "Invalid tax id").code("tax_id_invalid"))
}

/// The types a payment in this currency can use, unless the caller named or excluded some.
pub fn types(
    currency: &str,
    allowed: Option<&[String]>,
    excluded: Option<&[String]>,
) -> Vec<String> {
    if let Some(allowed) = allowed {
        return allowed.to_vec();
    }
    let fitting = TYPES.iter().filter(|kind| currency_of(kind).is_none_or(|one| one == currency));
    let mut fitting: Vec<String> = fitting.map(|kind| (*kind).to_owned()).collect();
    fitting.retain(|kind| !excluded.is_some_and(|excluded| excluded.contains(kind)));
    fitting.sort_by_key(|kind| kind != "card");
    fitting
}

/// The only currency of a type; cards take any.
pub fn currency_of(kind: &str) -> Option<&'static str> {
    match kind {
        "boleto" => Some("brl"),
        "sepa_debit" => Some("eur"),
        "us_bank_account" => Some("usd"),
        _ => None,
    }
}

/// Reads a list of types; `payment_method_types` is what older versions call the allowed ones.
pub fn read_allowed(params: &mut Params) -> Result<Option<Vec<String>>, ApiError> {
    let mut found = None;
    for name in ["payment_method_types", "allowed_payment_method_types"] {
        let Some(types) = params.texts(name)? else {
            continue;
        };
        if let Some(unknown) = types.iter().find(|kind| !TYPES.contains(&kind.as_str())) {
            let shown: String = unknown.chars().take(40).collect();
            let message = format!(
                "The payment method type provided: {shown} is invalid. The sandbox simulates {}.",
                TYPES.join(", ")
            );
            return Err(ApiError::invalid(message).param(&params.name(name)));
        }
        found = Some(types).filter(|types| !types.is_empty());
    }
    Ok(found)
}

/// A type must be able to take the currency.
pub fn check_currency(types: &[String], currency: &str) -> Result<(), ApiError> {
    let wrong = types.iter().find(|kind| currency_of(kind).is_some_and(|one| one != currency));
    let Some(wrong) = wrong else {
        return Ok(());
    };
    let only = currency_of(wrong).unwrap_or_default();
    let message = format!(
        "The currency provided ({currency}) is invalid for one or more payment method types: \
         {wrong} supports {only} only."
    );
    Err(ApiError::invalid(message).param("currency"))
}
