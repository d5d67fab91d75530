//! Portal configurations: what the portal shows and allows. Every account has a default one, made
//! when it is first needed.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::{Metadata, Params};
use crate::portal_features::Features;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortalConfiguration {
    pub id: String,
    pub created: i64,
    pub updated: i64,
    pub active: bool,
    pub is_default: bool,
    pub name: Option<String>,
    pub headline: Option<String>,
    pub privacy_policy_url: Option<String>,
    pub terms_of_service_url: Option<String>,
    pub default_return_url: Option<String>,
    pub features: Features,
    /// The part of the login page's address that names this configuration.
    pub login_token: Option<String>,
    pub metadata: Metadata,
}

impl Row for PortalConfiguration {
    const KIND: &'static str = "billing_portal.configuration";
    fn id(&self) -> &str {
        &self.id
    }
}

impl PortalConfiguration {
    fn new(features: Features, now: i64) -> PortalConfiguration {
        PortalConfiguration {
            id: ids::object("bpc"),
            created: now,
            updated: now,
            active: true,
            is_default: false,
            name: None,
            headline: None,
            privacy_policy_url: None,
            terms_of_service_url: None,
            default_return_url: None,
            features,
            login_token: None,
            metadata: Metadata::new(),
        }
    }
}

pub fn view(state: &State, row: &PortalConfiguration) -> Value {
    let login = row.login_token.as_ref();
    json!({
        "id": row.id,
        "object": "billing_portal.configuration",
        "active": row.active,
        "application": null,
        "business_profile": {
            "headline": row.headline,
            "privacy_policy_url": row.privacy_policy_url,
            "terms_of_service_url": row.terms_of_service_url,
        },
        "created": row.created,
        "default_return_url": row.default_return_url,
        "features": row.features.view(),
        "is_default": row.is_default,
        "livemode": false,
        "login_page": {
            "enabled": login.is_some(),
            "url": login.map(|token| format!("{}/p/login/{token}", state.base_url)),
        },
        "metadata": row.metadata,
        "name": row.name,
        "updated": row.updated,
    })
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a PortalConfiguration, ApiError> {
    let found = state.portal_configurations.get(id);
    found.ok_or_else(|| ApiError::not_found("configuration", id))
}

fn default_of(state: &State) -> Option<&PortalConfiguration> {
    state.portal_configurations.oldest_first().find(|row| row.is_default)
}

/// The configuration of a new session: the named one, or the account's default.
pub fn choose(tx: &mut Tx<'_>, id: Option<&str>) -> Result<PortalConfiguration, ApiError> {
    let Some(id) = id else {
        if let Some(row) = default_of(tx.state) {
            return Ok(row.clone());
        }
        let mut row = PortalConfiguration::new(Features::usual(), tx.now);
        row.is_default = true;
        tx.state.portal_configurations.put(row.clone());
        return Ok(row);
    };
    let found = tx.state.portal_configurations.get(id);
    let row = found.ok_or_else(|| ApiError::no_such("configuration", id, "configuration"))?;
    if !row.active {
        let message = format!("The configuration specified is inactive: {id}");
        return Err(ApiError::invalid(message).param("configuration"));
    }
    Ok(row.clone())
}

fn read(state: &State, params: &mut Params, row: &mut PortalConfiguration) -> Result<(), ApiError> {
    if let Some(mut hash) = params.hash("features")? {
        row.features.read(state, &mut hash)?;
    }
    if let Some(mut profile) = params.hash("business_profile")? {
        profile.change("headline")?.apply(&mut row.headline);
        profile.url("privacy_policy_url")?.apply(&mut row.privacy_policy_url);
        profile.url("terms_of_service_url")?.apply(&mut row.terms_of_service_url);
        profile.finish()?;
        if row.headline.as_ref().is_some_and(|text| 60 < text.chars().count()) {
            return Err(profile.invalid("headline", "Longer than 60 characters"));
        }
    }
    params.url("default_return_url")?.apply(&mut row.default_return_url);
    params.change("name")?.apply(&mut row.name);
    if let Some(mut login) = params.hash("login_page")? {
        let is_enabled = login.boolean("enabled")?;
        let missing = || ApiError::missing_parameter("login_page[enabled]");
        row.login_token = match (is_enabled.ok_or_else(missing)?, row.login_token.take()) {
            (false, _) => None,
            (true, Some(token)) => Some(token),
            (true, None) => Some(ids::object("test")),
        };
        login.finish()?;
    }
    params.metadata()?.apply(&mut row.metadata);
    Ok(())
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    if !call.params.has("features") {
        return Err(ApiError::missing_parameter("features"));
    }
    let mut row = PortalConfiguration::new(Features::none(), tx.now);
    read(tx.state, &mut call.params, &mut row)?;
    call.params.finish()?;
    let shown = view(tx.state, &row);
    tx.state.portal_configurations.put(row);
    tx.emit("billing_portal.configuration.created", shown.clone());
    Ok(shown)
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(view(tx.state, find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut row = find(tx.state, call.id())?.clone();
    let before = view(tx.state, &row);
    if let Some(active) = call.params.boolean("active")? {
        if row.is_default && !active {
            let message = "The default configuration cannot be deactivated.";
            return Err(ApiError::invalid(message).param("active"));
        }
        row.active = active;
    }
    read(tx.state, &mut call.params, &mut row)?;
    call.params.finish()?;
    row.updated = tx.now;
    let after = view(tx.state, &row);
    tx.state.portal_configurations.put(row);
    tx.emit_change("billing_portal.configuration.updated", &before, after.clone());
    Ok(after)
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let active = call.params.boolean("active")?;
    let is_default = call.params.boolean("is_default")?;
    let state = &*tx.state;
    lists::page(
        call,
        &state.portal_configurations,
        |row| {
            active.is_none_or(|active| row.active == active)
                && is_default.is_none_or(|is_default| row.is_default == is_default)
        },
        |row| view(state, row),
    )
}
