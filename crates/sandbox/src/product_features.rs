//! Features attached to products: whoever subscribes to the product is entitled to them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{features, ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProductFeature {
    pub id: String,
    pub product: String,
    pub feature: String,
}

impl Row for ProductFeature {
    const KIND: &'static str = "product_feature";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.product]
    }
}

fn view(state: &State, row: &ProductFeature) -> Value {
    json!({
        "id": row.id,
        "object": "product_feature",
        "entitlement_feature": state.features.get(&row.feature).map(features::view),
        "livemode": false,
    })
}

fn check_product(state: &State, id: &str) -> Result<(), ApiError> {
    match state.products.get(id) {
        Some(_) => Ok(()),
        None => Err(ApiError::not_found("product", id)),
    }
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let product = call.id().to_owned();
    check_product(tx.state, &product)?;
    let param = "entitlement_feature";
    let id = call.params.required(param)?;
    call.params.finish()?;
    let found = tx.state.features.get(&id);
    let feature = found.ok_or_else(|| ApiError::no_such("feature", &id, param))?;
    if !feature.active {
        let message = format!("The feature is archived and cannot be attached: {id}");
        return Err(ApiError::invalid(message).param(param));
    }
    if tx.state.product_features.of(&product).any(|row| row.feature == id) {
        let message = format!("The feature is already attached to the product: {id}");
        let error = ApiError::invalid(message).code("resource_already_exists");
        return Err(error.param(param));
    }
    let row = ProductFeature { id: ids::object("prodft_test"), product, feature: id };
    let shown = view(tx.state, &row);
    tx.state.product_features.put(row);
    Ok(shown)
}

/// `/v1/products/{product}/features/{id}`
fn find(tx: &Tx<'_>, call: &Call) -> Result<ProductFeature, ApiError> {
    check_product(tx.state, &call.parent)?;
    let found = tx.state.product_features.get(call.id());
    let own = found.filter(|row| row.product == call.parent);
    own.cloned().ok_or_else(|| ApiError::not_found("product feature", call.id()))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(view(tx.state, &find(tx, call)?))
}

pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let row = find(tx, call)?;
    tx.state.product_features.remove(&row.id);
    Ok(json!({"id": row.id, "object": "product_feature", "deleted": true}))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let product = call.id().to_owned();
    check_product(tx.state, &product)?;
    let state = &*tx.state;
    let shown = |row: &ProductFeature| view(state, row);
    lists::page_of(call, &state.product_features, Some(&product), |_| true, shown)
}
