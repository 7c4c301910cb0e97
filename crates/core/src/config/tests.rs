use super::*;
use crate::deliver::circuit_breaker::Settings;
use crate::deliver::retry_policy::DEFAULT_SCHEDULE_S;
use genesys_webhook::envelope::EnvelopeKind;
use genesys_webhook::profile::Profile;
use serde_json::json;

fn minimal() -> Value {
    json!({
        "region": "mypurecloud.ie",
        "public_url": "https://hooks.example.com/",
        "sources": [{
            "name": "contact-center",
            "profile": "webhooks",
            "secrets": ["WEBHOOK_SECRET", {"name": "OLD", "label": "previous", "not_after": "2026-12-01T00:00:00Z"}],
            "subscription": {"name": "Production Webhook", "event_types": ["call:created"]},
            "destination": {"url": "https://app.example.com/events", "secret": "DESTINATION_SECRET"}
        }]
    })
}

fn problems(value: &Value) -> Vec<String> {
    let problems = GatewayConfig::parse(&value.to_string()).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

/// `minimal` with one value replaced (or, with `null`, removed).
fn with(pointer: &str, value: Value) -> Value {
    let mut config = minimal();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match config.pointer_mut(parent).unwrap() {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        table => table[key] = value,
    }
    config
}

#[test]
fn a_complete_configuration_is_read_with_its_defaults() {
    let config = GatewayConfig::parse(&minimal().to_string()).unwrap();
    assert_eq!(config.endpoints.as_ref().unwrap().api_url, "https://api.mypurecloud.ie");
    assert_eq!(config.public_url.as_deref(), Some("https://hooks.example.com"));
    let source = config.source("contact-center").unwrap();
    assert_eq!((source.profile, source.max_body_bytes), (Profile::Webhooks, 5_000_000));
    assert_eq!(source.secrets[0].label, "webhook_secret");
    assert_eq!(
        (source.secrets[1].label.as_str(), source.secrets[1].not_after_ms),
        ("previous", Some(1_796_083_200_000))
    );
    let subscription = source.subscription.as_ref().unwrap();
    assert!(subscription.enabled && !subscription.adopt && !subscription.prune && subscription.filter == "true");
    assert_eq!(source.destination.timeout_ms(), 15_000);
    assert_eq!(source.destination.https().unwrap().secrets, ["DESTINATION_SECRET"]);
    assert_eq!(source.retry_schedule_s, DEFAULT_SCHEDULE_S);
    assert!(config.source("other").is_none());
}

#[test]
fn alerts_and_limits_of_silence_are_read() {
    let alerts = json!({"url": "https://pager.example.com/in", "secret": "ALERT_SECRET", "repeat_after_s": 3600});
    let mut value = with("/alerts", alerts);
    value["sources"][0]["silence_after_s"] = json!(900);
    let config = GatewayConfig::parse(&value.to_string()).unwrap();
    let to = config.alerts.as_ref().unwrap();
    assert_eq!(
        (to.url.as_str(), to.secrets.as_slice()),
        ("https://pager.example.com/in", &["ALERT_SECRET".to_owned()][..])
    );
    let rules = AlertDestination::rules(Some(to));
    assert_eq!((rules.dead_letters_over, rules.repeat_after_ms, rules.told), (100, Some(3_600_000), true));
    assert_eq!(config.sources[0].silence_after_s, Some(900));
    let config = GatewayConfig::parse(&minimal().to_string()).unwrap();
    assert!(!AlertDestination::rules(config.alerts.as_ref()).told);
    assert_eq!((config.sources[0].silence_after_s, config.retention.audit_days), (None, 365));
}

/// Where in [`minimal`], what stands there, and how the problem begins.
const MISTAKES: &str = r#"
/region | "mypurecloud.xx" | region: unknown region
/region | 7 | region: expected a string
/region | null | region: is missing: a source has a subscription
/login_url | "https://login.example.com" | region: give either region or login_url and api_url
/public_url | "http://hooks.example.com" | public_url: the address must start with https://
/public_url | null | public_url: is missing
/allow_private_addresses | "yes" | allow_private_addresses: expected true or false, found a string
/audit_days | 0 | audit_days: expected a whole number from 1
/sorces | [] | sorces: unknown key; known here:
/sources | [] | sources: is empty
/sources | {} | sources: expected a list, found a table
/sources/0 | 7 | sources[0]: expected a table
/sources/0/name | "Contact Center" | sources[0].name: "Contact Center" must be
/sources/0/name | null | sources[0].name: is missing
/sources/0/profile | "webhook" | sources[0].profile: expected one of webhooks, open-messaging, standard-webhooks, custom
/sources/0/profile | "custom" | sources[0].custom: is missing
/sources/0/profile | "standard-webhooks" | sources[0].subscription: this profile has no subscription API
/sources/0/custom | {} | sources[0].custom: belongs to the custom profile
/sources/0 | {"name": "a", "profile": "custom", "secrets": ["A"], "custom": {"encoding": "hex32"}} | sources[0].custom.header:
/sources/0 | {"name": "a", "profile": "custom", "secrets": ["A"], "custom": {"encoding": "hex32"}} | sources[0].custom.encoding:
/sources/0/secrets | null | sources[0].secrets: is missing
/sources/0/secrets | [] | sources[0].secrets: is empty
/sources/0/secrets | ["A", 7] | sources[0].secrets[1]: expected the name of a Worker secret
/sources/0/secrets | ["A", "A"] | sources[0].secrets[1]: has the label of another secret
/sources/0/secrets | [{"name": "A", "not_after": "soon"}] | sources[0].secrets[0].not_after: expected a time
/sources/0/max_body_bytes | 0 | sources[0].max_body_bytes: expected a whole number from 1 to 25000000
/sources/0/envelope | "batch" | sources[0].envelope: expected one of events, object, any
/sources/0/duplicate_window_s | 604801 | sources[0].duplicate_window_s: expected a whole number from 0 to 604800
/sources/0/silence_after_s | "1h" | sources[0].silence_after_s: expected a whole number from 0 to 2592000
/sources/0/subscription/event_types | [] | sources[0].subscription.event_types: is missing or empty
/sources/0/subscription/event_types | ["a", ""] | sources[0].subscription.event_types[1]: expected a string that is not empty
/sources/0/allow_networks | [] | sources[0].allow_networks: is empty
/sources/0/allow_networks | ["10.0.0.0/8", "10.0.0.1/8"] | sources[0].allow_networks[1]: has bits of a host
/sources/0/rate_limit | "rate limit" | sources[0].rate_limit: expected the name
/sources/0/retry_schedule_s | [5, 90000] | sources[0].retry_schedule_s[1]: expected a whole number of seconds
/sources/0/webhook_origins | ["a b"] | sources[0].webhook_origins[0]: expected a host name
/sources/0/circuit | {"window_s": 0} | sources[0].circuit.window_s: expected a whole number from 1 to 3600
/sources/0/circuit | {"min_calls": 101} | sources[0].circuit.min_calls: expected a whole number from 1 to 100
/sources/0/circuit | {"failure_percent": 0} | sources[0].circuit.failure_percent: expected a whole number from 1 to 100
/sources/0/circuit | {"failures": 10} | sources[0].circuit.failures: unknown key; known here: window_s, min_calls, failure_percent
/sources/0/destination/url | "https://10.0.0.1/" | sources[0].destination.url: the host
/sources/0/destination/url | null | sources[0].destination.url: is missing
/sources/0/destination/timeout_ms | 5 | sources[0].destination.timeout_ms: expected a whole number
/sources/0/destination/secret | ["A", "B", "C", "D", "E"] | sources[0].destination.secret: names more than 4 secrets
/sources/0/destination/secret | ["not a name"] | sources[0].destination.secret: expected the name of a Worker secret
/sources/0/destination/secret | 7 | sources[0].destination.secret: expected
/sources/0/destination/headers | {"Webhook-Id": "1"} | sources[0].destination.headers.Webhook-Id: is set by the gateway
/sources/0/destination/headers | {"Authorization": "Bearer x"} | sources[0].destination.headers.Authorization: is a credential: put it into
/sources/0/destination/headers | {"x-a": "a\r\nb: c"} | sources[0].destination.headers.x-a: is not visible ASCII
/sources/0/destination/headers | {"x a": "1"} | sources[0].destination.headers.x a: is not the name of a header
/sources/0/destination/headers | {"x-a": 7} | sources[0].destination.headers.x-a: expected a string that is not empty
/sources/0/destination/secret_headers | {"authorization": "no name"} | sources[0].destination.secret_headers.authorization: expected the name
/sources/0/destination/secret_headers | {"Host": "A"} | sources[0].destination.secret_headers.Host: is set by the gateway
/sources/0/destination/forward_headers | ["X-A", "Cookie"] | sources[0].destination.forward_headers[1]: is a credential of the sender
/sources/0/destination/forward_headers | ["X-A", "x-a"] | sources[0].destination.forward_headers: x-a is given twice
/alerts | {"url": "https://10.0.0.1/", "secret": "S"} | alerts.url: the host
/alerts | {"url": "https://a.example.com/"} | alerts.secret: is missing
/alerts | {"url": "https://a.example.com/", "secret": "a-b"} | alerts.secret: expected the name
/alerts | {"url": "https://a.example.com/", "secret": "S", "repeat_after_s": 5} | alerts.repeat_after_s: expected a whole number from 300
/alerts | {"urls": []} | alerts.urls: unknown key; known here: url, secret
"#;

#[test]
fn every_mistake_is_named_with_its_key() {
    for line in MISTAKES.trim().lines() {
        let [pointer, value, expected] = line.split(" | ").collect::<Vec<_>>().try_into().unwrap();
        let found = problems(&with(pointer, serde_json::from_str(value).unwrap()));
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{line}: {found:?}");
    }
}

#[test]
fn what_a_destination_is_sent_and_when_its_circuit_opens_are_read() {
    let mut config = minimal();
    let source = &mut config["sources"][0];
    source["circuit"] = json!({"window_s": 90, "min_calls": 3, "slow_percent": 80});
    source["webhook_origins"] = json!(["events.example", "*"]);
    source["destination"]["secret"] = json!(["NEW", "OLD"]);
    source["destination"]["headers"] = json!({"X-Tenant": "a b"});
    source["destination"]["forward_headers"] = json!(["ININ-Correlation-Id"]);
    source["destination"]["secret_headers"] = json!({"Authorization": "CRM_TOKEN"});
    let config = GatewayConfig::parse(&config.to_string()).unwrap();
    let source = config.source("contact-center").unwrap();
    let expected = Settings { window_ms: 90_000, min_calls: 3, slow_percent: 80, ..Settings::default() };
    assert_eq!(source.circuit, expected);
    assert_eq!(source.webhook_origins, ["events.example", "*"]);
    let destination = source.destination.https().unwrap();
    assert_eq!(destination.secrets, ["NEW", "OLD"]);
    assert_eq!(destination.headers, [("x-tenant".to_owned(), "a b".to_owned())]);
    assert_eq!(destination.forward_headers, ["inin-correlation-id"]);
    assert_eq!(destination.secret_headers, [("authorization".to_owned(), "CRM_TOKEN".to_owned())]);
}

#[test]
fn envelopes_and_the_window_of_equal_bodies_are_read() {
    let preset = |profile: &str, rest: Value| {
        let mut source = json!({"name": "a", "profile": profile, "secrets": ["A"]});
        source.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({ "sources": [source] })
    };
    let any_of_a_custom_scheme = json!({"custom": {"header": "x-s", "encoding": "hex", "envelope": "any"}});
    for (profile, rest, envelope, window_s) in [
        ("webhooks", json!({}), EnvelopeKind::Events, 600),
        ("open-messaging", json!({"duplicate_window_s": 0}), EnvelopeKind::Object, 0),
        ("standard-webhooks", json!({"envelope": "any", "duplicate_window_s": 604_800}), EnvelopeKind::Any, 604_800),
        ("webhooks", json!({"envelope": "object"}), EnvelopeKind::Object, 600),
        ("custom", any_of_a_custom_scheme.clone(), EnvelopeKind::Any, 600),
    ] {
        let config = GatewayConfig::parse(&preset(profile, rest).to_string()).unwrap();
        let source = &config.sources[0];
        assert_eq!((source.scheme.envelope(), source.duplicate_window_s), (envelope, window_s), "{profile}");
    }
    let mut twice = any_of_a_custom_scheme;
    twice["envelope"] = json!("any");
    let found = problems(&preset("custom", twice));
    assert_eq!(found, ["sources[0].envelope: belongs into custom"]);
}

#[test]
fn all_mistakes_come_at_once() {
    let mut config = minimal();
    config["region"] = json!("nowhere");
    config["sources"][0]["secrets"] = json!([]);
    config["sources"][0]["destination"]["colour"] = json!("red");
    let mut twin = config["sources"][0].clone();
    twin["profile"] = json!("custom");
    twin["custom"] = json!({"header": "x-sig", "encoding": "hex"});
    config["sources"].as_array_mut().unwrap().push(twin);
    let found = problems(&config);
    for key in
        ["region", "sources[0].secrets", "sources[0].destination.colour", "sources[1].name", "sources[1].subscription"]
    {
        assert!(found.iter().any(|problem| problem.starts_with(&format!("{key}: "))), "{key} in {found:#?}");
    }
}

#[test]
fn a_secret_in_the_place_of_a_name_is_not_shown() {
    let header = json!({"authorization": "Bearer s3cr3t value!"});
    for (pointer, value) in [
        ("/sources/0/secrets", json!(["s3cr3t value!"])),
        ("/sources/0/secrets", json!([{"name": "s3cr3t value!"}])),
        ("/sources/0/secrets", json!("s3cr3t value!")),
        ("/sources/0/destination/secret", json!("s3cr3t value!")),
        ("/sources/0/destination/headers", header.clone()),
        ("/sources/0/destination/secret_headers", header),
        ("/sources/0", custom(&json!("s3cr3t"))),
        ("/sources/0", custom(&json!({"header": ["s3cr3t"]}))),
        ("/sources/0", custom(&json!({"padding": "s3cr3t"}))),
        ("/sources/0", custom(&json!({"tolerance_s": "s3cr3t"}))),
    ] {
        let found = problems(&with(pointer, value)).join("\n");
        assert!(!found.is_empty() && !found.contains("s3cr3t"), "{pointer}: {found}");
    }
    let broken = GatewayConfig::parse("{\"region\": s3cr3t}").unwrap_err();
    assert!(!broken[0].to_string().contains("s3cr3t"));
}

/// A source that describes its own scheme.
fn custom(scheme: &Value) -> Value {
    json!({"name": "a", "profile": "custom", "secrets": ["A"], "custom": scheme})
}

#[test]
fn local_development_may_use_loopback() {
    let mut config = minimal();
    config.as_object_mut().unwrap().remove("region");
    for key in ["login_url", "api_url", "public_url"] {
        config[key] = json!("http://127.0.0.1:8080");
    }
    config["sources"][0]["destination"]["url"] = json!("http://localhost:9/sink");
    assert_eq!(problems(&config).len(), 3, "{:?}", problems(&config));
    config["allow_private_addresses"] = json!(true);
    assert_eq!(problems(&config), Vec::<String>::new());
}
