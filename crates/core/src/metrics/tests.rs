use super::*;
use crate::config::Config;
use crate::deliver::dispatcher::calls::DestinationStatus;
use crate::deliver::dispatcher::gate::GateRow;
use crate::deliver::dispatcher::rows::DispatchTotals as RowTotals;
use crate::deliver::dispatcher::status::{CircuitRow, CircuitState};
use crate::metrics::accounting::{Collected, by_source, own};
use crate::metrics::counters::Seen;
use crate::metrics::counters::{Metric, Series, Totals};
use crate::monitor::alerts::{Kind, Open};
use crate::monitor::calls::SourceHealth;
use crate::monitor::silence::Verdict;
use genesys_client::reconcile::ItemOutcome;
use std::collections::BTreeSet;

fn status(totals: RowTotals) -> DestinationStatus {
    DestinationStatus { gate: GateRow::default(), totals, in_flight: 0, oldest_waiting_ms: Some(1_500) }
}

fn snapshot() -> Snapshot {
    let series = |metric, label: &str, n| (Series(metric, "a\"b".into(), label.into()), n);
    let counters = vec![Totals {
        series: vec![
            series(Metric::Received, "", 4),
            series(Metric::Accepted, "", 2),
            series(Metric::Refused, "invalid_json", 1),
            series(Metric::LatencyMs, "", 12),
            series(Metric::LatencyBucket, "5", 2),
            series(Metric::LatencyBucket, "inf", 1),
            series(Metric::Unavailable, "queue_failed", 1),
            series(Metric::SecretUsed, "current", 2),
            series(Metric::ReconcileItem, "update:applied", 1),
            (Series(Metric::VendorRequest, String::new(), "oauth:2xx".into()), 4),
            (Series(Metric::VendorRequest, String::new(), "webhooks:429".into()), 1),
            (Series(Metric::AlertSent, String::new(), "failed".into()), 2),
            (Series(Metric::FlushFailed, String::new(), String::new()), 5),
        ],
        seen: vec![Seen { source: "a\"b".into(), request_ms: Some(9_000), delivery_ms: Some(8_000) }],
    }];
    let totals = RowTotals { routed: 2, delivered: 1, waiting: 1, ..RowTotals::default() };
    let destinations = vec![("a\"b".into(), status(totals))];
    Snapshot {
        version: "1.2.3",
        taken_at_ms: 10_000,
        own: own(&counters),
        sources: by_source(&Collected { counters, destinations }),
        queues: [("deliveries".into(), Backlog { messages: 3, bytes: 400, oldest_at_ms: Some(2_500) })].into(),
        letters: Some(LetterTotals {
            stored: 1,
            by_reason: [("invalid_json".into(), 1)].into(),
            oldest_dead_at_ms: Some(500),
            ..LetterTotals::default()
        }),
        reconcile: Some(Reconciled {
            last: Some(ReconcileFigures {
                started_at_ms: 7_000,
                duration_ms: 1_250,
                planned: 1,
                applied: 0,
                failed: 1,
                unchanged: 0,
                last_success_at_ms: Some(6_000),
                items: vec![ItemFigures { source: Some("a\"b".into()), outcome: ItemOutcome::Failed, error: None }],
            }),
            refused: None,
        }),
        declared: Some(vec!["a\"b".into()]),
        circuits: Some(vec![
            CircuitRow { state: CircuitState::Open, ..CircuitRow::new("a\"b", None, None, 0) },
            CircuitRow { state: CircuitState::Closed, ..CircuitRow::new("c", None, None, 0) },
        ]),
        health: Some(Health {
            evaluated_at_ms: Some(4_000),
            sources: [
                ("a\"b".into(), SourceHealth { activity: Verdict::Silent, expected: true }),
                ("new".into(), SourceHealth { activity: Verdict::Unknown, expected: false }),
            ]
            .into(),
            alerts: vec![Open { kind: Kind::Silence, source: Some("a\"b".into()), since_ms: 1 }],
            notices_waiting: 2,
        }),
        missing: vec![],
        configuration: vec![],
    }
}

