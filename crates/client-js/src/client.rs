//! `GenesysClient`: one OAuth client of one organisation.
//!
//! Promise: options are checked before anything is sent, and every call settles. Out of scope: what the calls do, see
//! [`genesys_client`].

use crate::args::{NamedArgs, api_kind, expected};
use crate::error::JsFailure;
use crate::guard;
use crate::host::Host;
use crate::json;
use crate::shared::ClientState;
use crate::subscriptions::JsSubscriptions;
use genesys_client::auth::{CachedToken, OAuthTokens};
use genesys_client::client::Client;
use genesys_client::reconcile::ReconcileState;
use genesys_client::region::Endpoints;
use genesys_client::secret::Secret;
use genesys_client::subscription::Marks;
use js_sys::{Function, Promise};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// The ownership mark without one in the options, that of the gateway.
const DEFAULT_OWNER: &str = "genesys-webhook-gateway";

/// What `exportState` gives. Versioned, because callers store it.
#[derive(Serialize, Deserialize)]
struct ExportedState {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<CachedToken>,
    reconcile: ReconcileState,
}

/// A client of the Genesys Cloud API: one OAuth client (client credentials) of one organisation.
///
/// Calls are repeated where that is safe (429 by `Retry-After`, 5xx, lost connections), share one access token and keep
/// to the vendor's rate limit. Every failure is a `GenesysError`.
#[wasm_bindgen]
pub struct GenesysClient {
    shared: Rc<ClientState>,
}

#[wasm_bindgen]
impl GenesysClient {
    /// Makes a client. Nothing is sent yet.
    ///
    /// @throws {GenesysError} `invalid_argument`: the options are incomplete or wrong.
    #[wasm_bindgen(constructor)]
    pub fn new(#[wasm_bindgen(unchecked_param_type = "ClientOptions")] options: JsValue) -> Result<Self, JsValue> {
        guard::run(|| Self::from_options(options))
    }

    /// The catalogue of event types that webhook subscriptions can name, all pages of it.
    #[wasm_bindgen(js_name = eventTypes, unchecked_return_type = "Promise<EventType[]>")]
    pub fn event_types(&self) -> Promise {
        let shared = self.shared.clone();
        guard::promise(async move { json::to_js(&shared.vendor.event_types().await?) })
    }

    /// The catalogue of notification topics.
    #[wasm_bindgen(unchecked_return_type = "Promise<Topic[]>")]
    pub fn topics(&self) -> Promise {
        let shared = self.shared.clone();
        guard::promise(async move { json::to_js(&shared.vendor.topics().await?) })
    }

    /// The calls on the subscriptions of one of the vendor's two APIs.
    ///
    /// @throws {GenesysError} `invalid_argument`: there is no such API.
    pub fn subscriptions(
        &self,
        #[wasm_bindgen(unchecked_param_type = "SubscriptionApi")] api: JsValue,
    ) -> Result<JsSubscriptions, JsValue> {
        guard::run(|| Ok(JsSubscriptions::new(self.shared.clone(), api_kind(&api, "api")?)))
    }

    /// Asks whether an address answers: `HEAD`, and where that is not answered with success a `GET`. An address that does
    /// not answer is a result; one that must not be called (not https, private) is an error.
    #[wasm_bindgen(unchecked_return_type = "Promise<Probe>")]
    pub fn probe(&self, #[wasm_bindgen(unchecked_param_type = "string")] url: JsValue) -> Promise {
        let shared = self.shared.clone();
        guard::promise(async move {
            let url = url.as_string().ok_or_else(|| expected("url", "a string", &url))?;
            json::to_js(&shared.vendor.probe(&url, shared.allow_private).await?)
        })
    }

    /// Compares what is declared with what there is, and reports what `reconcile` would do. Changes nothing.
    #[wasm_bindgen(unchecked_return_type = "Promise<ReconcileReport>")]
    pub fn plan(
        &self,
        #[wasm_bindgen(unchecked_param_type = "readonly DeclaredSubscription[]")] desired: JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "ReconcileOptions")] options: JsValue,
    ) -> Promise {
        guard::promise(crate::reconcile::run(self.shared.clone(), desired, options, true))
    }

    /// Brings the subscriptions to what is declared. An error of one of them is in the report and does not stop the others,
    /// and the next run finishes. Only subscriptions with this client's ownership mark are changed or deleted.
    #[wasm_bindgen(unchecked_return_type = "Promise<ReconcileReport>")]
    pub fn reconcile(
        &self,
        #[wasm_bindgen(unchecked_param_type = "readonly DeclaredSubscription[]")] desired: JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "ReconcileOptions")] options: JsValue,
    ) -> Promise {
        guard::promise(crate::reconcile::run(self.shared.clone(), desired, options, false))
    }

    /// The state with which a later client can go on (`options.state`), which is the access token and what the vendor's
    /// lists may not show yet. Keep it where secrets are kept, because it holds the token.
    #[wasm_bindgen(js_name = exportState)]
    pub fn export_state(&self) -> Result<String, JsValue> {
        guard::run(|| {
            let state = ExportedState {
                version: 1,
                token: self.shared.tokens.export(),
                reconcile: self.shared.state.borrow().clone(),
            };
            serde_json::to_string(&state).map_err(|_| JsFailure::internal("the state could not be written"))
        })
    }
}

impl GenesysClient {
    fn from_options(options: JsValue) -> Result<Self, JsFailure> {
        let mut options = NamedArgs::new(options, "options")?;
        let (region, login_url, api_url) =
            (options.text("region")?, options.text("loginUrl")?, options.text("apiUrl")?);
        let client_id = options.required_text("clientId")?;
        let client_secret = Secret::new(options.required_text("clientSecret")?).trimmed();
        let allow_private = options.flag("allowPrivateAddresses")?.unwrap_or(false);
        let owner = options.text("owner")?.filter(|owner| !owner.is_empty());
        let fingerprint_key = options.text("fingerprintKey")?.map_or_else(|| client_secret.clone(), Secret::new);
        let state = options.text("state")?;
        let fetch = options.value("fetch")?.map(JsCast::dyn_into::<Function>).transpose();
        let fetch = fetch.map_err(|fetch| expected("options.fetch", "a function", &fetch))?;
        options.finish()?;
        let endpoints = match (region, login_url, api_url) {
            (Some(region), None, None) => Endpoints::for_region(&region)?,
            (None, Some(login_url), Some(api_url)) => Endpoints::explicit(&login_url, &api_url, allow_private)?,
            _ => return Err(JsFailure::argument("options: either region, or loginUrl and apiUrl, is required")),
        };
        let host = Host { fetch };
        let source = OAuthTokens::new(host.clone(), host.clone(), &endpoints.login_url, &client_id, client_secret);
        let mut reconcile = ReconcileState::default();
        if let Some(state) = state {
            let state: ExportedState = serde_json::from_str(&state)
                .ok()
                .filter(|state: &ExportedState| state.version == 1)
                .ok_or_else(|| JsFailure::argument("options.state: expected what exportState gave"))?;
            reconcile = state.reconcile;
            if let Some(token) = state.token {
                source.import(token);
            }
        }
        let tokens = Rc::new(source);
        let vendor = Client::new(host.clone(), host.clone(), tokens.clone(), &endpoints.api_url);
        let marks = Marks { owner: owner.unwrap_or_else(|| DEFAULT_OWNER.to_owned()), fingerprint_key };
        let (state, reconciling) = (RefCell::new(reconcile), Cell::new(false));
        let shared = ClientState { host, tokens, vendor, marks, allow_private, state, reconciling };
        Ok(Self { shared: Rc::new(shared) })
    }
}
