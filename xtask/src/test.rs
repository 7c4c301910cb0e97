//! `xtask test`: every test of the repository, from the fastest to the one that needs the most, or some of them.
//!
//! 1. `native`: Rust, the whole workspace, with cargo-nextest where it is installed, otherwise with `cargo test`;
//! 2. `entry`: `src/entry.js` and the driver in Node, with the runtime's error paths under the test's control;
//! 3. `wasm`: the envelope scanner as it is built for wasm, in Node, against `JSON.parse`;
//! 4. `workerd`: the release build on workerd, with vitest, the simulator beside it;
//! 5. `e2e`: the release build under `wrangler dev`, end to end, with Node's own runner;
//! 6. `crash`: a build that crashes on request, on plain workerd;
//! 7. `client-js`: the JavaScript client in Node, workerd and (where installed) Chromium.
//!
//! Each runner's own output is passed through. A failing runner does not keep the later ones from running (except where the
//! build itself fails); the command fails if any failed. Out of scope: measurements.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::build::{self, BuildOptions};
use crate::{cargo, client_js, project};

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    Native,
    Entry,
    Wasm,
    Workerd,
    E2e,
    Crash,
    ClientJs,
}

/// Which tests to run.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct TestOptions {
    /// Only these parts, comma separated.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Suite>,
    /// For development: the Worker is built with less optimisation, in a fraction of the time.
    #[arg(long)]
    fast: bool,
    /// Only what has this in its name: a package (native), a file or a test.
    filter: Option<String>,
}

/// Runs the tests.
///
/// # Errors
/// Names the runners that failed; what failed in them has been shown.
pub(crate) fn run(options: &TestOptions) -> Result<()> {
    ensure!(options.filter.is_none() || options.only.len() == 1, "a filter needs --only with one part of the tests");
    let mut run = TestRun { options, failed: vec![], simulator: None };
    let worker = BuildOptions { fast: options.fast, ..Default::default() };
    if run.wants(Suite::Native) {
        run.native()?;
    }
    if run.wants(Suite::Entry) {
        run.node("the entry module", "tests/entry", &[])?;
    }
    if run.wants(Suite::Wasm) {
        run.node("the scanner in wasm", "tests/wasm", &[])?;
    }
    if run.wants(Suite::Workerd) || run.wants(Suite::E2e) {
        build::run(&worker)?;
    }
    if run.wants(Suite::Workerd) {
        run.vitest()?;
    }
    if run.wants(Suite::E2e) {
        let simulator = run.simulator()?;
        run.node("the Worker under wrangler dev", "tests/e2e", &[("GENESYS_SIMULATOR", &simulator)])?;
    }
    if run.wants(Suite::Crash) {
        // In the profile of the other parts, so that only the Worker's own package is compiled once more.
        let out_dir = Some(project::build_dir().join("crash-test"));
        let features = Some("crash-test".into());
        build::run(&BuildOptions { features, out_dir, fast: options.fast, without_wasm_opt: true })?;
        run.node("a crash of the instance", "tests/crash", &[])?;
    }
    if run.wants(Suite::ClientJs) {
        client_js::run()?;
        let (simulator, package) = (run.simulator()?, project::build_dir().join("client-js"));
        let environment = [("GENESYS_SIMULATOR", &*simulator), ("GENESYS_CLIENT_PACKAGE", &*package)];
        run.node("the JavaScript client", "crates/client-js/tests", &environment)?;
    }
    if !run.failed.is_empty() {
        bail!("failed: {}", run.failed.join(", "));
    }
    Ok(())
}

struct TestRun<'o> {
    options: &'o TestOptions,
    failed: Vec<&'static str>,
    simulator: Option<PathBuf>,
}

impl TestRun<'_> {
    fn wants(&self, suite: Suite) -> bool {
        self.options.only.is_empty() || self.options.only.contains(&suite)
    }

    fn step(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        eprintln!("\ntest: {name}");
        let started = project::now();
        if !command.status().with_context(|| format!("cannot start: {name}"))?.success() {
            self.failed.push(name);
        }
        eprintln!("test: {name}: {} s", started.elapsed().as_secs());
        Ok(())
    }

    fn native(&mut self) -> Result<()> {
        let mut selected = vec!["--workspace"];
        let mut names: Vec<&str> = vec![];
        if let Some(filter) = self.options.filter.as_deref() {
            if packages()?.iter().any(|name| name == filter) {
                selected = vec!["--package", filter];
            } else {
                names.push(filter);
            }
        }
        if nextest_is_installed() {
            let run = [&["nextest", "run", "--no-fail-fast", "--no-tests", "pass"], &selected[..], &names].concat();
            self.step("native tests (cargo nextest)", cargo(&run))?;
        } else {
            let run = [&["test", "--no-fail-fast", "--lib", "--bins", "--tests"], &selected[..], &names].concat();
            self.step("native tests (cargo test)", cargo(&run))?;
        }
        // nextest does not run the examples in the documentation. The whole workspace, so that nothing is compiled for them alone.
        if self.options.filter.is_none() {
            let documented = ["test", "--doc", "--quiet", "--workspace"];
            self.step("examples in the documentation (cargo test --doc)", cargo(&documented))?;
        }
        Ok(())
    }

    /// The tests of a folder with Node's own runner: all of them, the files that have the filter in their name, or else the
    /// tests that have.
    fn node(&mut self, name: &'static str, folder: &str, environment: &[(&str, &Path)]) -> Result<()> {
        let mut node = project::command(project::npm_tool("node")?);
        // Most of a file's time is waiting, for the queue or for wrangler. Files have ports, folders and simulators of their own.
        node.args(["--test", "--test-reporter=spec", "--test-concurrency=4"]);
        node.envs(environment.iter().copied()).env("WRANGLER_SEND_METRICS", "false");
        let filter = self.options.filter.as_deref();
        match filter.filter(|filter| !has_file(folder, filter)) {
            Some(pattern) => node.arg(format!("--test-name-pattern={pattern}")).arg(format!("{folder}/*.test.mjs")),
            None => node.arg(format!("{folder}/*{}*.test.mjs", filter.unwrap_or_default())),
        };
        self.step(name, node)
    }

    fn vitest(&mut self) -> Result<()> {
        let mut vitest = project::command(project::npm_tool("vitest")?);
        vitest.args(["run", "--config", "tests/vitest.config.ts"]);
        vitest.env("GENESYS_SIMULATOR", self.simulator()?).env("WRANGLER_SEND_METRICS", "false");
        match self.options.filter.as_deref() {
            Some(file) if has_file("tests/workerd", file) => vitest.arg(file),
            Some(test) => vitest.args(["-t", test]),
            None => &mut vitest,
        };
        self.step("the Worker on workerd (vitest)", vitest)
    }

    /// The simulator's own program, which the runners outside of Rust start.
    fn simulator(&mut self) -> Result<PathBuf> {
        if let Some(program) = &self.simulator {
            return Ok(program.clone());
        }
        Ok(self.simulator.insert(cargo::program("genesys-simulator")?).clone())
    }
}

/// Whether a test file of a folder has `part` in its name.
fn has_file(folder: &str, part: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(project::root().join(folder)) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.contains(".test.") && name.contains(part)
    })
}

/// Names of the workspace's packages.
fn packages() -> Result<Vec<String>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit()).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let names = metadata["packages"].as_array().into_iter().flatten().filter_map(|package| package["name"].as_str());
    Ok(names.map(ToOwned::to_owned).collect())
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
