//! R2: bodies that do not fit into a message or a row, and the archive.

use super::body::RawBody;
use super::{crypto, js_error};
use gateway_core::dead_letters::caps::BodyRange;
use genesys_webhook::encoding::hex;
use js_sys::{Array, Object, Promise, Reflect, Uint8Array};
use sha2::{Digest as _, Sha256};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use worker::Env;

#[wasm_bindgen]
extern "C" {
    /// The bucket as the runtime binds it: the `worker` crate's `put` takes bytes of wasm only, which a body that is already
    /// in JavaScript would have to be copied into, and its other calls carry options that are not needed here.
    type BucketBinding;
    #[wasm_bindgen(method, catch)]
    fn put(this: &BucketBinding, key: &str, body: &Uint8Array) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn get(this: &BucketBinding, key: &str, options: &Object) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn head(this: &BucketBinding, key: &str) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn list(this: &BucketBinding, options: &Object) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn delete(this: &BucketBinding, keys: &Array) -> Result<Promise, JsValue>;

    type StoredObject;
    #[wasm_bindgen(method, catch, js_name = arrayBuffer)]
    fn array_buffer(this: &StoredObject) -> Result<Promise, JsValue>;
}

const PAYLOADS: &str = "PAYLOADS";

/// The most objects that one call deletes (R2, `delete()`).
const MAX_DELETED: usize = 1_000;

/// Why a stored body is not there.
pub(crate) enum ReadError {
    /// No object, or not the one that was stored: trying again cannot help.
    Gone(String),
    /// The bucket did not answer: trying again may.
    Failed(String),
}

fn bucket(env: &Env) -> Result<BucketBinding, String> {
    let bucket = Reflect::get(env, &JsValue::from_str(PAYLOADS)).map_err(|error| js_error(&error))?;
    if bucket.is_object() { Ok(bucket.unchecked_into()) } else { Err(format!("no bucket is bound as {PAYLOADS}")) }
}

fn options(fields: &[(&str, JsValue)]) -> Result<Object, String> {
    let options = Object::new();
    for (name, value) in fields {
        Reflect::set(&options, &JsValue::from_str(name), value).map_err(|error| js_error(&error))?;
    }
    Ok(options)
}

async fn answered(promise: Result<Promise, JsValue>) -> Result<JsValue, String> {
    let promise = promise.map_err(|error| js_error(&error))?;
    JsFuture::from(promise).await.map_err(|error| js_error(&error))
}

/// Stores `body` under `key`.
pub(crate) async fn put(env: &Env, key: &str, body: &RawBody) -> Result<(), String> {
    answered(bucket(env)?.put(key, &body.to_js())).await.map(|_| ())
}

/// Reads `key`; `None` where there is no such object. An error: the bucket did not answer.
pub(crate) async fn get_any(env: &Env, key: &str) -> Result<Option<Vec<u8>>, String> {
    Ok(buffer(env, key, &Object::new()).await?.map(|array| array.to_vec()))
}

/// The buffer that the runtime filled.
async fn buffer(env: &Env, key: &str, options: &Object) -> Result<Option<Uint8Array>, String> {
    let object = answered(bucket(env)?.get(key, options)).await?;
    if !object.is_object() {
        return Ok(None);
    }
    let buffer = answered(object.unchecked_ref::<StoredObject>().array_buffer()).await?;
    Ok(Some(Uint8Array::new(&buffer)))
}

/// Reads `key` and checks that it is what was stored.
pub(crate) async fn get(env: &Env, key: &str, sha256: &str) -> Result<Vec<u8>, ReadError> {
    get_in_place(env, key, sha256).await.map(|body| body.with_bytes(<[u8]>::to_vec))
}

/// Reads a part of an object of many bodies, and checks that it is what was stored.
pub(crate) async fn get_range(env: &Env, range: &BodyRange) -> Result<Vec<u8>, ReadError> {
    let BodyRange { key, offset, length, sha256 } = range;
    // The platform gives no range of no bytes.
    if *length == 0 {
        return Ok(vec![]);
    }
    let part = options(&[("offset", (*offset as f64).into()), ("length", (*length as f64).into())]);
    let options = part.and_then(|part| options(&[("range", part.into())])).map_err(ReadError::Failed)?;
    checked(buffer(env, key, &options).await, key, sha256).await.map(|body| body.with_bytes(<[u8]>::to_vec))
}

/// The same, left in JavaScript: hashed there, and not copied into wasm, whose memory never shrinks.
pub(crate) async fn get_in_place(env: &Env, key: &str, sha256: &str) -> Result<RawBody, ReadError> {
    checked(buffer(env, key, &Object::new()).await, key, sha256).await
}

async fn checked(read: Result<Option<Uint8Array>, String>, key: &str, sha256: &str) -> Result<RawBody, ReadError> {
    let array = read.map_err(ReadError::Failed)?;
    let body = RawBody::Js(array.ok_or_else(|| ReadError::Gone(format!("no object {key}")))?);
    if body_sha256_hex(&body).await.map_err(ReadError::Failed)? == sha256 {
        Ok(body)
    } else {
        Err(ReadError::Gone(format!("object {key} is not what was stored")))
    }
}

/// Whether there is an object of that key.
pub(crate) async fn exists(env: &Env, key: &str) -> Result<bool, String> {
    answered(bucket(env)?.head(key)).await.map(|object| object.is_object())
}

/// The first keys under `prefix`, in the order of their bytes.
pub(crate) async fn list(env: &Env, prefix: &str, limit: u32) -> Result<Vec<String>, String> {
    let options = options(&[("prefix", JsValue::from_str(prefix)), ("limit", limit.into())])?;
    let field = |object: &JsValue, name: &str| Reflect::get(object, &JsValue::from_str(name));
    let listed = answered(bucket(env)?.list(&options)).await?;
    let objects = field(&listed, "objects").map_err(|error| js_error(&error))?;
    let objects: Array = objects.dyn_into().map_err(|_| "a list without objects".to_owned())?;
    let key = |object| field(&object, "key").ok().and_then(|key| key.as_string());
    objects.iter().map(|object| key(object).ok_or_else(|| "an object without a key".to_owned())).collect()
}

/// Deletes objects; one that is not there is no error.
pub(crate) async fn delete(env: &Env, keys: Vec<String>) -> Result<(), String> {
    for keys in keys.chunks(MAX_DELETED) {
        let keys: Array = keys.iter().map(|key| JsValue::from_str(key)).collect();
        answered(bucket(env)?.delete(&keys)).await?;
    }
    Ok(())
}

/// SHA-256 in 64 lower-case hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The same of a body, where it is.
pub(crate) async fn body_sha256_hex(body: &RawBody) -> Result<String, String> {
    match body {
        RawBody::Wasm(bytes) => Ok(sha256_hex(bytes)),
        RawBody::Js(array) => crypto::sha256(array).await.map(|digest| hex(&digest)),
    }
}
