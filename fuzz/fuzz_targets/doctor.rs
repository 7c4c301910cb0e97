//! [`doctor`] for libFuzzer.
#![no_main]

use gateway_fuzz::targets::doctor;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus { if doctor::run(input) { Corpus::Keep } else { Corpus::Reject } });
