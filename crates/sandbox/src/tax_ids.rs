//! Tax ids of customers and of the account. The magic numbers of Stripe's test mode decide how the
//! verification of an EU, UK or Australian number ends; it has ended when the caller looks again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::customers;
use crate::errors::ApiError;
use crate::params::Params;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists};

const MAX_PER_OWNER: usize = 5;

#[rustfmt::skip]
pub const KINDS: &[&str] = &[
    "ad_nrt", "ae_trn", "al_tin", "am_tin", "ao_tin", "ar_cuit", "au_abn", "au_acn", "au_arn",
    "au_wpn", "aw_tin", "az_tin", "ba_tin", "bb_tin", "bd_bin", "bf_ifu", "bg_uic", "bh_vat",
    "bj_ifu", "bo_tin", "br_cnpj", "br_cpf", "bs_tin", "bw_vat", "by_tin", "ca_bn", "ca_gst_hst",
    "ca_pst_bc", "ca_pst_mb", "ca_pst_sk", "ca_qst", "cd_nif", "ch_uid", "ch_vat", "ci_vat",
    "cl_tin", "cm_niu", "cn_tin", "co_nit", "cr_tin", "cv_nif", "cz_dic", "de_stn", "do_rcn",
    "ec_ruc", "eg_tin", "es_cif", "et_tin", "eu_oss_vat", "eu_vat", "fo_vat", "fr_siren",
    "fr_siret", "fr_spi", "gb_vat", "ge_vat", "gh_tin", "gi_tin", "gn_nif", "hk_br", "hr_oib",
    "hu_tin", "ic_nif", "id_npwp", "il_vat", "in_gst", "is_kt", "is_vat", "it_cf", "jp_cn",
    "jp_rn", "jp_trn", "ke_pin", "kg_tin", "kh_tin", "kr_brn", "kz_bin", "la_tin", "li_uid",
    "li_vat", "lk_vat", "ma_vat", "md_cf", "md_vat", "me_pib", "mk_vat", "mr_nif", "mu_vat",
    "mx_rfc", "my_frp", "my_itn", "my_sst", "mz_nuit", "ng_tin", "no_vat", "no_voec", "np_pan",
    "nz_bn", "nz_gst", "om_vat", "pe_ruc", "ph_tin", "pl_nip", "pt_nif", "py_ruc", "ro_tin",
    "rs_pib", "ru_inn", "ru_kpp", "sa_vat", "sg_gst", "sg_uen", "si_tin", "sm_coe", "sn_ninea",
    "sr_fin", "sv_nit", "th_vat", "tj_tin", "tr_tin", "tt_bir", "tt_vat", "tw_vat", "tz_vat",
    "ua_vat", "ug_tin", "us_ein", "uy_ruc", "uz_tin", "uz_vat", "ve_rif", "vn_tin", "za_vat",
    "zm_tin", "zw_tin",
];

/// Prefixes of VAT numbers in the European Union.
#[rustfmt::skip]
const EU_PREFIXES: &[&str] = &[
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "EL", "ES", "FI", "FR", "HR", "HU", "IE", "IT",
    "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK", "XI",
];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaxId {
    pub id: String,
    pub created: i64,
    /// None: the account's own.
    pub customer: Option<String>,
    pub kind: String,
    pub value: String,
    pub verification: Verification,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    Pending,
    Unavailable,
    Unverified,
    Verified,
}

impl Row for TaxId {
    const KIND: &'static str = "tax_id";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        self.customer.as_deref().into_iter().collect()
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }
}

pub fn view(tax_id: &TaxId) -> Value {
    let owner = match &tax_id.customer {
        Some(customer) => {
            json!({"customer": customer, "customer_account": null, "type": "customer"})
        }
        None => json!({"customer_account": null, "type": "self"}),
    };
    let verified = tax_id.verification == Verification::Verified;
    json!({
        "id": tax_id.id,
        "object": "tax_id",
        "country": country(&tax_id.kind, &tax_id.value),
        "created": tax_id.created,
        "customer": tax_id.customer,
        "customer_account": null,
        "livemode": false,
        "owner": owner,
        "type": tax_id.kind,
        "value": tax_id.value,
        "verification": {
            "status": tax_id.verification,
            "verified_address": verified.then_some("123 TEST STREET"),
            "verified_name": verified.then_some("TEST"),
        },
    })
}

