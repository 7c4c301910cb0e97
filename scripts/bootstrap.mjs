/**
 * What `npm start`, `npm test` and `npm run build` run first: makes sure that the tools are there, then hands over to xtask.
 *
 * Plain Node >= 20 without dependencies, because it runs on a fresh clone. What is missing and can be had without asking
 * (npm packages by the lock file, the wasm target of the toolchain) is installed; what cannot is named, with the way to get it.
 * Signals are passed on, so that ending this ends all that it started.
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const MINIMUM_NODE = 20;
const WASM_TARGET = "wasm32-unknown-unknown";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tools = join(root, "node_modules", ".bin");

function fail(message) {
  console.error(`setup: ${message}`);
  process.exit(1);
}

function say(message) {
  console.error(`setup: ${message}`);
}

/** The exit status, or null if the program does not exist. */
function status(program, args, options = {}) {
  const { error, status, signal } = spawnSync(program, args, { cwd: root, stdio: "ignore", ...options });
  if (error) return null;
  return signal ? 1 : status;
}

function checkPlatform() {
  if (process.platform === "win32") {
    fail("Windows itself is not supported; inside WSL (Windows Subsystem for Linux) everything works.");
  }
  const major = Number(process.versions.node.split(".")[0]);
  if (major < MINIMUM_NODE) {
    fail(`Node ${process.versions.node} is too old: ${MINIMUM_NODE} or newer is needed. See https://nodejs.org/.`);
  }
}

/** npm writes this file last, so its age is the age of a complete installation. */
function installPackages() {
  const installed = join(root, "node_modules", ".package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, "package-lock.json")).mtimeMs) return;
  say("installing the npm packages of package-lock.json (about a minute the first time)");
  // Warnings about the version of Node are left out: the tools run with the Node that is installed along with them.
  const code = status("npm", ["ci", "--loglevel=error", "--no-audit", "--no-fund"], { stdio: ["ignore", 2, 2] });
  if (code === null) fail("npm was not found. It comes with Node: https://nodejs.org/.");
  if (code !== 0) fail("`npm ci` failed; its own message is above.");
  if (!existsSync(join(tools, "node"))) {
    fail(
      `no Node for ${process.platform}/${process.arch} was installed. Supported: Linux and macOS on x64 and arm64, ` +
        "with npm's optional dependencies switched on.",
    );
  }
}

/** Whether version `a` is older than `b`, both `major.minor.patch`. */
function isOlder(a, b) {
  const [first, second] = [a, b].map((version) => version.split(".").map(Number));
  const index = first.findIndex((number, at) => number !== second[at]);
  return index >= 0 && first[index] < second[index];
}

function checkRust() {
  // The first call in this folder has rustup install the toolchain of rust-toolchain.toml; its progress is shown.
  const cargo = spawnSync("cargo", ["--version"], { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", 2] });
  if (cargo.error) fail("cargo was not found. Install Rust from https://rustup.rs/, open a new shell and try again.");
  if (cargo.status !== 0) fail("cargo does not work here; its own message is above.");
  const wanted = /^channel = "(.*)"$/m.exec(readFileSync(join(root, "rust-toolchain.toml"), "utf8"))[1];
  const found = /\d+\.\d+\.\d+/.exec(cargo.stdout)?.[0] ?? "0.0.0";
  if (isOlder(found, wanted)) {
    fail(`Rust ${found} is too old: ${wanted} or newer is needed, and rustup (https://rustup.rs/) installs it in this folder.`);
  }
  const sysroot = spawnSync("rustc", ["--print", "sysroot"], { cwd: root, encoding: "utf8" });
  if (sysroot.status !== 0) fail("rustc does not work here; `rustc --version` says why.");
  if (existsSync(join(sysroot.stdout.trim(), "lib", "rustlib", WASM_TARGET))) return;
  say(`adding the target ${WASM_TARGET} to the Rust toolchain`);
  const code = status("rustup", ["target", "add", WASM_TARGET], { stdio: ["ignore", 2, 2] });
  if (code === null) fail(`the Rust toolchain has no target ${WASM_TARGET}, and rustup (https://rustup.rs/) is not here to add it.`);
  if (code !== 0) fail(`\`rustup target add ${WASM_TARGET}\` failed; its own message is above.`);
}

function runXtask(args) {
  const firstTime = !existsSync(join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug", "xtask"));
  if (firstTime) say("compiling the project's own tools (two or three minutes on two cores, once)");
  // Cargo's list of compiled crates is the progress to show the first time, and noise afterwards.
  const cargo = ["run", ...(firstTime ? [] : ["--quiet"]), "--bin", "xtask", "--", ...args];
  const env = { ...process.env, PATH: `${tools}:${process.env.PATH}` };
  const child = spawn("cargo", cargo, { cwd: root, stdio: "inherit", env });

  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      // Ctrl-C reaches every process of the terminal's foreground group by itself; passing it on would make it two.
      if (signal === "SIGINT" && process.stdin.isTTY) return;
      child.kill(signal);
    });
  }
  child.on("error", (error) => fail(`cannot start cargo: ${error.message}`));
  child.on("exit", (code, signal) => process.exit(signal ? 1 : code));
}

checkPlatform();
installPackages();
checkRust();
runXtask(process.argv.slice(2));
