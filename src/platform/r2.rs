//! R2: bodies that do not fit into a message or a row, and the archive.

use sha2::{Digest as _, Sha256};
use worker::{Bucket, Env};

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

/// Stores `bytes` under `key`.
pub(crate) async fn put(env: &Env, key: &str, bytes: Vec<u8>) -> Result<(), String> {
    bucket(env)?.put(key, bytes).execute().await.map(|_| ()).map_err(|error| error.to_string())
}

/// Reads `key` and checks that it is what was stored.
pub(crate) async fn get(env: &Env, key: &str, sha256: &str) -> Result<Vec<u8>, ReadError> {
    let bucket = bucket(env).map_err(ReadError::Failed)?;
    let object = bucket.get(key).execute().await.map_err(|error| ReadError::Failed(error.to_string()))?;
    let body = object.as_ref().and_then(worker::Object::body);
    let Some(body) = body else { return Err(ReadError::Gone(format!("no object {key}"))) };
    let bytes = body.bytes().await.map_err(|error| ReadError::Failed(error.to_string()))?;
    if sha256_hex(&bytes) == sha256 { Ok(bytes) } else { Err(ReadError::Gone(format!("object {key} is not what was stored"))) }
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
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
