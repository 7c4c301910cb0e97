//! Receiving, by `verify`, `inspect` and `explain`, and `sign` for tests and senders.
//!
//! Promise: a refused delivery is a result with the gateway's own code and the status to answer. Only a call that is wrong
//! in itself (no secret, no bytes, an unknown profile) throws. Out of scope: HTTP servers.

use crate::args::{NamedArgs, bytes, expected, headers};
use crate::error::JsFailure;
use crate::guard;
use crate::host::now_ms;
use crate::json::{self, object};
use crate::number::number;
use genesys_webhook::custom::{CustomScheme, SchemeError};
use genesys_webhook::dedupe;
use genesys_webhook::doctor;
use genesys_webhook::profile::Profile;
use genesys_webhook::refusal::Refusal;
use genesys_webhook::scheme::Scheme;
use genesys_webhook::secret::SigningSecret;
use genesys_webhook::signature::{Verifier, VerifyError};
use heck::{ToLowerCamelCase as _, ToSnakeCase as _};
use js_sys::{Array, JSON};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use wasm_bindgen::prelude::*;

/// The status without an active secret, with which the sender tries again.
const UNAVAILABLE: u16 = 503;

/// Verifies the signature of a delivery, in constant time, against every secret that has not expired.
///
/// A forgery is a result (`ok: false`, with the `status` to answer), not an error.
///
/// @param headers - as they arrived: `Headers`, pairs, or Node's `request.headers`
/// @param body - the raw bytes as they arrived, before any parsing
/// @param secrets - one signing secret, or several (current first, then previous ones)
/// @throws {GenesysError} `invalid_argument`: the call itself is wrong.
#[wasm_bindgen(unchecked_return_type = "VerifyResult")]
pub fn verify(
    #[wasm_bindgen(js_name = headers, unchecked_param_type = "HeadersLike")] headers_like: JsValue,
    #[wasm_bindgen(unchecked_param_type = "Uint8Array | ArrayBuffer")] body: JsValue,
    #[wasm_bindgen(unchecked_param_type = "SigningSecret | readonly SigningSecret[]")] secrets: JsValue,
    #[wasm_bindgen(unchecked_param_type = "Profile")] profile: JsValue,
    #[wasm_bindgen(unchecked_optional_param_type = "TimeOptions")] options: JsValue,
) -> Result<JsValue, JsValue> {
    guard::run(|| {
        let verifier = verifier(&secrets, &profile)?;
        let (headers, body, now_ms) = (headers(&headers_like)?, bytes(&body)?, time(options)?);
        Ok(match verifier.verify(headers.as_slice(), &body, now_ms) {
            Ok(holds) => object(&[("ok", true.into()), ("label", holds.label.into())]),
            Err(VerifyError::Refused(refusal)) => refused(&refusal),
            Err(error @ VerifyError::NoActiveSecret) => not_ok(error.code(), UNAVAILABLE, &error.to_string()),
        })
    })
}

/// Validates the envelope of a verified delivery, counts its events and finds its idempotency key (what makes two
/// deliveries one).
///
/// @param body - the raw bytes that were verified
/// @param headers - needed only where the profile takes the key from a header, as standard-webhooks does
/// @throws {GenesysError} `invalid_argument`: the call itself is wrong.
#[wasm_bindgen(unchecked_return_type = "InspectResult")]
pub fn inspect(
    #[wasm_bindgen(unchecked_param_type = "Uint8Array | ArrayBuffer")] body: JsValue,
    #[wasm_bindgen(unchecked_param_type = "Profile")] profile: JsValue,
    #[wasm_bindgen(js_name = headers, unchecked_optional_param_type = "HeadersLike")] headers_like: JsValue,
) -> Result<JsValue, JsValue> {
    guard::run(|| {
        let scheme = scheme(&profile)?;
        let body = bytes(&body)?;
        let headers = if headers_like.is_undefined() { vec![] } else { headers(&headers_like)? };
        Ok(match scheme.inspect(&body) {
            Ok(envelope) => {
                let key = scheme.idempotency_key(headers.as_slice(), &envelope);
                let key = key.unwrap_or_else(|| dedupe::body_key(&Sha256::digest(&body).into()));
                let count = number(envelope.event_count);
                object(&[("ok", true.into()), ("eventCount", count.into()), ("idempotencyKey", key.into())])
            }
            Err(refusal) => refused(&refusal),
        })
    })
}

/// The signature doctor. Says why a delivery does or does not verify, and looks for the mistake behind it (another
/// encoding, header, profile or secret, a body that was changed). Shows no secret and nothing of the body.
///
/// It may hash 16 MB. Call it for a person who looks for a mistake, not for every refused request.
///
/// @throws {GenesysError} `invalid_argument`: the call itself is wrong.
#[wasm_bindgen(unchecked_return_type = "Explanation")]
pub fn explain(
    #[wasm_bindgen(js_name = headers, unchecked_param_type = "HeadersLike")] headers_like: JsValue,
    #[wasm_bindgen(unchecked_param_type = "Uint8Array | ArrayBuffer")] body: JsValue,
    #[wasm_bindgen(unchecked_param_type = "SigningSecret | readonly SigningSecret[]")] secrets: JsValue,
    #[wasm_bindgen(unchecked_param_type = "Profile")] profile: JsValue,
    #[wasm_bindgen(unchecked_optional_param_type = "TimeOptions")] options: JsValue,
) -> Result<JsValue, JsValue> {
    guard::run(|| {
        let verifier = verifier(&secrets, &profile)?;
        let (headers, body, now_ms) = (headers(&headers_like)?, bytes(&body)?, time(options)?);
        json::to_js(&doctor::explain(&verifier, headers.as_slice(), &body, now_ms))
    })
}

