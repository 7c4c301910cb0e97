use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use strum::VariantArray as _;

#[test]
fn the_form_of_a_flush_is_pinned() {
    let call = CountersCall::Add(Flush {
        v: 1,
        isolate: "ab".into(),
        seq: 7,
        deltas: vec![(Series(Metric::Refused, "s".into(), "invalid_json".into()), 3)],
        at_ms: 9,
    });
    let json = r#"{"add":{"v":1,"isolate":"ab","seq":7,"deltas":[[["refused","s","invalid_json"],3]],"at_ms":9}}"#;
    assert_eq!(serde_json::to_string(&call).unwrap(), json);
    assert_eq!(serde_json::from_str::<CountersCall>(json).unwrap(), call);
}

#[test]
fn a_flush_tells_when_a_source_was_heard_of() {
    let mut buffer = CounterBuffer::new("i".into());
    buffer.add(Metric::Received, "a", "", 2);
    buffer.add(Metric::Accepted, "a", "", 1);
    buffer.add(Metric::Received, "b", "", 1);
    buffer.add(Metric::VendorRequest, "", "oauth:2xx", 1);
    assert_eq!(buffer.pending_requests(), 3);
    let seen = buffer.begin_flush(50).unwrap().seen();
    let of = |source: &str, delivery_ms| LastSeen { source: source.into(), request_ms: Some(50), delivery_ms };
    assert_eq!(seen, [of("a", Some(50)), of("b", None)]);
    assert_eq!(buffer.pending_requests(), 0);
}

#[test]
fn stored_names_are_those_that_are_sent() {
    for metric in Metric::VARIANTS {
        assert_eq!(serde_json::to_string(metric).unwrap(), format!("\"{}\"", metric.as_str()));
        assert_eq!(metric.as_str().parse(), Ok(*metric));
    }
}

#[test]
fn latencies_fall_into_the_first_bucket_that_holds_them() {
    for (bound, label) in LATENCY_BUCKETS {
        assert_eq!(latency_bucket(bound), label);
        assert!(label == bound.to_string() || (bound, label) == (u64::MAX, "inf"), "{label}");
    }
    assert_eq!([0, 10, 11, 10_001].map(latency_bucket), ["1", "10", "25", "inf"]);
}

#[test]
fn a_flush_whose_answer_never_came_is_repeated_after_its_lease() {
    let mut buffer = CounterBuffer::new("i".into());
    buffer.add(Metric::Received, "s", "", 1);
    let first = buffer.begin_flush(0).unwrap();
    buffer.add(Metric::Received, "s", "", 1);
    assert_eq!(buffer.begin_flush(FLUSH_LEASE_MS - 1), None);
    assert_eq!(buffer.begin_flush(FLUSH_LEASE_MS), Some(first.clone()));
    buffer.flushed(first.seq);
    let second = buffer.begin_flush(FLUSH_LEASE_MS).unwrap();
    assert_eq!((second.seq, second.deltas[0].1), (2, 1));
}

#[derive(Clone, Debug)]
enum IsolateStep {
    Add(u8, u64),
    Flush { arrives: bool, answered: bool },
    // A lost answer's lease runs out.
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<IsolateStep>> {
    let step = prop_oneof![
        (any::<u8>(), 1u64..5).prop_map(|(s, n)| IsolateStep::Add(s % 3, n)),
        (any::<bool>(), any::<bool>()).prop_map(|(arrives, answered)| IsolateStep::Flush { arrives, answered }),
        Just(IsolateStep::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever is lost on the way, the object counts everything once in the end.
    #[test]
    fn everything_is_counted_once(steps in steps()) {
        let mut buffer = CounterBuffer::new("i".into());
        let (mut object, mut taken_seq) = (BTreeMap::<Series, u64>::new(), 0);
        let mut truth = BTreeMap::<Series, u64>::new();
        let mut now_ms = 0;
        let mut run = |buffer: &mut CounterBuffer, now_ms, arrives, answered| {
            let Some(flush) = buffer.begin_flush(now_ms) else { return };
            if arrives && flush.seq > taken_seq {
                taken_seq = flush.seq;
                for (series, n) in &flush.deltas { *object.entry(series.clone()).or_default() += n; }
            }
            if answered { if arrives { buffer.flushed(flush.seq) } else { buffer.failed(flush.seq) } }
        };
        for step in steps {
            match step {
                IsolateStep::Add(s, n) => {
                    buffer.add(Metric::Received, &s.to_string(), "", n);
                    *truth.entry(Series(Metric::Received, s.to_string(), String::new())).or_default() += n;
                }
                IsolateStep::Flush { arrives, answered } => run(&mut buffer, now_ms, arrives, answered),
                IsolateStep::Wait => now_ms += FLUSH_LEASE_MS,
            }
        }
        for _ in 0..2 {
            now_ms += FLUSH_LEASE_MS;
            run(&mut buffer, now_ms, true, true);
        }
        prop_assert_eq!(object, truth);
    }
}
