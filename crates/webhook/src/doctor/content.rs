//! What may have been signed besides the body: the source's own content, and those of the other profiles.

use alloc::borrow::Cow;

use super::explanation::{FindingCode, Mistake};
use crate::headers::HeaderSource;
use crate::scheme::{Scheme, SignedContent};

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
