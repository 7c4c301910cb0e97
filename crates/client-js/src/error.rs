//! `GenesysError`: what JavaScript sees when something goes wrong.
//!
//! Promise: one class for all of it, with a stable `code`, and `fault`, which says who has to do something. Texts come
//! from [`genesys_client::error`], which keeps secrets out, or name an argument without its value.

use genesys_client::error::{Error, Fault};
use genesys_client::region::RegionError;
use genesys_webhook::secret::SecretError;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/js/host.js")]
extern "C" {
    type GenesysError;

    #[wasm_bindgen(constructor)]
    fn new(
        message: &str,
        code: &str,
        fault: &str,
        status: Option<u16>,
        vendor_code: Option<String>,
        correlation_id: Option<String>,
        retry_after_ms: Option<f64>,
    ) -> GenesysError;

    /// Never called: makes the class an export of the module, declared in `types.d.ts`. (For a type, wasm-bindgen would
    /// declare it a second time, as `unknown`.)
    #[expect(dead_code, reason = "it is there for its export")]
    #[wasm_bindgen(js_name = GenesysError, reexport = "GenesysError", skip_typescript)]
    fn genesys_error_class();
}

/// An error on its way to JavaScript.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Failure {
    message: String,
    code: &'static str,
    fault: &'static str,
    status: Option<u16>,
    vendor_code: Option<String>,
    correlation_id: Option<String>,
    retry_after_ms: Option<u64>,
}

impl Failure {
    /// The call itself is wrong. `message` names the argument and shows no value.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: "invalid_argument", fault: "caller", ..Self::default() }
    }

    /// A state in which the call cannot be made.
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self { message: message.into(), code, fault: "configuration", ..Self::default() }
    }

    /// Ours.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: "internal_error", fault: "ours", ..Self::default() }
    }

    /// The JavaScript error.
    pub(crate) fn into_js(self) -> JsValue {
        let retry_after_ms = self.retry_after_ms.map(crate::json::number);
        GenesysError::new(
            &self.message,
            self.code,
            self.fault,
            self.status,
            self.vendor_code,
            self.correlation_id,
            retry_after_ms,
        )
        .into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let api = error.api();
        Self {
            message: error.to_string(),
            code: error.code(),
            fault: match error.fault() {
                Fault::Ours => "ours",
                Fault::Configuration => "configuration",
                Fault::Vendor => "vendor",
                Fault::Network => "network",
                Fault::TryAgain => "try_again",
            },
            status: error.status(),
            vendor_code: api.and_then(|api| api.code.clone()),
            correlation_id: error.correlation_id().map(str::to_owned),
            retry_after_ms: api.and_then(|api| api.retry_after_ms),
        }
    }
}

impl From<RegionError> for Failure {
    fn from(error: RegionError) -> Self {
        let message = match error {
            RegionError::Url { which: "login_url", refusal } => format!("options.loginUrl: {refusal}"),
            RegionError::Url { refusal, .. } => format!("options.apiUrl: {refusal}"),
            RegionError::Unknown { .. } => format!("options.region: {error}"),
        };
        Self::argument(message)
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        Self::argument(error.to_string())
    }
}
