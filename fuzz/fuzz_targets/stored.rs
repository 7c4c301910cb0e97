//! [`stored`] for libFuzzer.
#![no_main]

use gateway_fuzz::targets::stored;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus { if stored::run(input) { Corpus::Keep } else { Corpus::Reject } });
