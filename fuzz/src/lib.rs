//! What the fuzz targets share: requests as text, an HMAC of their own, and an executor for futures that never wait.
//!
//! Promises: inputs are text that a person can read and write, so that seeds are reviewed like other tests; oracles
//! here share no code with what they judge beyond SHA-256. Out of scope: what is judged, which each target says itself.

pub mod request;
pub mod targets;
pub mod vendor;

use sha2::{Digest as _, Sha256};

/// Splits at the first `separator`; everything is the first part where there is none.
pub fn split_once<'b>(input: &'b [u8], separator: &[u8]) -> (&'b [u8], &'b [u8]) {
    match input.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&input[..at], &input[at + separator.len()..]),
        None => (input, &[]),
    }
}

/// HMAC-SHA256, written down from RFC 2104.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
