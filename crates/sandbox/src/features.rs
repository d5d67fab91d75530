//! Entitlement features: what a product gives access to, named by a lookup key.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::{Metadata, Params};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists};

const MAX_TEXT: usize = 80;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Feature {
    pub id: String,
    pub created: i64,
    pub active: bool,
    pub lookup_key: String,
    pub name: String,
    pub metadata: Metadata,
}

impl Row for Feature {
    const KIND: &'static str = "entitlements.feature";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.lookup_key]
    }
}

pub fn view(feature: &Feature) -> Value {
    json!({
        "id": feature.id,
        "object": "entitlements.feature",
        "active": feature.active,
        "livemode": false,
        "lookup_key": feature.lookup_key,
        "metadata": feature.metadata,
        "name": feature.name,
    })
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a Feature, ApiError> {
    state.features.get(id).ok_or_else(|| ApiError::not_found("feature", id))
}

fn required(params: &mut Params, key: &str) -> Result<String, ApiError> {
    let text = params.required(key)?;
    if text.chars().count() <= MAX_TEXT {
        return Ok(text);
    }
    Err(params.invalid(key, &format!("Longer than {MAX_TEXT} characters")))
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let lookup_key = required(params, "lookup_key")?;
    let name = required(params, "name")?;
    let metadata = params.metadata()?.fresh();
    params.finish()?;
    if let Some(holder) = tx.state.features.of(&lookup_key).next() {
        let message = format!("A feature (`{}`) already uses that lookup key.", holder.id);
        let error = ApiError::invalid(message).code("resource_already_exists");
        return Err(error.param("lookup_key"));
    }
    let id = ids::object("feat_test");
    let feature = Feature { id, created: tx.now, active: true, lookup_key, name, metadata };
    let shown = view(&feature);
    tx.state.features.put(feature);
    Ok(shown)
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(view(find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut feature = find(tx.state, call.id())?.clone();
    let params = &mut call.params;
    if let Some(active) = params.boolean("active")? {
        feature.active = active;
    }
    if params.has("name") {
        feature.name = required(params, "name")?;
    }
    params.metadata()?.apply(&mut feature.metadata);
    params.finish()?;
    let shown = view(&feature);
    tx.state.features.put(feature);
    Ok(shown)
}

/// Archived features are listed only when asked for.
pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let archived = call.params.boolean("archived")?.unwrap_or(false);
    let lookup_key = call.params.text("lookup_key")?;
    lists::page_of(
        call,
        &tx.state.features,
        lookup_key.as_deref(),
        |feature| feature.active != archived,
        view,
    )
}
