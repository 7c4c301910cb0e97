//! The fuzz targets over their seeds, and over what a few thousand small changes make of them: with any toolchain.
//!
//! Promises: the same inputs each time; a finding is told with its target and its seed. Out of scope: looking for something new,
//! which libFuzzer does, guided by what an input reaches.

use gateway_fuzz::targets;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Changed inputs per seed.
const CHANGES: usize = 200;

/// Bytes that mean something to one of the targets.
const TELLING: &[u8] = b"\0\n \"{}[]:,.%\\/-0az\xff";

/// A small generator (xorshift64), so that a finding comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("below a usize")
    }
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = files
        .map(|file| {
            let path = file.expect("a file").path();
            (path.display().to_string(), std::fs::read(&path).expect("a seed can be read"))
        })
        .collect();
    seeds.sort();
    seeds
}

/// What a small change makes of an input.
fn changed(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut output = input.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(output.len() + 1);
        match random.below(6) {
            0 => output.truncate(at),
            1 => output.insert(at, TELLING[random.below(TELLING.len())]),
            2 => drop(output.splice(at.., other[random.below(other.len() + 1)..].iter().copied())),
            3 => {
                let end = (at + random.below(20)).min(output.len());
                output.drain(at..end);
            }
            4 => {
                let end = (at + random.below(20)).min(output.len());
                let again = output[at..end].to_vec();
                drop(output.splice(at..at, again));
            }
            _ => {
                if let Some(byte) = output.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    output
}

#[test]
fn every_target_holds_over_its_seeds_and_what_is_near_them() {
    let mut findings = Vec::new();
    for (name, run) in targets::ALL {
        let seeds = seeds(name);
        let mut read = 0;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for (path, seed) in &seeds {
            let (_, other) = &seeds[random.below(seeds.len())];
            let changes: Vec<Vec<u8>> = (0..CHANGES).map(|_| changed(seed, other, &mut random)).collect();
            for (number, input) in std::iter::once(seed).chain(&changes).enumerate() {
                match catch_unwind(AssertUnwindSafe(|| run(input))) {
                    Ok(is_read) => read += usize::from(is_read && number == 0),
                    Err(_) => findings
                        .push(format!("{name}: {path}, change {number}: {:?}", input.escape_ascii().to_string())),
                }
            }
        }
        // A target that reads none of its seeds judges nothing.
        assert!(read * 2 > seeds.len(), "{name} reads {read} of its {} seeds", seeds.len());
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn every_corpus_has_its_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut corpora: Vec<String> = std::fs::read_dir(folder)
        .expect("the corpora")
        .map(|entry| entry.expect("a folder").file_name().into_string().expect("a name"))
        .collect();
    corpora.sort();
    assert_eq!(corpora, targets::ALL.map(|(name, _)| name));
}
