/** Where the things under test are: the built package, the simulator, the repository's tools. */

import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const root = fileURLToPath(new URL("../../../../", import.meta.url));

/** The folder of the built package. */
export const packageDir = process.env.GENESYS_CLIENT_PACKAGE ?? join(root, "build/client-js");

/** The simulator's binary. */
export const simulator = process.env.GENESYS_SIMULATOR ?? join(root, "target/debug/genesys-simulator");

if (!existsSync(join(packageDir, "package.json"))) {
  throw new Error(`${packageDir} holds no package: build it, or name one in GENESYS_CLIENT_PACKAGE`);
}

/** A module of the package, as Node loads it. */
export const loadPackage = () => import(pathToFileURL(join(packageDir, "node.js")).href);

/** A fresh folder in which `genesys-client` is installed; gone when the test `context` ends. */
export function installed(context) {
  const dir = mkdtempSync(join(tmpdir(), "genesys-client-"));
  context.after(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, "node_modules"));
  symlinkSync(packageDir, join(dir, "node_modules/genesys-client"));
  return dir;
}

/** The first of these programs that is installed, by PATH. */
export function program(...names) {
  const folders = (process.env.PATH ?? "").split(delimiter);
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
}
