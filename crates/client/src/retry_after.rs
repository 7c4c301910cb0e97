//! `Retry-After`: seconds, or an HTTP date in one of its three forms (RFC 9110, section 5.6.7).

use std::time::SystemTime;

/// How long a `Retry-After` value asks to wait from now, in milliseconds; none when it cannot be read. A date in the
/// past is 0.
pub fn retry_after_ms(value: &str, now_ms: u64) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large to read is certainly longer than any caller waits.
        return Some(value.parse::<u64>().map_or(u64::MAX, |seconds| seconds.saturating_mul(1_000)));
    }
    let then = httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(then.as_secs().saturating_mul(1_000).saturating_sub(now_ms))
}

#[cfg(test)]
mod tests {
    use super::retry_after_ms;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_a_date_is_read() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            assert_eq!(retry_after_ms(text, 0), Some(seconds * 1_000), "{text}");
        }
    }

    #[test]
    fn what_is_no_wait_is_not_guessed_at() {
        for text in [
            "",
            "soon",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
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
