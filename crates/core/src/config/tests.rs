use super::*;
use crate::deliver::retry_policy::DEFAULT_SCHEDULE_S;
use genesys_webhook::envelope::EnvelopeKind;
use genesys_webhook::profile::Profile;
use proptest::prelude::*;
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
    let problems = Config::parse(&value.to_string()).err().unwrap_or_default();
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
    let config = Config::parse(&minimal().to_string()).unwrap();
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
    assert_eq!(source.retry_schedule_s, DEFAULT_SCHEDULE_S);
    assert!(config.source("other").is_none());
}

#[test]
fn alerts_and_limits_of_silence_are_read() {
    let alerts = json!({"url": "https://pager.example.com/in", "secret": "ALERT_SECRET", "repeat_after_s": 3600});
    let mut value = with("/alerts", alerts);
    value["sources"][0]["silence_after_s"] = json!(900);
    let config = Config::parse(&value.to_string()).unwrap();
    let to = config.alerts.as_ref().unwrap();
    assert_eq!(
        (to.url.as_str(), to.secrets.as_slice()),
        ("https://pager.example.com/in", &["ALERT_SECRET".to_owned()][..])
    );
    let rules = AlertDestination::rules(Some(to));
    assert_eq!((rules.dead_letters_over, rules.repeat_after_ms, rules.told), (100, Some(3_600_000), true));
    assert_eq!(config.sources[0].silence_after_s, Some(900));
    let config = Config::parse(&minimal().to_string()).unwrap();
    assert!(!AlertDestination::rules(config.alerts.as_ref()).told);
    assert_eq!((config.sources[0].silence_after_s, config.retention.audit_days), (None, 365));
}

#[test]
fn every_mistake_is_named_with_its_key() {
    let source = "/sources/0";
    for (pointer, value, expected) in [
        ("/region", json!("mypurecloud.xx"), "region: unknown region"),
        ("/region", json!(7), "region: expected a string"),
        ("/region", json!(null), "region: is missing: a source has a subscription"),
        ("/login_url", json!("https://login.example.com"), "region: give either region or login_url and api_url"),
        ("/public_url", json!("http://hooks.example.com"), "public_url: the address must start with https://"),
        ("/public_url", json!(null), "public_url: is missing"),
        ("/allow_private_addresses", json!("yes"), "allow_private_addresses: expected true or false, found a string"),
        ("/sorces", json!([]), "sorces: unknown key; known here:"),
        ("/sources", json!([]), "sources: is empty"),
        ("/sources", json!({}), "sources: expected a list, found a table"),
        ("/sources/0", json!(7), "sources[0]: expected a table"),
        (&format!("{source}/name"), json!("Contact Center"), "sources[0].name: \"Contact Center\" must be"),
        (&format!("{source}/name"), json!(null), "sources[0].name: is missing"),
        (
            &format!("{source}/profile"),
            json!("webhook"),
            "sources[0].profile: expected one of webhooks, open-messaging, standard-webhooks, custom",
        ),
        (&format!("{source}/profile"), json!("custom"), "sources[0].custom: is missing"),
        (
            &format!("{source}/profile"),
            json!("standard-webhooks"),
            "sources[0].subscription: this profile has no subscription API",
        ),
        (&format!("{source}/custom"), json!({}), "sources[0].custom: belongs to the custom profile"),
        (&format!("{source}/secrets"), json!(null), "sources[0].secrets: is missing"),
        (&format!("{source}/secrets"), json!([]), "sources[0].secrets: is empty"),
        (&format!("{source}/secrets"), json!(["A", 7]), "sources[0].secrets[1]: expected the name of a Worker secret"),
        (&format!("{source}/secrets"), json!(["A", "A"]), "sources[0].secrets[1]: has the label of another secret"),
        (
            &format!("{source}/secrets"),
            json!([{"name": "A", "not_after": "soon"}]),
            "sources[0].secrets[0].not_after: expected a time",
        ),
        (
            &format!("{source}/max_body_bytes"),
            json!(0),
            "sources[0].max_body_bytes: expected a whole number from 1 to 25000000",
        ),
        (&format!("{source}/envelope"), json!("batch"), "sources[0].envelope: expected one of events, object, any"),
        (
            &format!("{source}/duplicate_window_s"),
            json!(604_801),
            "sources[0].duplicate_window_s: expected a whole number from 0 to 604800",
        ),
        (
            &format!("{source}/subscription/event_types"),
            json!([]),
            "sources[0].subscription.event_types: is missing or empty",
        ),
        (
            &format!("{source}/subscription/event_types"),
            json!(["a", ""]),
            "sources[0].subscription.event_types[1]: expected a string that is not empty",
        ),
        (&format!("{source}/destination/url"), json!("https://10.0.0.1/"), "sources[0].destination.url: the host"),
        (&format!("{source}/destination/url"), json!(null), "sources[0].destination.url: is missing"),
        (
            &format!("{source}/destination/timeout_ms"),
            json!(5),
            "sources[0].destination.timeout_ms: expected a whole number",
        ),
        (&format!("{source}/allow_networks"), json!([]), "sources[0].allow_networks: is empty"),
        (
            &format!("{source}/allow_networks"),
            json!(["10.0.0.0/8", "10.0.0.1/8"]),
            "sources[0].allow_networks[1]: has bits of a host",
        ),
        (&format!("{source}/rate_limit"), json!("rate limit"), "sources[0].rate_limit: expected the name"),
        (
            &format!("{source}/retry_schedule_s"),
            json!([5, 90_000]),
            "sources[0].retry_schedule_s[1]: expected a whole number of seconds",
        ),
        ("/alerts", json!({"url": "https://10.0.0.1/", "secret": "S"}), "alerts.url: the host"),
        ("/alerts", json!({"url": "https://a.example.com/"}), "alerts.secret: is missing"),
        ("/alerts", json!({"url": "https://a.example.com/", "secret": "a-b"}), "alerts.secret: expected the name"),
        (
            "/alerts",
            json!({"url": "https://a.example.com/", "secret": "S", "repeat_after_s": 5}),
            "alerts.repeat_after_s: expected a whole number from 300",
        ),
        ("/alerts", json!({"urls": []}), "alerts.urls: unknown key; known here: url, secret"),
        ("/audit_days", json!(0), "audit_days: expected a whole number from 1"),
        (
            &format!("{source}/silence_after_s"),
            json!("1h"),
            "sources[0].silence_after_s: expected a whole number from 0 to 2592000",
        ),
    ] {
        let found = problems(&with(pointer, value.clone()));
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{pointer} = {value}: {found:?}");
    }
}

