/** The package inside workerd, bundled as wrangler does it: the Worker's conditions, the `.wasm` file imported as a module. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { installed, packageDir, root } from "./support/paths.mjs";
import { expectScenario } from "./support/scenario.mjs";
import { startSimulator } from "./support/simulator.mjs";

const { build } = createRequire(join(root, "package.json"))("esbuild");
const here = fileURLToPath(new URL("workerd/", import.meta.url));

test("the scenario of all runtimes, twice in one isolate", async (context) => {
  const simulator = await startSimulator(context);
  const dir = installed(context);
  await build({
    entryPoints: [join(here, "worker.js")],
    outfile: join(dir, "worker.js"),
    bundle: true,
    format: "esm",
    target: "es2022",
    conditions: ["workerd"],
    external: ["*.wasm"],
    nodePaths: [join(dir, "node_modules")],
    logLevel: "warning",
  });
  copyFileSync(join(packageDir, "genesys_client_bg.wasm"), join(dir, "genesys_client_bg.wasm"));
  copyFileSync(join(here, "config.capnp"), join(dir, "config.capnp"));

  // The fourth stream is where workerd names its port.
  const child = spawn(join(root, "node_modules/.bin/workerd"), ["serve", "--control-fd=3", join(dir, "config.capnp")], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  context.after(async () => {
    child.kill();
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  const exited = once(child, "exit").then(([code]) => assert.fail(`workerd ended with ${code}`));
  exited.catch(() => {});
  const [line] = await Promise.race([once(createInterface(child.stdio[3]), "line"), exited]);
  const { port } = JSON.parse(line);

  for (const turn of ["first", "second"]) {
    await simulator.control("POST", "reset");
    const request = { method: "POST", body: JSON.stringify(simulator.options) };
    const response = await fetch(`http://127.0.0.1:${port}/${turn}`, request);
    const text = await response.text();
    assert.equal(response.status, 200, text);
    expectScenario(assert, JSON.parse(text));
  }
});
