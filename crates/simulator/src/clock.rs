//! The wall clock, and the forms in which the vendor and HTTP write times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the year 9999, in ms: no form here writes later years.
const LAST_MS: u64 = 253_402_300_799_000;

#[allow(clippy::disallowed_methods, reason = "a native program; the rule is for wasm, where this clock panics")]
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn system_time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))
}

/// `2025-06-10T21:03:05.427Z`, as the API writes times.
pub(crate) fn iso8601(ms: u64) -> String {
    humantime::format_rfc3339_millis(system_time(ms)).to_string()
}

/// The value of `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(seconds: u64, as_date: bool) -> String {
    if as_date {
        // A date has whole seconds: one more, so that it is never earlier than what was meant.
        let delay_ms = seconds.saturating_add(1).saturating_mul(1_000);
        httpdate::fmt_http_date(system_time(now_ms().saturating_add(delay_ms)))
    } else {
        seconds.to_string()
    }
}
