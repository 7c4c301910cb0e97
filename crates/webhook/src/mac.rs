//! HMAC-SHA256 (RFC 2104, FIPS 180-4) with the key prepared once.
//!
//! Promises:
//! - The key's two compression runs are paid at construction, not at each verification.
//! - The state is wiped when it is dropped (feature `zeroize` of the hash crates).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::encoding::Tag;

/// Block size of SHA-256 in bytes: longer keys are hashed first (RFC 2104, section 2).
const BLOCK_BYTES: usize = 64;

/// A key that has been absorbed, ready to be cloned for each message.
#[derive(Clone)]
pub(crate) struct KeyedMac(Hmac<Sha256>);

impl KeyedMac {
    pub(crate) fn new(key: &[u8]) -> Self {
        let hashed;
        let key = if key.len() > BLOCK_BYTES {
            hashed = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(key)));
            hashed.as_slice()
        } else {
            key
        };
        let mut block = Zeroizing::new([0u8; BLOCK_BYTES]);
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        Self(Hmac::new((&*block).into()))
    }

    pub(crate) fn tag(&self, parts: [&[u8]; 3]) -> Tag {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}
