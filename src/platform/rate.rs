//! Rate limits of the platform.
//!
//! Promise: what the binding says, within this location of the network. Out of scope: what becomes of a request over the limit.

use super::js_error;
use js_sys::{Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use worker::Env;

#[wasm_bindgen]
extern "C" {
    /// The limit as the runtime binds it: through the `worker` crate one member is written and one is read by serde, with 10 KB
    /// of code that nothing else needs.
    pub(crate) type Limiter;
    #[wasm_bindgen(method, catch)]
    fn limit(this: &Limiter, options: &Object) -> Result<Promise, JsValue>;
}

/// The limit that is bound as `name`.
pub(crate) fn limiter(env: &Env, name: &str) -> Result<Limiter, String> {
    let limiter = Reflect::get(env, &JsValue::from_str(name)).map_err(|error| js_error(&error))?;
    // The class of a binding has another name on every platform; its method has not.
    let method = limiter.is_object().then(|| Reflect::get(&limiter, &JsValue::from_str("limit")).ok()).flatten();
    match method {
        Some(method) if method.is_function() => Ok(limiter.unchecked_into()),
        _ => Err(format!("nothing that limits is bound as {name}")),
    }
}

/// Whether one more request for `key` is within the limit.
pub(crate) async fn allows(limiter: &Limiter, key: &str) -> Result<bool, String> {
    let options = Object::new();
    let asked = Reflect::set(&options, &JsValue::from_str("key"), &JsValue::from_str(key));
    let promise = asked.and_then(|_| limiter.limit(&options)).map_err(|error| js_error(&error))?;
    let outcome = JsFuture::from(promise).await.map_err(|error| js_error(&error))?;
    let success = Reflect::get(&outcome, &JsValue::from_str("success")).ok().and_then(|success| success.as_bool());
    success.ok_or_else(|| "the limit did not say whether it is reached".into())
}
