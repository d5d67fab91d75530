//! Stripe's error shape. An error also says whether the effects made before it stay, as those of a
//! declined payment intent do.

use serde_json::{Value, json};

#[derive(Debug)]
pub struct ApiError(Box<Details>);

#[derive(Debug)]
struct Details {
    status: u16,
    kind: &'static str,
    message: String,
    code: Option<&'static str>,
    param: Option<String>,
    decline_code: Option<&'static str>,
    charge: Option<String>,
    payment_intent: Option<Value>,
    setup_intent: Option<Value>,
    keeps_effects: bool,
}

impl ApiError {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError(Box::new(Details {
            status,
            kind,
            message: message.into(),
            code: None,
            param: None,
            decline_code: None,
            charge: None,
            payment_intent: None,
            setup_intent: None,
            keeps_effects: false,
        }))
    }

    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "invalid_request_error", message)
    }

    pub fn unauthorized(message: &str) -> ApiError {
        ApiError::new(401, "invalid_request_error", message)
    }

    pub fn missing_parameter(param: &str) -> ApiError {
        ApiError::invalid(format!("Missing required param: {param}."))
            .code("parameter_missing")
            .param(param)
    }

    /// A parameter names an object that does not exist.
    pub fn no_such(noun: &str, id: &str, param: &str) -> ApiError {
        ApiError::invalid(format!("No such {noun}: '{id}'")).code("resource_missing").param(param)
    }

    /// The object in the path does not exist.
    pub fn not_found(noun: &str, id: &str) -> ApiError {
        let mut error = ApiError::no_such(noun, id, "id");
        error.0.status = 404;
        error
    }

    pub fn unknown_route(method: &str, path: &str) -> ApiError {
        let message = format!(
            "Unrecognized request URL ({method}: {path}). If you are trying to list objects, \
             remove the trailing slash. If you are trying to retrieve an object, make sure you \
             passed a valid (non-empty) identifier in your code."
        );
        ApiError::new(404, "invalid_request_error", message)
    }

    pub fn too_large() -> ApiError {
        ApiError::new(413, "invalid_request_error", "The request body is too large.")
    }

    pub fn conflict(message: &str) -> ApiError {
        ApiError::new(409, "idempotency_error", message).code("idempotency_key_in_use")
    }

    pub fn idempotency(message: String) -> ApiError {
        ApiError::new(400, "idempotency_error", message)
    }

    /// A refusal that was asked for at `/_sandbox/faults`.
    pub fn injected(status: Option<u16>) -> ApiError {
        match status {
            Some(429) => {
                let message = "Request rate limit exceeded.";
                ApiError::new(429, "invalid_request_error", message).code("rate_limit")
            }
            _ => ApiError::new(500, "api_error", "An unknown error occurred."),
        }
    }

    pub fn internal() -> ApiError {
        ApiError::new(500, "api_error", "The sandbox could not store the change.")
    }

    pub fn card(code: &'static str, decline_code: Option<&'static str>, message: &str) -> ApiError {
        let mut error = ApiError::new(402, "card_error", message).code(code);
        error.0.decline_code = decline_code;
        error
    }

    /// The objects an error carries, in another shape.
    pub fn showing(mut self, shape: impl Fn(Value) -> Value) -> ApiError {
        self.0.payment_intent = self.0.payment_intent.map(&shape);
        self.0.setup_intent = self.0.setup_intent.map(&shape);
        self
    }

    pub fn code(mut self, code: &'static str) -> ApiError {
        self.0.code = Some(code);
        self
    }

    pub fn param(mut self, param: &str) -> ApiError {
        self.0.param = Some(param.to_owned());
        self
    }

    pub fn charge(mut self, charge: Option<String>) -> ApiError {
        self.0.charge = charge;
        self
    }

    pub fn payment_intent(mut self, view: Value) -> ApiError {
        self.0.payment_intent = Some(view);
        self
    }

    pub fn setup_intent(mut self, view: Value) -> ApiError {
        self.0.setup_intent = Some(view);
        self
    }

    /// What was done before the error stays done: a decline leaves its charge behind.
    pub fn keeping_effects(mut self) -> ApiError {
        self.0.keeps_effects = true;
        self
    }

    pub fn keeps_effects(&self) -> bool {
        self.0.keeps_effects
    }

    pub fn status(&self) -> u16 {
        self.0.status
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn code_name(&self) -> Option<&'static str> {
        self.0.code
    }

    pub fn param_name(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    pub fn body(&self, request_id: &str) -> Value {
        let details = &self.0;
        let mut error = json!({
            "type": details.kind,
            "message": details.message,
            "request_log_url": format!("https://dashboard.stripe.com/test/logs/{request_id}"),
        });
        if let Some(code) = details.code {
            error["code"] = json!(code);
            let anchor = code.replace('_', "-");
            error["doc_url"] = json!(format!("https://stripe.com/docs/error-codes/{anchor}"));
        }
        if let Some(param) = &details.param {
            error["param"] = json!(param);
        }
        if let Some(decline_code) = details.decline_code {
            error["decline_code"] = json!(decline_code);
        }
        if let Some(charge) = &details.charge {
            error["charge"] = json!(charge);
        }
        if let Some(payment_intent) = &details.payment_intent {
            error["payment_intent"] = payment_intent.clone();
        }
        if let Some(setup_intent) = &details.setup_intent {
            error["setup_intent"] = setup_intent.clone();
        }
        json!({ "error": error })
    }
}
