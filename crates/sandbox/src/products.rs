//! Products.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::{Change, Metadata, Params};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists, prices};

const MAX_IMAGES: usize = 8;
const MAX_FEATURES: usize = 15;
const MAX_DESCRIPTOR: usize = 22;
const MAX_UNIT_LABEL: usize = 12;
const DIMENSIONS: [&str; 4] = ["height", "length", "weight", "width"];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Product {
    pub id: String,
    pub created: i64,
    pub updated: i64,
    pub active: bool,
    pub name: String,
    pub description: Option<String>,
    pub default_price: Option<String>,
    pub images: Vec<String>,
    pub marketing_features: Vec<String>,
    /// Height, length, weight and width, as they were written.
    #[serde(default)]
    pub package_dimensions: Option<[String; 4]>,
    pub shippable: Option<bool>,
    pub statement_descriptor: Option<String>,
    pub tax_code: Option<String>,
    pub unit_label: Option<String>,
    pub url: Option<String>,
    pub metadata: Metadata,
}

impl Row for Product {
    const KIND: &'static str = "product";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Product {
    pub fn new(name: String, now: i64) -> Product {
        Product {
            id: ids::object("prod"),
            created: now,
            updated: now,
            active: true,
            name,
            description: None,
            default_price: None,
            images: Vec::new(),
            marketing_features: Vec::new(),
            package_dimensions: None,
            shippable: None,
            statement_descriptor: None,
            tax_code: None,
            unit_label: None,
            url: None,
            metadata: Metadata::new(),
        }
    }
}

pub fn view(product: &Product) -> Value {
    let features: Vec<Value> =
        product.marketing_features.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "id": product.id,
        "object": "product",
        "active": product.active,
        "created": product.created,
        "default_price": product.default_price,
        "description": product.description,
        "images": product.images,
        "livemode": false,
        "marketing_features": features,
        "metadata": product.metadata,
        "name": product.name,
        "package_dimensions": product.package_dimensions.as_ref().map(dimensions_view),
        "shippable": product.shippable,
        "statement_descriptor": product.statement_descriptor,
        "tax_code": product.tax_code,
        "tax_details": null,
        "type": "service",
        "unit_label": product.unit_label,
        "updated": product.updated,
        "url": product.url,
    })
}

pub fn existing<'a>(state: &'a State, id: &str, param: &str) -> Result<&'a Product, ApiError> {
    state.products.get(id).ok_or_else(|| ApiError::no_such("product", id, param))
}

pub fn save(tx: &mut Tx<'_>, product: Product) -> Value {
    let before = tx.state.products.get(&product.id).map(view);
    let after = view(&product);
    tx.state.products.put(product);
    match before {
        None => tx.emit("product.created", after.clone()),
        Some(before) => tx.emit_change("product.updated", &before, after.clone()),
    }
    after
}

/// The parameters creation and update share; `product_data` has them too.
pub fn read(params: &mut Params, product: &mut Product) -> Result<(), ApiError> {
    if let Some(name) = params.text("name")? {
        product.name = name;
    }
    if let Some(active) = params.boolean("active")? {
        product.active = active;
    }
    params.change("description")?.apply(&mut product.description);
    if let Some(images) = params.texts("images")? {
        if MAX_IMAGES < images.len() {
            return Err(params.invalid("images", &format!("More than {MAX_IMAGES} images")));
        }
        product.images = images;
    }
    if params.has("marketing_features") {
        let mut features = Vec::new();
        for mut feature in params.hashes("marketing_features")? {
            features.push(feature.required("name")?);
            feature.finish()?;
        }
        if MAX_FEATURES < features.len() {
            let what = format!("More than {MAX_FEATURES} features");
            return Err(params.invalid("marketing_features", &what));
        }
        product.marketing_features = features;
    }
    if let Some(shippable) = params.boolean("shippable")? {
        product.shippable = Some(shippable);
    }
    read_descriptor(params)?.apply(&mut product.statement_descriptor);
    read_dimensions(params, product)?;
    params.change("tax_code")?.apply(&mut product.tax_code);
    params.change("unit_label")?.apply(&mut product.unit_label);
    if product.unit_label.as_ref().is_some_and(|label| MAX_UNIT_LABEL < label.chars().count()) {
        let what = format!("Longer than {MAX_UNIT_LABEL} characters");
        return Err(params.invalid("unit_label", &what));
    }
    params.url("url")?.apply(&mut product.url);
    params.metadata()?.apply(&mut product.metadata);
    params.ignore(&["tax_details", "type"]);
    Ok(())
}

/// What card statements show: short, with a letter, and without signs banks do not print.
fn read_descriptor(params: &mut Params) -> Result<Change<String>, ApiError> {
    let key = "statement_descriptor";
    let change = params.change(key)?;
    if let Change::Set(text) = &change {
        let is_refused = |sign: char| matches!(sign, '<' | '>' | '\\' | '\'' | '"' | '*');
        if MAX_DESCRIPTOR < text.chars().count() {
            let what = format!("Longer than {MAX_DESCRIPTOR} characters");
            return Err(params.invalid(key, &what));
        }
        if text.contains(is_refused) || !text.contains(|sign: char| sign.is_alphabetic()) {
            return Err(params.invalid(key, "It needs a letter and has none of <, >, \\, ', \", *"));
        }
    }
    Ok(change)
}

