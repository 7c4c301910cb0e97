//! `Subscriptions`: the calls on the subscriptions of one API.
//!
//! Promise: a declaration is checked before anything is sent. Out of scope: what the calls do, see
//! [`genesys_client::subscription::calls`].

use crate::args::{NamedArgs, expected};
use crate::declaration::declared_subscription;
use crate::error::JsFailure;
use crate::guard;
use crate::host::Host;
use crate::json;
use crate::shared::{ClientState, SharedTokens};
use genesys_client::address;
use genesys_client::error::Error;
use genesys_client::subscription::{ApiKind, Desired, Subscriptions};
use js_sys::Promise;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// The calls on the subscriptions of one of the vendor's APIs. Made by `GenesysClient.subscriptions`.
#[wasm_bindgen(js_name = Subscriptions)]
pub struct JsSubscriptions {
    shared: Rc<ClientState>,
    api: ApiKind,
}

#[wasm_bindgen(js_class = Subscriptions)]
impl JsSubscriptions {
    /// All subscriptions, of every owner.
    #[wasm_bindgen(unchecked_return_type = "Promise<Subscription[]>")]
    pub fn list(&self) -> Promise {
        let (shared, api) = (self.shared.clone(), self.api);
        guard::promise(async move { json::to_js(&calls(&shared, api).list().await?) })
    }

    /// One subscription, with its `etag` where the API has one.
    #[wasm_bindgen(unchecked_return_type = "Promise<Subscription>")]
    pub fn get(&self, #[wasm_bindgen(unchecked_param_type = "string")] id: JsValue) -> Promise {
        let (shared, api) = (self.shared.clone(), self.api);
        guard::promise(async move { json::to_js(&calls(&shared, api).get(&text(&id)?).await?) })
    }

    /// Creates a subscription, unless there is one of that name (`exists`). After a lost answer it is looked for by
    /// name before the create is repeated. An asynchronous create is watched to its end, for up to 5 minutes.
    #[wasm_bindgen(unchecked_return_type = "Promise<CreatedSubscription>")]
    pub fn create(&self, #[wasm_bindgen(unchecked_param_type = "DesiredSubscription")] desired: JsValue) -> Promise {
        let (shared, api) = (self.shared.clone(), self.api);
        guard::promise(async move {
            let desired = checked(&shared, api, desired)?;
            let calls = calls(&shared, api);
            if let Some(found) = calls.list().await?.into_iter().find(|found| found.name == desired.name) {
                let message = format!("a subscription named {:?} exists: {}", found.name, found.id);
                return Err(JsFailure::conflict("exists", message));
            }
            json::to_js(&calls.create(&desired, &[]).await?)
        })
    }

    /// Brings a subscription to what is wanted. Reads it, compares, and writes what differs. When another program writes
    /// in between, it is read and compared again. With `ifMatch` that is an error (`version_mismatch`) instead. A
    /// subscription without this client's mark is only changed with `adopt`.
    #[wasm_bindgen(unchecked_return_type = "Promise<UpdatedSubscription>")]
    pub fn update(
        &self,
        #[wasm_bindgen(unchecked_param_type = "string")] id: JsValue,
        #[wasm_bindgen(unchecked_param_type = "DesiredSubscription")] desired: JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "UpdateOptions")] options: JsValue,
    ) -> Promise {
        let (shared, api) = (self.shared.clone(), self.api);
        guard::promise(async move {
            let (id, desired) = (text(&id)?, checked(&shared, api, desired)?);
            let mut options = NamedArgs::optional(options, "options")?;
            let if_match = options.text("ifMatch")?;
            options.finish()?;
            json::to_js(&calls(&shared, api).update(&id, &desired, if_match.as_deref()).await?)
        })
    }

    /// Deletes a subscription that carries this client's mark, and any other one only with `anyOwner`. A subscription that
    /// is gone already counts as deleted.
    #[wasm_bindgen(unchecked_return_type = "Promise<DeletedSubscription>")]
    pub fn delete(
        &self,
        #[wasm_bindgen(unchecked_param_type = "string")] id: JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "DeleteOptions")] options: JsValue,
    ) -> Promise {
        let (shared, api) = (self.shared.clone(), self.api);
        guard::promise(async move {
            let id = text(&id)?;
            let mut options = NamedArgs::optional(options, "options")?;
            let any_owner = options.flag("anyOwner")?.unwrap_or(false);
            options.finish()?;
            let calls = calls(&shared, api);
            json::to_js(&if any_owner { calls.delete(&id).await? } else { calls.delete_owned(&id).await? })
        })
    }
}

impl JsSubscriptions {
    pub(crate) fn new(shared: Rc<ClientState>, api: ApiKind) -> Self {
        Self { shared, api }
    }
}

fn calls(shared: &ClientState, api: ApiKind) -> Subscriptions<'_, Host, Host, SharedTokens> {
    Subscriptions::new(&shared.vendor, api.api(), &shared.marks)
}

fn text(id: &JsValue) -> Result<String, JsFailure> {
    id.as_string().ok_or_else(|| expected("id", "a string", id))
}

/// A declaration that this API can carry out, with an address that may be called.
fn checked(shared: &ClientState, api: ApiKind, desired: JsValue) -> Result<Desired, JsFailure> {
    let desired = declared_subscription(desired, "desired", Some(api))?;
    address::check(&desired.address, shared.allow_private).map_err(Error::Address)?;
    match api.api().cannot(&desired) {
        Some(what) => Err(Error::Invalid(what).into()),
        None => Ok(desired),
    }
}
