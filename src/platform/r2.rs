//! R2: bodies that do not fit into a message or a row, and the archive.

use super::body::Body;
use super::{crypto, js_error};
use genesys_webhook::encoding::hex;
use js_sys::{Promise, Reflect, Uint8Array};
use sha2::{Digest as _, Sha256};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use worker::{Bucket, Env};

#[wasm_bindgen]
extern "C" {
    /// The bucket as the runtime binds it: the `worker` crate's `put` takes bytes of wasm only, which a body that is already
    /// in JavaScript would have to be copied into.
    type BucketBinding;
    #[wasm_bindgen(method, catch)]
    fn put(this: &BucketBinding, key: &str, body: &Uint8Array) -> Result<Promise, JsValue>;
}

/// Binding of the bucket.
const PAYLOADS: &str = "PAYLOADS";

/// Why a stored body is not there.
pub(crate) enum ReadError {
    /// No object, or not the one that was stored: trying again cannot help.
    Gone(String),
    /// The bucket did not answer: trying again may.
    Failed(String),
}

fn bucket(env: &Env) -> Result<Bucket, String> {
    env.bucket(PAYLOADS).map_err(|error| error.to_string())
}

/// Stores `body` under `key`.
pub(crate) async fn put(env: &Env, key: &str, body: &Body) -> Result<(), String> {
    let binding = Reflect::get(env.as_ref(), &JsValue::from_str(PAYLOADS)).map_err(|error| js_error(&error))?;
    if !binding.is_object() {
        return Err(format!("no bucket is bound as {PAYLOADS}"));
    }
    let put = binding.unchecked_ref::<BucketBinding>().put(key, &body.to_js()).map_err(|error| js_error(&error))?;
    JsFuture::from(put).await.map(|_| ()).map_err(|error| js_error(&error))
}

/// Reads `key` and checks that it is what was stored.
pub(crate) async fn get(env: &Env, key: &str, sha256: &str) -> Result<Vec<u8>, ReadError> {
    let bucket = bucket(env).map_err(ReadError::Failed)?;
    let object = bucket.get(key).execute().await.map_err(|error| ReadError::Failed(error.to_string()))?;
    let body = object.as_ref().and_then(worker::Object::body);
    let Some(body) = body else { return Err(ReadError::Gone(format!("no object {key}"))) };
    let bytes = body.bytes().await.map_err(|error| ReadError::Failed(error.to_string()))?;
    if sha256_hex(&bytes) == sha256 {
        Ok(bytes)
    } else {
        Err(ReadError::Gone(format!("object {key} is not what was stored")))
    }
}

/// Whether there is an object of that key.
pub(crate) async fn exists(env: &Env, key: &str) -> Result<bool, String> {
    bucket(env)?.head(key).await.map(|object| object.is_some()).map_err(|error| error.to_string())
}

/// The first keys under `prefix`, in the order of their bytes.
pub(crate) async fn list(env: &Env, prefix: &str, limit: u32) -> Result<Vec<String>, String> {
    let listed = bucket(env)?.list().prefix(prefix).limit(limit).execute().await.map_err(|error| error.to_string())?;
    Ok(listed.objects().iter().map(worker::Object::key).collect())
}

/// Deletes objects; one that is not there is no error.
pub(crate) async fn delete(env: &Env, keys: Vec<String>) -> Result<(), String> {
    if keys.is_empty() {
        return Ok(());
    }
    bucket(env)?.delete_multiple(keys).await.map_err(|error| error.to_string())
}

/// SHA-256 in 64 lower-case hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The same of a body, where it is.
pub(crate) async fn body_sha256_hex(body: &Body) -> Result<String, String> {
    match body {
        Body::Small(bytes) => Ok(sha256_hex(bytes)),
        Body::Large(array) => crypto::sha256(array).await.map(|digest| hex(&digest)),
    }
}
