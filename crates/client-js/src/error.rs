//! `GenesysError`: what JavaScript sees when something goes wrong.
//!
//! Promise: one class for every failure, with a stable `code`, and `fault`, which says who has to act. Texts come from
//! [`genesys_client::error`], which keeps secrets out, or name an argument without its value. Out of scope: panics, see
//! `guard`.

use crate::number::number;
use genesys_client::error::{Error, ErrorFault};
use genesys_client::region::RegionError;
use genesys_webhook::secret::SecretError;
use js_sys::Reflect;
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

    /// Never called. Makes the class an export of the module, declared in `types.d.ts`. For a type, wasm-bindgen would
    /// declare it a second time, as `unknown`.
    #[wasm_bindgen(js_name = GenesysError, reexport = "GenesysError", skip_typescript)]
    fn genesys_error_class();
}

pub(crate) struct JsFailure(JsValue);

impl JsFailure {
    fn new(message: &str, code: &str, fault: &str) -> Self {
        Self(GenesysError::new(message, code, fault, None, None, None, None).into())
    }

    /// The call itself is wrong. `message` names the argument and shows no value.
    pub(crate) fn argument(message: impl AsRef<str>) -> Self {
        Self::new(message.as_ref(), "invalid_argument", "caller")
    }

    pub(crate) fn conflict(code: &str, message: impl AsRef<str>) -> Self {
        Self::new(message.as_ref(), code, "configuration")
    }

    pub(crate) fn internal(message: impl AsRef<str>) -> Self {
        Self::new(message.as_ref(), "internal_error", "ours")
    }

    /// The same error with the host's own as its `cause`.
    pub(crate) fn caused_by(self, cause: &JsValue) -> Self {
        // A property of a new object can always be set.
        let _ = Reflect::set(&self.0, &"cause".into(), cause);
        self
    }

    pub(crate) fn into_js(self) -> JsValue {
        self.0
    }
}

impl From<Error> for JsFailure {
    fn from(error: Error) -> Self {
        let fault = match error.fault() {
            ErrorFault::Ours => "ours",
            ErrorFault::Configuration => "configuration",
            ErrorFault::Vendor => "vendor",
            ErrorFault::Network => "network",
            ErrorFault::TryAgain => "try_again",
        };
        let api = error.api();
        let vendor_code = api.and_then(|api| api.code.clone());
        let correlation_id = error.correlation_id().map(str::to_owned);
        let retry_after_ms = api.and_then(|api| api.retry_after_ms).map(number);
        let (message, code, status) = (error.to_string(), error.code(), error.status());
        Self(GenesysError::new(&message, code, fault, status, vendor_code, correlation_id, retry_after_ms).into())
    }
}

impl From<RegionError> for JsFailure {
    fn from(error: RegionError) -> Self {
        Self::argument(match error {
            RegionError::Url { which: "login_url", refusal } => format!("options.loginUrl: {refusal}"),
            RegionError::Url { refusal, .. } => format!("options.apiUrl: {refusal}"),
            RegionError::Unknown { .. } => format!("options.region: {error}"),
        })
    }
}

impl From<SecretError> for JsFailure {
    fn from(error: SecretError) -> Self {
        Self::argument(error.to_string())
    }
}
