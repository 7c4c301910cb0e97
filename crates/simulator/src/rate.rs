//! Fixed windows of requests, by token: the vendor's rate limit.

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateWindow {
    started_ms: u64,
    count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Requests in this window, this one included.
    pub(crate) count: u64,
    pub(crate) allowed: u64,
    /// Seconds until the window ends, rounded up, at least 1.
    pub(crate) reset_s: u64,
}

impl Standing {
    pub(crate) fn is_over(&self) -> bool {
        self.count > self.allowed
    }
}

impl RateWindow {
    /// Counts a request. The window starts with the first request after the last one ended.
    pub(crate) fn count(&mut self, allowed: u64, window_ms: u64, now_ms: u64) -> Standing {
        if self.count == 0 || now_ms.saturating_sub(self.started_ms) >= window_ms {
            *self = Self { started_ms: now_ms, count: 0 };
        }
        self.count += 1;
        let left_ms = self.started_ms.saturating_add(window_ms).saturating_sub(now_ms);
        Standing { count: self.count, allowed, reset_s: left_ms.div_ceil(1_000).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::{RateWindow, Standing};

    #[test]
    fn a_window_allows_its_number_and_starts_anew() {
        let mut window = RateWindow::default();
        assert_eq!(window.count(2, 60_000, 5_000), Standing { count: 1, allowed: 2, reset_s: 60 });
        assert!(!window.count(2, 60_000, 6_500).is_over());
        let third = window.count(2, 60_000, 6_500);
        assert!(third.is_over() && third.reset_s == 59);
        assert!(!window.count(2, 60_000, 65_000).is_over());
    }
}
