//! `xtask build`: Rust to `build/index.js` + `build/index_bg.wasm`, an ES module that workerd runs as it is.
//!
//! cargo → wasm-bindgen (as a library) → wasm-opt → esbuild. Promises:
//! - what is in `build/` is always a whole result: the steps work in a staging folder, and the files are moved into place
//!   only when all steps have succeeded, the module last. A bundler that watches `index.js` therefore ends with a matching pair;
//! - two builds at once wait for each other (a file lock, which the system releases even if a build is killed);
//! - nothing is generated again when cargo's own output, the entry module, the tools and this pipeline are what they were.
//!
//! Out of scope: source maps. The wasm keeps the names of its functions, so that a trace can be read.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use walrus::FunctionKind;
use wasm_bindgen_cli_support::Bindgen;

use crate::cargo;
use crate::project;
use crate::stamp::{self, Stamp};

/// The two files that make the Worker.
pub(crate) const MODULE: &str = "index.js";
pub(crate) const WASM: &str = "index_bg.wasm";

/// What is bundled with the glue, from `src/`: the entry module and what it imports.
const MODULES: [&str; 3] = ["entry.js", "instance.js", "receive/driver.js"];

/// The name under which they import what wasm-bindgen generates.
const GLUE_SPECIFIER: &str = "gateway-wasm";

/// What `src/instance.js` relies on in the glue that no build would miss: the export that starts a new instance, and how a late
/// callback of the old one is told.
const RELIED_ON: [&str; 2] = ["__wbg_reset_state", "Cannot invoke closure from previous WASM instance"];

/// What rustc and wasm-bindgen emit for this target, named one by one: `--all-features` would let a newer wasm-opt use encodings
/// that workerd does not read yet.
pub(crate) const WASM_FEATURES: [&str; 8] = [
    "bulk-memory",
    "exception-handling",
    "multivalue",
    "mutable-globals",
    "nontrapping-float-to-int",
    "reference-types",
    "sign-ext",
    "simd",
];

/// Large functions that are called once stay functions, and alike ones lie together: both compress better (70 KB gzip, 1.4 ms of
/// a cold isolate's first answer).
const SIZE_PASSES: [&str; 3] = ["--one-caller-inline-max-function-size", "40", "--reorder-functions-by-name"];

/// What to build.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct BuildOptions {
    /// Cargo features of the Worker's package, comma separated.
    #[arg(long)]
    pub(crate) features: Option<String>,
    /// Where the result goes; `build/` unless given.
    #[arg(long)]
    pub(crate) out_dir: Option<PathBuf>,
    /// For development: compiled in parts and not optimised as a whole, in a fifth of the time; larger and slower.
    #[arg(long)]
    pub(crate) fast: bool,
    /// Leaves wasm-opt out, for a build that is neither measured nor deployed.
    #[arg(skip)]
    pub(crate) without_wasm_opt: bool,
}

/// Builds the Worker, or finds that nothing has changed.
///
/// # Errors
/// A tool is missing or failed; its own output has been shown.
pub(crate) fn run(options: &BuildOptions) -> Result<()> {
    let started = project::now();
    stamp::check_wasm_bindgen_versions(&fs::read_to_string(project::root().join("Cargo.lock"))?)?;

    // The steps below run in the root, whatever folder a relative path was meant from.
    let out_dir = std::path::absolute(options.out_dir.clone().unwrap_or_else(project::build_dir))?;
    fs::create_dir_all(&out_dir).with_context(|| format!("cannot create {}", out_dir.display()))?;
    let _lock = lock(&out_dir)?;

    let compiled = compile(options)?;
    let modules = MODULES.map(|name| project::root().join("src").join(name));
    let stamp = Stamp::of(&compiled, &modules)?;
    let results = [WASM, MODULE];
    if stamp.describes(&out_dir, &results) {
        progress(&format!("{} is up to date ({:.1} s)", out_dir.display(), started.elapsed().as_secs_f32()));
        return Ok(());
    }

    let staging = out_dir.join(".staging");
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    fs::create_dir_all(staging.join("out"))?;
    progress("wasm-bindgen: generating the glue");
    generate_glue(&compiled, &staging)?;
    if options.fast || options.without_wasm_opt {
        fs::rename(staging.join("glue").join(WASM), staging.join("optimised.wasm"))?;
    } else {
        progress("wasm-opt: optimising");
        optimise(&staging)?;
    }
    progress("esbuild: bundling");
    bundle(&staging)?;

    for name in results {
        fs::rename(staging.join("out").join(name), out_dir.join(name))
            .with_context(|| format!("cannot move {name} into {}", out_dir.display()))?;
    }
    fs::remove_dir_all(&staging)?;
    stamp.write(&out_dir, &results)?;
    for name in [MODULE, WASM] {
        let bytes = fs::read(out_dir.join(name))?;
        progress(&format!("{name}: {} KB, {} KB gzip", kilobytes(bytes.len()), kilobytes(gzip_len(&bytes)?)));
    }
    progress(&format!("built {} in {:.1} s", out_dir.display(), started.elapsed().as_secs_f32()));
    Ok(())
}

/// Progress goes to standard error: standard output belongs to what a command answers.
fn progress(message: &str) {
    eprintln!("build: {message}");
}

fn kilobytes(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / 1000.0)
}

