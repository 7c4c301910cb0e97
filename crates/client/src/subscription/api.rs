//! The trait that one subscription API implements.
//!
//! Promise: an implementation is pure, it makes bodies and reads objects. Out of scope: the calls.

use super::diff::{FieldChange, differences};
use super::model::{ApiKind, Desired, Marks, Subscription};
use crate::json::Object;
use crate::pagination::Style;
use crate::transport::Method;

/// What kind of permission a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// List or read.
    Read,
    /// Create.
    Create,
    /// Change.
    Update,
    /// Delete.
    Delete,
}

/// How one API writes, reads and compares subscriptions.
pub trait SubscriptionApi: Send + Sync {
    /// Which API this is.
    fn kind(&self) -> ApiKind;
    /// The path of the collection. Objects are below it by id.
    fn path(&self) -> &'static str;
    /// How its list is paged.
    fn paging(&self) -> Style;
    /// The method of an update.
    fn update_method(&self) -> Method;
    /// Whether an update is guarded by ETag and If-Match.
    fn has_etags(&self) -> bool;
    /// The scope or permission of an operation.
    fn needs(&self, operation: Operation) -> &'static str;
    /// How long a created subscription may be missing from the list, in milliseconds.
    fn create_lag_ms(&self) -> u64;
    /// How long a deleted subscription may still be listed, in milliseconds.
    fn delete_lag_ms(&self) -> u64;
    /// What this API cannot do of what is wanted. `None` when it can do all of it.
    fn cannot(&self, desired: &Desired) -> Option<String>;
    /// Reads an object. `None` when it has no id.
    fn read(&self, object: Object) -> Option<Subscription>;
    /// The body of a create. It holds the secret.
    fn create_body(&self, desired: &Desired, marks: &Marks) -> Object;
    /// The body of an update of `actual`. It may hold the secret.
    fn update_body(&self, desired: &Desired, actual: &Subscription, marks: &Marks) -> Object;

    /// The differences between `actual` (`None` for a create) and what is wanted.
    fn diff(&self, desired: &Desired, actual: Option<&Subscription>, marks: &Marks) -> Vec<FieldChange> {
        differences(self.kind(), desired, actual, marks)
    }
}
