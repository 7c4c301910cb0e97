//! `xtask client-js`: crates/client-js as the npm package in `build/client-js`.
//!
//! Promise: the package is made whole in a staging folder and swapped in. One glue and one wasm serve every host; the entries
//! of `crates/client-js/npm` choose how the wasm is loaded. Out of scope: publishing.

use std::fs;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::build::{WASM_FEATURES, run_step};
use crate::{cargo, project};

/// What the entries of `crates/client-js/npm` import.
const NAME: &str = "genesys_client";

/// Builds the package.
///
/// # Errors
/// A tool is missing or failed; its own output has been shown.
pub(crate) fn run() -> Result<()> {
    let out_dir = project::build_dir().join("client-js");
    let staging = project::build_dir().join(".client-js");
    fs::create_dir_all(project::build_dir())?;
    let arguments =
        ["--release", "--lib", "--locked", "--target", "wasm32-unknown-unknown", "--package", "genesys-client-js"];
    let compiled = cargo::build(&arguments, "genesys-client-js")?
        .into_iter()
        .find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .context("cargo reported no .wasm file for genesys-client-js")?;
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    Bindgen::new()
        .input_path(&compiled)
        .out_name(NAME)
        .web(true)?
        .typescript(true)
        .omit_default_module_path(true)
        .generate(&staging)
        .context("wasm-bindgen could not generate the glue of client-js")?;

    let wasm = staging.join(format!("{NAME}_bg.wasm"));
    let mut wasm_opt = project::command(project::npm_tool("wasm-opt")?);
    wasm_opt.arg(&wasm).arg("-o").arg(&wasm).args(["-Os", "--mvp-features"]);
    wasm_opt.args(WASM_FEATURES.map(|feature| format!("--enable-{feature}")));
    wasm_opt.args(["--strip-debug", "--strip-producers"]);
    run_step(wasm_opt, "wasm-opt")?;
    // Describes the wasm's own exports, which only the glue calls.
    let _ = fs::remove_file(staging.join(format!("{NAME}_bg.wasm.d.ts")));

    let source = project::root().join("crates/client-js");
    for entry in fs::read_dir(source.join("npm"))? {
        let entry = entry?;
        fs::copy(entry.path(), staging.join(entry.file_name()))?;
    }
    fs::copy(source.join("README.md"), staging.join("README.md"))?;
    if out_dir.exists() {
        fs::remove_dir_all(&out_dir)?;
    }
    fs::rename(&staging, &out_dir)?;
    eprintln!("build: built {}", out_dir.display());
    Ok(())
}