fn read_dimensions(params: &mut Params, product: &mut Product) -> Result<(), ApiError> {
    if params.take_if_empty("package_dimensions") {
        product.package_dimensions = None;
        return Ok(());
    }
    let Some(mut hash) = params.hash("package_dimensions")? else {
        return Ok(());
    };
    let mut dimensions: [String; 4] = Default::default();
    for (key, place) in DIMENSIONS.into_iter().zip(&mut dimensions) {
        let text = hash.required(key)?;
        let (integer, fraction) = text.split_once('.').unwrap_or((&text, "0"));
        let digits = |part: &str| !part.is_empty() && part.chars().all(|it| it.is_ascii_digit());
        if !digits(integer) || !digits(fraction) || 9 < integer.len() || 2 < fraction.len() {
            return Err(hash.invalid(key, "Invalid decimal"));
        }
        // Without leading zeros, which JSON numbers cannot have.
        let integer = integer.trim_start_matches('0');
        let integer = if integer.is_empty() { "0" } else { integer };
        *place = format!("{integer}.{fraction}");
    }
    hash.finish()?;
    product.package_dimensions = Some(dimensions);
    Ok(())
}

fn dimensions_view(dimensions: &[String; 4]) -> Value {
    let numbers = dimensions.iter().map(|text| serde_json::from_str(text).unwrap_or(Value::Null));
    let keys = DIMENSIONS.into_iter().map(str::to_owned);
    Value::Object(keys.zip(numbers).collect())
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let name = params.required("name")?;
    let mut product = Product::new(name, tx.now);
    read(params, &mut product)?;
    if let Some(id) = params.text("id")? {
        if tx.state.products.get(&id).is_some() {
            let error = ApiError::invalid(format!("Product already exists: {id}"));
            return Err(error.code("resource_already_exists").param("id"));
        }
        if !is_id(&id) {
            return Err(params.invalid("id", "Invalid id"));
        }
        product.id = id;
    }
    let default_price = params.hash("default_price_data")?;
    params.finish()?;
    let id = product.id.clone();
    let mut answer = save(tx, product.clone());
    if let Some(mut data) = default_price {
        let price = prices::from_params(tx, &mut data, &id)?;
        data.finish()?;
        product.default_price = Some(price.id.clone());
        prices::save(tx, price);
        answer = save(tx, product);
    }
    Ok(answer)
}

fn is_id(id: &str) -> bool {
    let allowed = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-' | '.');
    id.len() <= 255 && id.chars().all(allowed)
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let found = tx.state.products.get(id).ok_or_else(|| ApiError::not_found("product", id))?;
    Ok(view(found))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let found = tx.state.products.get(&id);
    let mut product = found.ok_or_else(|| ApiError::not_found("product", &id))?.clone();
    read(&mut call.params, &mut product)?;
    match call.params.change("default_price")? {
        Change::Keep => {}
        Change::Clear => product.default_price = None,
        Change::Set(price) => {
            let belongs = tx.state.prices.get(&price).is_some_and(|price| price.product == id);
            if !belongs {
                return Err(ApiError::no_such("price", &price, "default_price"));
            }
            product.default_price = Some(price);
        }
    }
    call.params.finish()?;
    product.updated = tx.now;
    Ok(save(tx, product))
}

pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    call.params.finish()?;
    let found = tx.state.products.get(&id);
    let product = found.ok_or_else(|| ApiError::not_found("product", &id))?.clone();
    if tx.state.prices.of(&id).next().is_some() {
        let message = "This product cannot be deleted because it has one or more user-created \
                       prices.";
        return Err(ApiError::invalid(message));
    }
    let features: Vec<String> =
        tx.state.product_features.of(&id).map(|row| row.id.clone()).collect();
    for feature in features {
        tx.state.product_features.remove(&feature);
    }
    tx.state.products.remove(&id);
    tx.emit("product.deleted", view(&product));
    Ok(json!({"id": id, "object": "product", "deleted": true}))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let active = call.params.boolean("active")?;
    let chosen = call.params.texts("ids")?;
    let shippable = call.params.boolean("shippable")?;
    let url = call.params.text("url")?;
    call.params.ignore(&["type"]);
    lists::page(
        call,
        &tx.state.products,
        |product| {
            created.contains(product.created)
                && active.is_none_or(|active| product.active == active)
                && chosen.as_ref().is_none_or(|ids| ids.contains(&product.id))
                && shippable.is_none_or(|shippable| product.shippable == Some(shippable))
                && url.as_ref().is_none_or(|url| product.url.as_ref() == Some(url))
        },
        view,
    )
}
