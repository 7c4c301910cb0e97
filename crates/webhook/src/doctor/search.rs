//! The search for the mistake that explains a signature.
//!
//! Promises:
//! - It never hashes or rewrites more bytes than its budget.
//! - Simple explanations are tried before far-fetched ones.

use alloc::borrow::Cow;

use subtle::ConstantTimeEq;

use super::explanation::{FindingCode, Mistake};
use super::presented::Presented;
use super::secrets::KeyVariant;
use super::{bodies, secrets};
use crate::headers::HeaderSource;
use crate::mac::KeyedMac;
use crate::scheme::{Scheme, SignedContent};
use crate::secret::SigningSecret;
use crate::signature::Verifier;

/// HMAC's own work in bytes: two blocks for the key and two for the rest of the hash, at each attempt.
const OVERHEAD_BYTES: usize = 256;

pub(super) struct Diagnosis<'s> {
    pub(super) secret: &'s SigningSecret,
    pub(super) presented: &'s Presented,
    /// `None` where only the header, the time or the secret's expiry is wrong.
    pub(super) mistake: Option<Mistake>,
}

pub(super) struct Search<'s> {
    presented: &'s [Presented],
    left_bytes: usize,
    pub(super) tried: u32,
    pub(super) complete: bool,
}

impl<'s> Search<'s> {
    pub(super) fn new(budget_bytes: usize, presented: &'s [Presented]) -> Self {
        Self { presented, left_bytes: budget_bytes, tried: 0, complete: true }
    }

    /// Looks for a combination that makes a presented tag.
    pub(super) fn run(&mut self, verifier: &'s Verifier, contents: &[Content], body: &[u8]) -> Option<Diagnosis<'s>> {
        if self.presented.iter().all(|seen| seen.tag.is_none()) {
            return None;
        }
        let own = contents.iter().find(|content| content.mistake.is_none());
        self.keys(verifier, contents, body, secrets::as_it_is)
            .or_else(|| self.keys(verifier, contents, body, secrets::variants))
            .or_else(|| self.other_body(verifier, own?, body))
            // Last: these are many, seldom right, and would use up what the others need.
            .or_else(|| self.keys(verifier, core::slice::from_ref(own?), body, secrets::pasted))
    }

    fn keys(
        &mut self,
        verifier: &'s Verifier,
        contents: &[Content],
        body: &[u8],
        keys: fn(&Scheme, &SigningSecret) -> Vec<KeyVariant>,
    ) -> Option<Diagnosis<'s>> {
        for content in contents {
            for secret in verifier.secrets() {
                for (mistake, key) in keys(verifier.scheme(), secret) {
                    if let Some(presented) = self.attempt(&key, content, body) {
                        // Another content together with another key: the profile explains both.
                        return Some(Diagnosis { secret, presented, mistake: content.mistake.or(mistake) });
                    }
                }
            }
        }
        None
    }

    fn other_body(&mut self, verifier: &'s Verifier, content: &Content, body: &[u8]) -> Option<Diagnosis<'s>> {
        for transformation in bodies::TRANSFORMATIONS {
            if !self.spend(body.len().saturating_mul(transformation.cost)) {
                return None;
            }
            let Some(signed) = (transformation.apply)(body) else { continue };
            for secret in verifier.secrets() {
                if let Some(presented) = self.attempt(secret.key_bytes(), content, &signed) {
                    return Some(Diagnosis { secret, presented, mistake: Some(transformation.mistake) });
                }
            }
        }
        None
    }

    fn attempt(&mut self, key: &[u8], content: &Content, body: &[u8]) -> Option<&'s Presented> {
        if !self.spend(body.len().saturating_add(content.before.len()).saturating_add(content.after.len())) {
            return None;
        }
        self.tried = self.tried.saturating_add(1);
        let tag = KeyedMac::new(key).tag([&content.before, body, &content.after]);
        self.presented.iter().find(|seen| seen.tag.is_some_and(|other| bool::from(other.as_slice().ct_eq(&tag))))
    }

    fn spend(&mut self, bytes: usize) -> bool {
        let left_bytes = self.left_bytes.checked_sub(bytes.saturating_add(OVERHEAD_BYTES));
        self.complete &= left_bytes.is_some();
        self.left_bytes = left_bytes.unwrap_or(self.left_bytes);
        left_bytes.is_some()
    }
}

/// Something that may have been signed around the body.
pub(super) struct Content {
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
    /// What it means that this was signed; `None` for the source's own content.
    pub(super) mistake: Option<Mistake>,
}

/// The source's own content first, then those of the other profiles, as far as the request has what they need.
pub(super) fn contents(scheme: &Scheme, headers: &(impl HeaderSource + ?Sized)) -> Vec<Content> {
    let own_names = (scheme.id_header.as_deref(), scheme.timestamp.as_ref().map(|rule| rule.header.as_str()));
    let mut contents = Vec::new();
    let mut add = |content: &SignedContent, (id, timestamp): (Option<&str>, Option<&str>), mistake| {
        let value =
            |name: Option<&str>| name.map_or(Some(String::new()), |name| headers.get(name).map(Cow::into_owned));
        if let (Some(id), Some(timestamp)) = (value(id), value(timestamp)) {
            let (before, after) = content.around(&id, &timestamp);
            contents.push(Content { before, after, mistake });
        }
    };
    add(&scheme.content, own_names, None);
    let raw = SignedContent::default();
    if scheme.content != raw {
        let detail = "over the body alone, as the profiles webhooks and open-messaging sign; this source expects the \
                      identifier or timestamp in what is signed";
        add(&raw, (None, None), Some((FindingCode::OtherProfile, detail)));
    }
    let standard = Scheme::standard_webhooks();
    if scheme.content != standard.content {
        let detail = "over identifier, timestamp and body, as the profile standard-webhooks signs; this source expects \
                      another signed content";
        let names = (Some("webhook-id"), Some("webhook-timestamp"));
        add(&standard.content, names, Some((FindingCode::OtherProfile, detail)));
    }
    contents
}
