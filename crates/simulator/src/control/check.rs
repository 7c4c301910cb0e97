//! The question that a test of the whole path ends with: has everything that was accepted arrived?

use super::{Answer, ControlError};
use crate::sender::Outcome;
use crate::shared::Shared;
use crate::signature::{Digest, hex};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;

/// How many digests of each sort are listed.
const LISTED: usize = 100;

/// The sender's accepted deliveries against the arrivals of a sink, by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Different bodies that the receiver has accepted.
    pub accepted: usize,
    /// Of these, those that the sink has accepted.
    pub arrived: usize,
    /// Of these, those that it has not.
    pub missing: usize,
    /// The first 100 of the missing.
    pub missing_digests: Vec<String>,
    /// Bodies that the sink has accepted although the receiver never said that it had accepted them: legitimate after a timeout or a broken
    /// connection, wrong for what was refused.
    pub unexpected: usize,
    /// The first 100 of the unexpected.
    pub unexpected_digests: Vec<String>,
    /// Accepted requests of the sink beyond the first for the same body.
    pub repeated: u64,
    /// Deliveries or bodies that could not be remembered: above 0, the figures above are incomplete.
    pub untracked: u64,
}

/// Compares. Makes sense once the sender has stopped and the receiver has settled.
pub(crate) fn check(shared: &Shared, sink: &str) -> Option<Check> {
    let sink = shared.sinks.get(sink)?;
    let sent = shared.sender.records(|record| (record.outcome == Outcome::Accepted).then_some(record.digest));
    let sent: HashSet<Digest> = sent.into_iter().collect();
    let arrivals: Vec<_> = sink.arrivals().into_iter().filter(|arrival| arrival.accepted > 0).collect();
    let mut missing: Vec<String> =
        sent.iter().filter(|digest| !sink.has_accepted(digest)).map(|digest| hex(digest)).collect();
    let known: HashSet<String> = sent.iter().map(|digest| hex(digest)).collect();
    let mut unexpected: Vec<String> = arrivals
        .iter()
        .filter(|arrival| !known.contains(&arrival.digest))
        .map(|arrival| arrival.digest.clone())
        .collect();
    missing.sort();
    let (missing_count, unexpected_count) = (missing.len(), unexpected.len());
    missing.truncate(LISTED);
    unexpected.truncate(LISTED);
    Some(Check {
        accepted: sent.len(),
        arrived: sent.len() - missing_count,
        missing: missing_count,
        missing_digests: missing,
        unexpected: unexpected_count,
        unexpected_digests: unexpected,
        repeated: arrivals.iter().map(|arrival| arrival.accepted - 1).sum(),
        untracked: sink.report().untracked + shared.sender.state().records_dropped,
    })
}

/// `GET /control/check/{sink}`.
pub(super) async fn get(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Answer<Check> {
    check(&shared, &name).map(Json).ok_or_else(|| ControlError::not_found("too many sinks"))
}
