//! Which requests the API has answered: counts by route and status, and the latest ones in full.

use crate::lock::lock;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// How many requests are kept in full.
const KEPT: usize = 5_000;

/// One answered request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRecord {
    /// When it arrived, ms since the epoch.
    pub at_ms: u64,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The status, 0 when there was no answer: the connection was cut, or the caller left.
    pub status: u16,
    /// What `ININ-Correlation-Id` said.
    pub correlation_id: String,
    /// The ids of the faults that applied; empty for a caller that left.
    pub faults: Vec<u64>,
}

/// The log of requests to `/api` and `/oauth`.
#[derive(Debug, Default)]
pub struct Requests {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    total: u64,
    by_route: BTreeMap<String, BTreeMap<u16, u64>>,
    latest: VecDeque<RequestRecord>,
}

impl Requests {
    pub(crate) fn add(&self, route: &str, record: RequestRecord) {
        let mut inner = lock(&self.inner);
        inner.total += 1;
        *inner.by_route.entry(format!("{} {route}", record.method)).or_default().entry(record.status).or_default() += 1;
        if inner.latest.len() == KEPT {
            inner.latest.pop_front();
        }
        inner.latest.push_back(record);
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        lock(&self.inner).total
    }

    /// Counts by `METHOD /route/{id}` and status.
    pub fn by_route(&self) -> BTreeMap<String, BTreeMap<u16, u64>> {
        lock(&self.inner).by_route.clone()
    }

    /// The latest requests, oldest first: at most 5,000.
    pub fn latest(&self) -> Vec<RequestRecord> {
        lock(&self.inner).latest.iter().cloned().collect()
    }

    pub(crate) fn reset(&self) {
        *lock(&self.inner) = Inner::default();
    }
}
