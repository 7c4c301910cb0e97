/**
 * Tests on the real runtime: they run inside workerd, next to the release build of the Worker (`npm run build`), with the
 * bindings of `wrangler.toml`. `xtask test` builds first.
 */

import { fileURLToPath } from "node:url";

import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

const root = fileURLToPath(new URL("..", import.meta.url));

export default defineConfig({
  root,
  plugins: [
    cloudflareTest({
      main: `${root}build/index.js`,
      wrangler: { configPath: `${root}wrangler.toml` },
    }),
  ],
  test: {
    include: ["tests/**/*.test.ts"],
  },
});
