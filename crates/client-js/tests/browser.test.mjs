/**
 * The package in headless Chromium, through a bundler (Vite). Skipped where no Chromium is installed: it is looked for in
 * CHROMIUM and under its usual names in PATH.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { deferred } from "./support/deferred.mjs";
import { installed, program, root } from "./support/paths.mjs";
import { expectScenario } from "./support/scenario.mjs";
import { startSimulator } from "./support/simulator.mjs";

const here = fileURLToPath(new URL("browser/", import.meta.url));
const chromium = process.env.CHROMIUM ?? program("chromium", "chromium-browser", "google-chrome");
const skip = chromium ? false : "no Chromium is installed (looked for chromium, chromium-browser, google-chrome; or set CHROMIUM)";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

/** What a strict page allows: WebAssembly, and no code that is made from text. (Inline, because an import map is.) */
const POLICY = "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'";

/** The page, bundled by Vite into `dir`/dist. */
async function bundle(dir) {
  cpSync(here, dir, { recursive: true });
  // One file without imports from outside: what Vite sees is the page, the package, and the scenario.
  const { build: esbuild } = createRequire(join(root, "package.json"))("esbuild");
  const entryPoints = [fileURLToPath(new URL("support/scenario.mjs", import.meta.url))];
  await esbuild({ entryPoints, outfile: join(dir, "scenario.mjs"), bundle: true, format: "esm", logLevel: "warning" });
  const vite = await import(pathToFileURL(createRequire(join(root, "package.json")).resolve("vite")).href);
  await vite.build({ root: dir, logLevel: "warn", configFile: false, build: { target: "es2022" } });
  return join(dir, "dist");
}

/** Serves `dir` and what the page asks for, and answers what it posts. */
async function serve(context, dir, options) {
  const posted = deferred();
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://page").pathname;
    if (request.method === "POST") {
      const text = (await request.toArray()).join("");
      response.end();
      if (path === "/result") posted.resolve(JSON.parse(text));
      else posted.reject(new Error(`in the page: ${text}`));
    } else if (path === "/options") {
      response.end(JSON.stringify(options));
    } else {
      const name = path === "/" ? "index.html" : path.slice(1);
      try {
        const bytes = readFileSync(join(dir, name));
        const type = TYPES[extname(name)] ?? "application/octet-stream";
        response.writeHead(200, { "content-type": type, "content-security-policy": POLICY }).end(bytes);
      } catch {
        response.writeHead(404).end();
      }
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}/`, posted: posted.promise };
}

/** Opens a page until the test ends. A browser that ends by itself is an error. */
function open(context, dir, url) {
  const profile = join(dir, "profile");
  mkdirSync(profile);
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
  const child = spawn(chromium, [...flags, `--user-data-dir=${profile}`, url], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (text) => (log += text));
  const ended = once(child, "exit");
  context.after(async () => {
    child.kill();
    await ended;
  });
  return ended.then(([code]) => assert.fail(`the browser ended with ${code}:\n${log}`));
}

const inBrowser = async (context, pageOf) => {
  const simulator = await startSimulator(context);
  const dir = installed(context);
  const page = await serve(context, await pageOf(dir), simulator.options);
  const ended = open(context, dir, page.url);
  ended.catch(() => {});
  expectScenario(assert, await Promise.race([page.posted, ended]));
};

test("the scenario of all runtimes, bundled by Vite", { skip, timeout: 120_000 }, (context) =>
  inBrowser(context, async (dir) => {
    const dist = await bundle(dir);
    assert.ok(readdirSync(join(dist, "assets")).some((name) => name.endsWith(".wasm")), "the module is an asset");
    return dist;
  }));

test("the scenario of all runtimes, without a bundler", { skip, timeout: 120_000 }, (context) =>
  inBrowser(context, async (dir) => {
    await bundle(dir);
    cpSync(join(dir, "node_modules/genesys-client"), join(dir, "package"), { recursive: true, dereference: true });
    const page = readFileSync(join(dir, "index.html"), "utf8");
    const map = '<script type="importmap">{"imports":{"genesys-client":"/package/browser.js"}}</script>';
    writeFileSync(join(dir, "index.html"), page.replace("<script", `${map}\n<script`));
    return dir;
  }));
