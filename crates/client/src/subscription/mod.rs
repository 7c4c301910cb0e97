//! The vendor's two subscription APIs behind one trait.
//!
//! Promise: [`SubscriptionApi`] is pure. It says how one API writes, reads and compares a subscription. The calls
//! themselves are the same for both and are in [`calls`]. Another API is one more implementation, not another client.
//!
//! Out of scope: which subscriptions there should be, see [`crate::reconcile`].

mod api;
pub mod calls;
mod model;
pub mod open_messaging;
pub mod webhooks;

pub use api::{ApiFacts, SubscriptionApi};
pub use calls::Subscriptions;
pub use model::{ApiKind, Desired, EventFilter, FieldChange, Marks, Provisioning, SecretStatus, Subscription};
pub use open_messaging::OpenMessaging;
pub use webhooks::Webhooks;

impl ApiKind {
    pub fn api(self) -> &'static dyn SubscriptionApi {
        match self {
            Self::Webhooks => &Webhooks,
            Self::OpenMessaging => &OpenMessaging,
        }
    }
}
