//! What all calls of one client share.
//!
//! Promise: one token source and one pace for all single calls. Out of scope: reading options, see `client`.

use crate::host::{Host, now_ms};
use genesys_client::auth::OAuthTokens;
use genesys_client::client::{Client, RunBudget};
use genesys_client::reconcile::ReconcileState;
use genesys_client::subscription::Marks;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The client's tokens, shared by all its calls.
pub(crate) type SharedTokens = Rc<OAuthTokens<Host, Host>>;

/// The client as all calls use it.
pub(crate) type SharedClient = Client<Host, Host, SharedTokens>;

/// What the calls share.
pub(crate) struct ClientState {
    pub(crate) host: Host,
    pub(crate) tokens: SharedTokens,
    /// For single calls. It has no budget, because the retry policy bounds every call, and it keeps the vendor's pace.
    pub(crate) vendor: SharedClient,
    pub(crate) marks: Marks,
    pub(crate) allow_private: bool,
    pub(crate) state: RefCell<ReconcileState>,
    pub(crate) reconciling: Cell<bool>,
}

impl ClientState {
    /// A client for one run.
    pub(crate) fn vendor_within(&self, timeout_ms: Option<u64>, max_requests: Option<u64>) -> SharedClient {
        let budget = RunBudget {
            deadline_ms: timeout_ms.map_or(u64::MAX, |timeout_ms| now_ms().saturating_add(timeout_ms)),
            max_requests: max_requests.map_or(u32::MAX, |requests| u32::try_from(requests).unwrap_or(u32::MAX)),
        };
        Client::new(self.host.clone(), self.host.clone(), self.tokens.clone(), self.vendor.api_url())
            .with_budget(budget)
    }
}
