//! Calls to Durable Objects.
//!
//! Promises: one way for all of them: a `POST` with the JSON of a call, answered with the JSON of its result or an error
//! status. Rust objects cannot be called by the runtime's RPC. Out of scope: repeating a call (its caller knows whether that is safe).

use serde::{Serialize, de::DeserializeOwned};
use worker::{Env, Method, Request, RequestInit, Response};

/// Binding of the counter objects.
pub(crate) const COUNTERS: &str = "COUNTERS";
/// Binding of the ledger objects.
pub(crate) const DELIVERY_LEDGER: &str = "DELIVERY_LEDGER";
/// Binding of the dead-letter store.
pub(crate) const DEAD_LETTER_STORE: &str = "DEAD_LETTER_STORE";
/// Binding of the audit log.
pub(crate) const AUDIT_LOG: &str = "AUDIT_LOG";
/// Binding of the lifecycle object.
pub(crate) const LIFECYCLE: &str = "LIFECYCLE";

/// Binding of the circuits of the destinations.
pub(crate) const DESTINATIONS: &str = "DESTINATIONS";

/// A call that did not succeed. Ours: the object, its binding or its storage failed.
#[derive(Clone, Debug)]
pub(crate) struct CallError {
    binding: &'static str,
    what: String,
}

impl CallError {
    /// No answer within the time that its caller could wait.
    pub(crate) fn late(binding: &'static str) -> Self {
        Self { binding, what: "no answer in time".into() }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.binding, self.what)
    }
}

/// Calls the object `name` of `binding`.
pub(crate) async fn call<T: DeserializeOwned>(
    env: &Env,
    binding: &'static str,
    name: &str,
    request: &impl Serialize,
) -> Result<T, CallError> {
    let text = call_for_text(env, binding, name, request).await?;
    serde_json::from_str(&text).map_err(|error| CallError { binding, what: error.to_string() })
}

/// Calls the object `name` of `binding` for an answer that is passed on as it is.
pub(crate) async fn call_for_text(
    env: &Env,
    binding: &'static str,
    name: &str,
    request: &impl Serialize,
) -> Result<String, CallError> {
    let body = serde_json::to_string(request).map_err(|error| CallError { binding, what: error.to_string() })?;
    exchange(env, binding, name, body).await
}

/// The part of a call that is the same for all types, compiled once.
async fn exchange(env: &Env, binding: &'static str, name: &str, body: String) -> Result<String, CallError> {
    let failed = |what: String| CallError { binding, what };
    let stub = env.durable_object(binding).and_then(|namespace| namespace.get_by_name(name));
    let stub = stub.map_err(|error| failed(error.to_string()))?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(body.into()));
    let request = Request::new_with_init("https://object/", &init).map_err(|error| failed(error.to_string()))?;
    let mut response = stub.fetch_with_request(request).await.map_err(|error| failed(error.to_string()))?;
    let text = response.text().await.map_err(|error| failed(error.to_string()))?;
    if response.status_code() == 200 { Ok(text) } else { Err(failed(text)) }
}

/// An object's side of a call: decodes it, lets `handle` answer it, encodes the result. What the caller did wrong is 400,
/// what storage did wrong 500; neither is an exception, which would cross to the caller without a status.
/// `handle` answers the result as JSON text ([`json`]): a tree in between would double the code for every type.
pub(crate) async fn serve<C, F>(mut request: Request, handle: F) -> worker::Result<Response>
where
    C: DeserializeOwned,
    F: AsyncFnOnce(C) -> worker::Result<String>,
{
    let call: C = match serde_json::from_str(&request.text().await?) {
        Ok(call) => call,
        Err(error) => return Response::error(format!("unreadable call: {error}"), 400),
    };
    match handle(call).await {
        Ok(result) => Response::ok(result),
        Err(error) => Response::error(error.to_string(), 500),
    }
}

/// The JSON text of a result.
pub(crate) fn json(result: &impl Serialize) -> worker::Result<String> {
    Ok(serde_json::to_string(result)?)
}
