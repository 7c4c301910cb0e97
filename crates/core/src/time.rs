//! Calendar time for what people read: timestamps of the audit trail, dates in keys, expiry dates in the configuration.
//!
//! Promises: UTC only, milliseconds since the Unix epoch in and out, years 1970 to 9999. Out of scope: time zones other
//! than a numeric offset.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

pub const DAY_MS: u64 = 86_400_000;
pub const HOUR_MS: u64 = 3_600_000;
pub const MINUTE_MS: u64 = 60_000;

/// The last millisecond of the year 9999, the latest that the four-digit form can write.
const LATEST_MS: u64 = 253_402_300_799_999;

/// Later than the year 9999 counts as its last millisecond.
fn utc(time_ms: u64) -> OffsetDateTime {
    let ms = i64::try_from(time_ms.min(LATEST_MS)).unwrap_or_default();
    OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::milliseconds(ms))
}

/// `2026-11-23T19:02:03.004Z`.
pub fn rfc3339(time_ms: u64) -> String {
    let (time, date) = (utc(time_ms), date(time_ms, '-'));
    format!("{date}T{:02}:{:02}:{:02}.{:03}Z", time.hour(), time.minute(), time.second(), time.millisecond())
}

/// `2026/11/23`, for keys.
pub fn date_path(time_ms: u64) -> String {
    date(time_ms, '/')
}

fn date(time_ms: u64, separator: char) -> String {
    let time = utc(time_ms);
    format!("{:04}{separator}{:02}{separator}{:02}", time.year(), u8::from(time.month()), time.day())
}

/// Reads RFC 3339 (`2026-12-01T00:00:00Z`, with a fraction and a numeric offset if need be). `None` where it is not
/// one, or outside of 1970 to 9999. Digits beyond the millisecond are cut off.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let seconds = u64::try_from(time.unix_timestamp()).ok()?;
    Some(seconds.saturating_mul(1000).saturating_add(time.millisecond().into())).filter(|ms| *ms <= LATEST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_points_of_time_are_written_and_read() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_614_265_330_123, "2021-02-25T15:02:10.123Z"),
            (LATEST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!((rfc3339(time_ms).as_str(), parse_rfc3339(text)), (text, Some(time_ms)));
        }
        assert_eq!(rfc3339(u64::MAX), rfc3339(LATEST_MS));
        assert_eq!(date_path(1_614_265_330_123), "2021/02/25");
        assert_eq!(parse_rfc3339("2021-02-25T16:32:10.1239+01:30"), Some(1_614_265_330_123));
        assert_eq!(parse_rfc3339("2021-02-25t15:02:10z"), Some(1_614_265_330_000));
    }

    #[test]
    fn what_is_no_time_of_those_years_is_refused() {
        for text in [
            "",
            "2021-02-25",
            "2021-02-29T00:00:00Z",
            "2021-02-25T24:00:00Z",
            "2021-02-25T23:59:60Z",
            "2021-02-25T15:02:10",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(time_ms in 0..=LATEST_MS) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(time_ms)), Some(time_ms));
        }
    }
}