/// Waits until no other build works on `out_dir`. The lock ends with the returned file.
fn lock(out_dir: &Path) -> Result<File> {
    let file = File::create(out_dir.join(".lock"))?;
    if file.try_lock().is_err() {
        progress("waiting for another build to end");
        file.lock().context("cannot lock the build folder")?;
    }
    Ok(file)
}

/// Has cargo compile the Worker and returns the `.wasm` file that came out.
fn compile(options: &BuildOptions) -> Result<PathBuf> {
    let profile = if options.fast { "fast" } else { "release" };
    let mut arguments = vec!["--profile", profile, "--lib", "--locked", "--target", "wasm32-unknown-unknown"];
    arguments.extend(["--package", project::WORKER_PACKAGE]);
    if let Some(features) = &options.features {
        arguments.extend(["--features", features]);
    }
    let is_wasm = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
    cargo::build(&arguments, project::WORKER_PACKAGE)?
        .into_iter()
        .find(is_wasm)
        .context("cargo reported no .wasm file: is the package's crate-type still `cdylib`?")
}

/// `glue/index.js`, its snippets and `glue/index_bg.wasm`.
fn generate_glue(compiled: &Path, staging: &Path) -> Result<()> {
    let glue = staging.join("glue");
    let mut output = Bindgen::new()
        .input_path(compiled)
        .out_name("index")
        .module(true)?
        .typescript(false)
        .omit_default_module_path(false)
        // Both are what lets src/instance.js give an instance that has crashed a successor.
        .reset_state_function(true)
        .force_enable_abort_handler(true)
        .generate_output()
        .context("wasm-bindgen could not generate the glue")?;
    // Names make a stack trace readable; their hashes only make it, and what is deployed, longer. What has no code of its own
    // appears in no trace.
    let module = output.wasm_mut();
    for function in module.funcs.iter_mut() {
        let has_code = matches!(function.kind, FunctionKind::Local(_));
        function.name = function.name.take().filter(|_| has_code).map(|name| without_hash(&name).to_owned());
    }
    let segments: Vec<_> = module.data.iter().map(walrus::Data::id).collect();
    for id in segments {
        module.data.get_mut(id).name = None;
    }
    output.emit(&glue).context("cannot write the glue")?;

    // The target `module` imports the wasm in its source phase, which bundlers do not know yet. The default import of a `.wasm`
    // file means the same to workerd, wrangler and the vitest plugin: a compiled `WebAssembly.Module`.
    let path = glue.join(MODULE);
    let text = fs::read_to_string(&path)?;
    let source_phase = "import source wasmModule from";
    ensure!(
        text.matches(source_phase).count() == 1,
        "wasm-bindgen's output has changed: `{source_phase}` is expected exactly once in {}",
        path.display()
    );
    for relied_on in RELIED_ON {
        ensure!(
            text.contains(relied_on),
            "wasm-bindgen's output has changed: src/instance.js relies on `{relied_on}` in it"
        );
    }
    fs::write(&path, text.replace(source_phase, "import wasmModule from"))?;
    Ok(())
}

/// `core::fmt::write::h0123456789abcdef` → `core::fmt::write`.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path,
        _ => name,
    }
}

fn optimise(staging: &Path) -> Result<()> {
    let mut wasm_opt = project::command(project::npm_tool("wasm-opt")?);
    wasm_opt.arg(staging.join("glue").join(WASM)).arg("-o").arg(staging.join("optimised.wasm"));
    wasm_opt.args(["-Os", "--mvp-features"]);
    wasm_opt.args(SIZE_PASSES);
    wasm_opt.args(WASM_FEATURES.map(|feature| format!("--enable-{feature}")));
    // Despite its name: keeps the name section, and nothing else of the debug information.
    wasm_opt.arg("--debuginfo");
    run_step(wasm_opt, "wasm-opt")
}

fn bundle(staging: &Path) -> Result<()> {
    let out = staging.join("out");
    let mut esbuild = project::command(project::npm_tool("esbuild")?);
    esbuild.arg(project::root().join("src").join(MODULES[0]));
    esbuild.arg(format!("--alias:{GLUE_SPECIFIER}={}", staging.join("glue").join(MODULE).display()));
    esbuild.arg(format!("--external:./{WASM}")).arg("--external:cloudflare:*");
    esbuild.args([
        "--bundle",
        "--format=esm",
        "--target=es2022",
        "--charset=utf8",
        "--legal-comments=none",
        "--log-level=warning",
    ]);
    // Names stay, so that a stack trace can be read.
    esbuild.args(["--minify-whitespace", "--minify-syntax"]);
    esbuild.arg(format!("--outfile={}", out.join(MODULE).display()));
    run_step(esbuild, "esbuild")?;
    fs::rename(staging.join("optimised.wasm"), out.join(WASM))?;
    Ok(())
}

pub(crate) fn run_step(mut command: std::process::Command, name: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// The size that counts against the platform's limit and that a cold start reads.
fn gzip_len(bytes: &[u8]) -> Result<usize> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}

#[cfg(test)]
mod tests {
    use super::without_hash;

    #[test]
    fn only_hashes_are_cut_off_names() {
        assert_eq!(without_hash("core::fmt::write::h0123456789abcdef"), "core::fmt::write");
        for name in ["main", "a::h", "a::help", "a::h0123", "a::h0123456789abcdeg"] {
            assert_eq!(without_hash(name), name);
        }
    }
}