fn country(kind: &str, value: &str) -> Option<String> {
    let prefix = value.get(..2)?.to_uppercase();
    match kind {
        "eu_vat" if prefix == "EL" => Some("GR".to_owned()),
        "eu_vat" => Some(prefix),
        "eu_oss_vat" => None,
        kind => Some(kind.get(..2)?.to_uppercase()),
    }
}

/// All tax ids of a customer, as `expand[]=tax_ids` shows them.
pub fn list_view(state: &State, customer: &str) -> Value {
    let rows = state.tax_ids.of(customer).rev();
    lists::whole(rows.map(view).collect(), format!("/v1/customers/{customer}/tax_ids"))
}

/// What an invoice keeps of its customer's tax ids.
pub fn of_invoice(state: &State, customer: &str) -> Vec<Value> {
    let rows = state.tax_ids.of(customer);
    rows.map(|row| json!({"type": row.kind, "value": row.value})).collect()
}

/// Reads `type` and `value`; `tax_id_data` of a new customer has them, too.
fn read(params: &mut Params) -> Result<(&'static str, String), ApiError> {
    let kind = params.word("type", KINDS)?;
    let kind = kind.ok_or_else(|| ApiError::missing_parameter(&params.name("type")))?;
    let value = params.required("value")?;
    if !is_plausible(kind, &value) {
        let message = format!("Invalid value for {kind}.");
        return Err(ApiError::invalid(message).code("tax_id_invalid").param(&params.name("value")));
    }
    Ok((kind, value))
}

fn is_plausible(kind: &str, value: &str) -> bool {
    let joins = |sign: char| matches!(sign, ' ' | '-' | '.' | '/');
    let plain: String = value.chars().filter(|sign| !joins(*sign)).collect();
    let prefix = plain.get(..2).unwrap_or_default().to_uppercase();
    let digits = plain.chars().filter(char::is_ascii_digit).count();
    let alphanumeric = plain.chars().all(|sign| sign.is_ascii_alphanumeric());
    let length = plain.chars().count();
    alphanumeric
        && match kind {
            "eu_vat" => EU_PREFIXES.contains(&prefix.as_str()) && (8..=14).contains(&length),
            "gb_vat" => (prefix == "GB" || prefix == "XI") && matches!(digits, 9 | 12),
            "us_ein" => digits == 9 && length == 9,
            "au_abn" => digits == 11 && length == 11,
            "ch_vat" => prefix == "CH" && digits == 9,
            _ => (2..=30).contains(&length),
        }
}

/// How verification ends: some kinds are never verified, and test mode has magic numbers.
fn verified(kind: &str, value: &str) -> Verification {
    let magic = |digits: &str| value.contains(digits);
    match kind {
        "au_abn" | "eu_vat" | "gb_vat" if magic("111111111") => Verification::Unverified,
        "au_abn" | "eu_vat" | "gb_vat" if magic("222222222") => Verification::Pending,
        "au_abn" | "eu_vat" | "gb_vat" => Verification::Verified,
        _ => Verification::Unavailable,
    }
}

/// Stores a tax id and tells of it, first as pending, then as what its verification found.
fn add(
    tx: &mut Tx<'_>,
    customer: Option<&str>,
    (kind, value): (&str, String),
) -> Result<Value, ApiError> {
    let siblings = match customer {
        Some(customer) => tx.state.tax_ids.of(customer).count(),
        None => tx.state.tax_ids.oldest_first().filter(|row| row.customer.is_none()).count(),
    };
    if MAX_PER_OWNER <= siblings {
        let message = format!("An owner can have up to {MAX_PER_OWNER} tax ids.");
        return Err(ApiError::invalid(message));
    }
    let end = verified(kind, &value);
    let waits = end != Verification::Unavailable;
    let mut row = TaxId {
        id: ids::object("txi"),
        created: tx.now,
        customer: customer.map(str::to_owned),
        kind: kind.to_owned(),
        value,
        verification: if waits { Verification::Pending } else { end },
    };
    let answer = view(&row);
    row.verification = end;
    let after = view(&row);
    tx.state.tax_ids.put(row);
    if customer.is_some() {
        tx.emit("customer.tax_id.created", answer.clone());
        tx.emit_change("customer.tax_id.updated", &answer, after);
    }
    Ok(answer)
}

