/**
 * Tests on the real runtime: they run inside workerd, next to the release build of the Worker (`npm run build`), with the
 * queues, the bucket, the Durable Objects and the crons of `wrangler.toml`. What is not the gateway, the vendor's API and the
 * user's destinations, is played by the simulator, one for each project. `xtask test` builds the Worker first; a run by hand
 * (`npx vitest run --config tests/vitest.config.ts receive`) takes the build that is there.
 *
 * Every test file has a runtime and storage of its own, and sinks of its own at the simulator: files may run side by side.
 */

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

import { RATE_LIMIT, bindings } from "./workerd/support/gateway.ts";
import { VECTOR_FILES, vectorSources } from "./workerd/support/vectors.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const vectors = vectorSources(
  VECTOR_FILES.flatMap((name) => JSON.parse(readFileSync(`${root}tests/vectors/${name}.json`, "utf8")).vectors),
);

if (!existsSync(`${root}build/index.js`)) {
  throw new Error("The Worker is not built: `npm run build -- --fast` makes build/index.js.");
}

let runtimes = 0;

/** What speaks of the vendor's own state: its faults, its tokens, what it was asked. It has a simulator of its own. */
const VENDOR = ["tests/workerd/lifecycle.test.ts"];

/** Test files that share a simulator, which is started with them. */
function project(name: string, files: { include: string[]; exclude?: string[] }) {
  return {
    root,
    plugins: [
      // Called for every test file.
      cloudflareTest(({ inject }) => {
        runtimes += 1;
        return {
          main: `${root}build/index.js`,
          wrangler: { configPath: `${root}wrangler.toml` },
          // The runtime tells of every connection that a test has cut or refused.
          verbose: false,
          miniflare: {
            // `exports.default.queue`: only the runtime itself tells the delays that a consumer asks for.
            compatibilityFlags: ["service_binding_extra_handlers"],
            ratelimits: { DELIVERY_RATE: { namespace_id: "1", simple: { limit: RATE_LIMIT, period: 60 } } },
            bindings: bindings(inject<string>("simulator"), `r${runtimes}`, vectors),
          },
        };
      }),
    ],
    test: {
      name,
      ...files,
      globalSetup: [`${root}tests/workerd/support/simulator.ts`],
      testTimeout: 30_000,
      hookTimeout: 30_000,
    },
  };
}

export default defineConfig({
  root,
  test: {
    projects: [
      project("gateway", { include: ["tests/workerd/**/*.test.ts"], exclude: VENDOR }),
      project("vendor", { include: VENDOR }),
    ],
    // Most of the time of a test is the second after which a queue hands a batch on.
    maxWorkers: 3,
    // Refusals and failed attempts are what most tests provoke: what the gateway logs of them is shown where a test fails.
    silent: "passed-only",
  },
});
