/**
 * All measurements, one after the other: `npm run bench` builds the Worker and runs this.
 *
 *   npm run bench                    everything, about 15 minutes; writes results.json and the tables of README.md
 *   npm run bench -- --quick         a short form of it, under 3 minutes; writes nothing
 *   npm run bench -- --only receive  one part
 *
 * Options of this file itself: --build DIR (default: build), --rounds N (default: 9).
 */

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { checkSameWork, measureReceiving } from "./receive.mjs";
import { machine, machineLine, receiveTables, systemTable, table, writeSection } from "./report.mjs";
import { root } from "./server.mjs";
import { measureStart, startText } from "./startup.mjs";
import { checkExactlyOnce, measureSystem } from "./throughput.mjs";

const { values: options } = parseArgs({
  options: { quick: { type: "boolean" }, only: { type: "string" }, build: { type: "string", default: "build" }, rounds: { type: "string", default: "9" } },
});
const build = resolve(root, options.build);
const log = (line) => console.error(`bench: ${line}`);

/** Each part: runs, and gives its figures and its text. */
const PARTS = {
  async receive() {
    const rounds = options.quick ? 3 : Number(options.rounds);
    log("receive: do the competitors do the same work?");
    await checkSameWork(build);
    const figures = await measureReceiving({ build, rounds, share: options.quick ? 0.5 : 1, log: (line) => log(`receive: ${line}`) });
    return { figures, text: receiveTables(figures, rounds) };
  },

  async start() {
    const figures = await measureStart({ build, processes: options.quick ? 3 : 20 });
    return { figures, text: startText(figures, table) };
  },

  async system() {
    const [most, each] = options.quick ? [5, 3] : [60, 15];
    const figures = [];
    const run = async (what, given) => {
      figures.push({ what, ...(await measureSystem({ build, ...given })) });
      log(`system: ${what}: ${Math.round(figures.at(-1).perS)} deliveries/s`);
      checkExactlyOnce(figures.at(-1));
    };
    await run("as fast as answers come", { forS: most });
    // Up to four fifths of what was sustained, so that the queue does not grow.
    const rate = Math.max(5, Math.floor(figures[0].perS / 5));
    for (const times of [1, 2, 4]) await run(`${times} × ${rate}/s`, { forS: each, perS: times * rate });
    for (const sources of [10, 100, 1_000]) await run(`${sources} sources, ${2 * rate}/s`, { forS: each, perS: 2 * rate, sources });
    return { figures, text: systemTable(figures) };
  },
};

/** Express is no part of the project: it is installed for this, by its own lock file. */
function installExpress() {
  const folder = join(root, "bench", "express");
  if (existsSync(join(folder, "node_modules", "express"))) return;
  log("installing Express");
  const { status } = spawnSync("npm", ["ci", "--loglevel=error", "--no-audit", "--no-fund"], { cwd: folder, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error("`npm ci` in bench/express failed");
}

installExpress();
const chosen = options.only ? options.only.split(",") : Object.keys(PARTS);
const unknown = chosen.find((name) => !PARTS[name]);
if (unknown) throw new Error(`no part is called ${unknown}: there are ${Object.keys(PARTS).join(", ")}`);
const of = machine();
const file = join(root, "bench", "results.json");
for (const name of chosen) {
  const started = performance.now();
  const { figures, text } = await PARTS[name]();
  const shown = `${machineLine(of)}\n\n${text}`;
  console.log(`\n## ${name}\n\n${shown}\n`);
  log(`${name}: ${((performance.now() - started) / 1_000).toFixed(0)} s`);
  if (options.quick) continue;
  const results = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  results[name] = { machine: of, figures };
  writeFileSync(file, `${JSON.stringify(results)}\n`);
  writeSection(name, shown);
}
