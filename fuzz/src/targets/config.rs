//! The `GATEWAY` variable: nothing panics, every refusal says where, and what may be a secret is never shown.
//!
//! Input: the JSON text. Where it has sources, texts that look like secrets are put in each place where the name of one
//! belongs, and where a table, a number or a flag does: none of them may come back in a problem.

use gateway_core::config::{ConfigProblem, GatewayConfig};
use serde_json::{Value, json};

/// One that is no binding's name and one that could be.
const CANARIES: [&str; 2] = ["s3cr3t canary/+==", "S3cr3t_canary_0123456789"];

/// Judges one input, as far as it is UTF-8; always `true`.
pub fn run(input: &[u8]) -> bool {
    judge(text(input));
    true
}

/// The text at the beginning.
fn text(input: &[u8]) -> &str {
    match str::from_utf8(input) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&input[..error.valid_up_to()]).unwrap_or_default(),
    }
}

fn judge(input: &str) {
    let verdict = GatewayConfig::parse(input);
    match &verdict {
        Ok(config) => fits_together(config),
        Err(problems) => each_says_where(problems),
    }
    let Ok(value) = serde_json::from_str::<Value>(input) else { return };
    let sources = value.get("sources").and_then(Value::as_array).map_or(0, Vec::len);
    for source in 0..sources.min(2) {
        for canary in CANARIES {
            for place in ["secrets", "secrets/0", "secrets/0/name", "secrets/0/label", "secrets/0/not_after"] {
                never_shown(&value, source, place, &json!(canary), canary);
            }
            for place in ["destination", "destination/secret", "destination/timeout_ms", "rate_limit"] {
                never_shown(&value, source, place, &json!(canary), canary);
            }
            for place in ["subscription", "subscription/enabled", "quarantine", "max_body_bytes", "retry_schedule_s"] {
                never_shown(&value, source, place, &json!(canary), canary);
            }
            for place in ["custom", "custom/padding", "custom/tolerance_s", "custom/secret", "custom/header/0"] {
                never_shown(&value, source, place, &json!(canary), canary);
            }
            never_shown(&value, source, "secrets", &json!({ "name": canary }), canary);
            never_shown(&value, source, "secrets", &json!([[canary], { "name": [canary] }, canary, canary]), canary);
        }
        let url = format!("https://user:{}@app.example.com/", CANARIES[1]);
        never_shown(&value, source, "destination/url", &json!(url), CANARIES[1]);
    }
    for canary in CANARIES {
        for key in ["sources", "allow_private_addresses", "dead_letter_days", "dedupe_days"] {
            let mut changed = value.clone();
            if let Some(table) = changed.as_object_mut() {
                table.insert(key.to_owned(), json!(canary));
                not_in(&changed, canary);
            }
        }
    }
}

fn each_says_where(problems: &[ConfigProblem]) {
    assert!(!problems.is_empty(), "refused without a reason");
    for problem in problems {
        assert!(!problem.key.is_empty() && !problem.problem.is_empty(), "{problem:?}");
    }
}

fn fits_together(config: &GatewayConfig) {
    assert!(!config.sources.is_empty());
    for (index, source) in config.sources.iter().enumerate() {
        assert!(
            config.sources[..index].iter().all(|other| other.name != source.name),
            "{} is there twice",
            source.name
        );
        assert!(config.source(&source.name).is_some_and(|found| std::ptr::eq(found, source)));
        assert!(!source.secrets.is_empty(), "{} verifies nothing", source.name);
        let names = source.secrets.iter().map(|secret| &secret.name);
        for name in names.chain(source.destination.https().into_iter().flat_map(|https| &https.secrets)) {
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{name:?} is no binding");
        }
        if let Some(destination) = source.destination.https() {
            assert!(genesys_client::address::check(&destination.url, config.allow_private_addresses).is_ok());
        }
        if source.subscription.is_some() {
            assert!(config.endpoints.is_some() && config.public_url.is_some());
        }
    }
}

/// Puts `put` at `place` of a source, making the tables on the way.
fn never_shown(value: &Value, source: usize, place: &str, put: &Value, canary: &str) {
    let mut changed = value.clone();
    let Some(mut at) = changed.pointer_mut(&format!("/sources/{source}")) else { return };
    for step in place.split('/') {
        let index = step.parse::<usize>().ok();
        if let Some(index) = index {
            if !at.is_array() {
                *at = json!([]);
            }
            let Some(list) = at.as_array_mut() else { return };
            if list.is_empty() {
                list.push(Value::Null);
            }
            let Some(element) = list.get_mut(index) else { return };
            at = element;
        } else {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[step];
        }
    }
    *at = put.clone();
    not_in(&changed, canary);
}

fn not_in(config: &Value, canary: &str) {
    let Err(problems) = GatewayConfig::parse(&config.to_string()) else { return };
    for problem in &problems {
        let shown = problem.to_string().to_ascii_lowercase();
        assert!(!shown.contains(&canary.to_ascii_lowercase()), "{problem}");
    }
}
