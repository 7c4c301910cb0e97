//! One source of the configuration.
//!
//! Promises: names, limits and addresses are checked here, so that nothing behind it has to. Out of scope: whether the
//! Worker secrets that it names exist.

use super::binding::{NOT_A_BINDING, is_binding};
use super::destination::{self, DestinationConfig};
use super::reader::{Table, kind};
use crate::dead_letters::caps::Caps;
use crate::deliver::circuit_breaker::{Settings, WINDOW_CALLS};
use crate::deliver::retry_policy::{DEFAULT_SCHEDULE_S, MAX_DELAY_S};
use crate::receive::networks;
use crate::receive::quarantine::QuarantineBudget;
use genesys_webhook::custom::{CustomScheme, MAX_TOLERANCE_S};
use genesys_webhook::envelope::EnvelopeKind;
use genesys_webhook::profile::Profile;
use genesys_webhook::scheme::Scheme;
use ipnet::IpNet;
use serde_json::Value;

/// Default limit of a body: 5 MB, what the gateway is designed for.
const DEFAULT_MAX_BODY_BYTES: u64 = 5_000_000;

/// Largest limit that may be set: several bodies have to fit into an isolate's 128 MB at once, each of them twice.
const MAX_BODY_BYTES: u64 = 25_000_000;

/// Longest limit of silence, 30 days: a source that delivers less often is not worth watching.
const MAX_SILENCE_S: u64 = 2_592_000;

/// For how long equal bodies are one delivery where nothing else tells them apart, in seconds: Genesys repeats for some minutes.
const DEFAULT_DUPLICATE_WINDOW_S: u32 = 600;

/// The longest such time, a week: as long as keys are remembered by default.
const MAX_DUPLICATE_WINDOW_S: u64 = 604_800;

/// Longest name of a source: it is part of addresses, keys and labels.
const MAX_NAME_BYTES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    pub name: String,
    /// What metrics and diagnoses call it.
    pub label: String,
    /// From then on it verifies nothing.
    pub not_after_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredSubscription {
    /// Its name at the vendor.
    pub name: String,
    pub event_types: Vec<String>,
    /// Filter expression of every event type; `"true"` takes all.
    pub filter: String,
    pub enabled: bool,
    /// An existing subscription of that name is taken over.
    pub adopt: bool,
    /// Subscriptions that the gateway owns, that deliver to this source, and that nothing declares, are deleted.
    pub prune: bool,
}

#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in `/webhook/{name}`.
    pub name: String,
    pub profile: Profile,
    pub scheme: Scheme,
    /// Secrets, first the current one.
    pub secrets: Vec<SecretRef>,
    pub max_body_bytes: u64,
    /// For how long equal bodies are one delivery, in seconds, where neither a signed identifier nor the envelope tells them apart; 0
    /// never.
    pub duplicate_window_s: u32,
    pub quarantine: QuarantineBudget,
    pub dead_letters: Caps,
    pub subscription: Option<DeclaredSubscription>,
    pub destination: DestinationConfig,
    /// When its circuit opens.
    pub circuit: Settings,
    pub retry_schedule_s: Vec<u32>,
    /// Networks that may deliver; every one where there are none.
    pub allow_networks: Vec<IpNet>,
    /// Name of the rate-limit binding that bounds its requests that cannot be verified.
    pub rate_limit: Option<String>,
    /// Origins that CloudEvents' handshake (`OPTIONS`) is answered to; `*` is every one.
    pub webhook_origins: Vec<String>,
    /// Quiet for longer than this it counts as silent, in seconds; 0 never, learned where there is none.
    pub silence_after_s: Option<u64>,
}

