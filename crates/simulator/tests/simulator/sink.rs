//! The sink counts what arrives and fails as it was told.

use crate::support::{TestSimulator, start, start_with};
use base64::Engine as _;
use genesys_simulator::Behaviour;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

#[allow(clippy::disallowed_methods, reason = "a native test; signatures carry the time of day")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn post(running: &TestSimulator, id: &str, body: &str, key: &[u8], timestamp_s: u64) -> u16 {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(format!("{id}.{timestamp_s}.{body}").as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let request = running.request("POST", "/sink/a").body(body.to_owned()).header("webhook-id", id);
    let request =
        request.header("webhook-timestamp", timestamp_s).header("webhook-signature", format!("v1,{signature}"));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn repeats_and_signatures_are_counted() {
    let running = start().await;
    let sink = running.simulator.sink("a").unwrap();
    sink.set_secret(Some("whsec_c2VjcmV0".to_owned()));
    for (id, body, key, timestamp_s) in [
        ("m1", "one", &b"secret"[..], now_s()),
        ("m1", "one", b"secret", now_s()),
        ("m2", "two", b"another", now_s()),
        ("m3", "one", b"secret", now_s() - 1_000),
    ] {
        assert_eq!(post(&running, id, body, key, timestamp_s).await, 200);
    }
    running.request("POST", "/sink/a").body("bare").send().await.unwrap();
    let report = sink.report();
    assert_eq!((report.received, report.accepted, report.distinct_ids, report.distinct_digests), (5, 5, 3, 3));
    assert_eq!((report.duplicates, report.without_id), (1, 1));
    assert_eq!((report.good_signatures, report.bad_signatures, report.unsigned), (2, 2, 1));
    let repeated: Vec<u64> =
        sink.arrivals().iter().map(|arrival| arrival.received).filter(|count| *count > 1).collect();
    assert_eq!(repeated, [3]);
}

#[tokio::test]
async fn a_repeat_of_what_failed_is_no_duplicate() {
    let running = start().await;
    let sink = running.simulator.sink("a").unwrap();
    sink.behave(Behaviour { retry_after_s: Some(7), ..Behaviour::fail(503, 1) }).unwrap();
    sink.behave(Behaviour::fail(410, 1)).unwrap();
    let first = running.request("POST", "/sink/a").header("webhook-id", "m").body("x").send().await.unwrap();
    assert_eq!((first.status().as_u16(), first.headers()["retry-after"].to_str().unwrap()), (503, "7"));
    for expected in [410, 200, 200] {
        assert_eq!(post(&running, "m", "x", b"k", now_s()).await, expected);
    }
    let report = sink.report();
    assert_eq!((report.received, report.accepted, report.duplicates, report.accepted_digests), (4, 2, 1, 1));
    assert_eq!(report.answers.into_iter().collect::<Vec<_>>(), [(200, 2), (410, 1), (503, 1)]);
}

#[tokio::test]
async fn memory_is_bounded_and_the_overflow_is_counted() {
    let running = start_with(|config| config.max_sink_entries = 2).await;
    for number in 0..4 {
        post(&running, &format!("m{number}"), &format!("body {number}"), b"k", now_s()).await;
    }
    let report = running.simulator.sink("a").unwrap().report();
    assert_eq!((report.received, report.distinct_ids, report.distinct_digests, report.untracked), (4, 2, 2, 2));
}

#[tokio::test]
async fn a_cut_connection_is_counted_and_the_next_one_works() {
    let running = start().await;
    let sink = running.simulator.sink("a").unwrap();
    sink.behave(Behaviour { cut: true, ..Behaviour::fail(200, 1) }).unwrap();
    assert!(running.request("POST", "/sink/a").body("x").send().await.is_err());
    assert_eq!(post(&running, "m", "x", b"k", now_s()).await, 200);
    let report = sink.report();
    assert_eq!((report.received, report.accepted, report.answers[&0]), (2, 1, 1));
    assert_eq!(running.request("GET", "/sink/a").send().await.unwrap().status(), 204, "a probe is no delivery");
    assert_eq!(sink.report().received, 2);
}
