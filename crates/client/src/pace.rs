//! Pacing by the vendor's `inin-ratelimit-*` headers, so that a long run slows down before it is refused.
//!
//! `inin-ratelimit-count` requests of `inin-ratelimit-allowed` were used, and the window ends in `inin-ratelimit-reset`
//! seconds. The headers are optional.
//!
//! Promise: no wait is longer than a window, even with senseless headers. Out of scope: 429 and `Retry-After`, see
//! [`crate::retry`].

use crate::transport::HttpResponse;

/// From this share of the allowance (one tenth) on, the remaining requests are spread over the rest of the window.
const RESERVE_DIVISOR: u64 = 10;

/// Longest window that is believed. The vendor's is a minute.
const MAX_WINDOW_MS: u64 = 180_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    remaining: u64,
    reserve: u64,
    ends_at_ms: u64,
}

impl Pace {
    pub fn observe(&mut self, response: &HttpResponse, now_ms: u64) {
        let number = |name| response.header(name).and_then(|value| value.trim().parse::<u64>().ok());
        if let (Some(count), Some(allowed), Some(reset_s)) =
            (number("inin-ratelimit-count"), number("inin-ratelimit-allowed"), number("inin-ratelimit-reset"))
        {
            self.remaining = allowed.saturating_sub(count);
            self.reserve = allowed / RESERVE_DIVISOR;
            self.ends_at_ms = now_ms.saturating_add(reset_s.saturating_mul(1_000).min(MAX_WINDOW_MS));
        }
    }

    /// How long to wait before the next request, which is counted as sent.
    pub fn next_wait_ms(&mut self, now_ms: u64) -> u64 {
        let left_ms = self.ends_at_ms.saturating_sub(now_ms);
        if left_ms == 0 || self.remaining > self.reserve {
            self.remaining = self.remaining.saturating_sub(1);
            return 0;
        }
        let wait_ms = left_ms.checked_div(self.remaining.saturating_add(1)).unwrap_or(left_ms);
        self.remaining = self.remaining.saturating_sub(1);
        wait_ms
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use crate::transport::HttpResponse;

    fn answer(count: &str, allowed: &str, reset: &str) -> HttpResponse {
        HttpResponse {
            status: 200,
            headers: [
                ("ININ-RateLimit-Count", count),
                ("inin-ratelimit-allowed", allowed),
                ("inin-ratelimit-reset", reset),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            body: Vec::new(),
        }
    }

    #[test]
    fn the_last_tenth_is_spread_over_the_window() {
        for (headers, wait_ms) in [
            (None, 0),
            (Some(("269", "300", "60")), 0),
            (Some(("270", "300", "31")), 1_000),
            (Some(("300", "300", "20")), 20_000),
            (Some(("x", "300", "60")), 0),
            (Some(("500", "300", "18446744073709551615")), 180_000),
        ] {
            let mut pace = Pace::default();
            assert_eq!(pace.next_wait_ms(7), 0);
            let response =
                headers.map_or(HttpResponse::default(), |(count, allowed, reset)| answer(count, allowed, reset));
            pace.observe(&response, 7);
            assert_eq!(pace.next_wait_ms(7), wait_ms, "{headers:?}");
            assert_eq!(pace.next_wait_ms(180_007), 0, "the window is over");
        }
    }
}
