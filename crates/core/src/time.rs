//! Calendar time for what people read: timestamps of the audit trail, dates in keys, expiry dates in the configuration.
//!
//! Promises: UTC only, milliseconds since the Unix epoch in and out, years 1970 to 9999. Out of scope: time zones other
//! than a numeric offset, leap seconds (a `:60` is refused).

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;

/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 3_600_000;

/// The last millisecond of the year 9999, the latest that the four-digit form can write.
const LATEST_MS: u64 = 253_402_300_799_999;

/// A point of time, taken apart in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1970 to 9999.
    pub year: u64,
    /// Month, 1 to 12.
    pub month: u64,
    /// Day of the month, from 1.
    pub day: u64,
    /// Milliseconds since midnight.
    pub of_day_ms: u64,
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Takes `time_ms` apart. Later than the year 9999 counts as its last millisecond.
pub fn civil(time_ms: u64) -> Civil {
    let time_ms = time_ms.min(LATEST_MS);
    let mut days = time_ms.div_euclid(DAY_MS);
    let mut year = 1970u64;
    // A 400-year cycle has 146,097 days; the rest is at most 400 turns.
    let cycles = days.div_euclid(146_097);
    year = year.saturating_add(cycles.saturating_mul(400));
    days = days.rem_euclid(146_097);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days = days.saturating_sub(length);
        year = year.saturating_add(1);
    }
    let mut month = 1u64;
    while days >= days_of_month(year, month) {
        days = days.saturating_sub(days_of_month(year, month));
        month = month.saturating_add(1);
    }
    Civil { year, month, day: days.saturating_add(1), of_day_ms: time_ms.rem_euclid(DAY_MS) }
}

/// `2026-11-23T19:02:03.004Z`.
pub fn rfc3339(time_ms: u64) -> String {
    let Civil { year, month, day, of_day_ms } = civil(time_ms);
    let (seconds, ms) = (of_day_ms.div_euclid(1000), of_day_ms.rem_euclid(1000));
    let (minutes, second) = (seconds.div_euclid(60), seconds.rem_euclid(60));
    let (hour, minute) = (minutes.div_euclid(60), minutes.rem_euclid(60));
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// `2026/11/23`, for keys.
pub fn date_path(time_ms: u64) -> String {
    let Civil { year, month, day, .. } = civil(time_ms);
    format!("{year:04}/{month:02}/{day:02}")
}

/// Reads RFC 3339 (`2026-12-01T00:00:00Z`, with a fraction and a numeric offset if need be). `None` where it is not
/// one, or outside of 1970 to 9999.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = (rest.get(..8)?, rest.get(8..)?);
    let [year, month, day] = split_numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = split_numbers(clock, ':', [2, 2, 2])?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if day < 1 || day > days_of_month(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_ms, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (digits, zone) = rest.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
            // Digits beyond the millisecond are cut off.
            let padded: String = digits.chars().chain("00".chars()).take(3).collect();
            (padded.parse::<u64>().ok()?, zone)
        }
    };
    let offset_minutes: i64 = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('+') { 1 } else { -1 };
            let [hours, minutes] = split_numbers(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            i64::try_from(hours.saturating_mul(60).saturating_add(minutes)).ok()?.saturating_mul(sign)
        }
    };
    let years: u64 = (1970..year).map(|y| if is_leap(y) { 366u64 } else { 365 }).sum();
    let months: u64 = (1..month).map(|m| days_of_month(year, m)).sum();
    let days = years.saturating_add(months).saturating_add(day).saturating_sub(1);
    let of_day_s = hour.saturating_mul(3600).saturating_add(minute.saturating_mul(60)).saturating_add(second);
    let local_ms =
        days.saturating_mul(DAY_MS).saturating_add(of_day_s.saturating_mul(1000)).saturating_add(fraction_ms);
    let utc_ms = i64::try_from(local_ms).ok()?.checked_sub(offset_minutes.saturating_mul(60_000))?;
    u64::try_from(utc_ms).ok().filter(|ms| *ms <= LATEST_MS)
}

fn split_numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_known_points_of_time() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_614_265_330_123, "2021-02-25T15:02:10.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (LATEST_MS, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(time_ms), text);
        }
        assert_eq!(date_path(1_614_265_330_123), "2021/02/25");
    }

    #[test]
    fn reads_offsets_and_fractions_and_refuses_the_rest() {
        assert_eq!(parse_rfc3339("2021-02-25T16:32:10.1239+01:30"), Some(1_614_265_330_123));
        assert_eq!(parse_rfc3339("2021-02-25t15:02:10z"), Some(1_614_265_330_000));
        for text in [
            "",
            "2021-02-25",
            "2021-02-29T00:00:00Z",
            "2021-13-01T00:00:00Z",
            "2021-02-25T24:00:00Z",
            "2021-02-25T23:59:60Z",
            "2021-02-25T15:02:10",
            "2021-02-25T15:02:10.Z",
            "2021-02-25T15:02:10+1:30",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2021-2-25T15:02:10Z",
            "+021-02-25T15:02:10Z",
            "日本語日本語日本語日本語",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(time_ms in 0..=LATEST_MS) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(time_ms)), Some(time_ms));
        }

        #[test]
        fn no_text_makes_it_fail(text in ".{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
