//! `xtask start`: the Worker is built, then the demo shows it.
//!
//! The demo is a program of its own, so that building the Worker compiles neither a terminal interface nor a simulator. Out of
//! scope: what it shows (`tools/demo`).

use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build::{self, BuildOptions};
use crate::{cargo, project};

/// Becomes the demo, so that signals reach it and its exit code is this program's.
///
/// # Errors
/// The build fails, or the demo cannot be started.
pub(crate) fn run(options: &[String]) -> Result<ExitCode> {
    build::run(&BuildOptions::default())?;
    let demo = cargo::program("gateway-demo")?;
    Err(project::command(demo).args(options).exec()).context("cannot start the demo")
}