#[test]
fn mistakes_in_headers_and_circuits_are_named_with_their_keys() {
    let source = "/sources/0";
    for (pointer, value, expected) in [
        (
            &format!("{source}/destination/headers"),
            json!({"Webhook-Id": "1"}),
            "sources[0].destination.headers.Webhook-Id: is set by the gateway",
        ),
        (
            &format!("{source}/destination/headers"),
            json!({"Authorization": "Bearer x"}),
            "sources[0].destination.headers.Authorization: is a credential: put it into a Worker secret",
        ),
        (
            &format!("{source}/destination/headers"),
            json!({"x-a": "a\r\nb: c"}),
            "sources[0].destination.headers.x-a: is not visible ASCII",
        ),
        (
            &format!("{source}/destination/headers"),
            json!({"x a": "1"}),
            "sources[0].destination.headers.x a: is not the name of a header",
        ),
        (
            &format!("{source}/destination/headers"),
            json!({"x-a": 7}),
            "sources[0].destination.headers.x-a: expected a string that is not empty",
        ),
        (
            &format!("{source}/destination/secret_headers"),
            json!({"authorization": "not a name"}),
            "sources[0].destination.secret_headers.authorization: expected the name of a Worker secret",
        ),
        (
            &format!("{source}/destination/secret_headers"),
            json!({"Host": "A"}),
            "sources[0].destination.secret_headers.Host: is set by the gateway",
        ),
        (
            &format!("{source}/destination/forward_headers"),
            json!(["X-A", "Cookie"]),
            "sources[0].destination.forward_headers[1]: is a credential of the sender",
        ),
        (
            &format!("{source}/destination/forward_headers"),
            json!(["X-A", "x-a"]),
            "sources[0].destination.forward_headers: x-a is given twice",
        ),
        (
            &format!("{source}/circuit"),
            json!({"window_s": 0}),
            "sources[0].circuit.window_s: expected a whole number from 1 to 3600",
        ),
    ] {
        let found = problems(&with(pointer, value.clone()));
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{pointer} = {value}: {found:?}");
    }
}

