//! Which requests the API has answered: counts by route and status, and the latest ones in full.

use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

const KEPT: usize = 5_000;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRecord {
    /// When it arrived, ms since the epoch.
    pub at_ms: u64,
    pub method: String,
    pub target: String,
    /// The status, 0 when there was no answer: the connection was cut, or the caller left.
    pub status: u16,
    pub correlation_id: String,
    /// The ids of the faults that applied; empty for a caller that left.
    pub faults: Vec<u64>,
}

/// What is known of the requests to `/api` and `/oauth`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLog {
    pub total: u64,
    /// Counts by `METHOD /route/{id}` and status.
    pub by_route: BTreeMap<String, BTreeMap<u16, u64>>,
    /// The latest requests, oldest first: at most 5,000.
    pub latest: VecDeque<RequestRecord>,
}

#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<RequestLog>);

impl Requests {
    pub(crate) fn add(&self, route: &str, record: RequestRecord) {
        let mut log = self.0.lock();
        log.total += 1;
        *log.by_route.entry(format!("{} {route}", record.method)).or_default().entry(record.status).or_default() += 1;
        if log.latest.len() == KEPT {
            log.latest.pop_front();
        }
        log.latest.push_back(record);
    }

    pub(crate) fn log(&self) -> RequestLog {
        self.0.lock().clone()
    }

    pub(crate) fn reset(&self) {
        *self.0.lock() = RequestLog::default();
    }
}
