//! `xtask bench`: builds the release and measures it beside the same written in JavaScript (`bench/run.mjs`).
//!
//! Promise: what is measured is what is deployed. Out of scope: the measuring itself.

use anyhow::{Result, bail};

use crate::{build, project};

/// Builds, then measures; `quick` for the short form.
///
/// # Errors
/// The build or a server failed; their own output has been shown.
pub(crate) fn run(quick: bool) -> Result<()> {
    build::run(&build::Options::default())?;
    let mut node = project::command(project::npm_tool("node")?);
    node.arg("bench/run.mjs").args(quick.then_some("--quick"));
    let status = node.status()?;
    if !status.success() {
        bail!("the measurement failed ({status})");
    }
    Ok(())
}
