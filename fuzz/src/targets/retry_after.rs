//! Dates and times that others write: `Retry-After`, RFC 3339 in the configuration, queries of the management API.
//!
//! Input: the text; the first eight bytes are also the time at which it is read.

use gateway_core::query::Query;
use gateway_core::receive::networks as lists;
use gateway_core::time::{DAY_MS, parse_rfc3339, rfc3339};
use genesys_client::retry::{AttemptFailure, Decision, RetryPolicy, retry_after_ms};
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

/// Judges one input; always `true`.
pub fn run(input: &[u8]) -> bool {
    let now_ms = input.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let text = String::from_utf8_lossy(input);
    waits(&text, now_ms);
    times(&text, now_ms);
    networks(&text);
    let query = Query::parse(&text);
    assert!(query.problem(&["source"]).is_some() || query.text("limit").is_none(), "{text:?}");
    true
}

fn waits(text: &str, now_ms: u64) {
    let from_the_beginning = retry_after_ms(text, 0);
    let wait_ms = retry_after_ms(text, now_ms);
    assert_eq!(from_the_beginning.is_some(), wait_ms.is_some(), "{text:?}");
    let Some(then_ms) = from_the_beginning else { return };
    let value = text.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: u128 = value.parse().unwrap_or(u128::MAX);
        let expected = u64::try_from(seconds.saturating_mul(1_000)).unwrap_or(u64::MAX);
        assert_eq!((Some(expected), Some(expected)), (from_the_beginning, wait_ms));
    } else {
        assert_eq!(wait_ms, Some(then_ms.saturating_sub(now_ms)));
        // The same moment in the form of today is read the same.
        let written = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(then_ms));
        assert_eq!(retry_after_ms(&written, 0), Some(then_ms), "{value:?} as {written:?}");
    }
    let failure = AttemptFailure::Status { status: 429, retry_after_ms: wait_ms };
    let policy = RetryPolicy::default();
    if let Decision::WaitMs(ms) = policy.decide(0, failure, 0, now_ms) {
        assert!(ms <= policy.max_total_ms && Some(ms) >= wait_ms, "{ms} for {wait_ms:?}");
    }
}

fn times(text: &str, now_ms: u64) {
    if let Some(time_ms) = parse_rfc3339(text) {
        assert_eq!(parse_rfc3339(&rfc3339(time_ms)), Some(time_ms), "{text:?}");
    }
    let now_ms = now_ms % (DAY_MS * 365 * 8_000);
    assert_eq!(parse_rfc3339(&rfc3339(now_ms)), Some(now_ms));
}

fn networks(text: &str) {
    if let Ok(network) = lists::parse(text) {
        let address = text.split('/').next().unwrap_or_default();
        let is_mapped = matches!(address.parse(), Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some());
        assert!(lists::allows(&[network], address) || is_mapped, "{text:?} does not hold itself");
    }
    assert!(!lists::allows(&[], text));
}
