//! cargo, called from a program that cargo has started itself.
//!
//! Out of scope: deciding what has to be compiled; cargo does.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::project;

/// The cargo that started this program, so that a toolchain chosen for the call stays chosen.
pub(crate) fn command() -> Command {
    let mut cargo = project::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` set describes xtask; the build scripts of other packages must not see it.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Builds a program of this workspace and returns its path.
///
/// The whole workspace is selected, so that its packages' features are those of every other native build, and no dependency is
/// compiled twice.
///
/// # Errors
/// The build fails; cargo has said why.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let built = build(&["--workspace", "--bin", name], name)?;
    built.into_iter().next().with_context(|| format!("cargo reported no program for {name}"))
}

/// Runs `cargo build` and returns the files of the target `name`; for a program, the program itself first.
///
/// # Errors
/// cargo cannot be started, or the build fails; cargo has said why.
pub(crate) fn build(arguments: &[&str], name: &str) -> Result<Vec<PathBuf>> {
    let mut cargo = command();
    cargo.arg("build").args(arguments).args(["--message-format", "json-render-diagnostics"]);
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut files = Vec::new();
    for line in BufReader::new(stdout).lines() {
        files.extend(files_of(&line?, name));
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo build {} failed ({status})", arguments.join(" "));
    Ok(files)
}

/// The messages of cargo that matter here (the cargo book, "External tools", JSON messages).
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    target: Option<CargoTarget>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
    kind: Vec<String>,
}

fn files_of(line: &str, name: &str) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<CargoMessage>(line) else { return Vec::new() };
    let is_target = message.target.is_some_and(|target| {
        // The target of a library is named as Rust names it.
        let library = target.kind.iter().any(|kind| kind == "cdylib") && target.name == name.replace('-', "_");
        library || target.kind.iter().any(|kind| kind == "bin") && target.name == name
    });
    if message.reason != "compiler-artifact" || !is_target {
        return Vec::new();
    }
    message.executable.into_iter().chain(message.filenames).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &str = r#"{"reason":"compiler-artifact","target":{"kind":["cdylib","rlib"],"name":"the_worker"},"filenames":["/t/the_worker.wasm","/t/libthe_worker.rlib"],"executable":null}"#;
    const PROGRAM: &str = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"the-tool"},"filenames":["/t/the-tool"],"executable":"/t/the-tool"}"#;

    #[test]
    fn the_files_of_the_wanted_target_are_found_among_all_messages() {
        assert_eq!(
            files_of(LIBRARY, "the-worker"),
            [PathBuf::from("/t/the_worker.wasm"), "/t/libthe_worker.rlib".into()]
        );
        assert_eq!(files_of(PROGRAM, "the-tool").first(), Some(&PathBuf::from("/t/the-tool")));
    }

    #[test]
    fn other_targets_and_other_messages_are_passed_over() {
        for (line, name) in [
            (LIBRARY, "the-tool"),
            (PROGRAM, "the-worker"),
            (r#"{"reason":"build-finished","success":true}"#, "the-tool"),
            ("not a message", "the-tool"),
        ] {
            assert_eq!(files_of(line, name), Vec::<PathBuf>::new(), "{line}");
        }
    }
}
