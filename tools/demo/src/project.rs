//! Where things are: the repository's root, the tools that npm installed, the build that is shown.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

/// The two files of a build.
pub(crate) const MODULE: &str = "index.js";
pub(crate) const WASM: &str = "index_bg.wasm";

/// The repository's root: two folders above this package.
pub(crate) fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path.pop();
    path
}

/// What `cargo xtask build` makes.
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
#[expect(clippy::disallowed_methods, reason = "the demo never runs as wasm")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}
