//! Where things are: the repository's root, the tools that npm installed, the build's output.
//!
//! Every path is derived from one place, so that no command depends on the folder it was called from.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

/// The workspace member that becomes the Worker.
pub(crate) const WORKER_PACKAGE: &str = "genesys-webhook-gateway";

/// The repository's root: the folder above `xtask/`.
pub(crate) fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// What `wrangler.toml` bundles and the tests on the real runtime load.
pub(crate) fn build_dir() -> PathBuf {
    root().join("build")
}

/// The executable that an npm package brought, e.g. `wrangler`.
///
/// # Errors
/// The package is not installed.
pub(crate) fn npm_tool(name: &str) -> Result<PathBuf> {
    let path = root().join("node_modules/.bin").join(name);
    if !path.exists() {
        bail!("{name} is not installed: `{}` does not exist. Run `npm ci` in {}.", path.display(), root().display());
    }
    Ok(path)
}

/// A command that runs in the root and finds npm's tools (among them a Node that is new enough) first.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    let tools = root().join("node_modules/.bin");
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(tools).chain(std::env::split_paths(&inherited));
    if let Ok(joined) = std::env::join_paths(paths) {
        command.env("PATH", joined);
    }
    command
}

/// The time of a native tool. (The workspace forbids the call below, because in the Worker it would panic.)
#[expect(clippy::disallowed_methods, reason = "xtask never runs as wasm")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}
