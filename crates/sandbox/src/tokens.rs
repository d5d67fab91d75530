//! Tokens: a card in exchange for an id that can be used once.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cards;
use crate::errors::ApiError;
use crate::ids;
use crate::instruments;
use crate::instruments::Instrument;
use crate::requests::Call;
use crate::state::Row;
use crate::transactions::Tx;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    pub id: String,
    pub card: String,
    pub created: i64,
    pub instrument: Instrument,
    pub holder: Option<String>,
    pub used: bool,
}

impl Row for Token {
    const KIND: &'static str = "token";
    fn id(&self) -> &str {
        &self.id
    }
}

fn view(token: &Token) -> Value {
    json!({
        "id": token.id,
        "object": "token",
        "card": card_view(&token.card, &token.instrument, token.holder.as_deref()),
        "client_ip": null,
        "created": token.created,
        "livemode": false,
        "type": "card",
        "used": token.used,
    })
}

pub fn card_view(id: &str, instrument: &Instrument, holder: Option<&str>) -> Value {
    let shown = instrument.view();
    json!({
        "id": id,
        "object": "card",
        "address_city": null,
        "address_country": null,
        "address_line1": null,
        "address_line1_check": null,
        "address_line2": null,
        "address_state": null,
        "address_zip": null,
        "address_zip_check": null,
        "brand": brand_name(shown["brand"].as_str().unwrap_or_default()),
        "country": shown["country"],
        "cvc_check": "unchecked",
        "dynamic_last4": null,
        "exp_month": shown["exp_month"],
        "exp_year": shown["exp_year"],
        "fingerprint": shown["fingerprint"],
        "funding": shown["funding"],
        "last4": shown["last4"],
        "metadata": {},
        "name": holder,
        "networks": {"preferred": null},
        "regulated_status": "unregulated",
        "tokenization_method": null,
    })
}

/// Tokens spell brands as cards do on paper.
fn brand_name(brand: &str) -> &'static str {
    match brand {
        "amex" => "American Express",
        "diners" => "Diners Club",
        "discover" => "Discover",
        "jcb" => "JCB",
        "mastercard" => "MasterCard",
        "unionpay" => "UnionPay",
        _ => "Visa",
    }
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    params.refuse(&["account", "bank_account", "customer", "cvc_update", "person", "pii"])?;
    let missing = ApiError::missing_parameter("card");
    let mut card = params.hash("card")?.ok_or(missing)?;
    let holder = card.text("name")?;
    card.ignore(&[
        "address_city",
        "address_country",
        "address_line1",
        "address_line2",
        "address_state",
        "address_zip",
        "currency",
    ]);
    let instrument = instruments::read_number(&mut card)?;
    card.finish()?;
    params.finish()?;
    let token = Token {
        id: ids::object("tok"),
        card: ids::object("card"),
        created: tx.now,
        instrument,
        holder,
        used: false,
    };
    let shown = view(&token);
    tx.state.tokens.put(token);
    Ok(shown)
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    Ok(view(tx.state.tokens.get(id).ok_or_else(|| ApiError::not_found("token", id))?))
}

/// What a token stands for; those made here work once, `tok_visa` and the like always.
pub fn redeem(tx: &mut Tx<'_>, id: &str, param: &str) -> Result<Instrument, ApiError> {
    if let Some(card) = cards::by_token(id) {
        return Ok(Instrument::of_card(card));
    }
    let found = tx.state.tokens.get(id).cloned();
    let mut token = found.ok_or_else(|| ApiError::no_such("token", id, param))?;
    if token.used {
        let message = format!("You cannot use a Stripe token more than once: {id}.");
        return Err(ApiError::invalid(message).code("token_already_used").param(param));
    }
    token.used = true;
    let instrument = token.instrument.clone();
    tx.state.tokens.put(token);
    Ok(instrument)
}
