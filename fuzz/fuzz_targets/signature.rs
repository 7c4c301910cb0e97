//! [`signature`] for libFuzzer.
#![no_main]

use gateway_fuzz::targets::signature;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus { if signature::run(input) { Corpus::Keep } else { Corpus::Reject } });
