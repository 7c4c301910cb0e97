//! `GenesysClient`: one OAuth client of one organisation.

use crate::args::{Options, api_kind, expected};
use crate::error::Failure;
use crate::guard;
use crate::host::{Host, now_ms};
use crate::json;
use crate::subscriptions::Subscriptions;
use genesys_client::auth::{AccessToken, CachedToken, OAuthTokens, TokenSource};
use genesys_client::client::{Budget, Client};
use genesys_client::error::Error;
use genesys_client::reconcile::Memory;
use genesys_client::region::Endpoints;
use genesys_client::secret::Secret;
use genesys_client::subscription::Marks;
use js_sys::{Function, Promise};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// The ownership mark where the options give none; that of the gateway.
const DEFAULT_OWNER: &str = "genesys-webhook-gateway";

/// The client's tokens, shared by all its calls.
#[derive(Clone)]
pub(crate) struct Tokens(Rc<OAuthTokens<Host, Host>>);

impl TokenSource for Tokens {
    async fn token(&self, stale: Option<&str>) -> Result<AccessToken, Error> {
        self.0.token(stale).await
    }
}

/// The client as all calls use it.
pub(crate) type Vendor = Client<Host, Host, Tokens>;

/// What the calls share.
pub(crate) struct Shared {
    host: Host,
    tokens: Tokens,
    /// For single calls. It has no budget (the retry policy bounds every call) and keeps the vendor's pace.
    pub(crate) vendor: Vendor,
    pub(crate) marks: Marks,
    pub(crate) allow_private: bool,
    pub(crate) memory: RefCell<Memory>,
    pub(crate) reconciling: Cell<bool>,
}

/// What `exportState` gives. Stored by others, therefore versioned.
#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<CachedToken>,
    memory: Memory,
}

impl Shared {
    /// A client for one run.
    pub(crate) fn vendor_within(&self, timeout_ms: Option<u64>, max_requests: Option<u64>) -> Vendor {
        let budget = Budget {
            deadline_ms: timeout_ms.map_or(u64::MAX, |timeout_ms| now_ms().saturating_add(timeout_ms)),
            max_requests: max_requests.map_or(u32::MAX, |requests| u32::try_from(requests).unwrap_or(u32::MAX)),
        };
        Client::new(self.host.clone(), self.host.clone(), self.tokens.clone(), self.vendor.api_url())
            .with_budget(budget)
    }
}

/// A client of the Genesys Cloud API: one OAuth client (client credentials) of one organisation.
///
/// Calls are repeated where that is safe (429 by `Retry-After`, 5xx, lost connections), share one access token and keep
/// to the vendor's rate limit. Every failure is a `GenesysError`.
#[wasm_bindgen]
pub struct GenesysClient {
    shared: Rc<Shared>,
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
    ) -> Result<Subscriptions, JsValue> {
        guard::run(|| Ok(Subscriptions::new(self.shared.clone(), api_kind(&api, "api")?)))
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

    /// Brings the subscriptions to what is declared. What goes wrong with one of them is in the report and does not stop
    /// the others; the next run finishes. Only what carries this client's ownership mark is changed or deleted.
    #[wasm_bindgen(unchecked_return_type = "Promise<ReconcileReport>")]
    pub fn reconcile(
        &self,
        #[wasm_bindgen(unchecked_param_type = "readonly DeclaredSubscription[]")] desired: JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "ReconcileOptions")] options: JsValue,
    ) -> Promise {
        guard::promise(crate::reconcile::run(self.shared.clone(), desired, options, false))
    }

    /// What a later client can go on with (`options.state`): the access token, and what the vendor's lists may not show
    /// yet. It holds the token: keep it where secrets are kept.
    #[wasm_bindgen(js_name = exportState)]
    pub fn export_state(&self) -> Result<String, JsValue> {
        guard::run(|| {
            let state =
                State { version: 1, token: self.shared.tokens.0.export(), memory: self.shared.memory.borrow().clone() };
            serde_json::to_string(&state).map_err(|_| Failure::internal("the state could not be written"))
        })
    }
}

impl GenesysClient {
    fn from_options(options: JsValue) -> Result<Self, Failure> {
        let mut options = Options::new(options, "options")?;
        let (region, login_url, api_url) =
            (options.text("region")?, options.text("loginUrl")?, options.text("apiUrl")?);
        let client_id = options.required_text("clientId")?;
        let client_secret = options.required_text("clientSecret")?;
        let allow_private = options.flag("allowPrivateAddresses")?.unwrap_or(false);
        let owner = options.text("owner")?.filter(|owner| !owner.is_empty());
        let fingerprint_key = options.text("fingerprintKey")?.unwrap_or_else(|| client_secret.clone());
        let state = options.text("state")?;
        let fetch = match options.value("fetch")? {
            None => None,
            Some(fetch) => {
                Some(fetch.dyn_into::<Function>().map_err(|fetch| expected("options.fetch", "a function", &fetch))?)
            }
        };
        options.finish()?;
        let endpoints = match (region, login_url, api_url) {
            (Some(region), None, None) => Endpoints::for_region(&region)?,
            (None, Some(login_url), Some(api_url)) => Endpoints::explicit(&login_url, &api_url, allow_private)?,
            _ => return Err(Failure::argument("options: either region, or loginUrl and apiUrl, is required")),
        };
        let host = Host { fetch };
        let source =
            OAuthTokens::new(host.clone(), host.clone(), &endpoints.login_url, &client_id, Secret::new(client_secret));
        let mut memory = Memory::default();
        if let Some(state) = state {
            let state: State = serde_json::from_str(&state)
                .ok()
                .filter(|state: &State| state.version == 1)
                .ok_or_else(|| Failure::argument("options.state: expected what exportState gave"))?;
            memory = state.memory;
            if let Some(token) = state.token {
                source.import(token);
            }
        }
        let tokens = Tokens(Rc::new(source));
        let vendor = Client::new(host.clone(), host.clone(), tokens.clone(), &endpoints.api_url);
        let marks = Marks {
            owner: owner.unwrap_or_else(|| DEFAULT_OWNER.to_owned()),
            fingerprint_key: Secret::new(fingerprint_key),
        };
        let (memory, reconciling) = (RefCell::new(memory), Cell::new(false));
        let shared = Shared { host, tokens, vendor, marks, allow_private, memory, reconciling };
        Ok(Self { shared: Rc::new(shared) })
    }
}
