//! The targets: what must hold of any input.
//!
//! Promise: a finding is a panic. libFuzzer calls each through its file in `fuzz_targets/`; a machine without a nightly toolchain
//! runs all of them over their seeds (`tests/seeds.rs`). Out of scope: finding inputs.

pub mod address;
pub mod config;
pub mod doctor;
pub mod envelope;
pub mod retry_after;
pub mod signature;
pub mod stored;
pub mod vendor;

/// Judges one input; `false` where it is none that the target reads.
pub type Run = fn(&[u8]) -> bool;

/// All of them, by the names of their corpora.
pub const ALL: [(&str, Run); 8] = [
    ("address", address::run),
    ("config", config::run),
    ("doctor", doctor::run),
    ("envelope", envelope::run),
    ("retry_after", retry_after::run),
    ("signature", signature::run),
    ("stored", stored::run),
    ("vendor", vendor::run),
];
