//! Calls to Durable Objects.
//!
//! Promises: one way for all of them: a `POST` with the JSON of a call, answered with the JSON of its result or of an
//! [`ObjectRefusal`]; an error says whose fault it is, by what the platform marks an exception with. Rust objects cannot be called
//! by the runtime's RPC. Out of scope: which calls there are (`crate::objects::clients`), repeating one (its caller knows
//! whether that is safe).

use super::{clock, js_error};
use gateway_core::object_refusal::ObjectRefusal;
use js_sys::{Promise, Reflect};
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::RequestInit;
use worker::Env;

#[wasm_bindgen]
extern "C" {
    /// A class of objects as the runtime binds it. Called directly: on its way through the `worker` crate a request carries
    /// options for caches and images, which take 20 KB of code.
    type Namespace;
    #[wasm_bindgen(method, catch, js_name = getByName)]
    fn get_by_name(this: &Namespace, name: &str) -> Result<Stub, JsValue>;

    type Stub;
    #[wasm_bindgen(method, catch)]
    fn fetch(this: &Stub, url: &str, init: &RequestInit) -> Result<Promise, JsValue>;
}

/// Why a call to an object did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallFault {
    /// No class of objects is bound under the name: the fault of the deployment.
    NotBound,
    /// The object could not be reached: the platform's fault.
    Unreachable(String),
    /// The object failed with an exception, or was stopped while it worked, and starts anew.
    Reset(String),
    /// The object has more calls waiting than it can serve.
    Overloaded(String),
    /// No answer within the time that the caller could wait.
    Late,
    /// The object refused the call.
    Refused(ObjectRefusal),
    /// The answer is none that this version of the caller knows.
    AnswerNotUnderstood(String),
}

/// A call that did not succeed, with the binding of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallError {
    binding: &'static str,
    fault: CallFault,
}

impl CallError {
    /// Whether the same call may succeed when it is repeated.
    pub(crate) fn is_transient(&self) -> bool {
        match &self.fault {
            CallFault::Unreachable(_) | CallFault::Reset(_) | CallFault::Overloaded(_) | CallFault::Late => true,
            CallFault::Refused(refusal) => refusal.is_transient(),
            CallFault::NotBound | CallFault::AnswerNotUnderstood(_) => false,
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.binding)?;
        match &self.fault {
            CallFault::NotBound => f.write_str("not_bound"),
            CallFault::Unreachable(error) => write!(f, "unreachable: {error}"),
            CallFault::Reset(error) => write!(f, "reset: {error}"),
            CallFault::Overloaded(error) => write!(f, "overloaded: {error}"),
            CallFault::Late => f.write_str("no answer in time"),
            CallFault::Refused(refusal) => write!(f, "{refusal}"),
            CallFault::AnswerNotUnderstood(error) => write!(f, "answer_not_understood: {error}"),
        }
    }
}

/// One object, as its clients address it.
#[derive(Clone, Copy)]
pub(crate) struct ObjectRef<'a> {
    env: &'a Env,
    binding: &'static str,
    name: &'a str,
    limit_ms: Option<u64>,
}

impl<'a> ObjectRef<'a> {
    /// The object `name` of the class that is bound as `binding`.
    pub(crate) const fn new(env: &'a Env, binding: &'static str, name: &'a str) -> Self {
        Self { env, binding, name, limit_ms: None }
    }

    /// The same, whose calls are given up after `ms`.
    pub(crate) const fn answering_within(self, ms: u64) -> Self {
        Self { limit_ms: Some(ms), ..self }
    }

    pub(crate) async fn call<T: DeserializeOwned>(self, call: &impl Serialize) -> Result<T, CallError> {
        let text = self.call_for_text(call).await?;
        serde_json::from_str(&text).map_err(|error| self.error(CallFault::AnswerNotUnderstood(error.to_string())))
    }

    /// Calls it for JSON that is passed on as it is.
    pub(crate) async fn call_for_text(self, call: &impl Serialize) -> Result<String, CallError> {
        // Structures of strings and numbers: what could not be written would be refused.
        let body = serde_json::to_string(call).unwrap_or_default();
        let answer = match self.limit_ms {
            Some(ms) => clock::within(ms, self.exchange(body)).await.unwrap_or(Err(CallFault::Late)),
            None => self.exchange(body).await,
        };
        answer.map_err(|fault| self.error(fault))
    }

    /// The error of a call that was not waited for.
    pub(crate) const fn late(self) -> CallError {
        self.error(CallFault::Late)
    }

    const fn error(self, fault: CallFault) -> CallError {
        CallError { binding: self.binding, fault }
    }

    /// The part of a call that is the same for all types, compiled once.
    async fn exchange(self, body: String) -> Result<String, CallFault> {
        let namespace = Reflect::get(self.env, &JsValue::from_str(self.binding)).unwrap_or_default();
        if !namespace.is_object() {
            return Err(CallFault::NotBound);
        }
        let (status, text) =
            fetch(namespace.unchecked_ref(), self.name, &body).await.map_err(|error| fault_of(&error))?;
        if status == 200 {
            return Ok(text);
        }
        Err(match serde_json::from_str(&text) {
            Ok(refusal) => CallFault::Refused(refusal),
            // What answers instead of an object whose code could not be started.
            Err(_) => CallFault::Unreachable(format!("status {status}")),
        })
    }
}

async fn fetch(namespace: &Namespace, name: &str, body: &str) -> Result<(u16, String), JsValue> {
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_body(&JsValue::from_str(body));
    let answer = namespace.get_by_name(name)?.fetch("https://object/", &init)?;
    let answer: web_sys::Response = JsFuture::from(answer).await?.unchecked_into();
    let text = JsFuture::from(answer.text()?).await?;
    Ok((answer.status(), text.as_string().unwrap_or_default()))
}

/// What the platform marks an exception with (Durable Objects, error handling): `overloaded`; `durableObjectReset` where the object
/// was stopped; `remote` where its own code threw.
fn fault_of(thrown: &JsValue) -> CallFault {
    let is = |mark: &str| Reflect::get(thrown, &JsValue::from_str(mark)).is_ok_and(|value| value.is_truthy());
    let error = js_error(thrown);
    if is("overloaded") {
        CallFault::Overloaded(error)
    } else if is("durableObjectReset") || is("remote") {
        CallFault::Reset(error)
    } else {
        CallFault::Unreachable(error)
    }
}
