//! The client against a vendor that behaves, faults included: `vendor` is an in-memory Genesys Cloud behind the
//! `Transport`.

mod auth;
mod calls;
mod clock;
mod convergence;
mod ip_ranges;
#[cfg(feature = "reqwest")]
mod native;
mod probe;
mod reconcile;
mod subscriptions;
mod vendor;