/// `tax_id_data` of a new customer.
pub fn read_data(params: &mut Params) -> Result<Vec<(&'static str, String)>, ApiError> {
    let mut data = Vec::new();
    for mut hash in params.hashes("tax_id_data")? {
        data.push(read(&mut hash)?);
        hash.finish()?;
    }
    Ok(data)
}

pub fn add_all(
    tx: &mut Tx<'_>,
    customer: &str,
    data: Vec<(&'static str, String)>,
) -> Result<(), ApiError> {
    for tax_id in data {
        add(tx, Some(customer), tax_id)?;
    }
    Ok(())
}

pub fn create_of_customer(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let customer = customers::in_path(tx.state, call.id())?.id.clone();
    let tax_id = read(&mut call.params)?;
    call.params.finish()?;
    add(tx, Some(&customer), tax_id)
}

pub fn list_of_customer(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let customer = customers::in_path(tx.state, call.id())?.id.clone();
    lists::page_of(call, &tx.state.tax_ids, Some(&customer), |_| true, view)
}

/// The owner a request names; the account itself if it names none.
fn read_owner(tx: &Tx<'_>, params: &mut Params) -> Result<Option<String>, ApiError> {
    let Some(mut owner) = params.hash("owner")? else {
        return Ok(None);
    };
    let kind = owner.word("type", &["account", "application", "customer", "self"])?;
    let customer = owner.text("customer")?;
    owner.ignore(&["account"]);
    owner.finish()?;
    match (kind, customer) {
        (None, _) => Err(ApiError::missing_parameter("owner[type]")),
        (Some("customer"), None) => Err(ApiError::missing_parameter("owner[customer]")),
        (Some("customer"), Some(customer)) => {
            customers::live(tx.state, &customer, "owner[customer]")?;
            Ok(Some(customer))
        }
        (Some(_), _) => Ok(None),
    }
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let owner = read_owner(tx, &mut call.params)?;
    let tax_id = read(&mut call.params)?;
    call.params.finish()?;
    add(tx, owner.as_deref(), tax_id)
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let owner = read_owner(tx, &mut call.params)?;
    let table = &tx.state.tax_ids;
    lists::page_of(call, table, owner.as_deref(), |row| row.customer == owner, view)
}

/// By its own path or by its customer's.
fn find(tx: &Tx<'_>, call: &Call) -> Result<TaxId, ApiError> {
    let found = tx.state.tax_ids.get(call.id());
    let fits = |row: &&TaxId| {
        call.parent.is_empty() || row.customer.as_deref() == Some(call.parent.as_str())
    };
    found.filter(fits).cloned().ok_or_else(|| ApiError::not_found("tax id", call.id()))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(view(&find(tx, call)?))
}

pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let row = find(tx, call)?;
    tx.state.tax_ids.remove(&row.id);
    if row.customer.is_some() {
        tx.emit("customer.tax_id.deleted", view(&row));
    }
    Ok(json!({"id": row.id, "object": "tax_id", "deleted": true}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_by_kind() {
        for (kind, value) in [
            ("eu_vat", "DE123456789"),
            ("eu_vat", "ie 6388047v"),
            ("gb_vat", "GB123456789"),
            ("us_ein", "12-3456789"),
            ("jp_cn", "1234567891234"),
        ] {
            assert!(is_plausible(kind, value), "{kind} {value}");
        }
        for (kind, value) in [
            ("eu_vat", "US123456789"),
            ("eu_vat", "DE"),
            ("gb_vat", "123"),
            ("us_ein", "x"),
            ("jp_cn", "ü"),
        ] {
            assert!(!is_plausible(kind, value), "{kind} {value}");
        }
        assert_eq!(country("eu_vat", "EL123456789"), Some("GR".to_owned()));
        assert_eq!(country("us_ein", "é"), Some("US".to_owned()));
    }

    #[test]
    fn magic_numbers_decide_verification() {
        assert_eq!(verified("eu_vat", "DE000000000"), Verification::Verified);
        assert_eq!(verified("eu_vat", "DE111111111"), Verification::Unverified);
        assert_eq!(verified("gb_vat", "GB222222222"), Verification::Pending);
        assert_eq!(verified("us_ein", "12-3456789"), Verification::Unavailable);
    }
}
