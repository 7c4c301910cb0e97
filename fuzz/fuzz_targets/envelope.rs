//! [`envelope`] for libFuzzer.
#![no_main]

use gateway_fuzz::targets::envelope;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus { if envelope::run(input) { Corpus::Keep } else { Corpus::Reject } });