#[test]
fn the_five_fields_and_the_accounts_are_in_the_json() {
    let json = serde_json::to_value(snapshot().json()).unwrap();
    assert_eq!(json["totalRequests"], 4);
    assert_eq!(json["successfulDeliveries"], 2);
    assert_eq!(json["failedDeliveries"], 2);
    assert_eq!(json["averageLatencyMs"], 3.0);
    assert_eq!(json["totalLatencyMs"], 12);
    assert_eq!(json["accounting"]["pending"], 1);
    assert_eq!(json["accounting"]["queued"], 0);
    assert_eq!(json["refusedByReason"]["invalid_json"], 1);
    assert_eq!(json["sources"]["a\"b"]["delivered"], 1);
    assert_eq!(json["sources"]["a\"b"]["lastDeliveryAtMs"], 8_000);
    assert_eq!(json["vendorRequests"]["webhooks"]["429"], 1);
    assert_eq!(json["flushFailures"], 5);
    assert_eq!(json["queues"]["deliveries"]["oldestAtMs"], 2_500);
    assert_eq!(json["health"]["sources"]["a\"b"]["activity"], "silent");
    assert_eq!(json["reconcile"]["lastSuccessAtMs"], 6_000);
}

#[test]
fn the_text_has_every_family_with_escaped_labels() {
    let text = snapshot().open_metrics();
    for line in [
        "# TYPE genesys_gateway_requests counter",
        r#"genesys_gateway_requests_total{source="a\"b",outcome="accepted"} 2"#,
        r#"genesys_gateway_refused_total{source="a\"b",reason="invalid_json"} 1"#,
        r#"genesys_gateway_pending{source="a\"b",place="destination"} 1.0"#,
        r#"genesys_gateway_readmitted_total{source="a\"b"} 0"#,
        r#"genesys_gateway_revived_total{source="a\"b"} 0"#,
        r#"genesys_gateway_oldest_pending_received_timestamp_seconds{source="a\"b"} 1.5"#,
        r#"genesys_gateway_answer_latency_seconds_bucket{le="0.005",source="a\"b"} 2"#,
        r#"genesys_gateway_answer_latency_seconds_bucket{le="+Inf",source="a\"b"} 3"#,
        r#"genesys_gateway_answer_latency_seconds_count{source="a\"b"} 3"#,
        r#"genesys_gateway_dead_letters{reason="invalid_json"} 1.0"#,
        "genesys_gateway_oldest_dead_letter_timestamp_seconds 0.5",
        r#"genesys_gateway_last_request_timestamp_seconds{source="a\"b"} 9.0"#,
        r#"genesys_gateway_last_delivery_timestamp_seconds{source="a\"b"} 8.0"#,
        r#"genesys_gateway_subscription_changes_total{source="a\"b",action="update",outcome="applied"} 1"#,
        r#"genesys_gateway_vendor_requests_total{api="webhooks",status="429"} 1"#,
        r#"genesys_gateway_token_refreshes_total{outcome="ok"} 4"#,
        // What has not happened yet begins at zero, so that its first time is seen.
        r#"genesys_gateway_token_refreshes_total{outcome="failed"} 0"#,
        r#"genesys_gateway_alert_notices_sent_total{outcome="delivered"} 0"#,
        r#"genesys_gateway_queue_backlog_messages{queue="deliveries"} 3.0"#,
        r#"genesys_gateway_queue_oldest_message_timestamp_seconds{queue="deliveries"} 2.5"#,
        "genesys_gateway_reconcile_last_success_timestamp_seconds 6.0",
        r#"genesys_gateway_subscription_state{source="a\"b",state="unrepaired"} 1.0"#,
        r#"genesys_gateway_subscription_state{source="a\"b",state="as_declared"} 0.0"#,
        r#"genesys_gateway_source_silent{source="a\"b"} 1.0"#,
        r#"genesys_gateway_circuit_state{source="a\"b",state="open"} 1.0"#,
        r#"genesys_gateway_circuit_state{source="c",state="closed"} 1.0"#,
        r#"genesys_gateway_circuit_state{source="c",state="open"} 0.0"#,
        r#"genesys_gateway_alerts_raised{kind="silence"} 1.0"#,
        r#"genesys_gateway_alerts_raised{kind="circuit_open"} 0.0"#,
        "genesys_gateway_alert_notices_waiting 2.0",
        r#"genesys_gateway_alert_notices_sent_total{outcome="failed"} 2"#,
        "genesys_gateway_watch_evaluated_timestamp_seconds 4.0",
        "genesys_gateway_counter_flush_failures_total 5",
        "genesys_gateway_audit_entries_lost_total 0",
        "genesys_gateway_configuration_valid 1.0",
        r#"genesys_gateway_build_info{version="1.2.3"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains(r#"source_silent{source="new"}"#), "what is unknown is not said");
}

#[test]
fn what_did_not_answer_is_absent_and_never_zero() {
    let snapshot = Snapshot { letters: None, health: None, reconcile: None, queues: BTreeMap::new(), ..snapshot() };
    let text = snapshot.open_metrics();
    for family in ["dead_letters", "alerts_raised", "source_silent", "reconcile_", "subscription_state", "queue_"] {
        assert!(!text.contains(&format!("genesys_gateway_{family}")), "{family} in\n{text}");
    }
}

/// What each source settled, as the printed text says it.
fn printed_value(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("genesys_gateway_{series} ")));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[test]
fn a_replay_lets_no_counter_fall_and_the_printed_accounts_add_up() {
    let of = |totals: RowTotals| {
        let series = |metric, n| (Series(metric, "a".into(), String::new()), n);
        let counters =
            vec![Totals { series: vec![series(Metric::Received, 6), series(Metric::Accepted, 6)], seen: vec![] }];
        let destinations = vec![("a".into(), status(totals))];
        Snapshot { sources: by_source(&Collected { counters, destinations }), ..snapshot() }
    };
    let before = of(RowTotals { delivered: 3, died: 3, ..RowTotals::default() });
    // Two of the dead are replayed, one of them has been delivered; so has a refused one that was let in.
    let totals = RowTotals { delivered: 5, died: 3, revived: 2, readmitted: 1, waiting: 1, ..RowTotals::default() };
    let after = of(totals);
    let texts = [before.open_metrics(), after.open_metrics()];
    for (name, values) in [
        (r#"deliveries_total{source="a",outcome="dead"}"#, [3, 3]),
        (r#"deliveries_total{source="a",outcome="delivered"}"#, [3, 5]),
        (r#"revived_total{source="a"}"#, [0, 2]),
        (r#"readmitted_total{source="a"}"#, [0, 1]),
    ] {
        assert_eq!(texts.each_ref().map(|text| printed_value(text, name)), values, "{name}");
    }
    let json = serde_json::to_value(after.json()).unwrap();
    let sum = |fields: &[&str]| fields.iter().map(|field| json["accounting"][field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(&["accepted", "readmitted"]), 7);
    assert_eq!(sum(&["accepted", "readmitted"]), sum(&["delivered", "duplicate", "pending", "dead"]));
    assert_eq!(sum(&["revived"]), 2);
}

#[test]
fn a_counter_that_lacks_a_part_is_left_out_and_the_gap_is_told() {
    let families = |missing: &[&str]| {
        let missing = missing.iter().map(ToString::to_string).collect();
        let text = Snapshot { missing, ..snapshot() }.open_metrics();
        text.lines()
            .filter_map(|line| line.strip_prefix("# TYPE genesys_gateway_")?.split(' ').next().map(ToOwned::to_owned))
            .collect::<BTreeSet<String>>()
    };
    let all = families(&[]);
    let without = |missing: &[&str]| all.difference(&families(missing)).cloned().collect::<Vec<String>>();
    let of_ledgers = [
        "deliveries",
        "delivery_retries",
        "oldest_pending_received_timestamp_seconds",
        "pending",
        "readmitted",
        "revived",
    ];
    assert_eq!(without(&["destination a"]), of_ledgers);
    let of_counters = without(&["counters-0"]);
    for family in [
        "requests",
        "unavailable",
        "answer_latency_seconds",
        "vendor_requests",
        "token_refreshes",
        "pending",
        "audit_entries_lost",
        "counter_flush_failures",
        "alert_notices_sent",
        "last_delivery_timestamp_seconds",
    ] {
        assert!(of_counters.iter().any(|left_out| left_out == family), "{family}");
    }
    // Every counter comes from the one or the other.
    let neither = families(&["destination a", "counters-0"]);
    for family in
        ["objects_missing", "dead_letters", "build", "source_silent", "configuration_valid", "queue_backlog_bytes"]
    {
        assert!(neither.contains(family), "{family}");
    }
    let text = Snapshot { missing: vec!["destination a".into(), "counters-0".into()], ..snapshot() }.open_metrics();
    assert!(!text.contains(" counter\n") && !text.contains(" histogram\n"), "{text}");
    assert!(text.contains("genesys_gateway_objects_missing 2.0\n"));
    assert_eq!(without(&["watch"]), Vec::<String>::new());
}

#[test]
fn a_configuration_that_cannot_be_read_is_a_zero_of_its_own() {
    let broken = Snapshot { declared: None, circuits: None, ..snapshot() };
    assert!(broken.open_metrics().contains("genesys_gateway_configuration_valid 0.0\n"));
    assert_eq!(serde_json::to_value(broken.json()).unwrap()["configurationValid"], false);
}

#[test]
fn an_independent_parser_reads_both_texts() {
    use openmetrics_parser::{OpenMetricsType, PrometheusType};
    let snapshot = snapshot();
    let open = openmetrics_parser::openmetrics::parse_openmetrics(&snapshot.open_metrics()).unwrap();
    let classic = openmetrics_parser::prometheus::parse_prometheus(&snapshot.prometheus_text()).unwrap();
    assert_eq!(open.families.len(), snapshot.families().iter().filter(|family| !family.samples.is_empty()).count());
    assert_eq!(open.families.len(), classic.families.len());
    for (name, family) in &open.families {
        assert!(!family.help.is_empty(), "{name}");
        let (end, kind) = match family.family_type {
            OpenMetricsType::Counter => ("_total", PrometheusType::Counter),
            OpenMetricsType::Info => ("_info", PrometheusType::Gauge),
            OpenMetricsType::Histogram => ("", PrometheusType::Histogram),
            _ => ("", PrometheusType::Gauge),
        };
        let other = classic.families.get(&format!("{name}{end}")).unwrap_or_else(|| panic!("no {name}{end}"));
        assert_eq!((&other.help, &other.family_type), (&family.help, &kind), "{name}");
        assert_eq!(other.iter_samples().count(), family.iter_samples().count(), "{name}");
    }
    let sources: Vec<_> = open.families["genesys_gateway_events"].iter_samples().collect();
    assert_eq!(sources[0].get_labelset().unwrap().get_label_value("source"), Some("a\"b"));
    for spoiled in [("# EOF\n", ""), ("events_total", "events"), ("# TYPE", "# TIPE")] {
        let text = snapshot.open_metrics().replace(spoiled.0, spoiled.1);
        assert!(openmetrics_parser::openmetrics::parse_openmetrics(&text).is_err(), "{spoiled:?}");
    }
}

/// Names of the series that are printed, without the suffixes that histograms give theirs.
fn printed() -> BTreeSet<String> {
    let text = snapshot().open_metrics();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// Names of series that a text uses.
fn used(text: &str) -> BTreeSet<String> {
    let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    names.filter(|name| name.starts_with("genesys_gateway_")).map(ToOwned::to_owned).collect()
}

#[test]
fn the_dashboard_and_the_rules_use_names_that_are_printed() {
    let printed = printed();
    let dashboard = include_str!("../../../../deploy/grafana-dashboard.json");
    let rules = include_str!("../../../../deploy/prometheus-rules.yml");
    serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
    for (file, text) in [("the dashboard", dashboard), ("the rules", rules)] {
        let used = used(text);
        assert!(used.len() > 10, "{file} uses {used:?}");
        let unknown: Vec<&String> = used.difference(&printed).collect();
        assert!(unknown.is_empty(), "{file} uses names that nobody prints: {unknown:?}");
    }
    // And nothing is measured that nobody looks at.
    let shown: BTreeSet<String> = used(dashboard).union(&used(rules)).cloned().collect();
    let base = |name: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<String> = shown.iter().map(|name| base(name)).collect();
    let unseen: Vec<&String> = printed.iter().filter(|name| !shown.contains(&base(name))).collect();
    assert!(unseen.is_empty(), "printed and in no panel or rule: {unseen:?}");
}

#[test]
fn the_watch_is_told_what_is_known_and_nothing_else() {
    let told = snapshot().observation();
    assert_eq!(told.deliveries, [("a\"b".into(), 8_000)].into());
    let conditions = told.conditions;
    assert_eq!((conditions.dead_letters, conditions.not_quarantined), (Some(1), Some(0)));
    let own = Some(vec!["a\"b".to_owned()]);
    assert_eq!((conditions.unrepaired, conditions.open_circuits), (own.clone(), own));
    let unknown = Some(vec![CircuitRow::new("a", None, None, 0)]);
    let blind = Snapshot {
        letters: None,
        reconcile: None,
        circuits: unknown,
        missing: vec!["counters-3".into()],
        ..snapshot()
    };
    let told = blind.observation();
    assert_eq!((told.conditions, told.incomplete), (crate::monitor::alerts::Conditions::default(), true));
    // The circuits that were asked are closed; a ledger did not answer, so perhaps others should have been asked.
    let part = Snapshot { circuits: Some(vec![]), missing: vec!["destination b".into()], ..snapshot() };
    let told = part.observation();
    assert_eq!((told.conditions.open_circuits, told.incomplete), (None, false));
}

#[test]
fn health_shows_every_configured_source() {
    let config = Config::parse(
        r#"{"region":"mypurecloud.ie","public_url":"https://hooks.example.com","sources":[
        {"name":"a","profile":"webhooks","secrets":["A"],"subscription":{"name":"n","event_types":["call:created"]}},
        {"name":"b","profile":"webhooks","secrets":["B"]}]}"#,
    );
    let config = config.unwrap();
    let rename = |text: String| text.replace(r#"a\"b"#, "a");
    let mut snapshot = Snapshot { declared: Some(vec!["a".into()]), ..snapshot() };
    let account = snapshot.sources.remove("a\"b").unwrap();
    snapshot.sources.insert("a".into(), account);
    let run = snapshot.reconcile.as_mut().and_then(|known| known.last.as_mut());
    if let (Some(health), Some(run)) = (&mut snapshot.health, run) {
        let text = rename(serde_json::to_string(health).unwrap());
        *health = serde_json::from_str(&text).unwrap();
        run.items[0].source = Some("a".into());
    }
    let json = serde_json::to_value(HealthJson::new(&snapshot, &config)).unwrap();
    assert_eq!(
        json["sources"]["a"],
        serde_json::json!({"lastRequestAtMs": 9_000, "lastDeliveryAtMs": 8_000, "activity": "silent", "expected": true,
            "subscription": {"state": "unrepaired"}, "alerts": [{"kind": "silence", "source": "a", "sinceMs": 1}]})
    );
    assert_eq!(
        json["sources"]["b"],
        serde_json::json!({"lastRequestAtMs": null, "lastDeliveryAtMs": null, "activity": "unknown", "expected": false,
            "subscription": null, "alerts": []})
    );
    assert_eq!((&json["noticesWaiting"], &json["evaluatedAtMs"]), (&2.into(), &4_000.into()));
    // Whatever the last run has left: nobody looks after it any more.
    if let Some(known) = &mut snapshot.reconcile {
        known.refused = Some(RefusedRuns { since_ms: 8_000, code: "missing_secret".into() });
    }
    let json = serde_json::to_value(HealthJson::new(&snapshot, &config)).unwrap();
    let refused = serde_json::json!({"state": "unrepaired", "error": "missing_secret"});
    assert_eq!(json["sources"]["a"]["subscription"], refused);
    assert_eq!(serde_json::to_value(snapshot.json()).unwrap()["reconcileRefused"]["sinceMs"], 8_000);
    assert!(snapshot.open_metrics().contains(r#"subscription_state{source="a",state="unrepaired"} 1.0"#));
    assert_eq!(snapshot.observation().conditions.unrepaired, Some(vec!["a".into()]));
    snapshot.reconcile = Some(Reconciled::default());
    assert_eq!(snapshot.observation().conditions.unrepaired, None, "before the first run nothing is known");
}
