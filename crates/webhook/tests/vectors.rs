//! Runs `tests/vectors/*.json` at the repository root. The form of these files is described by `about` in each of
//! them and by the types below; the same files run on the real runtime, with the same verdicts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine as _;
use genesys_webhook::custom::CustomScheme;
use genesys_webhook::encoding::Tag;
use genesys_webhook::profile::Profile;
use genesys_webhook::refusal::Refusal;
use genesys_webhook::scheme::Scheme;
use genesys_webhook::secret::SigningSecret;
use genesys_webhook::signature::{Verified, Verifier, VerifyError};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: Vec<String>,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    profile: Profile,
    custom: Option<CustomScheme>,
    secrets: Vec<VectorSecret>,
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_base64: Option<String>,
    body_repeat: Option<Repeat>,
    pad_to_bytes: Option<usize>,
    now_ms: u64,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorSecret {
    label: String,
    text: String,
    not_after_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    text: String,
    times: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    verdict: String,
    label: Option<String>,
    event_count: Option<u64>,
    #[serde(default)]
    idempotency_key: ExpectedKey,
    detail: Option<String>,
}

/// `null` says that there is no key; an absent field says nothing.
#[derive(Default)]
enum ExpectedKey {
    #[default]
    NotCompared,
    Is(Option<String>),
}

impl<'de> Deserialize<'de> for ExpectedKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Is)
    }
}

#[derive(Default)]
struct VectorVerdict {
    verdict: String,
    label: Option<String>,
    event_count: Option<u64>,
    idempotency_key: Option<String>,
    detail: Option<String>,
}

impl Vector {
    fn scheme(&self) -> Scheme {
        match &self.custom {
            Some(custom) => custom.resolve().unwrap_or_else(|errors| panic!("{}: {errors:?}", self.name)),
            None => Scheme::preset(self.profile).expect("a profile other than custom"),
        }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = match (&self.body, &self.body_base64, &self.body_repeat) {
            (Some(text), None, None) => text.clone().into_bytes(),
            (None, Some(text), None) => base64::engine::general_purpose::STANDARD.decode(text).expect("base64"),
            (None, None, Some(repeat)) => repeat.text.repeat(repeat.times).into_bytes(),
            _ => panic!("{}: one body is expected", self.name),
        };
        body.resize(self.pad_to_bytes.unwrap_or(body.len()), b' ');
        body
    }

    fn run(&self) -> VectorVerdict {
        let scheme = self.scheme();
        let secrets = self
            .secrets
            .iter()
            .map(|secret| {
                SigningSecret::new(&scheme, &secret.label, &secret.text, secret.not_after_ms).expect("a usable secret")
            })
            .collect();
        let verifier = Verifier::new(scheme, secrets);
        let headers = self.headers.as_slice();
        let refused = |refusal: &Refusal| VectorVerdict {
            verdict: refusal.code().as_str().to_owned(),
            detail: Some(refusal.detail()),
            ..VectorVerdict::default()
        };
        let body = self.body();
        let verdict = verifier.verify(headers, &body, self.now_ms);
        assert_eq!(verdict, in_halves(&verifier, headers, &body, self.now_ms), "{}", self.name);
        let label = match verdict {
            Ok(holds) => Some(holds.label.to_owned()),
            Err(VerifyError::Refused(refusal)) => return refused(&refusal),
            Err(error @ VerifyError::NoActiveSecret) => {
                return VectorVerdict { verdict: error.code().to_owned(), ..VectorVerdict::default() };
            }
        };
        match verifier.scheme().inspect(&body) {
            Ok(envelope) => VectorVerdict {
                verdict: "accepted".to_owned(),
                label,
                event_count: Some(envelope.event_count),
                idempotency_key: verifier.scheme().idempotency_key(headers, &envelope),
                detail: None,
            },
            Err(refusal) => VectorVerdict { label, ..refused(&refusal) },
        }
    }
}

/// The verdict as a host gives it that hashes elsewhere.
fn in_halves<'v>(
    verifier: &'v Verifier,
    headers: &[(String, String)],
    body: &[u8],
    now_ms: u64,
) -> Result<Verified<'v>, VerifyError> {
    let prepared = verifier.prepare(headers, now_ms)?;
    let content = [prepared.before_body(), body, prepared.after_body()].concat();
    let tag = |secret: &&SigningSecret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.key_bytes()).expect("a key of any length");
        mac.update(&content);
        mac.finalize().into_bytes().into()
    };
    let tags: Vec<Tag> = prepared.secrets().iter().map(tag).collect();
    Ok(prepared.check(&tags)?)
}

fn load(name: &str) -> Vec<Vector> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: File = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!file.about.is_empty(), "{name} says what it is about");
    let names: BTreeSet<&str> = file.vectors.iter().map(|vector| vector.name.as_str()).collect();
    assert_eq!(names.len(), file.vectors.len(), "names in {name} are unique");
    file.vectors
}

/// Runs a whole file and reports every difference at once.
fn agree(file: &str, at_least: usize) {
    let vectors = load(file);
    assert!(vectors.len() >= at_least, "{file} has lost vectors: {}", vectors.len());
    let mut differences = Vec::new();
    for vector in &vectors {
        let (outcome, expect) = (vector.run(), &vector.expect);
        let mut differ = |what: &str, expected: String, found: String| {
            if expected != found {
                differences.push(format!("{}: {what}: expected {expected}, found {found}", vector.name));
            }
        };
        differ("verdict", expect.verdict.clone(), outcome.verdict);
        if expect.label.is_some() {
            differ("label", format!("{:?}", expect.label), format!("{:?}", outcome.label));
        }
        if expect.event_count.is_some() {
            differ("event_count", format!("{:?}", expect.event_count), format!("{:?}", outcome.event_count));
        }
        if let ExpectedKey::Is(key) = &expect.idempotency_key {
            differ("idempotency_key", format!("{key:?}"), format!("{:?}", outcome.idempotency_key));
        }
        if expect.detail.is_some() {
            differ("detail", format!("{:?}", expect.detail), format!("{:?}", outcome.detail));
        }
    }
    assert!(differences.is_empty(), "{file}:\n{}", differences.join("\n"));
}

#[test]
fn signatures_get_the_published_verdicts() {
    agree("signatures.json", 80);
}

#[test]
fn lists_of_signatures_get_the_verdicts_of_the_reference_implementation() {
    agree("reference.json", 80);
}

#[test]
fn signatures_over_large_bodies_get_the_same() {
    agree("large.json", 190);
}

#[test]
fn envelopes_are_accepted_or_refused_as_documented() {
    agree("envelopes.json", 40);
}

#[test]
fn json_is_what_rfc_8259_says() {
    agree("json.json", 200);
}

/// The corpus itself is checked by another reader: y_ and n_ are not this project's opinion.
#[test]
fn the_corpus_of_json_is_right_according_to_another_parser() {
    let mut judged = 0;
    for vector in load("json.json") {
        let body = vector.body();
        let valid =
            std::str::from_utf8(&body).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        match vector.name.split_once('_').expect("a kind").0 {
            "y" => assert!(valid, "{}", vector.name),
            "n" => assert!(!valid, "{}", vector.name),
            "i" => continue,
            other => panic!("{}: unknown kind {other}", vector.name),
        }
        judged += 1;
    }
    assert!(judged >= 200, "{judged}");
}
