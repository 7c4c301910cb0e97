//! [`vendor`] for libFuzzer.
#![no_main]

use gateway_fuzz::targets::vendor;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus { if vendor::run(input) { Corpus::Keep } else { Corpus::Reject } });
