//! Why a Durable Object refuses a call.
//!
//! Promise: one form for every class, which says whose fault it is. Out of scope: an object that does not answer (the Worker's
//! `platform`), errors of the vendor (answers of the lifecycle object).

use crate::schema::NewerSchema;
use serde::{Deserialize, Serialize};

/// A refusal as it crosses from the object to its caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ObjectRefusal {
    /// The call is none that this version of the object knows: the fault of the caller.
    #[error("call_not_understood: {0}")]
    CallNotUnderstood(String),
    /// A newer version of the gateway has changed the tables: the fault of the deployment of an older one.
    #[error("newer_schema: {0}")]
    NewerSchema(NewerSchema),
    /// The object's storage, its rows or what it calls failed: the fault of the platform or of the gateway.
    #[error("failed: {0}")]
    Failed(String),
}

impl ObjectRefusal {
    /// The HTTP status that carries it.
    pub const fn status(&self) -> u16 {
        match self {
            Self::CallNotUnderstood(_) => 400,
            Self::NewerSchema(_) => 503,
            Self::Failed(_) => 500,
        }
    }

    /// Whether the same call may succeed later, without another deployment.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_statuses_are_pinned() {
        for (refusal, status, json) in [
            (ObjectRefusal::CallNotUnderstood("x".into()), 400, r#"{"call_not_understood":"x"}"#),
            (
                ObjectRefusal::NewerSchema(NewerSchema { found: 2, known: 1 }),
                503,
                r#"{"newer_schema":{"found":2,"known":1}}"#,
            ),
            (ObjectRefusal::Failed("x".into()), 500, r#"{"failed":"x"}"#),
        ] {
            assert_eq!((refusal.status(), serde_json::to_string(&refusal).unwrap().as_str()), (status, json));
            assert_eq!(serde_json::from_str::<ObjectRefusal>(json).unwrap(), refusal);
        }
    }
}
