//! `Retry-After`: seconds, or an HTTP date in the one form that senders may generate (IMF-fixdate, RFC 9110 §5.6.7).

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How long a `Retry-After` value asks to wait from now, in milliseconds; none when it cannot be read. A date in the
/// past is 0.
pub fn retry_after_ms(value: &str, now_ms: u64) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large to read is certainly longer than anybody waits.
        return Some(value.parse::<u64>().map_or(u64::MAX, |seconds| seconds.saturating_mul(1_000)));
    }
    imf_fixdate_ms(value).map(|then_ms| then_ms.saturating_sub(now_ms))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as milliseconds since the epoch. The name of the day is not checked against the
/// date.
fn imf_fixdate_ms(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year) = (digits(parts.next()?, 2)?, parts.next()?, digits(parts.next()?, 4)?);
    let mut time = parts.next()?.split(':');
    let (hour, minute, second) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    if parts.next()? != "GMT" || parts.next().is_some() || time.next().is_some() {
        return None;
    }
    let month = u64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()?.checked_add(1)?;
    // 60 is a leap second.
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 || year < 1970 {
        return None;
    }
    let days = days_since_epoch(year, month, day)?;
    days.checked_mul(24)?
        .checked_add(hour)?
        .checked_mul(60)?
        .checked_add(minute)?
        .checked_mul(60)?
        .checked_add(second)?
        .checked_mul(1_000)
}

fn digits(text: &str, length: usize) -> Option<u64> {
    (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days of the proleptic Gregorian calendar since 1970-01-01. The year is counted from March, so that the leap day is
/// its last.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month_from_march) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    // (153 m + 2) / 5 is the number of days before month m of a year that starts in March.
    let before_month = month_from_march.checked_mul(153)?.checked_add(2)? / 5;
    // 719,468 days lie between 0000-03-01 and 1970-01-01; the day of the month starts at 1.
    year.checked_mul(365)?.checked_add(leap_days)?.checked_add(before_month)?.checked_add(day)?.checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::{imf_fixdate_ms, retry_after_ms};
    use proptest::prelude::*;

    #[test]
    fn dates_are_read() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Sun, 28 Feb 2100 00:00:00 GMT", 4_107_456_000),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            assert_eq!(imf_fixdate_ms(text), Some(seconds * 1_000), "{text}");
        }
    }

    #[test]
    fn what_is_no_imf_fixdate_is_not_guessed_at() {
        for text in [
            "",
            "soon",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "-1",
            "1.5",
            "+5",
        ] {
            assert_eq!(retry_after_ms(text, 0), None, "{text}");
        }
    }

    #[test]
    fn seconds_and_dates_give_the_wait_from_now() {
        assert_eq!(retry_after_ms(" 7 ", 99), Some(7_000));
        assert_eq!(retry_after_ms("99999999999999999999999", 0), Some(u64::MAX));
        let now_ms = 784_111_777_000;
        assert_eq!(retry_after_ms("Sun, 06 Nov 1994 08:49:40 GMT", now_ms), Some(3_000));
        assert_eq!(retry_after_ms("Sun, 06 Nov 1994 08:49:30 GMT", now_ms), Some(0));
    }

    proptest! {
        #[test]
        fn no_value_panics(text in "\\PC*", now_ms in any::<u64>()) {
            let _ = retry_after_ms(&text, now_ms);
        }

        #[test]
        fn no_near_date_panics(text in "Sun, [0-9]{1,3} (Jan|Feb|Dec) [0-9]{1,5} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT", now_ms in any::<u64>()) {
            let _ = retry_after_ms(&text, now_ms);
        }
    }
}
