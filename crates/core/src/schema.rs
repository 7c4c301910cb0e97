//! Which steps of an object's schema its tables have not seen, and how much an object may store.
//!
//! Promise: steps run in their order and once; tables of a newer version are left alone. Out of scope: the steps (each object has
//! its own), running them.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What an object may store, in bytes: 10 GB (Durable Objects, limits). A write beyond it fails.
pub const STORAGE_LIMIT_BYTES: u64 = 10_000_000_000;

/// Tables that a newer version of the gateway has changed: the operator repairs it by deploying that version again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the tables have schema version {found}, this version of the gateway knows {known}")]
pub struct NewerSchema {
    pub found: u64,
    pub known: u64,
}

/// The steps to run, of `known`, for tables of `version`: the number of steps that they have seen.
pub fn missing(version: u64, known: usize) -> Result<Range<usize>, NewerSchema> {
    match usize::try_from(version) {
        Ok(seen) if seen <= known => Ok(seen..known),
        _ => Err(NewerSchema { found: version, known: known as u64 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_runs_once_and_none_backwards() {
        for (version, known, steps) in [(0, 1, 0..1), (0, 3, 0..3), (1, 3, 1..3), (3, 3, 3..3), (0, 0, 0..0)] {
            assert_eq!(missing(version, known), Ok(steps), "{version} of {known}");
        }
        let error = missing(4, 3).unwrap_err();
        assert_eq!(error.to_string(), "the tables have schema version 4, this version of the gateway knows 3");
    }
}
