//! `xtask names`: what the functions of the last build are called, by their index in the wasm.
//!
//! The deployed wasm has the names of this repository's functions only; in a stack trace the others are `wasm-function[123]`. The
//! build writes the whole list beside the wasm. A trace of an older deployment needs the list of that commit's build. Out of scope:
//! source lines.

use std::collections::HashMap;
use std::io::{Write, stdin, stdout};

use anyhow::{Context, Result};

use crate::build::NAMES;
use crate::project;

/// Prints a line for every index, or the trace on standard input with all names in it.
///
/// # Errors
/// There is no list, an argument is no index, or the list has no such function.
pub(crate) fn run(indices: impl Iterator<Item = String>) -> Result<()> {
    let path = project::build_dir().join(NAMES);
    let list = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}, which `npm run build` writes", path.display()))?;
    let names = read(&list);
    let mut has_any = false;
    for index in indices {
        has_any = true;
        let number = index.parse().ok();
        let name = number.and_then(|number| names.get(&number)).with_context(|| format!("no function {index:?}"))?;
        writeln!(stdout(), "{index} {name}")?;
    }
    if !has_any {
        for line in stdin().lines() {
            writeln!(stdout(), "{}", named(&line?, &names))?;
        }
    }
    Ok(())
}

fn read(list: &str) -> HashMap<u32, &str> {
    list.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(index, name)| Some((index.parse().ok()?, name)))
        .collect()
}

/// `wasm-function[1]` → `wasm-function[1] fmt::write`, as often as it occurs.
fn named(line: &str, names: &HashMap<u32, &str>) -> String {
    let mut parts = line.split_inclusive("wasm-function[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let index =
            part.split_once(']').and_then(|(index, rest)| Some((index, names.get(&index.parse().ok()?)?, rest)));
        match index {
            Some((index, name, rest)) => out.extend([index, "] ", name, rest]),
            None => out.push_str(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_a_trace_gets_its_name() {
        let names = read("7 <alloc::vec::Vec<T,A> as Drop>::drop\n12 core::fmt::write\n");
        for (line, expected) in [
            (
                "  at a::b (wasm://wasm/0a1b:wasm-function[12]:0x3f)",
                "  at a::b (wasm://wasm/0a1b:wasm-function[12] core::fmt::write:0x3f)",
            ),
            (
                "wasm-function[7]:0x1\\n at wasm-function[12]",
                "wasm-function[7] <alloc::vec::Vec<T,A> as Drop>::drop:0x1\\n at wasm-function[12] core::fmt::write",
            ),
            ("wasm-function[8] wasm-function[x] wasm-function[", "wasm-function[8] wasm-function[x] wasm-function["),
            ("nothing", "nothing"),
        ] {
            assert_eq!(named(line, &names), expected);
        }
    }
}
