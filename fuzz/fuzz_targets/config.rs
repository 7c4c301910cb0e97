//! [`config`] for libFuzzer.
#![no_main]

use gateway_fuzz::targets::config;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus { if config::run(input) { Corpus::Keep } else { Corpus::Reject } });
