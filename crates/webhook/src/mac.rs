//! HMAC-SHA256 (RFC 2104, FIPS 180-4) with the key prepared once.
//!
//! Promises: two compression runs of the key are paid at construction, not at each verification; the state is wiped
//! when it is dropped (feature `zeroize` of the hash crates).

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
    /// Absorbs a key of any length.
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

    /// The tag over the parts, one after the other.
    pub(crate) fn tag(&self, parts: [&[u8]; 3]) -> Tag {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, section 4: the cases whose output is not truncated.
    #[test]
    fn agrees_with_rfc_4231() {
        let long_key = [0xaa; 131];
        let counting: Vec<u8> = (1..=25).collect();
        let cases: [(&[u8], &[u8], &str); 6] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (&counting, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
            (
                &long_key,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &long_key,
                b"This is a test using a larger than block-size key and a larger than block-size data. \
                  The key needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, data, expected) in cases {
            let (head, tail) = data.split_at(data.len() / 2);
            let tag = KeyedMac::new(key).tag([head, b"", tail]);
            assert_eq!(crate::encoding::Encoding::Hex.encode(&tag), expected);
        }
    }
}
