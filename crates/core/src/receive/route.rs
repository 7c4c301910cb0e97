//! Which source a path names.
//!
//! Promises:
//! - A trailing slash, repeated slashes, percent-encoding and a path prefix of the gateway's own address reach the source that
//!   they name. A proxy may have taken the prefix off, so it may be missing.
//! - What is below `/webhook/` and names no source is told apart from paths that are not the receiver's.
//!
//! Out of scope: whether there is such a source.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The longest path that is looked at: a source's name has at most 64 characters, each of them encoded has three.
const MAX_PATH_BYTES: usize = 2_048;

/// The name of the source that `path` names: `None` where the path is not below `/webhook`.
///
/// `path`: of the request's URL, without the query; `prefix`: the path of the gateway's own address, without a slash at the
/// end. A name that cannot be one (empty, with a slash in it) comes back as it is, and no source has it.
pub fn source_name<'p>(path: &'p str, prefix: &str) -> Option<Cow<'p, str>> {
    let path = path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let is_plain = |name: &str| !name.is_empty() && !name.bytes().any(|byte| matches!(byte, b'/' | b'%'));
    if let Some(name) = path.strip_prefix("/webhook/")
        && is_plain(name)
    {
        return Some(Cow::Borrowed(name));
    }
    let decoded = decoded(path.get(..MAX_PATH_BYTES).unwrap_or(path));
    let segments: Vec<&str> = decoded.split('/').filter(|segment| !segment.is_empty()).collect();
    let prefix: Vec<&str> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut segments = segments.strip_prefix(prefix.as_slice()).unwrap_or(&segments).iter();
    if segments.next() != Some(&"webhook") {
        return None;
    }
    let rest: Vec<&str> = segments.copied().collect();
    Some(Cow::Owned(rest.join("/")))
}

/// The most of an unknown sender's text that is logged.
const MAX_LOGGED_BYTES: usize = 100;

/// A text for the log: its first bytes, with a question mark for what cannot be printed.
///
/// `is_secret`: whether a part of it between slashes is one, in which case nothing of it is shown.
pub fn loggable(text: &str, is_secret: impl Fn(&str) -> bool) -> String {
    if text.split('/').chain(decoded(text).split('/')).any(is_secret) {
        return "(a secret)".to_owned();
    }
    let shown = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { '?' };
    text.bytes().take(MAX_LOGGED_BYTES).map(shown).collect()
}

/// Percent-decoded; what is not UTF-8 afterwards names no source.
fn decoded(path: &str) -> Cow<'_, str> {
    percent_decode_str(path).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_path_reaches_its_source() {
        for path in [
            "/webhook/hooks",
            "/webhook/hooks/",
            "/webhook/hooks//",
            "//webhook/hooks",
            "/webhook//hooks",
            "/webhook/%68ooks",
            "/%77ebhook/hooks",
            "/webhook%2Fhooks",
            "/webhook/hooks%2f",
        ] {
            assert_eq!(source_name(path, "").as_deref(), Some("hooks"), "{path}");
        }
        for path in ["/edge/webhook/hooks", "/edge/webhook/hooks/", "//edge//webhook/%68ooks", "/webhook/hooks"] {
            assert_eq!(source_name(path, "/edge").as_deref(), Some("hooks"), "{path}");
        }
    }

    #[test]
    fn what_names_no_source_is_still_the_receivers() {
        for (path, name) in [
            ("/webhook", ""),
            ("/webhook/", ""),
            ("/webhook/a/b", "a/b"),
            ("/webhook/%zz", "%zz"),
            ("/webhook/%", "%"),
            ("/webhook/%ff", "\u{fffd}"),
            ("/webhook/a%2", "a%2"),
        ] {
            assert_eq!(source_name(path, "").as_deref(), Some(name), "{path}");
        }
        assert!(source_name(&format!("/webhook/{}", "%41".repeat(10_000)), "").is_some());
    }

    #[test]
    fn what_is_logged_is_short_and_printable_and_no_secret() {
        assert_eq!(loggable("/webhook/a b\n\u{1b}[0mä", |_| false), "/webhook/a?b??[0m??");
        assert_eq!(loggable(&"x".repeat(5_000), |_| false), "x".repeat(100));
        assert_eq!(loggable("/webhook/hooks", |text| text == "secret"), "/webhook/hooks");
        for path in ["/webhook/secret/a", "/webhook/%73ecret", &format!("/{}/secret", "x".repeat(200))] {
            assert_eq!(loggable(path, |text| text == "secret"), "(a secret)", "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_the_receivers() {
        for path in ["/", "", "/api/webhook/hooks", "/webhooks/hooks", "/Webhook/hooks", "/metrics"] {
            assert_eq!(source_name(path, ""), None, "{path}");
        }
        for path in ["/other/webhook/hooks", "/edge", "/edges/webhook/hooks"] {
            assert_eq!(source_name(path, "/edge"), None, "{path}");
        }
    }
}
