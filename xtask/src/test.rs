//! `xtask test`: every test of the repository, from the fastest to the one that needs the most.
//!
//! 1. Rust, natively: the whole workspace, with cargo-nextest where it is installed, otherwise with `cargo test`;
//! 2. `src/entry.js` in Node, with the runtime's error paths under the test's control;
//! 3. the release build on workerd, with vitest, the simulator beside it;
//! 4. the release build under `wrangler dev`, end to end, with Node's own runner;
//! 5. a build that crashes on request, and the JavaScript client in Node, workerd and (where installed) Chromium.
//!
//! Each runner's own output is passed through. A failing runner does not keep the later ones from running (except where the
//! build itself fails); the command fails if any failed. Out of scope: measurements.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{build, cargo, client_js, project};

/// Runs all tests.
///
/// # Errors
/// Names the runners that failed; what failed in them has been shown.
pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    let mut step = |name: &'static str, command: Command| -> Result<()> {
        eprintln!("\ntest: {name}");
        if !status(command, name)? {
            failed.push(name);
        }
        Ok(())
    };

    if nextest_is_installed() {
        step(
            "native tests (cargo nextest)",
            cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests", "pass"]),
        )?;
    } else {
        step(
            "native tests (cargo test)",
            cargo(&["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"]),
        )?;
    }
    // nextest does not run the examples in the documentation.
    step("examples in the documentation (cargo test --doc)", cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
    step("the entry module (node --test)", node_tests("tests/entry/*.test.mjs")?)?;
    eprintln!("\ntest: building the Worker and the simulator");
    build::run(&build::Options::default())?;
    let simulator = simulator()?;
    step("the Worker on workerd (vitest)", vitest(&simulator)?)?;
    step("the Worker under wrangler dev (node --test)", end_to_end_tests(&simulator)?)?;

    eprintln!("\ntest: building the Worker that crashes on request, and the JavaScript client");
    let crashing = Some(project::build_dir().join("crash-test"));
    build::run(&build::Options { features: Some("crash-test".into()), out_dir: crashing, ..Default::default() })?;
    step("a crash of the instance (node --test)", node_tests("tests/crash/*.test.mjs")?)?;
    client_js::run()?;
    step("the JavaScript client (node --test)", client_js_tests(&simulator)?)?;

    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = cargo::command();
    cargo.args(arguments);
    cargo
}

fn nextest_is_installed() -> bool {
    let probe =
        cargo(&["nextest", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

/// The simulator's own program, which the runners outside of Rust start.
fn simulator() -> Result<PathBuf> {
    let built = cargo::build(&["--package", "genesys-simulator", "--bin", "genesys-simulator"], "genesys-simulator")?;
    built.into_iter().next().context("cargo reported no program for genesys-simulator")
}

fn node_tests(files: &str) -> Result<Command> {
    let mut node = project::command(project::npm_tool("node")?);
    node.args(["--test", "--test-reporter=spec", files]);
    Ok(node)
}

fn end_to_end_tests(simulator: &Path) -> Result<Command> {
    let mut node = node_tests("tests/e2e/*.test.mjs")?;
    node.env("GENESYS_SIMULATOR", simulator).env("WRANGLER_SEND_METRICS", "false");
    Ok(node)
}

fn client_js_tests(simulator: &Path) -> Result<Command> {
    let mut node = node_tests("crates/client-js/tests/*.test.mjs")?;
    node.env("GENESYS_SIMULATOR", simulator);
    node.env("GENESYS_CLIENT_PACKAGE", project::build_dir().join("client-js"));
    Ok(node)
}

fn vitest(simulator: &Path) -> Result<Command> {
    let mut vitest = project::command(project::npm_tool("vitest")?);
    vitest.args(["run", "--config", "tests/vitest.config.ts"]);
    vitest.env("GENESYS_SIMULATOR", simulator).env("WRANGLER_SEND_METRICS", "false");
    Ok(vitest)
}

fn status(mut command: Command, name: &str) -> Result<bool> {
    Ok(command.status().with_context(|| format!("cannot start: {name}"))?.success())
}