#[test]
fn headers_and_circuit_are_read() {
    let mut config = minimal();
    let source = &mut config["sources"][0];
    source["circuit"] = json!({"window_s": 90, "min_calls": 3, "max_in_flight": 7});
    source["destination"]["headers"] = json!({"X-Tenant": "a b"});
    source["destination"]["forward_headers"] = json!(["ININ-Correlation-Id"]);
    source["destination"]["secret_headers"] = json!({"Authorization": "CRM_TOKEN"});
    let config = Config::parse(&config.to_string()).unwrap();
    let source = config.source("contact-center").unwrap();
    assert_eq!((source.circuit.window_ms, source.circuit.min_calls, source.circuit.max_in_flight), (90_000, 3, 7));
    let destination = source.destination.https().unwrap();
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
        let config = Config::parse(&preset(profile, rest).to_string()).unwrap();
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
    for value in [json!(["s3cr3t value!"]), json!([{"name": "s3cr3t value!"}]), json!("s3cr3t value!")] {
        let found = problems(&with("/sources/0/secrets", value)).join("\n");
        assert!(!found.is_empty() && !found.contains("s3cr3t"), "{found}");
    }
    let found = problems(&with("/sources/0/destination/secret", json!("s3cr3t value!"))).join("\n");
    assert!(!found.is_empty() && !found.contains("s3cr3t"), "{found}");
    let headers = json!({"authorization": "Bearer s3cr3t value!"});
    for key in ["headers", "secret_headers"] {
        let found = problems(&with(&format!("/sources/0/destination/{key}"), headers.clone())).join("\n");
        assert!(!found.is_empty() && !found.contains("s3cr3t"), "{found}");
    }
    for custom in
        [json!("s3cr3t"), json!({"header": ["s3cr3t"]}), json!({"padding": "s3cr3t"}), json!({"tolerance_s": "s3cr3t"})]
    {
        let source = json!({"name": "a", "profile": "custom", "secrets": ["A"], "custom": custom});
        let found = problems(&json!({ "sources": [source] })).join("\n");
        assert!(found.contains("custom") && !found.contains("s3cr3t"), "{found}");
    }
    let broken = Config::parse("{\"region\": s3cr3t}").unwrap_err();
    assert!(!broken[0].to_string().contains("s3cr3t"));
}

#[test]
fn a_custom_scheme_names_its_keys() {
    let source = json!({"name": "a", "profile": "custom", "secrets": ["A"], "custom": {"encoding": "hex32"}});
    let found = problems(&json!({ "sources": [source] }));
    assert!(found.iter().any(|p| p.starts_with("sources[0].custom.header: ")), "{found:?}");
    assert!(found.iter().any(|p| p.starts_with("sources[0].custom.encoding: ")), "{found:?}");
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

proptest! {
    #[test]
    fn no_text_makes_it_fail(text in ".*") {
        let _ = Config::parse(&text);
    }

    #[test]
    fn no_value_anywhere_makes_it_fail(index in 0usize..20, value in prop_oneof![
        Just(json!(null)), Just(json!([])), Just(json!({})), Just(json!(-1)), Just(json!([[{}]])), Just(json!("x")), Just(json!(true)),
    ]) {
        let pointers = [
            "/region", "/public_url", "/sources", "/sources/0", "/sources/0/name", "/sources/0/profile", "/sources/0/secrets",
            "/sources/0/secrets/0", "/sources/0/secrets/1", "/sources/0/subscription", "/sources/0/destination",
            "/sources/0/custom", "/sources/0/quarantine", "/sources/0/retry_schedule_s",
        ];
        let pointer = pointers[index % pointers.len()];
        let _ = Config::parse(&with(pointer, value).to_string());
    }
}

#[test]
fn signing_secrets_and_origins_are_read_one_or_several() {
    let with = |secret: Value, origins: Value| {
        json!({"sources": [{
            "name": "a", "profile": "webhooks", "secrets": ["A"], "webhook_origins": origins,
            "destination": {"url": "https://d.example", "secret": secret},
        }]})
    };
    for (secret, names) in [(json!("NEW"), vec!["NEW"]), (json!(["NEW", "OLD"]), vec!["NEW", "OLD"])] {
        let config = Config::parse(&with(secret, json!(["events.example", "*"])).to_string()).unwrap();
        assert_eq!(config.sources[0].destination.https().unwrap().secrets, names);
        assert_eq!(config.sources[0].webhook_origins, ["events.example", "*"]);
    }
    for (secret, origins, problem) in [
        (json!(["A", "B", "C", "D", "E"]), json!([]), "sources[0].destination.secret: names more than 4 secrets"),
        (json!(["not a name"]), json!([]), "sources[0].destination.secret: expected the name of a Worker secret"),
        (json!(7), json!([]), "sources[0].destination.secret: expected"),
        (json!("A"), json!(["a b"]), "sources[0].webhook_origins[0]: expected a host name"),
    ] {
        let found = problems(&with(secret, origins));
        assert!(found.len() == 1 && found[0].starts_with(problem), "{found:?}");
    }
}
