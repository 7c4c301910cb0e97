//! The client against a vendor that behaves, faults included: `vendor` is an in-memory Genesys Cloud behind the
//! `Transport`.

mod auth;
mod calls;
mod clock;
mod convergence;
#[cfg(feature = "reqwest")]
mod native;
mod probe;
mod reconcile;
mod subscriptions;
mod vendor;
