//! Latencies in buckets of about 3 % width: constant memory for any number of them.

/// Buckets for each power of two.
const STEPS: u64 = 32;

/// Room for values up to 2^40 µs, twelve days.
const BUCKETS: usize = 40 * 32;

#[derive(Clone, Debug)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum_us: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum_us: 0, max_us: 0 }
    }
}

/// Values below [`STEPS`] have a bucket each; above, each power of two has [`STEPS`] of them.
fn bucket(us: u64) -> usize {
    let power = u64::from(us.max(1).ilog2());
    let steps_power = u64::from(STEPS.ilog2());
    let index = if power < steps_power {
        us
    } else {
        (power - steps_power + 1) * STEPS + (us >> (power - steps_power)) - STEPS
    };
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper_us(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS { index } else { ((index % STEPS + STEPS + 1) << (index / STEPS - 1)) - 1 }
}

impl Histogram {
    pub(super) fn add(&mut self, us: u64) {
        self.buckets[bucket(us)] += 1;
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    /// The value in milliseconds below or at which a share of `quantile` (0 to 1) of the values lie.
    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= quantile * self.count as f64 {
                return upper_us(index).min(self.max_us) as f64 / 1_000.0;
            }
        }
        0.0
    }

    pub(super) fn mean_ms(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_us as f64 / self.count as f64 / 1_000.0 }
    }

    pub(super) fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1_000.0
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, upper_us};

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_narrow() {
        for us in (0..5_000).chain([10_000, 123_456, 10_000_000, 1 << 39]) {
            let index = bucket(us);
            assert!(us <= upper_us(index) && (index == 0 || us > upper_us(index - 1)), "{us}");
            assert!((upper_us(index) - us) as f64 <= us as f64 / 32.0, "{us}");
        }
    }

    #[test]
    fn quantiles_of_a_ramp_are_where_they_belong() {
        let mut histogram = Histogram::default();
        assert!(histogram.quantile_ms(0.5).abs() < f64::EPSILON);
        (1..=1_000).for_each(|ms| histogram.add(ms * 1_000));
        for (quantile, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = histogram.quantile_ms(quantile);
            assert!((expected..=expected * 1.032).contains(&found), "{quantile}: {found}");
        }
        assert!((histogram.mean_ms() - 500.5).abs() < 1e-9);
    }
}
