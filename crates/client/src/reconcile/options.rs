//! What a run may do.
//!
//! Promise: plain values, chosen by the caller. Out of scope: time and requests, which the client's budget bounds.

use crate::subscription::{ApiKind, Marks};

/// What a run may do.
#[derive(Clone)]
pub struct Options {
    /// How own subscriptions are marked and recognised.
    pub marks: Marks,
    /// APIs whose owned subscriptions are deleted when nothing declares them, at any address. Such an API is listed even
    /// when nothing is declared for it. See also [`crate::subscription::Desired::prune`].
    pub prune: Vec<ApiKind>,
    /// Permit `http` and private addresses, for local development.
    pub allow_private: bool,
    /// Ask an address whether it answers before a subscription is pointed to it.
    pub probe: bool,
    /// Plan and check only.
    pub dry_run: bool,
}