pub(super) fn read(table: &Table<'_>, allow_private: bool) -> Option<Source> {
    let name = table.required_text("name").map(ToOwned::to_owned);
    if let Some(name) = name.as_deref().filter(|name| !is_name(name)) {
        let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
        table.problem(
            "name",
            format!("{shown:?} must be 1 to {MAX_NAME_BYTES} of a-z, 0-9, - and _, and begin with a letter or digit"),
        );
    }
    let (profile, scheme) = read_profile(table);
    let scheme = read_envelope(table, profile, scheme);
    let duplicate_window_s = table.number("duplicate_window_s", 0, MAX_DUPLICATE_WINDOW_S);
    let secrets = read_secrets(table);
    let max_body_bytes = table.number("max_body_bytes", 1, MAX_BODY_BYTES).unwrap_or(DEFAULT_MAX_BODY_BYTES);
    let quarantine = table.section("quarantine", read_quarantine).unwrap_or_default();
    let dead_letters = table.section("dead_letters", read_caps).unwrap_or_default();
    let subscription = table.section("subscription", read_subscription).flatten();
    let destination = table.section("destination", |table| destination::read(table, allow_private));
    let circuit = table.section("circuit", read_circuit).unwrap_or_default();
    let (retry_schedule_s, allow_networks) = (read_schedule(table), read_networks(table));
    let rate_limit = table.text("rate_limit").map(ToOwned::to_owned);
    let webhook_origins = read_origins(table);
    let silence_after_s = table.number("silence_after_s", 0, MAX_SILENCE_S);
    if rate_limit.as_deref().is_some_and(|name| !is_binding(name)) {
        table.problem("rate_limit", "expected the name of a rate-limit binding");
    }
    if subscription.is_some() && matches!(profile, Some(Profile::StandardWebhooks | Profile::Custom)) {
        table.problem("subscription", "this profile has no subscription API: use webhooks or open-messaging");
    }
    if matches!((&subscription, profile), (Some(s), Some(Profile::Webhooks)) if s.event_types.is_empty()) {
        table.problem("subscription.event_types", "is missing or empty: name at least one event type");
    }
    Some(Source {
        name: name?,
        profile: profile?,
        scheme: scheme?,
        secrets,
        max_body_bytes,
        duplicate_window_s: duplicate_window_s
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(DEFAULT_DUPLICATE_WINDOW_S),
        quarantine,
        dead_letters,
        subscription,
        destination: destination.unwrap_or(Some(DestinationConfig::Archive))?,
        circuit,
        retry_schedule_s,
        allow_networks,
        rate_limit,
        webhook_origins,
        silence_after_s,
    })
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn read_profile(table: &Table<'_>) -> (Option<Profile>, Option<Scheme>) {
    let profile = table.required_text("profile").and_then(|name| {
        let found = Profile::ALL.into_iter().find(|profile| profile.as_str() == name);
        if found.is_none() {
            table.problem("profile", format!("expected one of {}", Profile::ALL.map(Profile::as_str).join(", ")));
        }
        found
    });
    let custom = table.value("custom").is_some();
    match profile {
        Some(Profile::Custom) if custom => return (profile, table.section("custom", read_custom).flatten()),
        Some(Profile::Custom) => table.problem("custom", "is missing: the custom profile describes its scheme there"),
        Some(_) if custom => table.problem("custom", "belongs to the custom profile"),
        _ => {}
    }
    (profile, profile.and_then(Scheme::preset))
}

/// Another envelope than the profile's own.
fn read_envelope(table: &Table<'_>, profile: Option<Profile>, scheme: Option<Scheme>) -> Option<Scheme> {
    let Some(name) = table.text("envelope") else { return scheme };
    if profile == Some(Profile::Custom) {
        table.problem("envelope", "belongs into custom");
    }
    let Some(envelope) = EnvelopeKind::from_name(name) else {
        table.problem("envelope", "expected one of events, object, any");
        return scheme;
    };
    scheme.map(|scheme| scheme.with_envelope(envelope))
}

/// Key by key as everything else: the messages of a JSON library quote what they found, which may be a secret.
fn read_custom(table: &Table<'_>) -> Option<Scheme> {
    let text = |key| table.text(key).map(ToOwned::to_owned);
    let custom = CustomScheme {
        header: text("header"),
        prefix: text("prefix"),
        encoding: text("encoding"),
        padding: table.value("padding").is_some().then(|| table.flag("padding", true)),
        timestamp_header: text("timestamp_header"),
        tolerance_s: table.number("tolerance_s", 1, MAX_TOLERANCE_S),
        id_header: text("id_header"),
        signed_content: text("signed_content"),
        secret_format: text("secret_format"),
        envelope: text("envelope"),
        dedupe_pointer: text("dedupe_pointer"),
        dedupe_header: text("dedupe_header"),
    };
    let scheme = custom.resolve();
    for problem in scheme.as_ref().err().into_iter().flatten() {
        table.problem(problem.key, problem.to_string());
    }
    scheme.ok()
}

fn read_secrets(table: &Table<'_>) -> Vec<SecretRef> {
    let Some(list) = table.list("secrets") else {
        table.problem("secrets", "is missing: name the Worker secrets that verify this source's deliveries");
        return vec![];
    };
    if list.is_empty() {
        table.problem("secrets", "is empty: name the Worker secrets that verify this source's deliveries");
    }
    let mut secrets: Vec<SecretRef> = vec![];
    for (index, value) in list.iter().enumerate() {
        let key = format!("secrets[{index}]");
        let Some(secret) = read_secret(table, &key, value) else { continue };
        if !is_binding(&secret.name) {
            // Not shown: it may be the secret itself.
            table.problem(&key, NOT_A_BINDING);
        } else if secrets.iter().any(|other| other.label == secret.label) {
            table.problem(&key, "has the label of another secret of this source");
        }
        secrets.push(secret);
    }
    secrets
}

fn read_secret(table: &Table<'_>, key: &str, value: &Value) -> Option<SecretRef> {
    if let Some(name) = value.as_str() {
        return Some(SecretRef { name: name.into(), label: name.to_ascii_lowercase(), not_after_ms: None });
    }
    if !value.is_object() {
        table.problem(key, format!("expected the name of a Worker secret or a table, found {}", kind(value)));
        return None;
    }
    table.nested(key, value, |entry| {
        let name = entry.required_text("name")?;
        let label = entry.text("label").map_or_else(|| name.to_ascii_lowercase(), ToOwned::to_owned);
        if !is_label(&label) {
            entry.problem("label", "expected 1 to 64 letters, digits, -, _ and .");
        }
        let not_after_ms = entry.text("not_after").and_then(|text| {
            let time = crate::time::parse_rfc3339(text);
            if time.is_none() {
                entry.problem("not_after", "expected a time as 2026-12-01T00:00:00Z");
            }
            time
        });
        Some(SecretRef { name: name.into(), label, not_after_ms })
    })?
}

fn is_label(label: &str) -> bool {
    (1..=64).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn read_quarantine(table: &Table<'_>) -> QuarantineBudget {
    let default = QuarantineBudget::default();
    let letters = table.number("letters_per_minute", 0, 1_000_000).and_then(|n| u32::try_from(n).ok());
    QuarantineBudget {
        letters_per_minute: letters.unwrap_or(default.letters_per_minute),
        bytes_per_minute: table.number("bytes_per_minute", 0, 100_000_000_000).unwrap_or(default.bytes_per_minute),
    }
}

fn read_caps(table: &Table<'_>) -> Caps {
    let default = Caps::default();
    Caps {
        max_letters: table.number("max_letters", 1, 1_000_000).unwrap_or(default.max_letters),
        max_bytes: table.number("max_bytes", 1, 1_000_000_000_000).unwrap_or(default.max_bytes),
    }
}

fn read_subscription(table: &Table<'_>) -> Option<DeclaredSubscription> {
    let name = table.required_text("name").map(ToOwned::to_owned);
    let event_types = table.texts("event_types");
    let filter = table.text("filter").unwrap_or("true").to_owned();
    let (enabled, adopt, prune) = (table.flag("enabled", true), table.flag("adopt", false), table.flag("prune", false));
    Some(DeclaredSubscription { name: name?, event_types, filter, enabled, adopt, prune })
}

fn read_circuit(table: &Table<'_>) -> Settings {
    let default = Settings::default();
    Settings {
        window_ms: table.number("window_s", 1, 3_600).map_or(default.window_ms, |s| s.saturating_mul(1000)),
        min_calls: table.number("min_calls", 1, WINDOW_CALLS as u64).unwrap_or(default.min_calls),
        failure_percent: table.number("failure_percent", 1, 100).unwrap_or(default.failure_percent),
        slow_percent: table.number("slow_percent", 0, 100).unwrap_or(default.slow_percent),
        slow_after_ms: table.number("slow_after_s", 1, 60).map_or(default.slow_after_ms, |s| s.saturating_mul(1000)),
    }
}

fn read_networks(table: &Table<'_>) -> Vec<IpNet> {
    if table.list("allow_networks").is_some_and(<[Value]>::is_empty) {
        table.problem("allow_networks", "is empty: leave it out to allow every sender");
    }
    table.texts_as("allow_networks", |text| networks::parse(text).map_err(|error| error.to_string()))
}

fn read_origins(table: &Table<'_>) -> Vec<String> {
    table.texts_as("webhook_origins", |origin| {
        // An origin is answered as it was asked, so it must be able to stand in a header.
        let is_plain = origin.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain { Ok(origin.into()) } else { Err("expected a host name, or * for every origin".into()) }
    })
}

fn read_schedule(table: &Table<'_>) -> Vec<u32> {
    let Some(list) = table.list("retry_schedule_s") else {
        return DEFAULT_SCHEDULE_S.to_vec();
    };
    // The queue gives a message up after 100 retries, whatever the schedule says.
    if list.len() > 90 {
        table.problem("retry_schedule_s", "has more than 90 waits");
    }
    let expected = format!("expected a whole number of seconds from 1 to {MAX_DELAY_S}");
    let waits = list.iter().enumerate().filter_map(|(index, value)| {
        let wait = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_DELAY_S).contains(n));
        if wait.is_none() {
            table.problem(&format!("retry_schedule_s[{index}]"), format!("{expected}, found {}", kind(value)));
        }
        wait
    });
    waits.collect()
}
