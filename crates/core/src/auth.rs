//! Who may call the management API.
//!
//! Promises: without a token, or with a short one, nothing is open; tokens are compared in constant time, whatever their
//! lengths are. Out of scope: roles. There is one operator's token.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The fewest characters that an admin token may have: 16 random bytes in base 64 have 22, a chosen word has fewer.
pub const MIN_TOKEN_CHARS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Granted,
    Denied,
    /// No caller can be let in: no token, or too short a one, is configured (the operator's to repair: 503).
    NotConfigured,
}

pub fn authorize(configured: Option<&str>, header: Option<&str>) -> Access {
    let Some(token) = configured.filter(|token| token.len() >= MIN_TOKEN_CHARS) else {
        return Access::NotConfigured;
    };
    let presented =
        header.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, presented)) = presented else {
        return Access::Denied;
    };
    // Digests have one length, so the time tells nothing about the token's.
    let same = Sha256::digest(token.as_bytes()).ct_eq(&Sha256::digest(presented.trim().as_bytes()));
    if bool::from(same) { Access::Granted } else { Access::Denied }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configured_token_is_let_in() {
        let token = Some("0123456789abcdef");
        for (configured, header, access) in [
            (token, Some("Bearer 0123456789abcdef"), Access::Granted),
            (token, Some("bearer 0123456789abcdef"), Access::Granted),
            (token, Some("Bearer 0123456789abcdeF"), Access::Denied),
            (token, Some("Bearer 0123456789abcdef0"), Access::Denied),
            (token, Some("Bearer "), Access::Denied),
            (token, Some("Basic 0123456789abcdef"), Access::Denied),
            (token, Some("0123456789abcdef"), Access::Denied),
            (token, None, Access::Denied),
            (None, Some("Bearer "), Access::NotConfigured),
            (None, None, Access::NotConfigured),
            (Some(""), Some("Bearer "), Access::NotConfigured),
            (Some("short"), Some("Bearer short"), Access::NotConfigured),
        ] {
            assert_eq!(authorize(configured, header), access, "{configured:?} {header:?}");
        }
    }
}
