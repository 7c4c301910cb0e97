//! One source of the configuration.
//!
//! Promises: names, limits and addresses are checked here, so that nothing behind it has to. Out of scope: whether the
//! Worker secrets that it names exist.

use super::binding::{NOT_A_BINDING, is_binding};
use super::destination::{self, Destination};
use super::reader::{Table, kind};
use crate::dead_letters::Caps;
use crate::deliver::dispatcher::gate::GateSettings;
use crate::deliver::retry_policy::{DEFAULT_SCHEDULE_S, MAX_DELAY_S};
use crate::receive::networks;
use crate::receive::quarantine::Budget;
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

/// A Worker secret that may verify deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Name of the Worker secret.
    pub name: String,
    /// What metrics and diagnoses call it.
    pub label: String,
    /// From then on it verifies nothing.
    pub not_after_ms: Option<u64>,
}

/// The subscription that a source declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name at the vendor.
    pub name: String,
    /// Event types.
    pub event_types: Vec<String>,
    /// Filter expression of every event type; `"true"` takes all.
    pub filter: String,
    /// Whether the vendor should deliver.
    pub enabled: bool,
    /// An existing subscription of that name is taken over.
    pub adopt: bool,
    /// Subscriptions that the gateway owns, that deliver to this source, and that nothing declares, are deleted.
    pub prune: bool,
}

/// One configured sender.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in `/webhook/{name}`.
    pub name: String,
    /// Its profile.
    pub profile: Profile,
    /// Its signature scheme and envelope.
    pub scheme: Scheme,
    /// Secrets, first the current one.
    pub secrets: Vec<SecretRef>,
    /// Largest body.
    pub max_body_bytes: u64,
    /// For how long equal bodies are one delivery, in seconds, where neither a signed identifier nor the envelope tells them apart; 0
    /// never.
    pub duplicate_window_s: u32,
    /// How much of what cannot be verified is kept.
    pub quarantine: Budget,
    /// How many dead letters of it are kept.
    pub dead_letters: Caps,
    /// Its subscription, where the gateway keeps one.
    pub subscription: Option<Subscription>,
    /// Where its deliveries go.
    pub destination: Destination,
    /// When the breaker of its destination opens, and how much the destination is asked to take.
    pub circuit: GateSettings,
    /// Waits before further attempts, in seconds.
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

pub(super) fn read(table: Table<'_>, allow_private: bool) -> Option<Source> {
    let name = table.required_text("name").map(ToOwned::to_owned);
    if let Some(name) = name.as_deref().filter(|name| !is_name(name)) {
        let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
        table.problem(
            "name",
            format!("{shown:?} must be 1 to {MAX_NAME_BYTES} of a-z, 0-9, - and _, and begin with a letter or digit"),
        );
    }
    let (profile, scheme) = read_profile(&table);
    let scheme = read_envelope(&table, profile, scheme);
    let duplicate_window_s = table.number("duplicate_window_s", 0, MAX_DUPLICATE_WINDOW_S);
    let secrets = read_secrets(&table);
    let max_body_bytes = table.number("max_body_bytes", 1, MAX_BODY_BYTES).unwrap_or(DEFAULT_MAX_BODY_BYTES);
    let quarantine = table.table("quarantine").map(read_quarantine).unwrap_or_default();
    let dead_letters = table.table("dead_letters").map(read_caps).unwrap_or_default();
    let subscription = table.table("subscription").and_then(read_subscription);
    let destination = match table.table("destination") {
        Some(table) => destination::read(table, allow_private),
        None => Some(Destination::Archive),
    };
    let circuit = table.table("circuit").map(read_circuit).unwrap_or_default();
    let retry_schedule_s = read_schedule(&table);
    let allow_networks = read_networks(&table);
    let rate_limit = table.text("rate_limit").map(ToOwned::to_owned);
    let webhook_origins = read_origins(&table);
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
    table.finish();
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
        destination: destination?,
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
            let known: Vec<&str> = Profile::ALL.iter().map(|profile| profile.as_str()).collect();
            table.problem("profile", format!("expected one of {}", known.join(", ")));
        }
        found
    });
    let custom = table.value("custom");
    let scheme = match (profile, custom) {
        (None, _) => None,
        (Some(Profile::Custom), None) => {
            table.problem("custom", "is missing: the custom profile describes its scheme there");
            None
        }
        (Some(Profile::Custom), Some(_)) => table.table("custom").and_then(read_custom),
        (Some(profile), custom) => {
            if custom.is_some() {
                table.problem("custom", "belongs to the custom profile");
            }
            Scheme::preset(profile)
        }
    };
    (profile, scheme)
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
fn read_custom(table: Table<'_>) -> Option<Scheme> {
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
        table.problem(problem.key(), problem.to_string());
    }
    table.finish();
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
            // Not shown: somebody may have put the secret itself here.
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
    })
}

