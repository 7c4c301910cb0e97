//! The question that a test of the whole path ends with: has everything that was accepted arrived?

use super::{ControlError, ControlResult};
use crate::sender::SendOutcome;
use crate::signature::Digest;
use crate::state::{Sim, SimulatorState};
use axum::Json;
use axum::extract::Path;
use serde::Serialize;
use std::collections::BTreeSet;

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
pub(crate) fn check(state: &SimulatorState, sink: &str) -> Option<Check> {
    let sink = state.sinks.get(sink)?;
    let sent = state.sender.records(|record| (record.outcome == SendOutcome::Accepted).then_some(record.digest));
    let sent: BTreeSet<Digest> = sent.into_iter().collect();
    let arrivals: Vec<_> = sink.arrivals().into_iter().filter(|arrival| arrival.accepted > 0).collect();
    let arrived: BTreeSet<Digest> = arrivals.iter().map(|arrival| arrival.digest).collect();
    let listed = |digests: &mut dyn Iterator<Item = &Digest>| digests.take(LISTED).map(hex::encode).collect();
    Some(Check {
        accepted: sent.len(),
        arrived: sent.intersection(&arrived).count(),
        missing: sent.difference(&arrived).count(),
        missing_digests: listed(&mut sent.difference(&arrived)),
        unexpected: arrived.difference(&sent).count(),
        unexpected_digests: listed(&mut arrived.difference(&sent)),
        repeated: arrivals.iter().map(|arrival| arrival.accepted - 1).sum(),
        untracked: sink.report().untracked + state.sender.state().records_dropped,
    })
}

/// `GET /control/check/{sink}`.
pub(super) async fn get(state: Sim, Path(name): Path<String>) -> ControlResult<Check> {
    check(&state, &name).map(Json).ok_or_else(|| ControlError::not_found("too many sinks"))
}
