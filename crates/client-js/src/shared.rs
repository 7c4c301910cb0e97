//! What all calls of one client share.
//!
//! Promise: one token source and one pace for all single calls. Out of scope: reading options, see `client`.

use crate::host::Host;
use genesys_client::auth::OAuthTokens;
use genesys_client::client::Client;
use genesys_client::reconcile::ReconcileState;
use genesys_client::subscription::Marks;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub(crate) type SharedTokens = Rc<OAuthTokens<Host, Host>>;

pub(crate) type SharedClient = Client<Host, Host, SharedTokens>;

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
