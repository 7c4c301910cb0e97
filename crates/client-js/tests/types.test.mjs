/** The declarations are valid TypeScript and say what the code does. The compiler's test is skipped where it is not installed. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { installed, packageDir } from "./support/paths.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const tsc = join(here, "node_modules/typescript/bin/tsc");
const skip = existsSync(tsc) ? false : `the TypeScript compiler is not installed: run \`npm ci\` in ${here}`;

test("a program that uses the whole package compiles strictly", { skip }, (context) => {
  const dir = installed(context);
  cpSync(join(here, "types"), dir, { recursive: true });
  const { status, stdout } = spawnSync(process.execPath, [tsc, "--project", dir], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
});

test("the entries of all runtimes export the same, and the declarations say so", () => {
  const [node, ...others] = ["node.js", "workerd.js", "browser.js", "index.d.ts"].map(
    (name) => /^export \{(.*?)\}/ms.exec(readFileSync(join(packageDir, name), "utf8"))[1],
  );
  assert.match(node, /GenesysClient, GenesysError/);
  for (const other of others) assert.equal(other, node);
});
