//! Doors for the fuzz targets: what is otherwise reached through a socket only.

use axum::Router;
use serde_json::{Map, Value};

use crate::{Sandbox, forms, router};

/// A form as the API reads it; none where it is refused.
pub fn decode_form(encoded: &[u8]) -> Option<Map<String, Value>> {
    forms::decode(encoded).ok()
}

impl Sandbox {
    /// Everything that is served, without its listener.
    pub fn router(&self) -> Router {
        router(self.app.clone())
    }
}
