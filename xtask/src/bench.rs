//! `xtask bench`: the release build, then `bench/run.mjs`, which knows its own options.
//!
//! Out of scope: what is measured, and how (`bench/README.md`).

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build::{self, BuildOptions};
use crate::project;

/// Builds the Worker and hands `options` on.
///
/// # Errors
/// The build fails, or Node cannot be started.
pub(crate) fn run(options: Vec<String>) -> Result<ExitCode> {
    build::run(&BuildOptions::default())?;
    let mut node = project::command(project::npm_tool("node")?);
    node.arg(project::root().join("bench/run.mjs")).args(options);
    let status = node.status().context("cannot start the measurements")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
