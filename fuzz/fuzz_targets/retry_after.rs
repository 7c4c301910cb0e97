//! [`retry_after`] for libFuzzer.
#![no_main]

use gateway_fuzz::targets::retry_after;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus { if retry_after::run(input) { Corpus::Keep } else { Corpus::Reject } });
