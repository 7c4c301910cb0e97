/**
 * `npm run bench`: measures a build of the Worker and writes `bench/results.json` and the tables of `bench/README.md`.
 *
 *   node_modules/.bin/node bench/run.mjs [BUILD] [--quick]
 *
 * Bounded in count; ends by itself; sends only to loopback. Out of scope: judging the figures. Nothing here fails because of one.
 */

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem, loadavg, release } from "node:os";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { run } from "./receive.mjs";
import { median, root, start } from "./server.mjs";

const quick = process.argv.includes("--quick");
const build = resolve(root, process.argv.slice(2).find((argument) => !argument.startsWith("--")) ?? "build");
const express = join(root, "bench", "express");
if (!existsSync(join(express, "node_modules"))) {
  const { status } = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: express, stdio: "inherit" });
  if (status !== 0) throw new Error("npm ci in bench/express failed");
}

/** Milliseconds from the start of the process to the first answer of a fresh isolate, in turn. */
async function startUp(processes) {
  const options = { port: 18_740, gateway: { sources: [{ name: "a", profile: "webhooks", secrets: ["S"] }] }, secrets: { S: "0123456789abcdef0123" }, sinks: true };
  const a = [];
  const b = [];
  for (let n = 0; n < processes; n += 1) {
    for (const [list, kind] of [[a, { build }], [b, { kind: "javascript" }]]) {
      const server = await start({ ...options, ...kind });
      list.push(server.readyMs);
      await server.stop();
      // The port is free when the process is gone.
      await new Promise((done) => setTimeout(done, 100));
    }
  }
  const of = (list) => ({ median: median(list), min: Math.min(...list), max: Math.max(...list) });
  return { processes, a_ms: of(a), b_ms: of(b), difference_ms: of(a.map((ms, n) => ms - b[n])) };
}

function sizes() {
  return Object.fromEntries(
    ["index_bg.wasm", "index.js"].map((name) => {
      const bytes = readFileSync(join(build, name));
      return [name, { bytes: bytes.length, gzip_bytes: gzipSync(bytes, { level: 9 }).length }];
    }),
  );
}

function machine() {
  const version = (name) => JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"))).version;
  const rustc = spawnSync("rustc", ["--version"], { cwd: root, encoding: "utf8" }).stdout.trim();
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: `${cpus()[0].model}, ${cpus().length} cores`,
    memory_mb: Math.round(totalmem() / 1e6),
    kernel: release(),
    load_before: loadavg()[0],
    workerd: version("workerd"),
    node: process.versions.node,
    express: JSON.parse(readFileSync(join(express, "package.json"))).dependencies.express,
    rustc,
  };
}

const ratio = ({ median, min, max }) => `${median.toFixed(2)} (${min.toFixed(2)}..${max.toFixed(2)})`;
const size = (bytes) => (bytes >= 1_000_000 ? `${bytes / 1_000_000} MB` : `${bytes / 1_000} KB`);

function tables({ machine: at, receive, start_up, sizes: files, quick: short }) {
  const rows = receive.map(({ size_bytes, servers: { a, b, c, d }, ratios }) => {
    const cpu = [a, b, c, d].map(({ cpu_us }) => cpu_us.median.toFixed(0)).join(" | ");
    return `| ${size(size_bytes)} | ${cpu} | ${ratio(ratios["a/b"])} | ${ratio(ratios["a/c"])} | ${ratio(ratios["a/d"])} |`;
  });
  const answers = receive.map(({ size_bytes, servers }) => {
    const cells = ["a", "b", "d"].map((name) => `${servers[name].per_s.median.toFixed(0)} | ${servers[name].p50_ms.toFixed(1)} / ${servers[name].p99_ms.toFixed(1)}`);
    return `| ${size(size_bytes)} | ${cells.join(" | ")} |`;
  });
  const kb = ({ bytes, gzip_bytes }) => `${(bytes / 1_000).toFixed(0)} KB, gzip ${(gzip_bytes / 1_000).toFixed(0)} KB`;
  return `${at.date}, ${at.cpu}, Linux ${at.kernel}, load ${at.load_before.toFixed(1)} before the run; workerd ${at.workerd}, Node ${at.node}, Express ${at.express}, ${at.rustc}${short ? "; short form (`--quick`)" : ""}.
CPU time of the server process per delivery in µs, medians of ${receive[0].rounds} rounds in turn; ratios of the same round, with their spread.

| body | (a) gateway | (b) JavaScript | (c) floor | (d) Express | a / b | a / c | a / d |
|---|---|---|---|---|---|---|---|
${rows.join("\n")}

| body | (a) per s | p50 / p99 ms | (b) per s | p50 / p99 ms | (d) per s | p50 / p99 ms |
|---|---|---|---|---|---|---|
${answers.join("\n")}

Start of a fresh process until its first answer, ${start_up.processes} each in turn: (a) ${start_up.a_ms.median.toFixed(0)} ms, (b) ${start_up.b_ms.median.toFixed(0)} ms, difference ${start_up.difference_ms.median.toFixed(0)} ms (${start_up.difference_ms.min.toFixed(0)}..${start_up.difference_ms.max.toFixed(0)}).
Sizes: wasm ${kb(files["index_bg.wasm"])}; JavaScript ${kb(files["index.js"])}.`;
}

const results = { quick, machine: machine() };
results.receive = await run({ builds: [build], quick, log: console.log });
results.start_up = await startUp(quick ? 8 : 20);
results.sizes = sizes();
writeFileSync(join(root, "bench", "results.json"), `${JSON.stringify(results, null, 2)}\n`);

const text = tables(results);
console.log(`\n${text}`);
const [BEGIN, END] = ["<!-- bench: begin -->", "<!-- bench: end -->"];
const page = readFileSync(join(root, "bench", "README.md"), "utf8");
const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
if (begin < 0 || end < begin) throw new Error("bench/README.md has lost its markers");
writeFileSync(join(root, "bench", "README.md"), `${page.slice(0, begin)}${BEGIN}\n${text}\n${page.slice(end)}`);
