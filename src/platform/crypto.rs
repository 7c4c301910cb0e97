//! WebCrypto: HMAC and SHA-256 of large bodies, on the buffer that is already there.
//!
//! Promise: the verdict is that of `Verifier::verify` (the same headers read by the same code, the same comparison); only
//! the tag is computed elsewhere. Out of scope: small bodies.

use super::js_error;
use genesys_webhook::encoding::Tag;
use genesys_webhook::headers::HeaderSource;
use genesys_webhook::secret::SigningSecret;
use genesys_webhook::signature::{Verified, Verifier, VerifyError};
use js_sys::{Array, ArrayBuffer, Object, Promise, Reflect, Uint8Array};
use std::cell::RefCell;
use std::collections::BTreeMap;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    type SubtleCrypto;
    #[wasm_bindgen(thread_local_v2, js_namespace = crypto, js_name = subtle)]
    static SUBTLE: SubtleCrypto;
    #[wasm_bindgen(method, catch, js_name = importKey)]
    fn import_key(
        this: &SubtleCrypto,
        format: &str,
        key: &Uint8Array,
        algorithm: &JsValue,
        extractable: bool,
        usages: &Array,
    ) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn sign(this: &SubtleCrypto, algorithm: &str, key: &JsValue, data: &Uint8Array) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn digest(this: &SubtleCrypto, algorithm: &str, data: &Uint8Array) -> Result<Promise, JsValue>;
}

thread_local! {
    /// Imported keys by source and label: importing one costs as much as hashing some kilobytes.
    static KEYS: RefCell<BTreeMap<String, JsValue>> = const { RefCell::new(BTreeMap::new()) };
}

/// Why a large body was not verified.
pub(crate) enum Failed {
    /// The request's fault, or a source without secrets.
    Verify(VerifyError),
    /// WebCrypto's.
    Crypto(String),
}

/// Verifies a large body; as `Verifier::verify` otherwise.
pub(crate) async fn verify<'v>(
    source: &str,
    verifier: &'v Verifier,
    headers: &(impl HeaderSource + ?Sized),
    body: &Uint8Array,
    now_ms: u64,
) -> Result<Verified<'v>, Failed> {
    let prepared = verifier.prepare(headers, now_ms).map_err(Failed::Verify)?;
    let content = signed_content(prepared.before_body(), body, prepared.after_body());
    let mut tags: Vec<Tag> = vec![];
    for secret in prepared.secrets() {
        tags.push(tag(source, secret, &content).await.map_err(|error| Failed::Crypto(js_error(&error)))?);
    }
    prepared.check(&tags).map_err(|refusal| Failed::Verify(refusal.into()))
}

fn signed_content(before: &[u8], body: &Uint8Array, after: &[u8]) -> Uint8Array {
    if before.is_empty() && after.is_empty() {
        return body.clone();
    }
    let (before, after) = (Uint8Array::from(before), Uint8Array::from(after));
    let (start, end) = (before.length(), before.length().saturating_add(body.length()));
    let content = Uint8Array::new_with_length(end.saturating_add(after.length()));
    content.set(&before, 0);
    content.set(body, start);
    content.set(&after, end);
    content
}

fn key_name(source: &str, secret: &SigningSecret) -> String {
    format!("{source}\u{1f}{}", secret.label())
}

fn imported_key(name: &str) -> Option<JsValue> {
    KEYS.with(|keys| keys.try_borrow().ok().and_then(|keys| keys.get(name).cloned()))
}

/// The keys of secrets; nothing where one was not imported yet.
pub(crate) fn imported_keys(source: &str, secrets: &[&SigningSecret]) -> Option<Array> {
    secrets.iter().map(|secret| imported_key(&key_name(source, secret))).collect()
}

async fn tag(source: &str, secret: &SigningSecret, content: &Uint8Array) -> Result<Tag, JsValue> {
    let name = key_name(source, secret);
    let key = if let Some(key) = imported_key(&name) {
        key
    } else {
        let algorithm = Object::new();
        Reflect::set(&algorithm, &"name".into(), &"HMAC".into())?;
        Reflect::set(&algorithm, &"hash".into(), &"SHA-256".into())?;
        let bytes = Uint8Array::from(secret.key_bytes());
        let import =
            SUBTLE.with(|subtle| subtle.import_key("raw", &bytes, &algorithm, false, &Array::of1(&"sign".into())))?;
        let key = JsFuture::from(import).await?;
        KEYS.with(|keys| keys.try_borrow_mut().map(|mut keys| keys.insert(name, key.clone())).ok());
        key
    };
    let signed = JsFuture::from(SUBTLE.with(|subtle| subtle.sign("HMAC", &key, content))?).await?;
    digest_bytes(&signed)
}

fn digest_bytes(buffer: &JsValue) -> Result<Tag, JsValue> {
    let bytes = Uint8Array::new(buffer.unchecked_ref::<ArrayBuffer>()).to_vec();
    bytes.try_into().map_err(|_| JsValue::from_str("a digest that has not 32 bytes"))
}

/// SHA-256.
pub(crate) async fn sha256(bytes: &Uint8Array) -> Result<[u8; 32], String> {
    let digest = async { digest_bytes(&JsFuture::from(SUBTLE.with(|subtle| subtle.digest("SHA-256", bytes))?).await?) };
    digest.await.map_err(|error| js_error(&error))
}