/// Makes the headers with which a body verifies, with identifier and time where the profile has them. For tests and for
/// senders.
///
/// @throws {GenesysError} `invalid_argument`: the call itself is wrong.
#[wasm_bindgen(unchecked_return_type = "Record<string, string>")]
pub fn sign(
    #[wasm_bindgen(unchecked_param_type = "Uint8Array | ArrayBuffer")] body: JsValue,
    #[wasm_bindgen(unchecked_param_type = "SigningSecret")] secret: JsValue,
    #[wasm_bindgen(unchecked_param_type = "Profile")] profile: JsValue,
    #[wasm_bindgen(unchecked_optional_param_type = "SignOptions")] options: JsValue,
) -> Result<JsValue, JsValue> {
    guard::run(|| {
        let scheme = scheme(&profile)?;
        let secret = signing_secret(&scheme, &secret, 0)?;
        let body = bytes(&body)?;
        let mut options = NamedArgs::optional(options, "options")?;
        let id = options.text("id")?;
        let at_ms = options.time_ms("now")?.unwrap_or_else(now_ms);
        options.finish()?;
        if id.is_none() && scheme.signed_content().contains("{id}") {
            return Err(JsFailure::argument("options.id: is required, this profile signs the delivery's identifier"));
        }
        let timestamp_s = at_ms.checked_div(1_000).unwrap_or(0);
        let headers = genesys_webhook::sign::sign(&scheme, &secret, &id.unwrap_or_default(), timestamp_s, &body);
        let members: Vec<(&str, JsValue)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str().into())).collect();
        Ok(object(&members))
    })
}

fn refused(refusal: &Refusal) -> JsValue {
    not_ok(refusal.code().as_str(), refusal.code().http_status(), &refusal.detail())
}

fn not_ok(code: &str, status: u16, detail: &str) -> JsValue {
    object(&[
        ("ok", false.into()),
        ("code", code.into()),
        ("status", f64::from(status).into()),
        ("detail", detail.into()),
    ])
}

fn time(options: JsValue) -> Result<u64, JsFailure> {
    let mut options = NamedArgs::optional(options, "options")?;
    let at_ms = options.time_ms("now")?;
    options.finish()?;
    Ok(at_ms.unwrap_or_else(now_ms))
}

fn verifier(secrets: &JsValue, profile: &JsValue) -> Result<Verifier, JsFailure> {
    let scheme = scheme(profile)?;
    let secrets = match secrets.dyn_ref::<Array>() {
        Some(several) => several.to_vec(),
        None => vec![secrets.clone()],
    };
    if secrets.is_empty() {
        return Err(JsFailure::argument("secrets: at least one is required; without, everything would be a forgery"));
    }
    let secrets = secrets.iter().enumerate().map(|(index, secret)| signing_secret(&scheme, secret, index));
    let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
    Ok(Verifier::new(scheme, secrets))
}

fn signing_secret(scheme: &Scheme, value: &JsValue, index: usize) -> Result<SigningSecret, JsFailure> {
    let label = match index {
        0 => "current".to_owned(),
        1 => "previous".to_owned(),
        _ => format!("previous-{index}"),
    };
    if let Some(text) = value.as_string() {
        return Ok(SigningSecret::new(scheme, &label, &text, None)?);
    }
    if !value.is_object() {
        return Err(expected("secrets", "strings, or objects with secret, label and notAfter", value));
    }
    let mut options = NamedArgs::new(value.clone(), "secrets")?;
    let label = options.text("label")?.unwrap_or(label);
    let (text, not_after_ms) = (options.required_text("secret")?, options.time_ms("notAfter")?);
    options.finish()?;
    Ok(SigningSecret::new(scheme, &label, &text, not_after_ms)?)
}

/// The scheme of a profile, from its name or from a description.
fn scheme(profile: &JsValue) -> Result<Scheme, JsFailure> {
    let names = "\"webhooks\", \"open-messaging\", \"standard-webhooks\", or an object that describes a scheme";
    if let Some(name) = profile.as_string() {
        let known = Profile::ALL.into_iter().find(|known| known.as_str() == name);
        return known.and_then(Scheme::preset).ok_or_else(|| JsFailure::argument(format!("profile: expected {names}")));
    }
    let text = JSON::stringify(profile).ok().and_then(|text| text.as_string()).unwrap_or_default();
    let Ok(Value::Object(members)) = serde_json::from_str(&text) else {
        return Err(expected("profile", names, profile));
    };
    let members: Map<String, Value> = members.into_iter().map(|(name, value)| (name.to_snake_case(), value)).collect();
    let custom: CustomScheme = serde_json::from_value(Value::Object(members))
        .map_err(|error| JsFailure::argument(format!("profile: {}", in_camel_case(&error.to_string()))))?;
    custom.resolve().map_err(|errors: Vec<SchemeError>| {
        let errors: Vec<String> = errors.iter().map(|error| in_camel_case(&error.to_string())).collect();
        JsFailure::argument(format!("profile: {}", errors.join("; ")))
    })
}

/// A message about a scheme with its keys, which stand between backticks, as JavaScript writes them.
fn in_camel_case(message: &str) -> String {
    let parts = message.split('`').enumerate();
    let parts: Vec<String> =
        parts.map(|(index, part)| if index % 2 == 1 { part.to_lower_camel_case() } else { part.to_owned() }).collect();
    parts.join("`")
}

#[cfg(test)]
mod tests {
    use super::in_camel_case;

    #[test]
    fn keys_in_messages_are_named_as_javascript_writes_them() {
        let message = "`dedupe_header`: excludes `dedupe_pointer`, found \"a_b\"";
        assert_eq!(in_camel_case(message), "`dedupeHeader`: excludes `dedupePointer`, found \"a_b\"");
    }
}
