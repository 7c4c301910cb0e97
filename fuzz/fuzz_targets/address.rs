//! [`address`] for libFuzzer.
#![no_main]

use gateway_fuzz::targets::address;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus { if address::run(input) { Corpus::Keep } else { Corpus::Reject } });