fn is_label(label: &str) -> bool {
    (1..=64).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn read_quarantine(table: Table<'_>) -> Budget {
    let default = Budget::default();
    let letters = table.number("letters_per_minute", 0, 1_000_000).and_then(|n| u32::try_from(n).ok());
    let budget = Budget {
        letters_per_minute: letters.unwrap_or(default.letters_per_minute),
        bytes_per_minute: table.number("bytes_per_minute", 0, 100_000_000_000).unwrap_or(default.bytes_per_minute),
    };
    table.finish();
    budget
}

fn read_caps(table: Table<'_>) -> Caps {
    let default = Caps::default();
    let caps = Caps {
        max_letters: table.number("max_letters", 1, 1_000_000).unwrap_or(default.max_letters),
        max_bytes: table.number("max_bytes", 1, 1_000_000_000_000).unwrap_or(default.max_bytes),
    };
    table.finish();
    caps
}

fn read_subscription(table: Table<'_>) -> Option<Subscription> {
    let name = table.required_text("name").map(ToOwned::to_owned);
    let event_types = table.texts("event_types").unwrap_or_default();
    let filter = table.text("filter").unwrap_or("true").to_owned();
    let (enabled, adopt, prune) = (table.flag("enabled", true), table.flag("adopt", false), table.flag("prune", false));
    table.finish();
    Some(Subscription { name: name?, event_types, filter, enabled, adopt, prune })
}

fn read_circuit(table: Table<'_>) -> GateSettings {
    let default = GateSettings::default();
    let small = |key, least, most, otherwise| {
        table.number(key, least, most).and_then(|n| u32::try_from(n).ok()).unwrap_or(otherwise)
    };
    let ms = |key, most_s, otherwise| table.number(key, 1, most_s).map_or(otherwise, |s| s.saturating_mul(1000));
    let settings = GateSettings {
        max_in_flight: small("max_in_flight", 1, 10_000, default.max_in_flight),
        rate_per_s: small("rate_per_s", 1, 100_000, default.rate_per_s),
        window_ms: ms("window_s", 3_600, default.window_ms),
        min_calls: small("min_calls", 1, 100, default.min_calls),
        failure_percent: small("failure_percent", 1, 100, default.failure_percent),
        slow_percent: small("slow_percent", 1, 100, default.slow_percent),
        slow_after_ms: ms("slow_after_s", 60, default.slow_after_ms),
    };
    table.finish();
    settings
}

fn read_networks(table: &Table<'_>) -> Vec<IpNet> {
    let Some(texts) = table.texts("allow_networks") else { return vec![] };
    if texts.is_empty() {
        table.problem("allow_networks", "is empty: leave it out to allow every sender");
    }
    let networks = texts.iter().enumerate().filter_map(|(index, text)| {
        networks::parse(text)
            .map_err(|error| table.problem(&format!("allow_networks[{index}]"), error.to_string()))
            .ok()
    });
    networks.collect()
}

fn read_origins(table: &Table<'_>) -> Vec<String> {
    let origins = table.texts("webhook_origins").unwrap_or_default();
    for (index, origin) in origins.iter().enumerate() {
        // An origin is answered as it was asked, so it must be able to stand in a header.
        if !origin.bytes().all(|byte| byte.is_ascii_graphic()) {
            table.problem(&format!("webhook_origins[{index}]"), "expected a host name, or * for every origin");
        }
    }
    origins
}

fn read_schedule(table: &Table<'_>) -> Vec<u32> {
    let Some(list) = table.list("retry_schedule_s") else {
        return DEFAULT_SCHEDULE_S.to_vec();
    };
    // The queue gives a message up after 100 retries, whatever the schedule says.
    if list.len() > 90 {
        table.problem("retry_schedule_s", "has more than 90 waits");
    }
    let waits = list.iter().enumerate().filter_map(|(index, value)| {
        let wait = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_DELAY_S).contains(n));
        if wait.is_none() {
            let key = format!("retry_schedule_s[{index}]");
            table.problem(
                &key,
                format!("expected a whole number of seconds from 1 to {MAX_DELAY_S}, found {}", kind(value)),
            );
        }
        wait
    });
    waits.collect()
}
